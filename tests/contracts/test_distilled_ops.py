"""Every op that distillation knows, against LiteRT: alone, in a batch, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from one_op import EXAMPLES, IMAGE, Example, X, build, f32, i32

from tfq_ext.repair.distill.network import Network
from tfq_ext.repair.distill.ops import OPS, NotDifferentiable

tf = pytest.importorskip("tensorflow")
VALID = {"padding": 1, "strideW": 1, "strideH": 1}
OTHERS = {
    "CONV_2D/strides": Example(
        (X((1, 7, 6, 4)), f32(5, 3, 2, 4), f32(5)),
        ("Conv2DOptions", {"padding": 0, "strideW": 3, "strideH": 2}),
    ),
    "CONV_2D/dilated": Example(
        (X((1, 9, 9, 4)), f32(5, 3, 3, 4), f32(5)),
        ("Conv2DOptions", VALID | {"dilationWFactor": 2, "dilationHFactor": 2}),
    ),
    "DEPTHWISE_CONV_2D/multiplier": Example(
        (X((1, 6, 6, 4)), f32(1, 3, 3, 8), f32(8)),
        ("DepthwiseConv2DOptions", VALID | {"depthMultiplier": 2}),
    ),
    "TRANSPOSE_CONV/strides": Example(
        (i32(1, 13, 17, 5), f32(5, 3, 4, 4), X((1, 6, 5, 4)), f32(5)),
        ("TransposeConvOptions", {"padding": 1, "strideW": 3, "strideH": 2}),
    ),
    "ADD/relu6": Example((IMAGE, f32(4)), ("AddOptions", {"fusedActivationFunction": 3})),
    "GELU/exact": Example((IMAGE,), ("GeluOptions", {"approximate": False})),
    "NEG": Example((IMAGE,), ("NegOptions", {})),
    "GATHER/table": Example((f32(9, 5), X((1, 7), 0, 7, "int32")), ("GatherOptions", {})),
    "RESHAPE/rows": Example((X((1, 4, 6)), i32(1, 24)), ("ReshapeOptions", {"newShape": [1, 24]})),
}
CASES = {code: EXAMPLES[code] for code in OPS if code in EXAMPLES} | OTHERS
REFUSED = ("RESHAPE", "GATHER")  # as the examples have them


def test_every_op_has_a_case():
    assert set(OPS) <= {name.partition("/")[0] for name in CASES}


def _network(name: str) -> tuple[Network, dict[int, np.ndarray]]:
    example, rng = CASES[name], np.random.default_rng(4)
    graph = build(name.partition("/")[0], example).graphs[0]
    drawn = [x for x in example.inputs if isinstance(x, X)]
    feeds = {
        t: rng.uniform(x.lo, x.hi, x.shape).astype(x.dtype)
        for t, x in zip(graph.inputs, drawn, strict=True)
    }
    return Network(tf, graph), feeds


def _litert(network: Network, feeds: dict[int, np.ndarray]) -> np.ndarray:
    interpreter = Interpreter(model_content=network.graph.model.to_bytes())
    interpreter.allocate_tensors()
    for t, x in feeds.items():
        interpreter.set_tensor(t, x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(network.graph.outputs[0]))


def _ours(network: Network, feeds: dict[int, np.ndarray]) -> np.ndarray:
    return np.asarray(network.run(feeds, {})[network.graph.outputs[0]])


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_against_the_kernel(name):
    network, feeds = _network(name)
    wanted = _litert(network, feeds)
    np.testing.assert_allclose(_ours(network, feeds), wanted, rtol=1e-4, atol=1e-5)
    if all(len(x) == 1 for x in feeds.values()):
        other = {t: -x if np.min(x) < 0 else x + 1 for t, x in feeds.items()}
        both = {t: np.concatenate([x, other[t]]) for t, x in feeds.items()}
        two = np.concatenate([wanted, _litert(network, other)])
        np.testing.assert_allclose(_ours(network, both), two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_the_gradient_exists(name):
    network, feeds = _network(name)
    inputs = {t: tf.constant(x) for t, x in feeds.items() if x.dtype == np.float32}
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        y = network.run({**feeds, **inputs}, {})[network.graph.outputs[0]]
    for slope in tape.gradient(y, list(inputs.values())):
        assert slope is not None
        assert np.all(np.isfinite(slope))


@pytest.mark.parametrize(
    ("name", "example", "said"),
    [
        (
            "CONV_2D",
            Example((X((1, 6, 6, 4)), f32(6, 3, 3, 2), f32(6)), ("Conv2DOptions", VALID)),
            "groups",
        ),
        ("MEAN", Example((X((3, 4)), i32(0)), ("ReducerOptions", {})), "samples"),
        (
            "RESHAPE",
            Example((X((4, 6)), i32(2, 12)), ("ReshapeOptions", {"newShape": [2, 12]})),
            "across",
        ),
        ("TRANSPOSE", Example((X((4, 6)), i32(1, 0)), ("TransposeOptions", {})), "samples"),
        (
            "CONCATENATION",
            Example((X((4, 6)), X((4, 6))), ("ConcatenationOptions", {"axis": 0})),
            "samples",
        ),
        (
            "RESIZE_BILINEAR",
            Example((IMAGE, i32(9, 7)), ("ResizeBilinearOptions", {})),
            "half-pixel",
        ),
    ],
)
def test_what_mixes_samples_is_refused(name, example, said):
    graph = build(name, example).graphs[0]
    drawn = [x for x in example.inputs if isinstance(x, X)]
    feeds = {t: np.zeros(x.shape, x.dtype) for t, x in zip(graph.inputs, drawn, strict=True)}
    with pytest.raises(NotDifferentiable, match=said):
        Network(tf, graph).run(feeds, {})


def test_an_op_outside_the_table_is_named():
    graph = build("SIN", Example((X((1, 4)),))).graphs[0]
    with pytest.raises(NotDifferentiable, match="SIN"):
        Network(tf, graph)
