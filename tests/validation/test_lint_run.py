"""lint() on whole files, with and without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import one_op
import pytest
from ai_edge_litert import schema_py_generated as schema
from lint_build import custom, dense, join, padded, picture
from small_nets import images, residual

from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan
from tfq_ext.errors import DataError, ModelError, SpecError
from tfq_ext.spec import Range
from tfq_ext.tflite.facts import TYPE_CODES
from tfq_ext.tflite.patch import add_tensor
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner
from tfq_ext.validation.lint import LINT_RULES, lint
from tfq_ext.validation.lint.constant_rules import oversized_constant
from tfq_ext.validation.lint.observed import Observed


def ids(report, least="warning"):
    grades = ("info", "warning", "error")
    return {f.rule.id for f in report.findings if grades.index(f.severity) >= grades.index(least)}


@pytest.fixture(scope="module")
def float_net():
    return residual()


@pytest.fixture(scope="module")
def ranges(float_net):
    seen = [one_op.observe(float_net, {"image": x[None]}) for x in images(8)]
    return {
        name: Range.of(min(s[name].min for s in seen), max(s[name].max for s in seen))
        for name in seen[0]
    }


@pytest.fixture(scope="module")
def int8(float_net, ranges):
    plan = Plan(ranges=ranges, weights=one_op.weights_of(float_net))
    return static.emit(float_net, plan).content


def test_our_own_file_has_neither_errors_nor_warnings(int8, float_net):
    report = lint(int8, data=images(8), reference=float_net.to_bytes())
    assert ids(report) == set()
    assert report.samples == 8
    assert set(report.skipped) == {"newer-than-target"}
    assert not report.fails("warning")
    assert report.fails("info")


def test_float_bytes_under_an_integer_weight(int8, float_net):
    """LiteRT runs such a file without a word, on codes that are pieces of floats."""
    model = Model.parse(int8)
    graph = model.graphs[0]
    weight = graph.by_name["w2"]
    real = float_net.graphs[0].constant(float_net.graphs[0].by_name["w2"])
    model.tree.buffers[graph.tensors[weight].buffer].data = real.reshape(-1).view(np.uint8)
    content = model.to_bytes()
    fed = {"image": images(1)}
    good, bad = (next(iter(Runner(c)(fed).values())) for c in (int8, content))
    assert not np.allclose(good, bad, atol=0.1)
    (found,) = (f for f in lint(content).findings if f.rule.id == "oversized-constant")
    assert (found.tensor, found.severity) == ("w2", "warning")
    assert found.message == "It holds 2304 bytes; int8 of shape [8, 3, 3, 8] needs 576."


@pytest.mark.parametrize("why", ["text", "sparse", "shared with a larger one"])
def test_bytes_that_have_a_use_are_not_too_many(why):
    subject = padded(1)
    graph = subject.model.graphs[0]
    tensor = next(t for t in graph.tensors if t.type == TYPE_CODES["int4"])
    assert list(oversized_constant(subject))
    if why == "text":
        tensor.type = TYPE_CODES["string"]
    elif why == "sparse":
        tensor.sparsity = schema.SparsityParametersT()
    else:
        larger = add_tensor(graph, "larger", "int8", (4,))
        graph.tensors[larger].buffer = tensor.buffer
    assert list(oversized_constant(subject)) == []


def test_samples_that_do_not_fit_the_input(int8):
    assert "input-clipped" in ids(lint(int8, data=4 * images(4)))


def test_a_range_too_narrow_saturates_and_one_too_wide_wastes(float_net, ranges):
    wrong = dict(ranges)
    wrong["branch"] = Range.of(ranges["branch"].min / 8, ranges["branch"].max / 8)
    wrong["logits"] = Range.of(ranges["logits"].min * 40, ranges["logits"].max * 40)
    plan = Plan(ranges=wrong, weights=one_op.weights_of(float_net))
    content = static.emit(float_net, plan).content
    report = lint(content, data=images(8), reference=float_net.to_bytes())
    at = {(f.rule.id, f.tensor) for f in report.findings}
    assert {("saturating", "branch"), ("unused-range", "logits/int8")} <= at
    assert {("range-unlike-float", "branch"), ("range-unlike-float", "logits/int8")} <= at
    assert ids(lint(content)) == {"unreachable-range"}  # the file alone tells of the widest


def test_figures_equal_a_direct_run(int8):
    from tfq_ext.samples import open_samples
    from tfq_ext.tflite.inputs import real_specs
    from tfq_ext.tflite.run import Keeper
    from tfq_ext.validation.lint.watch import collect

    x = images(3)
    model = Model.parse(int8)
    graph = model.graphs[0]
    seen, named, count = collect(int8, open_samples(x, real_specs(model)))
    assert (count, named) == (3, {})
    keeper, tensor = Keeper(model), int(graph.ops[-2].outputs[0])
    values = []
    for sample in x:
        feed = {graph.name(graph.inputs[0]): sample[None]}
        values.append(keeper.invoke(feed)(tensor).copy())
    stacked = np.stack(values)
    assert seen[0, tensor].low == stacked.min()
    assert seen[0, tensor].high == stacked.max()
    assert seen[0, tensor].count == stacked.size
    if stacked.dtype == np.int8:
        assert seen[0, tensor].at_high == pytest.approx(np.mean(stacked == 127))


@pytest.mark.parametrize(
    ("grid", "at_low", "at_high", "activation", "found"),
    [
        ((0.1, 0), 0.02, 0.0, 0, True),
        ((0.1, 0), 0.0, 0.02, 0, True),
        ((0.1, 0), 0.01, 0.01, 0, False),  # not more than 1 %
        ((0.1, -128), 0.5, 0.0, 0, False),  # begins at 0: never negative, or a folded ReLU
        ((0.1, -128), 0.5, 0.02, 1, True),  # a ReLU has no upper end
        ((6 / 255, -128), 0.5, 0.5, 3, False),  # the ends of a ReLU6
        ((5.9 / 255, -128), 0.5, 0.5, 3, True),  # clipped below 6
        ((6 / 255, -128), 0.5, 0.5, 0, False),  # a ReLU6 folded into the grid
        ((6 / 255, -127), 0.0, 0.5, 0, True),
    ],
)
def test_which_ends_saturate(grid, at_low, at_high, activation, found):
    values = {(0, 3): Observed(-128, 127, at_low, at_high, count=5000)}
    subject = dense(y=grid, activation=activation, subject={"values": values, "samples": 8})
    assert bool(list(LINT_RULES["saturating"].check(subject))) == found


def test_few_values_may_lie_at_the_ends():
    """The extremes of 10 logits in 8 samples are 2 of 80 values."""
    values = {(0, 3): Observed(-128, 127, 1 / 80, 1 / 80, count=80)}
    subject = dense(subject={"values": values, "samples": 8})
    assert not list(LINT_RULES["saturating"].check(subject))


def test_the_hand_model_is_found():
    """Output scales of 329 and 1216 behind a 192 x 192 picture, as in a published palm detector."""
    assert "absurd-scale" in ids(lint(picture(328.8).model.to_bytes()))


def test_concat_of_boxes_and_scores_by_data_alone():
    """Both inputs have the join's own grid, so only values tell them apart."""
    content = join(first=(1.0, 0), second=(1.0, 0), out=(1.0, 0)).model.to_bytes()
    assert "concat-ranges" not in ids(lint(content))
    rng = np.random.default_rng(0)
    data = {
        "x0": rng.uniform(0, 120, (8, 8)).astype(np.float32),
        "x1": rng.uniform(0, 12, (8, 8)).astype(np.float32),
    }
    assert "concat-ranges" in ids(lint(content, data=data))


def test_the_target_decides(int8):
    assert "newer-than-target" in ids(lint(int8, target="1.5"))
    assert "newer-than-target" not in ids(lint(int8, target="2.16.0"))
    with pytest.raises(SpecError, match=r"2\.11"):
        lint(int8, target="new")


def test_the_config_silences_with_its_reason_and_sets_the_target(int8, tmp_path):
    path = tmp_path / "tfq.toml"
    path.write_text(
        '[lint]\ntarget = "1.5"\nsuppress = [\n'
        '  { id = "newer-than-target", reason = "old phones are gone" },\n'
        '  { id = "flex-op", reason = "never" },\n]\n'
    )
    report = lint(int8, config=path)
    silent = [f for f in report.findings if f.suppressed]
    assert silent
    assert {f.suppressed for f in silent} == {"old phones are gone"}
    assert not report.fails("error")
    assert report.idle == ("flex-op",)
    assert report.target == "1.5"


def test_bytes_paths_and_names(int8, tmp_path):
    path = tmp_path / "net_float32.tflite"
    path.write_bytes(int8)
    assert "mislabelled" in ids(lint(path))
    assert "mislabelled" not in ids(lint(int8))
    assert "mislabelled" in ids(lint(int8, name="folder/net-fp16.tflite"))
    assert lint(path).file == str(path)


@pytest.mark.parametrize(
    ("label", "fits"),
    [
        ("mobilenet_int8.tflite", True),
        ("mobilenet-float.tflite", False),
        ("mobilenet_16x8.tflite", False),
        ("mobilenet_dynamic_quant.tflite", False),
        ("mobilenet.quantized.tflite", True),
        ("floating_point_free.tflite", True),  # no word of its own
        ("model_full_integer_quant.tflite", True),
        ("hand_fp32.bin", False),
        ("mobilenet_v2_224.tflite", True),
    ],
)
def test_what_names_promise(label, fits):
    report = lint(dense().model.to_bytes(), name=label)
    assert ("mislabelled" not in ids(report)) == fits


def test_bad_input_is_a_sentence(tmp_path):
    with pytest.raises(ModelError, match="Cannot read"):
        lint(tmp_path / "none.tflite")
    with pytest.raises(ModelError, match="0 bytes"):
        lint(b"")
    with pytest.raises(SpecError, match="--data"):
        lint(dense().model.to_bytes(), reference=b"x")
    with pytest.raises(DataError):
        lint(dense().model.to_bytes(), data=np.zeros((3, 5, 5), np.float32))


def test_a_file_that_litert_refuses_is_a_finding_and_the_rest_is_judged():
    content = custom("Nobody").model.to_bytes()
    report = lint(content, data=np.zeros((3, 8), np.float32))
    assert {"runtime-refused", "custom-op"} <= ids(report)
    assert report.skipped["saturating"] == "could not run the file"
    assert report.fails("error")


def test_a_reference_that_cannot_run_is_bad_input(int8):
    with pytest.raises(DataError, match="reference"):
        lint(int8, data=images(2), reference=custom("Nobody").model.to_bytes())


def test_json_and_text_have_every_finding(int8):
    report = lint(int8)
    plain = report.to_dict()
    assert len(plain["findings"]) == len(report.findings) == sum(plain["counts"].values())
    assert set(plain["checked"]) | set(plain["skipped"]) == set(LINT_RULES)
    for finding in report.findings:
        assert finding.rule.id in str(report)


@pytest.mark.data
def test_the_zoo_has_no_false_errors():
    """Third-party files that run right: no errors; their warnings were looked at by hand."""
    import os

    zoo = Path(os.environ.get("TFQ_ZOO", "/nowhere"))
    files = sorted(zoo.glob("*.tflite"))
    if not files:
        pytest.skip("no zoo: TFQ_ZOO is not set")
    known = {
        "per-tensor-depthwise", "hidden-channels", "legacy-uint8", "custom-op", "hybrid-depthwise",
    }  # fmt: skip
    for path in files:
        report = lint(path)
        if "full_full_integer_quant" in path.name:
            assert ids(report, "error") == {"absurd-scale"}
            continue
        assert ids(report, "error") == set(), path.name
        assert ids(report) <= known, path.name
