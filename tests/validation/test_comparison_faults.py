"""A file with one deliberate fault: the verdict names the fault, at the right layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planned_files import concat, integer
from small_nets import images, residual

from tfq_ext.cli.options import parse_settings
from tfq_ext.errors import TfqError
from tfq_ext.recipe import load_recipe
from tfq_ext.tflite.bits import pack
from tfq_ext.tflite.read import Model
from tfq_ext.validation.comparison import CAUSES, Comparison, compare
from tfq_ext.validation.comparison.causes import VICTIM
from tfq_ext.validation.sandbox import Child


def constant(model: Model, name: str):
    """(tensor, its codes, a function that writes other codes)."""
    graph = model.graphs[0]
    index = next(t for t in range(len(graph.tensors)) if graph.name(t).startswith(name))
    tensor = graph.tensors[index]

    def write(values: np.ndarray) -> None:
        model.tree.buffers[tensor.buffer].data = pack(values, graph.dtype(index))

    return tensor, np.array(graph.constant(index)), write


def activation(model: Model, name: str):
    graph = model.graphs[0]
    exact = [t for t in range(len(graph.tensors)) if graph.name(t).split("/")[0] == name]
    index = next(t for t in exact if graph.dtype(t) == "int8" and t in graph.producer)
    return graph.tensors[index].quantization


def op_inputs(model: Model, code: str, nth: int = 0):
    graph = model.graphs[0]
    return [op for op in graph.ops if graph.code(op) == code][nth].inputs


@pytest.fixture(scope="module")
def reference() -> Model:
    return residual()


@pytest.fixture(scope="module")
def run():
    """compare() in a child that all tests of this file share."""
    with Child() as child:

        def go(reference: Model, candidate: Model) -> Comparison:
            both = reference.to_bytes(), candidate.to_bytes()
            return compare(*both, images(16), show_progress=False, child=child)

        yield go


def named(found: Comparison, cause: str, layer: str):
    """The worst row, which must be this layer with this cause first."""
    row = found.worst(1)[0]
    assert row.label == layer, [(r.label, r.loss, r.verdict) for r in found.worst(4)]
    assert row.causes[0] == cause, (row.causes, row.verdict, row.parts)
    assert layer in found.headline
    return row


def test_a_sound_file_has_no_culprit(run, reference):
    found = run(reference, integer(reference))
    assert not found.culprits
    assert not found.findings
    assert found.outputs[0].sqnr_db > 25
    assert all(r.own_sqnr_db > 25 for r in found.rows if r.own_sqnr_db is not None)


@pytest.mark.parametrize("layer", ["branch", "deep"])
def test_a_clipped_range_is_named(run, reference, layer):
    candidate = integer(reference)
    # Half the scale at one zero point: both ends are cut in half.
    q = activation(candidate, layer)
    q.scale = np.float32(q.scale) * np.float32(0.4)
    rescale_bias_of_readers(candidate)
    row = named(run(reference, candidate), "clipping", layer)
    assert row.clipped > 0.005
    assert "clipping" in row.verdict
    assert "%" in row.verdict


def rescale_bias_of_readers(model: Model) -> None:
    """Make bias scales s_x * s_w again, with the codes that stand for the same reals."""
    graph = model.graphs[0]
    for op in graph.ops:
        code = graph.code(op)
        if code not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        x, w, b = (graph.tensors[int(t)] for t in op.inputs)
        codes = np.array(graph.constant(int(op.inputs[2])), np.float64)
        old = np.asarray(b.quantization.scale, np.float64)
        new = np.float32(x.quantization.scale) * np.asarray(w.quantization.scale, np.float32)
        b.quantization.scale, b.quantization.zeroPoint = new, np.zeros(len(new), np.int64)
        values = np.round(codes * old / new).astype(np.int32)
        model.tree.buffers[b.buffer].data = pack(values, "int32")


def test_too_wide_a_range_is_named_with_the_bits(run, reference):
    candidate = integer(reference)
    q = activation(candidate, "branch")
    q.scale = np.float32(q.scale) * np.float32(16)
    rescale_bias_of_readers(candidate)
    row = named(run(reference, candidate), "wide", "branch")
    assert row.wasted_bits == pytest.approx(4, abs=1.0)
    assert f"{row.wasted_bits:.1f} bits wasted" in row.verdict


def test_a_shifted_bias_is_named_with_its_channel(run, reference):
    candidate = integer(reference)
    graph = candidate.graphs[0]
    bias = int(op_inputs(candidate, "CONV_2D", 1)[2])
    codes = np.array(graph.constant(bias))
    scale = np.asarray(graph.tensors[bias].quantization.scale)
    out = float(activation(candidate, "branch").scale[0])
    codes[5] += round(12 * out / float(np.resize(scale, 8)[5]))
    candidate.tree.buffers[graph.tensors[bias].buffer].data = pack(codes, "int32")
    row = named(run(reference, candidate), "bias", "branch")
    assert row.own_shift.channel == 5
    assert row.own_shift.lsb == pytest.approx(12, abs=1)
    assert "channel 5" in row.verdict
    assert "mean-shift" in row.causes


def requantize(model: Model, nth: int, scale: np.ndarray, levels: int) -> None:
    """Weights of the nth CONV_2D on other scales (one: per tensor), within +-levels."""
    graph = model.graphs[0]
    w = int(op_inputs(model, "CONV_2D", nth)[1])
    tensor, codes = graph.tensors[w], np.array(graph.constant(w), np.float64)
    old = np.asarray(tensor.quantization.scale, np.float64)
    real = codes * np.resize(old, codes.shape[0]).reshape(-1, 1, 1, 1)
    per = np.resize(scale, codes.shape[0]).reshape(-1, 1, 1, 1)
    new = np.clip(np.round(real / per), -levels, levels).astype(np.int8)
    model.tree.buffers[tensor.buffer].data = pack(new, "int8")
    tensor.quantization.scale = np.float32(scale)
    tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
    rescale_bias_of_readers(model)


def test_per_tensor_weights_of_unequal_channels_are_named(run):
    reference = residual(spread=200.0)
    candidate = integer(reference)
    w = np.abs(np.array(reference.graphs[0].constant(reference.graphs[0].by_name["w1"])))
    requantize(candidate, 0, np.float32([w.max() / 127]), 127)
    found = run(reference, candidate)
    row = named(found, "per-tensor", "a")
    assert (row.weight_scales, row.weight_lost) == (1, 3 / 8)
    assert row.weight_spread > 50
    assert "per-tensor" in row.verdict
    assert "compare-channels-lost" in {f.rule.id for f in found.findings}


def test_four_bit_weights_are_named(run, reference):
    candidate = integer(reference)
    w = np.abs(np.array(reference.graphs[0].constant(reference.graphs[0].by_name["w2"])))
    requantize(candidate, 1, np.float32(w.reshape(8, -1).max(axis=1) / 7), 7)
    graph = candidate.graphs[0]
    tensor = graph.tensors[int(op_inputs(candidate, "CONV_2D", 1)[1])]
    codes = np.array(graph.constant(int(op_inputs(candidate, "CONV_2D", 1)[1])))
    tensor.type = 17  # INT4
    candidate.tree.buffers[tensor.buffer].data = pack(codes, "int4")
    row = named(run(reference, candidate), "four-bits", "branch")
    assert row.weight_bits == 4
    assert row.weight_sqnr_db < 25
    assert "4-bit" in row.verdict


def test_other_weights_are_named(run, reference):
    candidate = integer(reference)
    graph = candidate.graphs[0]
    w = int(op_inputs(candidate, "CONV_2D", 1)[1])
    codes = np.array(graph.constant(w))
    codes.reshape(-1)[::7] = 0
    candidate.tree.buffers[graph.tensors[w].buffer].data = pack(codes, "int8")
    row = named(run(reference, candidate), "weights", "branch")
    assert row.weight_sqnr_db < 15


def test_layers_behind_the_culprit_are_victims(run, reference):
    candidate = integer(reference)
    graph = candidate.graphs[0]
    w = int(op_inputs(candidate, "CONV_2D", 0)[1])
    codes = np.array(graph.constant(w))
    codes.reshape(-1)[::3] = 0
    candidate.tree.buffers[graph.tensors[w].buffer].data = pack(codes, "int8")
    found = run(reference, candidate)
    named(found, "weights", "a")
    behind = [r for r in found.rows if r.label in ("branch", "sum", "deep") and r.sqnr_db < 20]
    assert behind
    assert all(r.causes == (VICTIM,) for r in behind), [(r.label, r.causes) for r in behind]
    assert all(r.own_sqnr_db > r.sqnr_db + 5 for r in behind)


def test_every_bad_layer_has_words_and_known_causes(run, reference):
    candidate = integer(reference)
    q = activation(candidate, "sum")
    q.scale = np.float32(q.scale) * np.float32(0.3)
    rescale_bias_of_readers(candidate)
    found = run(reference, candidate)
    for row in found.rows:
        assert set(row.causes) <= {*CAUSES, VICTIM}
        if row.causes:
            assert row.verdict
        assert 0 <= row.loss <= 1
    assert math.isclose(sum(r.loss for r in found.rows), 1.0)


@pytest.mark.parametrize("name", CAUSES)
def test_the_remedy_of_every_cause_is_a_recipe_that_loads(name):
    settings = CAUSES[name].settings
    if settings.startswith("recipe="):
        assert load_recipe(settings.removeprefix("recipe="))
    elif settings:
        assert load_recipe({"base": "int8", **parse_settings([settings])})
    assert CAUSES[name].remedy.endswith(".")


def test_damaged_files_are_sentences(reference):
    """Bytes flipped at random: an answer or a TfqError, never a fault of ours."""
    whole, rng = integer(reference).to_bytes(), np.random.default_rng(5)
    outcomes = []
    with Child() as child:
        for _ in range(40):
            content = bytearray(whole)
            content[int(rng.integers(8, len(content)))] = int(rng.integers(256))
            home = child if child.alive else None
            options = {"child": home, "show_progress": False}
            try:
                compare(reference.to_bytes(), bytes(content), images(1), **options)
                outcomes.append("answer")
            except TfqError:
                outcomes.append("sentence")
    assert set(outcomes) == {"answer", "sentence"}


def test_a_reader_of_a_bad_grid_is_its_victim(reference):
    """The grid of `sum` is coarse: `deep`, which reads it, suffers on exact inputs too."""
    candidate = integer(reference)
    q = activation(candidate, "sum")
    q.scale = np.float32(q.scale) * np.float32(24)
    rescale_bias_of_readers(candidate)
    found = compare(reference.to_bytes(), candidate.to_bytes(), images(8), show_progress=False)
    assert found.worst(1)[0].label == "sum"
    deep = next(r for r in found.rows if r.label == "deep")
    assert deep.causes[0] == "input-grid"
    assert VICTIM in deep.causes
    assert "'sum'" in deep.verdict
    assert deep.loss < 0.1


def test_the_quiet_branch_of_a_concatenation_is_not_told_to_choose_another_range(run):
    found = run(concat(100.0), integer(concat(100.0)))
    row = named(found, "shared-grid", "quiet")
    assert row.joined_by == "CONCATENATION"
    assert "because CONCATENATION gives all its tensors one grid" in row.verdict
    assert "wide" not in row.causes
