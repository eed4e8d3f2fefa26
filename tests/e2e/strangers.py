"""What every end-to-end test needs: feeds for any model, one call to quantize, decibels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tfq_ext
from tfq_ext.emit.to_float import to_float
from tfq_ext.result import Result
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

Row = dict[str, np.ndarray]
MINMAX = "int8-minmax"  # exact ranges: nothing is clipped on the samples that made them


def rows_for(model: Model, n: int = 6, *, seed: int = 0, scale: float = 1.0) -> list[Row]:
    """Seeded feeds of the first signature; floats in [-scale, scale], integers in {0, 1}."""
    rng, specs = np.random.default_rng(seed), input_specs(model)
    mine = [s for s in specs if s.signature == specs[0].signature]
    return [{s.name: _values(rng, s, scale) for s in mine} for _ in range(n)]


def _values(rng: np.random.Generator, spec: Any, scale: float) -> np.ndarray:
    shape = [1 if d < 0 else d for d in spec.shape]
    if spec.dtype == "float32":
        return rng.uniform(-scale, scale, shape).astype(np.float32)
    return (rng.random(shape) > 0.5).astype(spec.dtype)


@dataclass(frozen=True)
class Done:
    """A quantized model beside its float pivot and the samples that calibrated it."""

    pivot: bytes
    rows: list[Row]
    result: Result

    @property
    def content(self) -> bytes:
        return self.result.content

    @property
    def ops(self) -> Counter[str]:
        """op code -> how many are in the file."""
        return Counter(code for *_, code in Model.parse(self.content).walk())

    @property
    def islands(self) -> dict[str, str]:
        """Op code -> reason, for what stayed float."""
        return {row.op: row.reason for row in self.result.account.float_ops}

    def sqnr(self, rows: list[Row] | None = None) -> float:
        """Worst output, dB, over the calibration samples or other rows."""
        wanted, got = Runner(self.pivot), Runner(self.content)
        noise, power = Counter(), Counter()
        for row in rows or self.rows:
            right, found = wanted(row), got(row)
            assert set(right) == set(found)
            for name, value in right.items():
                if value.dtype == np.float32:
                    power[name] += float(np.sum(value.astype(np.float64) ** 2))
                    noise[name] += float(np.sum((value - found[name].astype(np.float64)) ** 2))
        return min(10 * np.log10(power[n] / max(noise[n], 1e-30)) for n in power)


def quantized(
    model: object, recipe: Any = MINMAX, *, n: int = 6, scale: float = 1.0, **options: Any
) -> Done:
    """`tfq_ext.quantize` on random samples of the right shape."""
    pivot = to_float(model, **options).model
    rows = rows_for(pivot, n, scale=scale)
    result = tfq_ext.quantize(
        model, lambda: iter(rows), recipe=recipe, show_progress=False, **options
    )
    return Done(pivot.to_bytes(), rows, result)


def details(content: bytes) -> Iterator[tuple[str, str, str]]:
    """(op, data type of its first operand, of its first result) of the first subgraph."""
    graph = Model.parse(content).graphs[0]
    for op in graph.ops:
        ends = [next((graph.dtype(int(t)) for t in side if t >= 0), "") for side in _sides(op)]
        yield graph.code(op), ends[0], ends[1]


def _sides(op: Any) -> tuple[Any, Any]:
    return op.inputs, op.outputs
