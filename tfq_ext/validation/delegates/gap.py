"""How far outputs lie apart, over samples, where one side may hold NaN and infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.numerics.metrics import agreement
from tfq_ext.tflite.runner import Arrays
from tfq_ext.validation.delegates.values import OutputError


def output_errors(
    reference: Sequence[Mapping[str, np.ndarray]], candidate: Sequence[Mapping[str, np.ndarray]]
) -> tuple[OutputError, ...]:
    """One row an output, in the reference's order; samples in the same order on both sides."""
    rows = []
    candidate = _named_alike(reference, candidate)
    for name in reference[0]:
        pairs = [
            (np.asarray(r[name], np.float64), np.asarray(c[name], np.float64))
            for r, c in zip(reference, candidate, strict=True)
        ]
        rows.append(_row(name, pairs))
    return tuple(rows)


def _named_alike(
    reference: Sequence[Mapping[str, np.ndarray]], candidate: Sequence[Mapping[str, np.ndarray]]
) -> Sequence[Mapping[str, np.ndarray]]:
    """The candidate's rows under the reference's names: LiteRT's two interfaces call tensors
    that have no name differently; their order is the same.

    Raises:
        ModelError: outputs without names that cannot be told apart.
    """
    if all(set(r) <= set(c) for r, c in zip(reference, candidate, strict=True)):
        return candidate
    if any(len(r) != len(c) for r, c in zip(reference, candidate, strict=True)):
        raise ModelError("The model's outputs share a name, so they cannot be told apart here.")
    pairs = zip(reference, candidate, strict=True)
    return [dict(zip(r, c.values(), strict=True)) for r, c in pairs]


def worst_error(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> float:
    """Relative L2 of the worst output of one sample; inf where it lost a finite value."""
    return max(row.relative_l2 for row in output_errors([reference], [candidate]))


def _row(name: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> OutputError:
    noise = signal = largest = 0.0
    lost = values = 0
    for r, c in pairs:
        if r.shape != c.shape:
            return OutputError(name, math.inf, math.inf, -math.inf, 1.0)
        both = np.isfinite(r) & np.isfinite(c)
        lost += int((np.isfinite(r) & ~np.isfinite(c)).sum())
        values += r.size
        gap = np.where(both, r, 0.0) - np.where(both, c, 0.0)
        noise += float(np.square(gap).sum())
        signal += float(np.square(np.where(np.isfinite(r), r, 0.0)).sum())
        largest = max(largest, float(np.abs(gap).max(initial=0.0)))
    if lost:
        return OutputError(name, math.inf, math.inf, -math.inf, lost / values)
    return OutputError(name, _ratio(noise, signal), largest, _db(noise, signal))


def _ratio(noise: float, signal: float) -> float:
    if signal == 0:
        return 0.0 if noise == 0 else math.inf
    return math.sqrt(noise / signal)


def _db(noise: float, signal: float) -> float:
    if noise == 0:
        return math.inf
    return -math.inf if signal == 0 else 10 * math.log10(signal / noise)


def top1_agreement(
    reference: Sequence[Mapping[str, np.ndarray]], candidate: Sequence[Mapping[str, np.ndarray]]
) -> float | None:
    """Share of samples with the same argmax in the first output [N, classes]; None without one.

    A candidate that holds NaN or infinity agrees with nothing.
    """
    name = next((n for n, x in reference[0].items() if _is_scores(x)), None)
    if name is None:
        return None
    shares = []
    candidate = _named_alike(reference, candidate)
    for r, c in zip(reference, candidate, strict=True):
        usable = np.isfinite(r[name]).all() and np.isfinite(c[name]).all()
        shares.append(agreement(r[name], c[name]) if usable else 0.0)
    return float(np.mean(shares))


def _is_scores(x: np.ndarray) -> bool:
    return x.ndim == 2 and x.shape[-1] > 1 and x.dtype.kind == "f"


def same_numbers(a: Sequence[Arrays], b: Sequence[Arrays]) -> bool:
    """Whether two runs gave the same values, bit for bit."""
    return all(
        np.array_equal(x[name], y[name], equal_nan=x[name].dtype.kind == "f")
        for x, y in zip(a, b, strict=True)
        for name in x
    )


def fits_fp16(outputs: Sequence[Arrays]) -> bool:
    """Whether every value is an fp16 number already, so that fp16 might not change it."""
    with np.errstate(over="ignore"):
        return all(
            x.dtype.kind != "f" or bool(np.array_equal(x, x.astype(np.float16), equal_nan=True))
            for row in outputs
            for x in row.values()
        )
