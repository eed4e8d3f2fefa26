"""The laws of every pass on the float flatbuffer, over the table itself."""

from __future__ import annotations

import numpy as np
import pytest
from one_op import EXAMPLES, Example, Net, X, build, f32, options_of, run, samples

from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.tflite import passes, patch
from tfq_ext.tflite.facts import OP_CODES
from tfq_ext.tflite.passes import PASSES
from tfq_ext.tflite.read import Model

POSITIVE = X((2, 8), 0.1, 4.0)


def _pow(exponent: float) -> Example:
    return Example((POSITIVE, np.float32(exponent).reshape(())), ("PowOptions", {}))


def _tied() -> Model:
    """A table that GATHER and FULLY_CONNECTED share."""
    net = Net()
    net.input("ids", X((3,), 0, 6, "int32"))
    net.const("table", f32(7, 4))
    net.op("GATHER", "rows", "ids", "table", options=("GatherOptions", {}))
    net.graph.ops[-1].inputs = [net.graph.by_name["table"], net.graph.by_name["ids"]]
    net.op("FULLY_CONNECTED", "scores", "rows", "table", options=("FullyConnectedOptions", {}))
    return net.done("scores")


def _masked() -> Model:
    """x + zeros_like(x): alone, the zeros would have no size to measure an error by."""
    net = Net()
    net.input("x", X((2, 8)))
    net.op("ZEROS_LIKE", "zeros", "x")
    net.op("ADD", "sum", "x", "zeros", options=("AddOptions", {}))
    return net.done("sum")


def _unread() -> Model:
    """x -> out, and beside it a chain of two ops that ends nowhere."""
    net = Net()
    net.input("x", X((2, 8)))
    net.op("RELU", "dead", "x")
    net.op("ABS", "deader", "dead")
    net.op("LOGISTIC", "out", "x")
    return net.done("out")


# One model per pass that the pass must touch.
MODELS: dict[str, list[Model]] = {
    "drop_unread": [_unread()],
    "neg_to_mul": [build("NEG", Example((X((2, 8)),), ("NegOptions", {})))],
    "div_to_mul": [
        build("DIV", Example((X((2, 8)), np.float32([0.3, -7, 1, 2, 3, 4, 5, 6])), _o))
        for _o in [("DivOptions", {}), ("DivOptions", {"fusedActivationFunction": 1})]
    ],
    "square_to_mul": [build("SQUARE", Example((X((2, 8)),))), build("POW", _pow(2.0))],
    "pow_to_mul": [build("POW", _pow(e)) for e in (3.0, 0.5, -0.5)],
    "add_n_to_add": [
        build("ADD_N", Example((X((2, 8)),) * n, ("AddNOptions", {}))) for n in (2, 3, 5)
    ],
    "zeros_like_to_mul": [_masked()],
    "untie": [_tied()],
    "squared_difference_to_mul": [
        build("SQUARED_DIFFERENCE", EXAMPLES["SQUARED_DIFFERENCE"]),
        build("SQUARED_DIFFERENCE", Example((X((2, 8)), X((2, 1))), ("SubOptions", {}))),
    ],
    "hard_swish_to_mul": [build("HARD_SWISH", EXAMPLES["HARD_SWISH"])],
    "prelu_to_relu": [
        build("PRELU", EXAMPLES["PRELU"]),
        build("PRELU", Example((X((1, 4, 4, 3)), np.float32([[[-0.5, 0.0, 2.0]]])))),
    ],
    "relu6_to_relu": [build("RELU6", EXAMPLES["RELU6"])],
}
CASES = [(name, k) for name in PASSES for k in range(len(MODELS.get(name, ())))]
each = pytest.mark.parametrize(("name", "k"), CASES)


def _feeds(model: Model) -> dict[str, np.ndarray]:
    """Seeded inputs by tensor name, in the range that makes every op finite."""
    graph, rng = model.graphs[0], np.random.default_rng(3)
    low = 0.1 if any(graph.code(op) == "POW" for op in graph.ops) else -9.0
    made = {}
    for t in graph.inputs:
        if graph.dtype(t) == "int32":
            made[graph.name(t)] = rng.integers(0, 7, graph.shape(t)).astype(np.int32)
        else:
            made[graph.name(t)] = rng.uniform(low, 9, graph.shape(t)).astype(np.float32)
    return made


def test_every_pass_has_a_model_here():
    assert set(MODELS) == set(PASSES)


@each
def test_touches_its_model_once_and_names_tensors_of_it(name, k):
    once, done = passes.apply(MODELS[name][k], [name])
    names = {graph.name(t) for graph in once.graphs for t in range(len(graph.tensors))}
    assert done[name]
    assert set(done[name]) <= names
    twice, again = passes.apply(once, [name])
    assert not again, "a second run finds nothing"
    assert twice.to_bytes() == once.to_bytes()


@each
def test_exact_passes_keep_the_outputs(name, k):
    model = MODELS[name][k]
    feeds = _feeds(model)
    before = run(model.to_bytes(), feeds)
    after = run(passes.apply(model, [name])[0].to_bytes(), feeds)
    error = [np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in zip(after, before, strict=True)]
    if PASSES[name].exact:
        assert max(error) <= 1e-5
    else:
        assert max(error) > 1e-5, "a pass that changes nothing must say so"


@each
def test_leaves_the_given_model_and_the_ends_alone(name, k):
    model = MODELS[name][k]
    content = model.to_bytes()
    after, _ = passes.apply(model, [name])
    assert model.to_bytes() == content
    for ends in ("inputs", "outputs"):
        assert [after.graphs[0].name(t) for t in getattr(after.graphs[0], ends)] == [
            model.graphs[0].name(t) for t in getattr(model.graphs[0], ends)
        ]


@each
def test_what_it_writes_has_integer_kernels(name, k):
    """The point of an exact pass: no op is left that the wanted width has no kernel for."""
    if PASSES[name].exact:
        after, _ = passes.apply(MODELS[name][k], [name])
        width = "int16" if PASSES[name].wide else "int8"
        codes = {code for *_, code in after.walk()}
        assert all(KERNELS[code].version(width) for code in codes), codes


def test_a_model_without_the_op_is_left_as_it_is():
    model = build("RELU", Example((X((2, 8)),)))
    after, done = passes.apply(model, PASSES)
    assert done == {}
    assert after.to_bytes() == model.to_bytes()


def test_an_op_that_nobody_reads_stays_if_it_may_do_more():
    """A custom op may write a log; an op with one result that is read is needed as it is."""
    net = Net()
    net.input("x", X((2, 8)))
    net.op("RELU", "y", "x")
    made = [patch.add_tensor(net.graph, name, "float32", (2, 4)) for name in ("left", "right")]
    axis = patch.add_tensor(net.graph, "axis", "int32", (), values=np.int32(1).reshape(()))
    options = options_of(("SplitOptions", {"numSplits": 2}))
    patch.insert_op(net.graph, 1, "SPLIT", [axis, net.graph.by_name["y"]], made, options=options)
    net.op("ABS", "logged", "y")
    entry = net.model.tree.operatorCodes[net.graph.ops[2].opcodeIndex]
    entry.builtinCode, entry.deprecatedBuiltinCode = OP_CODES["CUSTOM"], OP_CODES["CUSTOM"]
    entry.customCode = b"Logger"
    net.graph.tree.outputs = [net.graph.by_name["right"]]
    after, done = passes.apply(net.model, ["drop_unread"])
    assert done == {}
    assert [code for *_, code in after.walk()] == ["RELU", "SPLIT", "CUSTOM:Logger"]


def test_wide_passes_are_for_16_bits_only():
    assert set(passes.exact(bits=16)) - set(passes.exact()) == {
        name for name, entry in PASSES.items() if entry.wide
    }
    assert "relu6_to_relu" not in passes.exact(bits=16)


def test_samples_of_the_examples_reach_both_sides():
    """hard_swish and prelu bend at 0 and 3: a one-sided feed would prove nothing."""
    fed = samples(EXAMPLES["HARD_SWISH"])["x0"]
    assert fed.min() < -3 + 1e-6
    assert fed.max() > 3
