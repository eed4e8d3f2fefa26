"""quantize() from end to end on a float .tflite; with TensorFlow where it is installed."""

import json

import numpy as np
import pytest
from small_nets import images, residual

import tfq_ext
from tfq_ext.emit.verify import Twins
from tfq_ext.errors import DataError, OutputError, RecipeError, StrictError
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

CONTENT = residual(spread=30.0).to_bytes()
DATA, TEST = images(30), images(40, seed=5)


def outputs(content):
    runner = Runner(content)
    return np.concatenate([next(iter(runner({"image": x[None]}).values())) for x in TEST])


def sqnr(content):
    wanted = outputs(CONTENT)
    with np.errstate(divide="ignore"):  # dynamic range leaves weights this small float
        return 10 * np.log10(np.square(wanted).sum() / np.square(outputs(content) - wanted).sum())


@pytest.mark.parametrize(
    ("recipe", "floor", "share"),
    [
        ("int8", 25.0, 0.75),
        ("int8-minmax", 22.0, 0.75),
        ("int16x8", 35.0, 0.80),
        ("int4", 8.0, 0.75),
        ("fp16", 55.0, 0.85),
        ("dynamic", 25.0, 1.0),
        ("weight_only", 30.0, 0.80),
    ],
)
def test_each_preset_gives_a_file_near_the_float_model(recipe, floor, share):
    """Floors are a few dB under what was measured; a tiny file is mostly tables."""
    result = tfq_ext.quantize(CONTENT, DATA, recipe=recipe)
    assert sqnr(result.content) > floor
    assert len(result.content) < share * len(CONTENT) + 2500
    assert "read back" in result.account.read_back


def test_the_account_is_plain_json_and_the_summary_names_the_size():
    result = tfq_ext.quantize(CONTENT, DATA)
    account = json.loads(result.to_json())
    assert account["provenance"]["samples"] == len(DATA)
    assert account["provenance"]["held_back"] == 8, "a fifth, but no fewer than 8"
    assert account["account"]["float_ops"] == []
    assert set(account["account"]["end_to_end"]) == {"minmax", "auto", "polished"}
    assert "% of the float file's" in str(result)


def test_the_same_inputs_give_the_same_bytes():
    first, second = (tfq_ext.quantize(CONTENT, DATA).content for _ in range(2))
    assert first == second


def test_fields_are_laid_over_the_recipe():
    """As the mapping says it: the same bytes; inside weights field by field."""
    fields = {"calibrator": "mse", "input_type": "uint8", "weights": {"per_channel": False}}
    result = tfq_ext.quantize(CONTENT, DATA, recipe="int8-minmax", **fields)
    mapped = tfq_ext.quantize(CONTENT, DATA, recipe={"base": "int8-minmax", **fields})
    assert result.content == mapped.content
    assert (result.recipe.weights.bits, result.recipe.weights.per_channel) == (8, False)
    with pytest.raises(RecipeError, match="calibratr"):
        tfq_ext.quantize(CONTENT, DATA, calibratr="mse")


def test_a_rule_keeps_an_op_float_and_its_neighbours_integer():
    recipe = {"base": "int8-minmax", "rules": [{"tensor": "branch", "keep_float": True}]}
    result = tfq_ext.quantize(CONTENT, DATA, recipe=recipe)
    graph = Model.parse(result.content).graphs[0]
    assert [row.tensor for row in result.account.float_ops] == ["branch"]
    assert "rule 0" in result.account.float_ops[0].reason
    twins = Twins(graph)
    assert graph.dtype(twins.integer("a")) == "int8"
    kept = twins.op("branch", "CONV_2D") or graph.ops[graph.producer[graph.by_name["branch"]]]
    assert graph.dtype(kept.inputs[1]) == "float32", "the weight of a float op is not patched"
    strict = {**recipe, "strict": True}
    with pytest.raises(StrictError, match="CONV_2D branch"):
        tfq_ext.quantize(CONTENT, DATA, recipe=strict)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integer_inputs_and_outputs(kind):
    recipe = {"base": "int8-minmax", "input_type": kind, "output_type": kind}
    result = tfq_ext.quantize(CONTENT, DATA, recipe=recipe)
    graph = Model.parse(result.content).graphs[0]
    assert {graph.dtype(t) for t in (*graph.inputs, *graph.outputs)} == {kind}
    assert sqnr(result.content) > 20


def test_exact_pixels_lose_nothing_at_the_input():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    result = tfq_ext.quantize(
        CONTENT,
        pixels,
        recipe={"base": "int8", "input_type": "uint8"},
        preprocess="mean=128,std=128",
    )
    graph = Model.parse(result.content).graphs[0]
    q = graph.tensors[graph.inputs[0]].quantization
    assert (q.scale[0], q.zeroPoint[0]) == (1 / 128, 128)


def test_data_are_asked_for_where_they_are_needed():
    with pytest.raises(DataError, match="needs representative samples"):
        tfq_ext.quantize(CONTENT)


def test_a_result_that_cannot_be_written_leaves_what_was_there(tmp_path):
    result = tfq_ext.quantize(CONTENT, recipe="fp16")
    with pytest.raises(OutputError, match="Nothing was changed"):
        result.save(tmp_path / "no such folder" / "m.tflite")
    assert result.save(tmp_path / "m.tflite").read_bytes() == result.content


def test_what_is_kept_in_memory_does_not_grow_with_the_samples():
    from tfq_ext.emit.to_float import to_float
    from tfq_ext.pipeline import JUDGES_AT_MOST, calibrate
    from tfq_ext.recipe import Recipe

    done = calibrate(to_float(CONTENT), images(700), Recipe())
    assert done.stats.samples == 700
    assert abs(done.held_back.count - JUDGES_AT_MOST) <= 2


def test_a_function_that_shuffles_and_refills_its_array_is_asked_once():
    calls = []

    def shuffled():
        calls.append(1)
        buffer = np.empty((1, *DATA.shape[1:]), np.float32)
        for k in np.random.default_rng(len(calls)).permutation(len(DATA)):
            buffer[0] = DATA[k]
            yield [buffer]

    result = tfq_ext.quantize(CONTENT, shuffled)
    assert len(calls) == 1
    assert result.provenance.held_back == 8
    in_order = [DATA[k] for k in np.random.default_rng(1).permutation(len(DATA))]
    assert result.content == tfq_ext.quantize(CONTENT, np.stack(in_order)).content


def test_eight_and_sixteen_bits_in_one_file_have_the_ranges_of_their_bits():
    recipe = {"base": "int8-minmax", "rules": [{"tensor": "deep", "activation_bits": 16}]}
    auto = {**recipe, "base": "int8"}
    for chosen, factor in ((recipe, 1.0), (auto, 4.0)):
        result = tfq_ext.quantize(CONTENT, DATA, recipe=chosen)
        rows = {name: row for row in result.account.ranges for name in row.tensors}
        assert rows["deep"].range.max == pytest.approx(factor * rows["deep"].observed.max)
        assert rows["sum"].range.max <= rows["sum"].observed.max
        assert "read back equal" in result.account.read_back
