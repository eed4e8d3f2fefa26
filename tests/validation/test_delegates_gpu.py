"""The real accelerator, where there is an adapter; and what is said where there is none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from delegate_nets import (
    NO_DRIVER,
    chain,
    grouped,
    long_sum,
    need_gpu,
    overflowing,
    quantized,
    twice,
    with_refused,
    without_fp16,
)
from one_op import EXAMPLES, build
from small_nets import images, residual
from tiny_models import rnn_model, two_signatures

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import open_samples
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.validation.delegates import check_delegates
from tfq_ext.validation.sandbox import Limits


def rules(report):
    return {f.rule.id for f in report.findings}


def statuses(report):
    return [row.status for row in report.gpu]


@pytest.fixture(scope="module")
def healthy():
    need_gpu()
    return check_delegates(residual().to_bytes(), images(12), limit=4)


def test_a_right_net_is_ok_in_both_precisions(healthy):
    wide, half = healthy.gpu
    assert statuses(healthy) == ["ok", "ok"]
    assert wide.error < 1e-6 < 1e-5 < half.error < 5e-3  # 2e-7 and 7e-4
    assert (wide.samples, wide.on_gpu, wide.ops) == (4, 6, 6)
    assert wide.top1_agreement == half.top1_agreement == 1.0
    assert wide.adapter
    assert healthy.findings == ()


def test_fp16_is_proved_and_every_time_is_there(healthy):
    wide, half = healthy.gpu
    assert (wide.really_fp16, half.really_fp16) == (None, True)
    for row in healthy.gpu:
        assert min(row.load_ms, row.first_ms, row.steady_ms, row.cpu_ms) > 0


def test_the_report_is_json_and_text(healthy):
    told = json.loads(healthy.to_json())
    assert [row["status"] for row in told["gpu"]] == ["ok", "ok"]
    assert told["gpu"][1]["error"] == pytest.approx(healthy.gpu[1].error)
    assert "fp16 was really fp16" in str(healthy)


def test_without_an_adapter_nothing_is_ok():
    report = check_delegates(residual().to_bytes(), images(2), env=NO_DRIVER)
    assert statuses(report) == ["not checked", "not checked"]
    assert all(row.reason.startswith("no adapter: ") for row in report.gpu)
    assert [row.limit for row in report.gpu] == [1e-3, 5e-2]
    assert rules(report) == {"gpu-not-checked"}
    assert "not checked" in str(report)
    assert " ok" not in str(report).splitlines()[0]
    assert report.fp16_risk.rows  # the CPU's part is there all the same


@pytest.mark.slow
def test_a_driver_without_fp16_is_found_out():
    need_gpu()
    report = check_delegates(residual().to_bytes(), images(2), env=without_fp16())
    wide, half = report.gpu
    assert (wide.status, half.status, half.really_fp16) == ("ok", "not checked", False)
    assert "silently computed in fp32" in half.reason
    assert rules(report) == {"fp16-not-really"}


def test_without_a_gpu_run_there_are_no_rows():
    report = check_delegates(residual().to_bytes(), images(2), gpu=False)
    assert report.gpu == ()
    assert report.findings == ()
    assert len(report.fp16_risk.rows) == 6


def test_a_wrong_op_is_bisected():
    need_gpu()
    report = check_delegates(chain().to_bytes(), bisect=True)
    assert statuses(report) == ["wrong", "wrong"]
    bad = report.bisection.first_bad
    assert (bad.index, bad.op, bad.tensor) == (2, "CONV_2D", "n2")
    assert bad.before < 1e-6
    assert bad.after > 1e-2
    assert bad.alone > 1e-2
    assert bad.without < 1e-6
    assert len(report.bisection.probes) <= 3 + 4
    (finding,) = [f for f in report.findings if f.rule.id == "gpu-wrong"]
    assert (finding.op_index, finding.tensor) == (2, "n2")


def overflow(**options):
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 4, 8)).astype(np.float32)
    return check_delegates(overflowing().to_bytes(), {"x": x}, **options)


def test_an_overflow_is_wrong_in_fp16_only():
    need_gpu()
    report = overflow()
    assert statuses(report) == ["ok", "wrong"]
    assert 0.05 < report.gpu[1].error < 10  # finite: RELU6 hides the infinity
    assert {"gpu-wrong", "gpu-fp16-overflow"} == rules(report)


@pytest.mark.slow
def test_an_overflow_is_bisected_in_fp16():
    need_gpu()
    found = overflow(bisect=True).bisection
    assert found.precision == "fp16"
    assert found.first_bad.index == 0


@pytest.mark.slow
def test_a_long_sum_is_wrong_in_fp16_as_the_cpu_foretold():
    need_gpu()
    x = np.random.default_rng(5).uniform(0.5, 1, (1, 5, 5, 512)).astype(np.float32)
    report = check_delegates(long_sum().to_bytes(), {"x": x})
    assert report.gpu[0].status == "ok"
    foretold = report.fp16_risk.rows[0].emulated_error
    assert report.gpu[1].error > 1e-2
    assert report.gpu[1].error == pytest.approx(foretold, rel=0.5)


def test_a_process_that_dies_is_reported_with_its_last_words():
    need_gpu()
    report = check_delegates(twice("BATCH_MATMUL", "BatchMatMulOptions").to_bytes(), bisect=True)
    assert statuses(report) == ["died", "died"]
    assert "already a consumer" in report.gpu[0].reason
    assert {"gpu-died", "gpu-known-wrong"} == rules(report)
    bad = report.bisection.first_bad
    assert (bad.index, bad.op) == (0, "BATCH_MATMUL")
    assert math.isinf(bad.after)
    assert "dies" in report.bisection.verdict


@pytest.mark.slow
def test_a_refused_op_is_named_and_the_rest_compared():
    need_gpu()
    report = check_delegates(with_refused().to_bytes())
    assert statuses(report) == ["ok", "ok"]
    row = report.gpu[0]
    assert [(r.op, r.reason) for r in row.refused] == [
        ("L2_NORMALIZATION", "Operation is not supported")
    ]
    assert (row.on_gpu, row.ops) == (2, 4)
    assert {"gpu-refused-op", "gpu-known-refused"} == rules(report)


@pytest.mark.slow
def test_a_model_of_refused_ops_is_refused():
    need_gpu()
    report = check_delegates(build("GATHER_ND", EXAMPLES["GATHER_ND"]).to_bytes())
    assert statuses(report) == ["refused", "refused"]
    assert report.gpu[1].really_fp16 is None
    assert "gpu-refused" in rules(report)


@pytest.mark.slow
def test_where_both_precisions_give_the_same_codes_the_driver_itself_is_asked():
    need_gpu()
    net = build("ARG_MAX", EXAMPLES["ARG_MAX"]).to_bytes()
    half = check_delegates(net).gpu[1]
    assert (half.status, half.really_fp16, half.error) == ("ok", True, 0.0)
    half = check_delegates(net, env=without_fp16()).gpu[1]
    assert (half.status, half.really_fp16) == ("not checked", False)


@pytest.mark.slow
def test_an_int8_file_runs_dequantized():
    need_gpu()
    report = check_delegates(quantized(8), images(4))
    assert statuses(report) == ["ok", "ok"]
    assert report.fp16_risk.xnnpack == ()
    assert "float files" in report.fp16_risk.xnnpack_why_not
    assert any("dequantized" in note for note in report.fp16_risk.notes)


@pytest.mark.slow
def test_an_int16_file_is_not_taken():
    need_gpu()
    report = check_delegates(quantized(16), images(4))
    row = report.gpu[0]
    assert row.status in ("wrong", "refused")
    assert row.on_gpu < row.ops / 2
    assert "Tensor type(INT16) is not supported" in {r.reason for r in row.refused}


def test_bisecting_what_is_right_runs_nothing(healthy):
    report = check_delegates(residual().to_bytes(), images(2), bisect=True, gpu=False)
    assert report.bisection is None


def test_noise_stands_in_for_samples_and_says_so():
    report = check_delegates(residual().to_bytes(), gpu=False)
    assert report.samples == 2
    assert any("--data" in note for note in report.notes)


def test_memory_of_earlier_calls_leaves_one_sample():
    report = check_delegates(rnn_model(), np.float32([[[1]], [[2]], [[3]]]), gpu=False)
    assert report.samples == 1
    assert any("remembers" in note for note in report.notes)


@pytest.mark.slow
def test_a_signature_that_is_not_the_first_can_be_run():
    need_gpu()
    model = two_signatures(np.eye(3), 2 * np.eye(4))
    report = check_delegates(model, signature="second")
    assert statuses(report)[0] == "ok"
    with pytest.raises(ModelError, match="no signature"):
        check_delegates(model, signature="third", gpu=False)


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(ModelError):
        check_delegates(b"")
    with pytest.raises(DataError, match="limit"):
        check_delegates(residual().to_bytes(), limit=0)
    with pytest.raises(DataError):
        check_delegates(residual().to_bytes(), np.ones((2, 9, 9, 3), np.float32))


def test_an_absurd_shape_is_refused_before_memory_is_asked_for():
    model = residual()
    model.graphs[0].tensors[model.graphs[0].inputs[0]].shape = [2**30, 8, 8, 3]
    with pytest.raises(ModelError):
        check_delegates(model.to_bytes(), gpu=False)


def test_samples_that_are_open_already_serve():
    model = residual()
    samples = open_samples(images(6), input_specs(model))
    assert check_delegates(model.to_bytes(), samples, gpu=False, limit=3).samples == 3
    assert len(list(samples)) == 6  # and stay open


def test_limits_of_the_caller_hold_on_the_cpu():
    report = check_delegates(
        grouped(8, 2, 8).to_bytes(), gpu=False, limits=Limits(memory_bytes=None, seconds=60)
    )
    assert report.xnnpack.ops == 1


@pytest.mark.slow
def test_more_than_the_gpu_delegate_takes_and_weights_only():
    """Weights that the CPU dequantizes make the GPU's numbers wrong; LiteRT does not say so."""
    need_gpu()
    import tfq_ext

    content = tfq_ext.quantize(residual().to_bytes(), recipe="weight_only").content
    report = check_delegates(content, images(2))
    refused = {r.op for r in report.gpu[0].refused}
    assert refused in ({"DEQUANTIZE"}, set())
    assert (report.gpu[0].status == "wrong") == bool(refused)
