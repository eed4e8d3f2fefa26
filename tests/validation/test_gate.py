"""Gates: bounds as people write them, verdicts at the edges, settings files."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tfq_ext.errors import RecipeError, UnknownName
from tfq_ext.validation.accuracy import AccuracyReport, MetricRow
from tfq_ext.validation.delegates.values import DelegateReport, GpuRow
from tfq_ext.validation.gate import FAIL, GATES, PASS, UNDECIDED, judge, load_config, parse_gates
from tfq_ext.validation.gate.bounds import UNITS, parse_bound
from tfq_ext.validation.verdict import SECTIONS, NotChecked, Origin, Validation

NOTHING_MISSING = object()  # the size gate needs the file, and no more of its inspection
ORIGIN = Origin("", "", "", "", 0, 0, {}, {}, "", "", 0.0)


def validation(**parts) -> Validation:
    empty = dict.fromkeys(SECTIONS, NotChecked("no samples: give --data"))
    return Validation(
        name="m.tflite", source="m.tflite", size_bytes=4_000_000, reference_bytes=0,
        findings=(), gates=(), origin=ORIGIN, **{**empty, **parts},
    )  # fmt: skip


def accuracy(n: int = 200, **changes) -> AccuracyReport:
    row = MetricRow("top1", "share", 0.8, (0.74, 0.85), 0.81, (0.01, -0.01, 0.03), 0.5, True)
    base = AccuracyReport(
        n, n, "classification", "y", (row,), 0.97, (0.94, 0.99), 25.0, 0.01, (), (), (), 1.0,
        200.0, 1, False,
    )  # fmt: skip
    return replace(base, **changes)


def one(found: Validation, **gates):
    (result,) = judge(found, parse_gates(gates))
    return result


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("share", "0.5%", 0.005),
        ("share", "0.5 %", 0.005),
        ("share", 0.005, 0.005),
        ("points", "-1%", -0.01),
        ("points", "0.5%", 0.005),
        ("ms", "5ms", 5.0),
        ("ms", "250us", 0.25),
        ("ms", "0.01s", 10.0),
        ("bytes", "4MB", 4e6),
        ("bytes", "4MiB", 4 * 2**20),
        ("bytes", 1000, 1000.0),
        ("ratio", "1.1x", 1.1),
        ("ratio", "90%", 0.9),
        ("db", "20 dB", 20.0),
        ("count", 0, 0.0),
        ("number", "1%", 0.01),  # drop:miou
    ],
)
def test_a_bound_is_read_with_its_unit(unit, text, value):
    assert parse_bound("g", unit, text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("share", "5"),  # 500 %: surely 5 % was meant
        ("points", "1"),  # 100 %: surely 1 % was meant
        ("bytes", "4"),  # surely 4MB was meant
        ("share", "half"),
        ("ms", "5 MB"),
        ("bytes", "-1"),
        ("bytes", ""),
        ("count", True),
        ("db", "nan"),
        ("bytes", "1e99999999999999999999"),  # past what Decimal can hold
        ("bytes", "1e400"),
    ],
)
def test_a_bound_that_means_nothing_is_refused_with_an_example(unit, text):
    with pytest.raises(RecipeError, match="Gate g") as caught:
        parse_bound("g", unit, text)
    assert str(caught.value).endswith(".") or UNITS[unit].example in str(caught.value)


def test_an_unknown_gate_says_which_there_are():
    with pytest.raises(UnknownName, match="Did you mean 'top1_drop'"):
        parse_gates({"top1_drob": 0.1})


@pytest.mark.parametrize(
    ("drop", "verdict"),
    [
        ((0.01, -0.01, 0.03), UNDECIDED),  # the interval holds the bound
        ((0.0, -0.02, 0.02), PASS),  # its upper end on the bound
        ((0.0, -0.02, 0.0201), UNDECIDED),
        ((0.05, 0.02, 0.08), UNDECIDED),  # its lower end on the bound
        ((0.05, 0.0201, 0.08), FAIL),
        ((0.01, -math.inf, math.inf), UNDECIDED),  # samples that cannot tell
        ((-0.02, -0.03, -0.01), PASS),
    ],
)
def test_a_drop_is_judged_by_its_whole_interval(drop, verdict):
    row = replace(accuracy().metrics[0], drop=drop)
    result = one(validation(accuracy=accuracy(metrics=(row,))), top1_drop="2%")
    assert result.verdict == verdict


def test_too_few_samples_says_how_many_would_do():
    result = one(validation(accuracy=accuracy()), top1_drop="2%")
    assert "200 samples are too few to tell" in result.detail
    # Half the interval is .02, the gap to the bound .01: four times the samples.
    assert "about 800 would do" in result.detail
    assert result.margin == "+1.00 points"


def test_a_value_on_the_bound_cannot_be_settled_by_any_number_of_samples():
    row = replace(accuracy().metrics[0], drop=(0.02, 0.0, 0.04))
    result = one(validation(accuracy=accuracy(metrics=(row,))), top1_drop="2%")
    assert "lies on the bound" in result.detail


def test_agreement_is_a_lower_bound_with_an_interval():
    found = validation(accuracy=accuracy())
    assert one(found, agreement="94%").verdict == PASS
    assert one(found, agreement="95%").verdict == UNDECIDED
    assert one(found, agreement="99.5%").verdict == FAIL


def test_a_metric_knows_its_own_direction():
    mae = MetricRow("MAE", "", 0.3, None, None, None, None, False)
    found = validation(accuracy=accuracy(metrics=(mae,)))
    assert one(found, **{"metric:mae": 0.3}).verdict == PASS
    assert one(found, **{"metric:mae": 0.29}).verdict == FAIL
    top1 = validation(accuracy=accuracy())
    assert one(top1, **{"metric:top-1": 0.8}).verdict == PASS
    assert one(top1, **{"metric:top1": 0.81}).verdict == FAIL


def test_a_metric_that_was_not_measured_is_no_pass():
    result = one(validation(accuracy=accuracy()), **{"metric:miou": 0.5})
    assert result.verdict == UNDECIDED
    assert "measured: top1" in result.detail


def test_no_reference_is_no_pass():
    row = replace(accuracy().metrics[0], drop=None)
    result = one(validation(accuracy=accuracy(metrics=(row,))), top1_drop="1%")
    assert result.verdict == UNDECIDED
    assert "--reference" in result.detail


def test_size_at_the_bound():
    found = validation(inspection=NOTHING_MISSING)
    assert one(found, size="4MB").verdict == PASS
    assert one(found, size=3_999_999).verdict == FAIL
    result = one(found, size="3MB")
    assert (result.value, result.bound, result.margin) == ("4.00 MB", "at most 3.00 MB", "-1.00 MB")


def test_sqnr_of_an_exact_file_passes_any_bound():
    found = validation(accuracy=accuracy(sqnr_db=math.inf))
    assert one(found, sqnr_db=60).verdict == PASS
    nothing = validation(accuracy=accuracy(sqnr_db=math.nan))
    assert one(nothing, sqnr_db=60).verdict == UNDECIDED


@pytest.mark.parametrize("name", [n for n, g in GATES.items() if n not in ("size", "size_ratio")])
def test_what_was_not_checked_is_never_a_pass(name):
    bounds = {"severity": "error", "version": "2.14.0", "flag": True}
    gate = GATES[name]
    bound = bounds.get(gate.bound, {"bytes": 1000, "points": 0.1}.get(gate.unit, 0.5))
    result = one(validation(), **{name: bound})
    assert result.verdict == UNDECIDED
    assert result.detail == "no samples: give --data"


def test_exit_codes():
    plain = validation(inspection=NOTHING_MISSING)
    good, bad = one(plain, size="5MB"), one(plain, size="1MB")
    unsure = one(plain, top1=0.5)
    assert replace(plain, gates=(good,)).exit_code == 0
    assert replace(plain, gates=(good, unsure)).exit_code == 2
    assert replace(plain, gates=(unsure, bad, good)).exit_code == 1
    assert not replace(plain, gates=(unsure,)).passed


def test_a_settings_file(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"")
    file = tmp_path / "tfq.toml"
    file.write_text(
        '[gates]\ntop1_drop = "0.5%"\nruns = true\n[validate]\ndata = "x.npy"\nlimit = 10\n[lint]\n'
    )
    config = load_config(file)
    assert config.gates == {"top1_drop": "0.5%", "runs": True}
    assert config.settings == {"data": str(tmp_path / "x.npy"), "limit": 10}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gate]\n", "Did you mean 'gates'"),
        ("[gates]\ntop1_drop = 'much'\n", "'much' is no bound"),
        ("[gates]\nsise = 1\n", "Did you mean 'size'"),
        ("[validate]\nlimit = true\n", "limit takes int"),
        ("[validate]\ndatas = 'x'\n", "Did you mean 'data'"),
        ("gates = 3\n", "gates is a table"),
        ("[gates\n", "not valid TOML"),
    ],
)
def test_a_wrong_settings_file_says_what_is_wrong(tmp_path, text, told):
    file = tmp_path / "tfq.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=told):
        load_config(file)


def test_a_missing_settings_file():
    with pytest.raises(RecipeError, match="Cannot read"):
        load_config("/nowhere/tfq.toml")


@pytest.mark.parametrize("name", GATES)
def test_every_gate_of_a_settings_file_can_be_switched_off(name):
    assert parse_gates({name: False}) == {}


def test_a_metric_without_interval_is_not_settled_by_more_samples():
    row = MetricRow("mine", "", 0.8, None, 0.81, (0.01, -math.inf, math.inf), None, True)
    gate = one(validation(accuracy=accuracy(metrics=(row,))), **{"drop:mine": 0.1})
    assert gate.verdict == UNDECIDED
    assert "no interval" in gate.detail
    assert "samples are too few" not in gate.detail


def test_a_gpu_that_is_wrong_fails_though_fp16_was_not_checked():
    rows = (
        GpuRow("fp32", "wrong", reason="Relative error 1"),
        GpuRow("fp16", "not checked", reason="computed in fp32"),
    )
    report = DelegateReport(None, rows, None, None, (), 1, ())
    assert one(validation(delegates=report), gpu=True).verdict == FAIL
    report = DelegateReport(None, rows[1:], None, None, (), 1, ())
    assert one(validation(delegates=report), gpu=True).verdict == UNDECIDED


def test_too_few_runs_have_no_interval():
    from bench_made import row

    from tfq_ext.validation.latency import BenchReport
    from tfq_ext.validation.latency.machine import machine
    from tfq_ext.validation.verdict import CANDIDATE, REFERENCE

    for runs, verdict in ((5, UNDECIDED), (6, PASS)):
        rows = (row(name=REFERENCE, ratio=1.0), row(name=CANDIDATE, ratio=0.5, runs=runs))
        bench = BenchReport(rows, REFERENCE, machine())
        found = replace(validation(latency=bench), reference_bytes=100)
        assert one(found, latency_ratio=1.0).verdict == verdict
