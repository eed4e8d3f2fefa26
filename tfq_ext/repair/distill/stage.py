"""The stage: from a draft to one whose scales and biases learned from the float network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.emit.patched.kernels import fixed_grid
from tfq_ext.emit.plan import WeightCodes
from tfq_ext.emit.quiet import quiet
from tfq_ext.emit.result import Note
from tfq_ext.errors import MissingDependency
from tfq_ext.numerics.clusters import clusters
from tfq_ext.recipe import Recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.choosing import Draft
from tfq_ext.repair.distill.learn import Distilling, Values, learn
from tfq_ext.repair.distill.network import Network, stacked
from tfq_ext.repair.distill.ops import NotDifferentiable
from tfq_ext.repair.distill.student import Student
from tfq_ext.repair.layerwise import with_constants
from tfq_ext.repair.planning import Choices, make_plan
from tfq_ext.repair.polish import JUDGES, Score
from tfq_ext.repair.ranges import by_name
from tfq_ext.repair.rebuild.matching import correctable
from tfq_ext.repair.walks import feeds_of
from tfq_ext.repair.weights import Layer, refloored
from tfq_ext.rounding import parse_rounder
from tfq_ext.samples import owned, progress
from tfq_ext.spec import INT8_ACTIVATION, QParams
from tfq_ext.tflite.read import Graph
from tfq_ext.tflite.run import Keeper, input_tensors

FAITHFUL = 1e-5  # relative squared error: TensorFlow's sums against LiteRT's give 1e-11
SAMPLE_BYTES = 2**31  # of the samples that are held while learning


class CannotDistill(Exception):
    """Why a model is left as it is, in a sentence."""


@dataclass(frozen=True)
class _Task:
    """One subgraph of the pivot, and what is learned in it.

    Args:
        network: float.
        layers: those with codes.
        samples: of calibration, none of them held back.
    """

    network: Network
    layers: Sequence[Layer]
    samples: Sequence[Values]

    @property
    def graph(self) -> Graph:
        """Of the pivot."""
        return self.network.graph


def distilled(
    draft: Draft,
    calibrated: Calibrated,
    recipe: Recipe,
    choices: Choices,
    threads: int,
    show_progress: bool | None,
) -> Draft:
    """The draft with learned scales and biases, if its file comes nearer to float so.

    Both are judged on the held-back samples, from which nothing was learned. A model that cannot
    be differentiated is left as it is, with a note that says why.

    Args:
        draft: everything chosen.
        calibrated, recipe, choices: of the draft; `recipe.distill` says how many passes.
        threads, show_progress: as elsewhere.
    """
    if not recipe.distill:
        return draft
    try:
        task = _task(draft, calibrated, recipe)
        made = _with(_learned(task, draft, recipe, show_progress), draft, recipe, choices)
    except (CannotDistill, NotDifferentiable, MissingDependency) as error:
        return _noted(draft, f"not distilled: {error}")
    judges = [owned(sample) for sample in calibrated.held_back or ()][:JUDGES]
    if not judges:
        return made
    before, after = (
        Score(calibrated.pivot.model, d.plan, judges, threads, repaired=d.model)(d.plan.ranges)
        for d in (draft, made)
    )
    if after <= before:
        return _noted(draft, f"distilled, but no nearer to float: {after:.1f}, not {before:.1f} dB")
    return replace(made, tried={**draft.tried, "distilled": after})


def _noted(draft: Draft, sentence: str) -> Draft:
    return replace(draft, notes=(*draft.notes, Note("distill", "", sentence)))


def _task(draft: Draft, calibrated: Calibrated, recipe: Recipe) -> _Task:
    """What there is to learn.

    Raises:
        CannotDistill, NotDifferentiable, MissingDependency: nothing, and why.
    """
    pivot = calibrated.pivot.model
    entries = [g for g in pivot.graphs if g.is_entry]
    if calibrated.samples is None or calibrated.trained is not None:
        raise CannotDistill("it needs samples, and integers that were not trained")
    if len(entries) != 1:
        raise CannotDistill(f"the model has {len(entries)} subgraphs with signatures")
    graph = entries[0]
    with quiet():  # TensorFlow's banner, where this is its first import
        network = Network(need("tensorflow", why="distilling"), graph)
    size = 4 * sum(math.prod(abs(n) for n in graph.shape(t)) for t in graph.inputs)
    room = max(SAMPLE_BYTES // max(size, 1), 1)
    samples = list(islice(feeds_of(pivot, graph, calibrated.samples), room))
    shapes = {tuple(x.shape for x in sample.values()) for sample in samples}
    if len(shapes) != 1 or () in next(iter(shapes)):
        raise CannotDistill("its samples differ in shape, or have none")
    layers = [w.layer for name, w in draft.weights.items() if name in draft.plan.weights]
    return _Task(network, [layer for layer in layers if layer.graph is graph], samples)


def _learned(task: _Task, draft: Draft, recipe: Recipe, show_progress: bool | None) -> Student:
    """The student at the end of its lessons."""
    values, graph, tf = _checked(task), task.graph, task.network.tf
    repaired = draft.model.graphs[graph.index]
    biases, units = {}, {}
    for layer in filter(correctable, task.layers):
        tensor = int(layer.op.inputs[layer.fact.bias or 0])
        biases[graph.name(tensor)] = np.asarray(repaired.constant(tensor), np.float32)
        output = values[int(layer.op.outputs[0])]
        units[graph.name(tensor)] = float(np.std(output, dtype=np.float64)) or 1.0
    codes = {layer.weight: draft.plan.weights[layer.weight] for layer in task.layers}
    free = {layer.weight: _free(layer) for layer in task.layers if _learnable(layer, codes)}
    student = Student(tf, graph, codes, free, biases, units)
    grids = _grids(graph, draft)
    learn(
        task.network,
        student,
        task.samples,
        lambda t, x: on_grid(tf, x, grids[t]) if t in grids else x,
        Distilling(recipe.distill),
        seed=recipe.seed,
        watch=partial(progress, enabled=show_progress),
    )
    if not student.is_finite:
        raise CannotDistill("learning ended in NaN: some sample overflows on its way")
    return student


def _learnable(layer: Layer, codes: Mapping[str, WeightCodes]) -> bool:
    """Whether codes may move: few bits, and nothing that their rounder bought would be lost."""
    weight = layer.graph.constant(int(layer.op.inputs[layer.fact.weight]))
    few = codes[layer.weight].params.spec.bits <= 4
    trades = parse_rounder(layer.choice.rounding).trades
    return few and not trades and weight is not None and clusters(weight) is None


def _free(layer: Layer) -> np.ndarray:
    """Weights that are exactly 0 (pruned) stay so."""
    return np.asarray(layer.graph.constant(int(layer.op.inputs[layer.fact.weight])) != 0)


def _checked(task: _Task) -> Mapping[int, np.ndarray]:
    """All activations of the first samples, by TensorFlow, once LiteRT says the same outputs."""
    first = list(task.samples[:4])
    with quiet():  # it looks for a GPU now
        found = {t: np.asarray(v) for t, v in task.network.run(stacked(first), {}).items()}
    for t, wanted in _by_litert(task.graph, first).items():
        real = wanted.astype(np.float64)
        error = float(np.sum((real - found[t]) ** 2) / (np.sum(real**2) + 1e-12))
        if not error < FAITHFUL:
            raise CannotDistill(f"TensorFlow and LiteRT differ on it (relative error {error:.1e})")
    return found


def _by_litert(graph: Graph, samples: Sequence[Values]) -> dict[int, np.ndarray]:
    """The float outputs of some samples, by tensor index."""
    names = {t: name for name, t in input_tensors(graph.model, None).items()}
    keeper = Keeper(graph.model)
    rows = []
    for sample in samples:
        read = keeper.invoke({names[t]: x for t, x in sample.items()})
        rows.append({t: np.array(read(t)) for t in graph.outputs if graph.dtype(t) == "float32"})
    return stacked(rows)


def _grids(graph: Graph, draft: Draft) -> dict[int, QParams]:
    """Tensor index -> the 8-bit grid that the file will put it on."""
    grids = {}
    wide = draft.plan.int16
    for t in range(len(graph.tensors)):
        name, k = graph.name(t), graph.producer.get(t)
        code = "" if k is None else graph.code(graph.ops[k])
        if name in draft.plan.ranges and not graph.is_constant(t) and name not in wide:
            grid = fixed_grid(code, "int8")
            r = draft.plan.ranges[name]
            grids[t] = QParams.from_range(INT8_ACTIVATION, r) if grid is None else grid
    return grids


def on_grid(tf: Any, x: Any, grid: QParams) -> Any:
    """`x` rounded and clipped to the grid; the gradient passes where it is not clipped."""
    spec, zero = grid.spec, int(grid.zero_point)
    lo, hi = ((end - zero) * float(grid.scale) for end in (spec.qmin, spec.qmax))
    return tf.quantization.fake_quant_with_min_max_args(x, lo, hi, num_bits=spec.bits)


def _with(student: Student, draft: Draft, recipe: Recipe, choices: Choices) -> Draft:
    """The draft with what the student learned."""
    ranges, weights = by_name(draft.ranges), dict(draft.weights)
    for name, learned in student.weights.items():
        weights[name] = refloored(replace(weights[name], codes=learned.found()), ranges)
    biases = {name: learned.found() for name, learned in student.biases.items()}
    plan = make_plan(draft.model, recipe, choices, draft.ranges, weights)
    return replace(draft, model=with_constants(draft.model, biases), plan=plan, weights=weights)
