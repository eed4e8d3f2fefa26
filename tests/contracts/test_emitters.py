"""The law of every emitter, over the table itself: the file holds the integers that were chosen."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from one_op import observe, run, weights_of
from small_nets import images, residual

from tfq_ext.emit.emitters import EMITTERS, emit, emitter_for
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.emit.verify import verify, verify_constants
from tfq_ext.errors import EmissionError, UnknownName
from tfq_ext.tflite.read import Model

PIVOT = residual()
FEED = {"image": images(1)}
RANGES = observe(PIVOT, FEED)
CODES = ("mlir", "patched", "dynamic", "weight_only")  # fp16 and simulate store no integers


def _marks(name: str) -> list[pytest.MarkDecorator]:
    if not EMITTERS[name].tensorflow:
        return []
    return [pytest.mark.tf, pytest.mark.skipif(not find_spec("tensorflow"), reason="no TensorFlow")]


def _each(names: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [pytest.param(n, marks=_marks(n)) for n in names])


every_grid = pytest.mark.parametrize(
    ("bits", "per_channel"), [(8, True), (8, False), (4, True), (4, False)]
)


def _plan(bits: int = 8, per_channel: bool = True) -> Plan:
    """Scales 0.97 of max-abs, so that no emitter can find them again by itself."""
    chosen = {}
    for name, w in weights_of(PIVOT, bits, per_channel).items():
        graph = PIVOT.graphs[0]
        values = graph.constant(graph.by_name[name])
        params = type(w.params)(w.params.spec, w.params.scale * np.float32(0.97))
        chosen[name] = WeightCodes(params.encode(values).astype(np.int8), params, f"int{bits}")
    return Plan(RANGES, chosen)


def _stored(content: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """(codes, scales) of every integer constant with scales in the file."""
    rows = []
    for graph in Model.parse(content).graphs:
        for t, tensor in enumerate(graph.tensors):
            if graph.dtype(t) in ("int8", "int4") and graph.is_constant(t):
                rows.append((graph.constant(t), np.float32(tensor.quantization.scale)))
    return rows


def test_every_emitter_is_in_one_of_the_two_groups():
    assert set(EMITTERS) == {*CODES, "fp16", "simulate"}


@_each(CODES)
@every_grid
def test_integers_in_the_file_equal_those_chosen(name, bits, per_channel):
    plan = _plan(bits, per_channel)
    rows = _stored(emit(name, PIVOT, plan).content)
    for tensor, chosen in plan.weights.items():
        found = [s for codes, s in rows if np.array_equal(codes, chosen.codes)]
        assert found, f"no constant holds the codes of {tensor}"
        wanted = np.atleast_1d(chosen.params.scale)
        assert any(np.array_equal(s, np.broadcast_to(wanted, s.shape)) for s in found), tensor


@_each(["simulate"])
@every_grid
def test_a_simulation_computes_with_what_the_codes_stand_for(name, bits, per_channel):
    plan = _plan(bits, per_channel)
    graph = Model.parse(emit(name, PIVOT, plan).content).graphs[0]
    constants = [graph.constant(t) for t in range(len(graph.tensors)) if graph.is_constant(t)]
    for tensor, chosen in plan.weights.items():
        wanted = chosen.params.decode(chosen.codes)
        assert any(np.array_equal(c, wanted) for c in constants), tensor


@_each(["fp16"])
def test_half_floats_are_the_nearest_ones(name):
    graph = Model.parse(emit(name, PIVOT, Plan()).content).graphs[0]
    half = [graph.constant(t) for t in range(len(graph.tensors)) if graph.dtype(t) == "float16"]
    pivot = PIVOT.graphs[0]
    for tensor in _plan().weights:
        wanted = pivot.constant(pivot.by_name[tensor]).astype(np.float16)
        assert any(np.array_equal(h, wanted) for h in half), tensor


@_each(EMITTERS)
def test_runs_and_is_near_the_float_model(name):
    """Measured 25.8 dB (fp16 71), 3 % of each scale clipped; 20 leaves room for other kernels."""
    (wanted,) = run(PIVOT.to_bytes(), FEED)
    (got,) = run(emit(name, PIVOT, _plan()).content, FEED)
    assert 10 * np.log10(np.sum(wanted**2) / np.sum((got - wanted) ** 2)) > 20


@_each(EMITTERS)
def test_leaves_the_pivot_alone_and_repeats_itself(name):
    before = PIVOT.to_bytes()
    first, second = (emit(name, PIVOT, _plan()).content for _ in range(2))
    assert PIVOT.to_bytes() == before
    assert first == second


@_each(EMITTERS)
def test_signature_and_the_names_of_the_ends_survive(name):
    file = Model.parse(emit(name, PIVOT, _plan()).content)
    assert list(file.signatures) == list(PIVOT.signatures)
    graph = file.graphs[0]
    assert [graph.name(t) for t in graph.inputs] == ["image"]
    assert [graph.name(t) for t in graph.outputs] == ["logits"]


@_each([n for n, e in EMITTERS.items() if e.static])
def test_read_back_counts_everything_and_misses_no_change(name):
    """Every weight, grid and bias of the plan is compared; one other code or scale is an error."""
    plan = _plan()
    content = emit(name, PIVOT, plan).content
    counted = verify(content, PIVOT, plan)
    assert (counted.weights, counted.biases, counted.absent) == (4, 4, [])
    assert counted.ranges == len(plan.ranges)
    for victim in plan.weights:
        with pytest.raises(EmissionError, match="not those chosen"):
            verify(content, PIVOT, _with(plan, victim, 1, 1.0))
        with pytest.raises(EmissionError, match="scale"):
            verify(content, PIVOT, _with(plan, victim, 0, 1.001))


@_each([n for n in CODES if not EMITTERS[n].static])
def test_read_back_of_constants_misses_no_other_scale(name):
    plan = _plan()
    content = emit(name, PIVOT, plan).content
    assert verify_constants(content, plan).weights == 4
    with pytest.raises(EmissionError, match="other scales"):
        verify_constants(content, _with(plan, "w2", 0, 1.001))


def _with(plan: Plan, victim: str, step: int, stretch: float) -> Plan:
    """The plan with one code of `victim` moved by `step` and its scales stretched."""
    old = plan.weights[victim]
    codes = old.codes.copy()
    codes.reshape(-1)[0] += step if codes.reshape(-1)[0] < 127 else -step
    params = type(old.params)(old.params.spec, old.params.scale * np.float32(stretch))
    changed = {**plan.weights, victim: WeightCodes(codes, params, old.stored)}
    return Plan(plan.ranges, changed)


def test_which_emitter_a_recipe_gets():
    plan = Plan()
    assert emitter_for("static", plan) == ("mlir" if find_spec("tensorflow") else "patched")
    assert emitter_for("static", Plan(int16=frozenset({"a"}))) == "patched"
    assert [emitter_for(m, plan) for m in ("fp16", "simulate")] == ["fp16", "simulate"]
    with pytest.raises(UnknownName, match="simulate"):
        emit("simulated", PIVOT, plan)
