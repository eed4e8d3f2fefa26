"""Every kind of recipe: emits, reads back, runs in LiteRT, is near the float model."""

from __future__ import annotations

import nets
import numpy as np
import pytest
from small_nets import images, residual
from strangers import MINMAX, details, quantized

import tfq_ext
from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import RecipeError
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

pytest.importorskip("tensorflow", reason="int8 files are finished by TensorFlow")
pytestmark = pytest.mark.tf
CONTENT = residual().to_bytes()
DATA = images(24)

# name -> (recipe, least SQNR in dB). The rule of thumb is 6 dB a bit: 8 bits measured 27 to 33,
# 4-bit weights 12 to 15, 16-bit activations 34 (8-bit weights are what is left), half floats 70.
# The floors lie 4 dB and more below, since other kernels round differently in the last place.
RECIPES = {
    "int8": ("int8", 22),
    "minmax": (MINMAX, 22),
    "int8-per-tensor": ("int8-per-tensor", 18),
    "int16x8": ("int16x8", 28),
    "int4": ("int4", 8),
    "fp16": ("fp16", 60),
    "dynamic": ("dynamic", 24),
    "weight_only": ("weight_only", 24),
    "mse weights": ({"base": MINMAX, "weights": {"scale": "mse"}}, 22),
    "2 bits stored as 4": ({"base": MINMAX, "weights": {"bits": 2, "scale": "mse"}}, -1),
    "4-bit weights, no activations": ({"mode": "weight_only", "weights": {"bits": 4}}, 8),
    "output float": ({"base": MINMAX, "output_calibrator": "float"}, 22),
    "simulated 8": ({"mode": "simulate", "calibrator": "minmax"}, 22),
    "simulated 4-bit activations": (
        {"mode": "simulate", "activations": {"bits": 4}, "calibrator": "mse"},
        5,
    ),
    "simulated asymmetric weights": (
        {"mode": "simulate", "calibrator": "minmax", "weights": {"symmetric": False}},
        22,
    ),
    "simulated 6-bit symmetric": (
        {
            "mode": "simulate",
            "activations": {"bits": 6, "symmetric": True},
            "calibrator": "minmax",
            "weights": {"per_channel": False, "symmetric": False},
        },
        10,
    ),
    "first and last at 8 bits": (
        {
            "base": "int4",
            "calibrator": "minmax",
            "rules": [
                {"position": "first", "weight_bits": 8},
                {"position": "last", "weight_bits": 8},
            ],
        },
        8,
    ),
    "by op type": (
        {"base": MINMAX, "rules": [{"op": "DEPTHWISE_CONV_2D", "keep_float": True}]},
        22,
    ),
    "everything mixed": (
        {
            "base": MINMAX,
            "rules": [
                {"op": "CONV_2D", "weight_bits": 4, "weight_scale": "mse"},
                {"tensor": "deep", "keep_float": True},
                {"op": "FULLY_CONNECTED", "activation_bits": 16},
            ],
        },
        8,
    ),
}


def _sqnr(content: bytes) -> float:
    wanted, got = (
        np.concatenate([next(iter(r({"image": x[None]}).values())) for x in DATA])
        for r in (Runner(CONTENT), Runner(content))
    )
    noise = max(float(np.sum((wanted - got) ** 2)), 1e-30)
    return float(10 * np.log10(np.sum(wanted**2) / noise))


@pytest.fixture(scope="module")
def made() -> dict[str, tfq_ext.result.Result]:
    return {
        name: tfq_ext.quantize(CONTENT, DATA, recipe=recipe, show_progress=False)
        for name, (recipe, _) in RECIPES.items()
    }


@pytest.mark.parametrize("name", RECIPES)
def test_is_near_the_float_model(name, made):
    assert _sqnr(made[name].content) > RECIPES[name][1]


@pytest.mark.parametrize("name", RECIPES)
def test_reads_back_and_says_so(name, made):
    account = made[name].account
    if made[name].recipe.mode in ("fp16", "simulate") or name == "dynamic":
        assert account.read_back == "No integers to read back"
        return
    weighted = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    stored = 4 - sum(row.op in weighted for row in account.float_ops)
    assert f"{stored} weight tensors" in account.read_back
    assert "read back equal" in account.read_back


def test_dynamic_range_stores_what_is_large_enough_to_gain():
    """TFLiteConverter leaves constants under 1024 elements float, and so do we."""
    done = quantized(nets.dense_chain(width=40).to_bytes(), "dynamic")
    assert "3 weight tensors" in done.result.account.read_back
    assert 24 < done.sqnr() < 60


def _stored(content: bytes) -> dict[str, tuple[str, str]]:
    """op code and the order of the op -> (data type of its weight, of its result)."""
    graph = Model.parse(content).graphs[0]
    rows = {}
    for op in graph.ops:
        if graph.code(op) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weight, out = int(op.inputs[1]), int(op.outputs[0])
            rows[f"{graph.code(op)} {len(rows)}"] = (graph.dtype(weight), graph.dtype(out))
    return rows


def test_four_kinds_in_one_file(made):
    assert _stored(made["everything mixed"].content) == {
        "CONV_2D 0": ("int4", "int8"),
        "CONV_2D 1": ("int4", "int8"),
        "DEPTHWISE_CONV_2D 2": ("float32", "float32"),
        "FULLY_CONNECTED 3": ("int8", "int16"),
    }
    rows = made["everything mixed"].account.float_ops
    assert [(r.op, "rule 1" in r.reason) for r in rows] == [("DEPTHWISE_CONV_2D", True)]


def test_first_and_last_are_those_with_weights(made):
    kinds = [weight for weight, _ in _stored(made["first and last at 8 bits"].content).values()]
    assert kinds == ["int8", "int4", "int4", "int8"]


def test_two_bit_codes_lie_in_int4_constants(made):
    graph = Model.parse(made["2 bits stored as 4"].content).graphs[0]
    codes = [graph.constant(t) for t in range(len(graph.tensors)) if graph.dtype(t) == "int4"]
    assert len(codes) == 4
    assert {int(v) for c in codes for v in np.unique(c)} == {-1, 0, 1}


def test_a_float_output_has_no_bridge_behind_it(made):
    rows = list(details(made["output float"].content))
    assert rows[-1] == ("FULLY_CONNECTED", "float32", "float32")
    reasons = {r.reason for r in made["output float"].account.float_ops}
    assert reasons == {"the recipe keeps the outputs float"}


def test_per_tensor_weights_have_one_scale(made):
    assert {row.channels for row in made["int8-per-tensor"].account.weights} == {1}
    assert {row.channels for row in made["int8"].account.weights} == {5, 8}


def test_more_bits_never_do_worse(made):
    quality = {name: _sqnr(made[name].content) for name in ("int4", "int8", "int16x8", "fp16")}
    assert quality["int4"] < quality["int8"] < quality["int16x8"] < quality["fp16"]
    sizes = {name: len(made[name].content) for name in ("int4", "int8", "fp16")}
    assert sizes["int4"] < sizes["int8"] < len(CONTENT)


def test_relu6_becomes_relu_with_the_share_that_it_releases():
    loud = DATA * 6
    recipe = {"base": MINMAX, "relu6": "relu"}
    result = tfq_ext.quantize(CONTENT, loud, recipe=recipe, show_progress=False)
    released = {r.tensor: r.share for r in result.account.released}
    assert set(released) == {"a", "deep"}
    run, graph = Runner(CONTENT), to_float(CONTENT).model.graphs[0]
    assert graph.name(graph.outputs[0]) == "logits"
    assert 0.1 < released["a"] < 0.9
    wide = {name: r.range.max for r in result.account.ranges for name in r.tensors}
    assert wide["a"] > 6.0
    assert np.isfinite(next(iter(run({"image": loud[:1]}).values()))).all()


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("name", ["dense_chain", "unequal_concat"])
def test_integer_ends(kind, name):
    build = {"dense_chain": nets.dense_chain, "unequal_concat": lambda: nets.unequal_concat(2.0)}
    recipe = {"base": MINMAX, "input_type": kind, "output_type": kind}
    done = quantized(build[name]().to_bytes(), recipe)
    graph = Model.parse(done.content).graphs[0]
    assert {graph.dtype(t) for t in (*graph.inputs, *graph.outputs)} == {kind}
    assert done.sqnr() > 22


def test_int16_ends_go_with_int16_activations():
    recipe = {"base": "int16x8", "input_type": "int16", "output_type": "int16"}
    done = quantized(nets.dense_chain().to_bytes(), recipe)
    graph = Model.parse(done.content).graphs[0]
    assert {graph.dtype(t) for t in (*graph.inputs, *graph.outputs)} == {"int16"}
    with pytest.raises(RecipeError, match="int16"):
        quantized(nets.dense_chain().to_bytes(), {"base": "int8", "input_type": "int16"})


def test_a_rule_that_matches_nothing_is_a_note():
    recipe = {"base": MINMAX, "rules": [{"tensor": "no_such_*", "weight_bits": 4}]}
    done = quantized(nets.dense_chain().to_bytes(), recipe)
    assert any("rules[0]" in note.reason for note in done.result.account.notes)
