"""Tensors of two files are paired by name and by place, never against their shapes."""

from __future__ import annotations

import numpy as np
import pytest
from one_op import Net, X, f32
from planned_files import integer
from small_nets import RELU6, conv_options, images, residual

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.validation.comparison import compare
from tfq_ext.validation.comparison.scene import Scene


def renamed(model: Model) -> Model:
    """All tensors but inputs and outputs called otherwise."""
    model = model.copy()
    graph = model.graphs[0]
    for k, tensor in enumerate(graph.tensors):
        if k not in (*graph.inputs, *graph.outputs):
            tensor.name = f"tensor_{k}_x".encode()
    graph.changed()
    return model


def pairs(reference: Model, candidate: Model) -> dict[str, tuple[str, str]]:
    """Reference tensor -> (candidate tensor, how), without bridges."""
    scene = Scene(reference, candidate)
    a, b = scene.reference.graph, scene.candidate.graph
    return {
        a.name(m.reference): (b.name(m.candidate), m.by) for m in scene.matches if m.by != "bridge"
    }


def test_names_survive_our_own_emitter():
    model = residual()
    found = pairs(model, integer(model))
    assert set(found) == {"image", "a", "branch", "sum", "deep", "mean", "logits"}
    assert {by for _, by in found.values()} == {"input", "name"}
    assert not Scene(model, integer(model)).unmatched()


def test_without_names_the_graph_says_it():
    model = residual()
    found = pairs(model, renamed(integer(model)))
    assert set(found) == {"image", "a", "branch", "sum", "deep", "mean", "logits"}
    assert found["branch"][1] in ("neighbours", "position")


def chain(fused: bool) -> Model:
    net = Net()
    net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
    net.const("w", f32(4, 3, 3, 3)), net.const("b", f32(4))
    act = RELU6 if fused else 0
    net.op("CONV_2D", "y" if fused else "t", "image", "w", "b", options=conv_options(act))
    if not fused:
        net.op("RELU6", "y", "t")
    net.const("v", f32(4, 3, 3, 4, seed=3)), net.const("c", f32(4))
    net.op("CONV_2D", "z", "y", "v", "c", options=conv_options())
    return net.done("z")


@pytest.mark.parametrize("names", [False, True])
def test_a_relu_of_its_own_matches_a_fused_one(names):
    candidate = chain(fused=True)
    found = pairs(chain(fused=False), candidate if names else renamed(candidate))
    assert set(found) == {"image", "y", "z"}  # never t, which is not clamped yet
    found = pairs(chain(fused=True), chain(fused=False))
    assert {k: v[0] for k, v in found.items()} == {"image": "image", "y": "y", "z": "z"}


def test_a_pad_that_the_candidate_folds_away_is_told():
    net = Net()
    net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
    net.const("p", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    net.const("w", f32(4, 3, 3, 3)), net.const("b", f32(4))
    net.op("PAD", "padded", "image", "p", options=("PadOptions", {}))
    valid = ("Conv2DOptions", {**conv_options()[1], "padding": 1})
    net.op("CONV_2D", "y", "padded", "w", "b", options=valid)
    reference = net.done("y")
    net = Net()
    net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
    net.const("w", f32(4, 3, 3, 3)), net.const("b", f32(4))
    net.op("CONV_2D", "other", "image", "w", "b", options=conv_options())
    candidate = net.done("other")
    assert pairs(reference, candidate)["y"][0] == "other"
    left = Scene(reference, candidate).unmatched()
    assert [(u.tensor, u.side) for u in left] == [("padded", "reference")]
    assert "PAD" in left[0].why


def test_a_normalisation_folded_into_the_weights_matches_behind_it():
    def net(folded: bool) -> Model:
        net = Net()
        net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
        w, gain, add = f32(4, 3, 3, 3), np.float32([2, 0.5, 3, 1]), f32(4, seed=9)
        b = add if folded else np.zeros(4, np.float32)
        net.const("w", w * gain[:, None, None, None] if folded else w), net.const("b", b)
        net.op("CONV_2D", "y" if folded else "t", "image", "w", "b", options=conv_options())
        if not folded:
            net.const("g", gain), net.const("a", add)
            net.op("MUL", "u", "t", "g", options=("MulOptions", {}))
            net.op("ADD", "y", "u", "a", options=("AddOptions", {}))
        return net.done("y")

    found = pairs(net(False), net(True))
    assert set(found) == {"image", "y"}
    result = compare(net(False).to_bytes(), net(True).to_bytes(), images(3), show_progress=False)
    assert min(r.sqnr_db for r in result.rows) > 100
    assert {u.tensor for u in result.unmatched} == {"t", "u"}


def test_equalized_layers_are_not_compared():
    """Channels of `a` times a factor, undone in the layers that read it."""
    reference, candidate = residual(), residual()
    graph, s = candidate.graphs[0], np.float32([2, 4, 0.25, 0.5, 3, 0.4, 5, 0.2])

    def scale(name: str, factor: np.ndarray) -> None:
        t = graph.by_name[name]
        values = np.array(graph.constant(t)) * factor
        data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        candidate.tree.buffers[graph.tensors[t].buffer].data = data

    scale("w3", s), scale("b3", s), scale("w4", 1 / s)
    rows = Scene(reference, candidate).unmatched()
    left = {u.tensor: u.why for u in rows if u.side == "candidate"}
    assert "another factor" in left["deep"]


def test_swapped_branches_match_by_their_weights():
    def net(swapped: bool) -> Model:
        net = Net()
        net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
        for k in (2, 1) if swapped else (1, 2):
            net.const(f"w{k}", f32(4, 3, 3, 3, seed=k)), net.const(f"b{k}", f32(4, seed=k))
            net.op("CONV_2D", f"y{k}", "image", f"w{k}", f"b{k}", options=conv_options())
        net.op("SUB", "d", "y1", "y2", options=("SubOptions", {}))
        return net.done("d")

    candidate = net(True)
    graph = candidate.graphs[0]
    for k, name in ((1, "first"), (2, "second")):
        graph.tensors[graph.by_name[f"y{k}"]].name = name.encode()
    graph.changed()
    found = pairs(net(False), candidate)
    assert (found["y1"][0], found["y2"][0]) == ("first", "second")


def test_shapes_that_differ_never_match():
    def net(channels: int) -> Model:
        net = Net()
        net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
        net.const("w", f32(channels, 3, 3, 3)), net.const("b", f32(channels))
        net.op("CONV_2D", "y", "image", "w", "b", options=conv_options())
        net.const("axes", np.array([1, 2, 3], np.int32))
        net.op("MEAN", "m", "y", "axes", options=("ReducerOptions", {"keepDims": True}))
        return net.done("m")

    found = pairs(net(4), net(5))
    assert "y" not in found
    why = {u.tensor: u.why for u in Scene(net(4), net(5)).unmatched() if u.side == "candidate"}
    assert "shape [1, 8, 8, 5]" in why["y"]


def test_another_input_shape_is_a_clear_error():
    net = Net()
    net.input("image", X((1, 4, 4, 3), -1.0, 1.0))
    net.op("RELU", "y", "image")
    with pytest.raises(DataError, match=r"\(1, 8, 8, 3\) in the reference and \(1, 4, 4, 3\)"):
        compare(residual().to_bytes(), net.done("y").to_bytes(), images(2))


def test_another_number_of_inputs_is_a_clear_error():
    net = Net()
    net.input("a", X((1, 8, 8, 3), -1.0, 1.0)), net.input("b", X((1, 8, 8, 3), -1.0, 1.0))
    net.op("ADD", "y", "a", "b", options=("AddOptions", {}))
    with pytest.raises(ModelError, match="cannot be paired"):
        compare(residual().to_bytes(), net.done("y").to_bytes(), images(2))


def test_outputs_in_another_order_and_of_other_names_find_each_other():
    def net(turned: bool) -> Model:
        net = Net()
        net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
        for k in (1, 2):
            net.const(f"w{k}", f32(4, 3, 3, 3, seed=k)), net.const(f"b{k}", f32(4, seed=k))
            name = f"z{3 - k}" if turned else f"y{k}"
            net.op("CONV_2D", name, "image", f"w{k}", f"b{k}", options=conv_options())
        return net.done("z1", "z2") if turned else net.done("y1", "y2")

    found = compare(net(False).to_bytes(), net(True).to_bytes(), images(2), show_progress=False)
    assert [(r.tensor, r.sqnr_db) for r in found.outputs] == [
        ("y1", float("inf")),
        ("y2", float("inf")),
    ]
