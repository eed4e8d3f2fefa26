"""What lint rules look at: the parsed file, and what was stated or observed beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.spec import Range
from tfq_ext.tflite.arithmetic import INTEGER, arithmetic, has_grid
from tfq_ext.tflite.facts import ACTIVATIONS, WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.validation.lint.observed import Observed

LIMITS: dict[str, tuple[int, int]] = {
    "int2": (-2, 1),
    "int4": (-8, 7),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
}
SMALLEST = float(np.finfo(np.float32).tiny)  # 1.18e-38: below it floats are denormal


class Op(NamedTuple):
    """One op in its place."""

    graph: Graph
    number: int
    op: Any
    code: str

    @property
    def inputs(self) -> list[int]:
        """Tensor indices; -1 where an optional input is absent."""
        return [int(t) for t in (self.op.inputs if self.op.inputs is not None else ())]

    @property
    def outputs(self) -> list[int]:
        """Tensor indices."""
        made = self.op.outputs if self.op.outputs is not None else ()
        return [int(t) for t in made if t >= 0]

    @property
    def activation(self) -> str:
        """The fused activation: "NONE", "RELU", "RELU6", ..."""
        chosen = getattr(self.op.builtinOptions, "fusedActivationFunction", 0)
        return ACTIVATIONS.get(int(chosen or 0), "NONE")

    @property
    def where(self) -> dict[str, Any]:
        """For `Rule.at`: op, tensor (the first output's name), subgraph, op_index."""
        name = self.graph.name(self.outputs[0]) if self.outputs else ""
        return {
            "op": self.code,
            "tensor": name,
            "subgraph": self.graph.index,
            "op_index": self.number,
        }


@dataclass(frozen=True, eq=False)
class TensorGrid:
    """The grid that a file states for a tensor, as it stands there (it may be nonsense).

    Args:
        scales: float64[C] or [1], float32 values; zeros: int64[C] or [1].
        axis: of the tensor, where C > 1.
        dtype: "int8", ...
    """

    scales: np.ndarray
    zeros: np.ndarray
    axis: int
    dtype: str

    @property
    def sound(self) -> bool:
        """One normal positive scale, a zero point of the type: a grid to compute with."""
        s = self.scales
        if len(s) != 1 or self.dtype not in LIMITS or not np.isfinite(s[0]):
            return False
        low, high = LIMITS[self.dtype]
        return bool(s[0] >= SMALLEST) and low <= self.zero <= high

    @property
    def scale(self) -> float:
        """The first scale: real units per code."""
        return float(self.scales[0])

    @property
    def zero(self) -> int:
        """The first zero point."""
        return int(self.zeros[0])

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest real value that the grid represents."""
        low, high = LIMITS[self.dtype]
        return (low - self.zero) * self.scale, (high - self.zero) * self.scale

    @property
    def width(self) -> float:
        """Of `range`."""
        low, high = LIMITS[self.dtype]
        return (high - low) * self.scale


class Weight(NamedTuple):
    """A quantized constant weight: codes integer[...], its grid, its facts."""

    op: Op
    fact: WeightFact
    tensor: int
    codes: np.ndarray
    grid: TensorGrid

    @property
    def channels(self) -> np.ndarray:
        """Codes as [channels, rest]: one row per output channel."""
        moved = np.moveaxis(self.codes, self.fact.axis, 0)
        return moved.reshape(moved.shape[0], -1)


@dataclass(frozen=True, eq=False)
class Subject:
    """One file under examination.

    Args:
        model: parsed.
        name: file name, "" when bytes came.
        target: runtime version that the file must run on, for example (2, 14, 0).
        values: (subgraph, tensor) -> what an observation run saw; None without data.
        samples: how many samples that run saw.
        reference: tensor name -> range in the float model, from the same samples.
        size: bytes of the file, 0 if not known.
    """

    model: Model
    name: str = ""
    target: tuple[int, ...] | None = None
    values: Mapping[tuple[int, int], Observed] | None = None
    samples: int = 0
    reference: Mapping[str, Range] | None = None
    size: int = 0
    _constants: dict[tuple[int, int], np.ndarray | None] = field(default_factory=dict, repr=False)
    bounds: dict[tuple[int, int], tuple[float, float] | None] = field(
        default_factory=dict, repr=False
    )  # what reach() found, by (subgraph, op)

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """Every op of every subgraph."""
        return tuple(Op(*row) for row in self.model.walk())

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """arithmetic() of every op."""
        return tuple(arithmetic(op.graph, op.op) for op in self.ops)

    @property
    def is_integer(self) -> bool:
        """Whether the file means to compute in integers: at least one op does."""
        return INTEGER in self.kinds

    def grid(self, graph: Graph, tensor: int) -> TensorGrid | None:
        """The grid that the file states; None where it states none."""
        if tensor < 0 or not has_grid(graph, tensor):
            return None
        q = graph.tensors[tensor].quantization
        with np.errstate(invalid="ignore"):  # signalling NaN
            scales = np.asarray(q.scale, np.float64)
        given = () if q.zeroPoint is None else q.zeroPoint
        zeros = np.asarray(given, np.int64) if len(given) else np.zeros(1, np.int64)
        return TensorGrid(scales, zeros, int(q.quantizedDimension or 0), graph.dtype(tensor))

    def activation_grid(self, graph: Graph, tensor: int) -> TensorGrid | None:
        """The grid of an activation that can be computed with, else None."""
        grid = self.grid(graph, tensor)
        return grid if grid is not None and grid.sound else None

    def constant(self, graph: Graph, tensor: int) -> np.ndarray | None:
        """Stored numbers; None for activations, strings and what the file is too short for."""
        key = (graph.index, tensor)
        if key not in self._constants:
            try:
                self._constants[key] = graph.constant(tensor)
            except ModelError:
                self._constants[key] = None
        return self._constants[key]

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """The quantized constant weights of all ops that have weights, in execution order."""
        return tuple(self._weights())

    @cached_property
    def weight_at(self) -> dict[tuple[int, int], Weight]:
        """(subgraph, op index) -> its quantized weight."""
        return {(w.op.graph.index, w.op.number): w for w in self.weights}

    def _weights(self) -> Iterator[Weight]:
        for op in self.ops:
            fact = WEIGHTS.get(op.code)
            if fact is None or fact.weight >= len(op.inputs):
                continue
            tensor = op.inputs[fact.weight]
            grid = self.grid(op.graph, tensor)
            codes = None if grid is None else self.constant(op.graph, tensor)
            fits = codes is not None and codes.ndim > fact.axis and codes.size > 0
            if grid is not None and fits and grid.dtype in LIMITS:
                assert codes is not None
                yield Weight(op, fact, tensor, codes, grid)

    def maker(self, graph: Graph, tensor: int) -> Op | None:
        """The op that writes a tensor."""
        k = graph.producer.get(tensor)
        return None if k is None else Op(graph, k, graph.ops[k], graph.code(graph.ops[k]))

    def readers(self, graph: Graph, tensor: int) -> list[Op]:
        """The ops that read a tensor."""
        found = graph.consumers.get(tensor, [])
        return [Op(graph, k, graph.ops[k], graph.code(graph.ops[k])) for k in found]

    def real_range(self, graph: Graph, tensor: int) -> Range | None:
        """The range in the float reference, by the tensor's name or that of its DEQUANTIZE."""
        if self.reference is None:
            return None
        behind = [r.outputs[0] for r in self.readers(graph, tensor) if r.code == "DEQUANTIZE"]
        names = (graph.name(t) for t in [tensor, *behind])
        return next((self.reference[n] for n in names if n in self.reference), None)

    def seen(self, graph: Graph, tensor: int) -> Observed | None:
        """What the observation run saw of a tensor."""
        return None if self.values is None else self.values.get((graph.index, tensor))
