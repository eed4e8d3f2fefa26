"""The audit's parts: names, leaks, noise powers, files read back, text; no TensorFlow needed."""

from __future__ import annotations

import ast
import json
import math

import numpy as np
import pytest
from planned_files import concat, planned, seen
from small_nets import images, residual

from tfq_ext.emit.emitters import emit
from tfq_ext.errors import DataError, ModelError, RecipeError
from tfq_ext.recipe import load_recipe
from tfq_ext.repair.audit import Audit, audit, waterfall
from tfq_ext.repair.audit.advice import command, headline, next_steps, scores
from tfq_ext.repair.audit.names import short_names
from tfq_ext.repair.audit.recorded import explain
from tfq_ext.repair.audit.stored import facts, integer_file, plan_of
from tfq_ext.repair.audit.tensors import compare, shared_grids_of, true_ranges
from tfq_ext.repair.audit.values import Step, TensorRow, Variant, Waterfall
from tfq_ext.report.audit_text import to_text
from tfq_ext.spec import INT8_ACTIVATION, QParams, Range
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import Keeper


def blank(**fields) -> Audit:
    values = {
        "subject": "converter",
        "who": "TFLiteConverter 1.2",
        "model": "m.keras",
        "data": "d.npy",
        "preprocess": "",
        "samples": 8,
        "judges": 4,
        "tensors": (TensorRow("t", "t", "ADD", Range(-1, 1), Range(-1, 1)),),
        "variants": (),
    }
    return Audit(**{**values, **fields})


# names


def named(*names: str) -> Model:
    model = residual()
    graph = model.graphs[0]
    graph.tree.tensors = graph.tree.tensors[:0]
    for name in names:
        from tfq_ext.tflite.patch import add_tensor

        add_tensor(graph, name, "float32", (1,))
    return model


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("net_1/block7_bn_1/batchnorm/add_1;net_1/block7_1/convolution", "block7_bn"),
        ("net_1/stem_relu_1/Relu6;net_1/stem", "stem_relu"),
        ("net_1/a/Conv2D", "a/Conv2D"),  # "a" alone would be two tensors
        ("net_1/a/BiasAdd", "a/BiasAdd"),
        ("net_1/expanded_conv_1/add", "expanded_conv_1"),
        ("net_1/expanded_conv_2/add", "expanded_conv_2"),
        ("StatefulPartitionedCall:0", "StatefulPartitionedCall"),
    ],
)
def test_short_names_say_the_layer_and_stay_apart(full, short):
    names = [
        "net_1/block7_bn_1/batchnorm/add_1;net_1/block7_1/convolution",
        "net_1/stem_relu_1/Relu6;net_1/stem",
        "net_1/a/Conv2D",
        "net_1/a/BiasAdd",
        "net_1/expanded_conv_1/add",
        "net_1/expanded_conv_2/add",
        "StatefulPartitionedCall:0",
    ]
    found = short_names(named(*names))
    assert found[full] == short
    assert len(set(found.values())) == len(names)


# leaks


def test_a_union_with_the_output_of_a_reader_is_explained_by_it():
    model = residual()
    _, stats = seen(model)
    true, graph = true_ranges(stats), model.graphs[0]
    branch = graph.by_name["branch"]
    own = true["branch"]
    given = own | true["sum"]
    assert given != own
    leak = explain(graph, branch, given, own, true, {"sum": "SUM"}, tolerance=1e-3)
    assert leak is not None
    assert (leak.op, leak.tensor, leak.label) == ("ADD", "sum", "SUM")
    wider = given.scaled(1.01)
    assert explain(graph, branch, wider, own, true, {}, tolerance=1e-3) is None
    assert explain(graph, branch, wider, own, true, {}, tolerance=0.02) is not None


@pytest.mark.parametrize(
    ("factor", "wide"), [(1.0, False), (1.0005, False), (1.002, True), (2, True)]
)
def test_too_wide_begins_a_thousandth_above_the_true_range(factor, wide):
    model = residual()
    _, stats = seen(model)
    given = true_ranges(stats)
    given["deep"] = given["deep"].scaled(factor)
    rows = compare(model, stats, given, short_names(model), "converter")
    assert len(rows) == len(stats)
    found = blank(tensors=rows)
    assert [row.tensor for row in found.wide] == (["deep"] if wide else [])
    assert rows[0].ratio == pytest.approx(factor if factor > 1 else 1.0)
    assert rows[0].bits_lost == pytest.approx(math.log2(rows[0].ratio))


def test_a_range_that_is_too_narrow_shows_the_share_that_it_clips():
    model = residual()
    samples, stats = seen(model)
    given = true_ranges(stats)
    given["branch"] = given["branch"].scaled(0.5)
    row = next(r for r in compare(model, stats, given, {}, "file") if r.tensor == "branch")
    values, keeper = [], Keeper(model)
    for sample in samples:
        read = keeper.invoke(sample.inputs)
        values.append(np.array(read(model.graphs[0].by_name["branch"])).ravel())
    x = np.concatenate(values)
    outside = np.mean((x < row.given.min) | (x > row.given.max))
    assert row.outside == pytest.approx(outside, abs=0.01)  # histogram bins are 0.8 % wide
    assert row.bits_lost == pytest.approx(-1.0)
    assert row in blank(tensors=(row,)).clipping


# noise


def test_own_grids_undo_what_a_concat_forces_on_the_quiet_branch():
    """Witness: the quiet branch rounded by numpy, on either grid."""
    model = concat(gain=50.0)
    samples, stats = seen(model)
    ranges, plan = planned(model, stats)
    trials = waterfall.trials(model, plan, plan.ranges, true_ranges(stats))
    own = true_ranges(stats)["quiet"]
    for name, r in ((waterfall.ACTIVATIONS, own), (waterfall.SHARED, plan.ranges["quiet"])):
        simulated = Model.parse(trials[name])
        keeper, graph = Keeper(simulated), simulated.graphs[0]
        read = keeper.invoke(samples[0].inputs)
        got, real = (np.array(read(graph.by_name[n])) for n in ("quiet", "quiet/real"))
        wanted = QParams.from_range(INT8_ACTIVATION, r).fake_quant(real)
        np.testing.assert_allclose(got, wanted, atol=1e-5 * r.width)
    (row,) = shared_grids_of(ranges, waterfall.copies(model), {})
    assert (row.tensor, row.ops) == ("quiet", ("CONCATENATION",))
    assert row.ratio == pytest.approx(plan.ranges["both"].width / own.width)
    assert row.ratio > 10


def test_copies_are_those_that_make_no_new_values():
    assert waterfall.copies(concat()) == ("both",)
    assert waterfall.copies(residual()) == ()


def test_the_steps_of_the_activations_add_up_and_the_sum_is_that_of_powers():
    sqnr = {"weights": 30.0, "activations": 26.0, "shared": 24.0, "ranges": 20.0}
    shared = [object()]
    steps = waterfall.steps(sqnr, shared)  # type: ignore[arg-type]
    by_name = {step.name: step.power for step in steps}
    assert by_name["weights"] == pytest.approx(1e-3)
    total = by_name["activations"] + by_name["shared"] + by_name["ranges"]
    assert total == pytest.approx(10**-2.0)
    fall = Waterfall("x", steps, 18.0)
    assert fall.naive == pytest.approx(-10 * math.log10(0.011))
    assert fall.dominant is not None
    assert fall.dominant.name == "ranges"
    without = waterfall.steps(sqnr, [])
    assert [step.name for step in without] == ["weights", "activations", "ranges"]
    assert sum(s.power for s in without) == pytest.approx(sum(s.power for s in steps))


def test_a_step_that_removes_noise_has_no_decibels():
    better = waterfall.steps(
        {"weights": 30.0, "activations": 20.0, "shared": 20.0, "ranges": 23.0}, []
    )[-1]
    assert better.power < 0
    assert better.sqnr_db is None


# finished files


@pytest.mark.parametrize("rename", [False, True])
def test_a_file_reads_back_as_the_plan_that_made_it(rename):
    model = residual()
    _, stats = seen(model)
    _, plan = planned(model, stats)
    file = Model.parse(emit("patched", model, plan).content)
    if rename:  # as a second conversion of one Keras model would
        for k, tensor in enumerate(file.graphs[0].tensors):
            tensor.name = f"t{k}".encode()
        file.graphs[0].changed()
    found = plan_of(model, file)
    assert found.weights.keys() == plan.weights.keys()
    for name, chosen in plan.weights.items():
        np.testing.assert_array_equal(found.weights[name].codes, chosen.codes)
        np.testing.assert_array_equal(found.weights[name].params.scale, chosen.params.scale)
    assert found.ranges.keys() == set(plan.ranges)
    for name, r in plan.ranges.items():
        grid = QParams.from_range(INT8_ACTIVATION, r)
        assert found.ranges[name].width == pytest.approx(255 * float(grid.scale))
    built = facts(model, file, found, {})
    assert (built.weights, built.per_tensor, built.unmatched) == (4, (), ())


def test_only_files_with_integer_activations_count_as_finished(tmp_path):
    model = residual()
    _, stats = seen(model)
    _, plan = planned(model, stats)
    content = emit("patched", model, plan).content
    path = tmp_path / "int8.tflite"
    path.write_bytes(content)
    assert integer_file(content) is not None
    assert integer_file(str(path)) is not None
    assert integer_file(model.to_bytes()) is None
    assert integer_file(tmp_path / "model.keras") is None


# refusals


def test_refusals_say_what_to_give(tmp_path):
    model = residual()
    _, stats = seen(model)
    content = emit("patched", model, planned(model, stats)[1]).content
    with pytest.raises(ModelError, match="float model that it was made from"):
        audit(content, images())
    with pytest.raises(ModelError, match="needs no reference"):
        audit(model.to_bytes(), images(), reference=model.to_bytes())
    with pytest.raises(DataError, match="--data"):
        audit(model.to_bytes())
    with pytest.raises(RecipeError, match="8-bit activation"):
        audit(model.to_bytes(), images(), recipe="int16x8")
    with pytest.raises(DataError, match="cannot be split"):
        audit(model.to_bytes(), images(1))


# what people read


def test_a_calibrator_that_is_right_is_said_to_be_right():
    text = to_text(blank())
    assert headline(blank()) == "TFLiteConverter 1.2 records all 1 ranges right, to 0.1 %."
    assert "too wide" not in text


def test_the_headline_counts_the_wide_ones_and_names_the_worst():
    rows = (
        TensorRow("a", "a", "CONV_2D", Range(-4, 4), Range(-1, 1)),
        TensorRow("b", "b", "CONV_2D", Range(-1, 2), Range(-1, 1)),
        TensorRow("c", "c", "CONV_2D", Range(-1, 1), Range(-1, 1)),
        TensorRow("d", "d", "SOFTMAX", Range(0, 9), Range(0, 1), prescribed=True),
    )
    variants = (
        Variant("TFLiteConverter's ranges", 11.5, 0.915, (0.9, 0.93)),
        Variant("exact min/max", 13.9, None, None),
        Variant("auto", 19.26, 0.96, (0.95, 0.97)),
    )
    found = blank(tensors=rows, variants=variants)
    assert headline(found) == (
        "TFLiteConverter 1.2 records 2 of 4 ranges too wide, by up to 4.0x (2.0 bit)."
    )
    assert scores(found) == (
        "Output SQNR: 11.5 dB with its ranges, 13.9 with exact min/max, 19.3 with auto."
    )
    first = next_steps(found)[0]
    assert "+7.8 dB" in first.text
    assert first.command == "tfq quantize m.keras --data d.npy -o m.int8.tflite"


@pytest.mark.parametrize(
    ("fields", "recipe", "scale", "wanted"),
    [
        ({}, "int8-minmax", "", "tfq quantize m.keras --data d.npy --recipe int8-minmax -o "),
        ({"data": "my data"}, "int8", "", "tfq quantize m.keras --data 'my data' -o "),
        ({"preprocess": "crop=8"}, "int8", "mse", "--preprocess crop=8 --set weights.scale=mse"),
        ({"model": "MODEL"}, "int8-minmax", "", "quantize(model, 'd.npy', recipe='int8-minmax')"),
        ({"data": "DATA"}, "int8", "", "tfq_ext.quantize('m.keras', data)"),
    ],
)
def test_commands_can_be_typed(fields, recipe, scale, wanted):
    assert wanted in command(blank(**fields), recipe, scale)


def test_the_call_for_weight_scales_is_a_recipe_that_loads():
    call = command(blank(model="MODEL", data="DATA"), "int8", "mse")
    recipe = load_recipe(ast.literal_eval(call.partition("recipe=")[2].rstrip(")")))
    assert recipe.weights.scale == "mse"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_report_keeps_its_width_and_escapes_brackets(width):
    label = "[/b][red]a"
    rows = tuple(
        TensorRow(f"t{k}", f"{label}{k}", "CONV_2D", Range(-2, 2), Range(-1, 1)) for k in range(5)
    )
    fall = Waterfall("x", (Step("weights", 0.01, 20.0), Step("ranges", -1e-4, 20.0)), 19.0)
    text = to_text(blank(tensors=rows, waterfall=fall), width=width, top=3)
    lines = text.splitlines()
    commands = [line for line in lines if line.startswith("    tfq ")]
    assert max(len(line) for line in lines if line not in commands) <= width
    assert "[/b][red]a0" in text
    assert "worst 3 of 5" in text
    assert "removes 1%" in text


def test_the_dict_is_strict_json_with_full_names():
    row = TensorRow("a;b;c", "a", "ADD", Range(-2, 2), Range(-1, 1))
    silent = Variant("TFLiteConverter's ranges", math.inf, None, None)
    fall = Waterfall("x", (Step("weights", 0.0, math.inf),), math.inf)
    found = blank(tensors=(row,), variants=(silent,), waterfall=fall)
    values = json.loads(found.to_json())
    assert values["tensors"][0]["tensor"] == "a;b;c"
    assert values["tensors"][0]["bits_lost"] == 1.0
    assert values["variants"][0]["sqnr_db"] is None
    assert values["waterfall"]["steps"][0]["sqnr_db"] is None
    assert values["too_wide"] == 1
