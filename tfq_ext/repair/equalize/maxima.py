"""How far each channel of each activation reaches, over samples, in one streaming pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.spec import Sample
from tfq_ext.tflite.grids import observed
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import Keeper

Ends = tuple[np.ndarray, np.ndarray]
SAMPLES = 256  # of which each channel's maximum is kept, to tell what is usual


def channel_extremes(
    model: Model,
    samples: Iterable[Sample],
    tensors: Sequence[str] | None = None,
    *,
    threads: int = 2,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(least, greatest) value of each channel, the last axis, over all samples.

    Args:
        model: float.
        samples: of any of its signatures.
        tensors: names; None: every float activation with values of its own.
        threads: LiteRT threads.

    Returns:
        name -> (float32[C], float32[C]); tensors that no sample reached are absent.

    Raises:
        DataError: there was no sample, or a tensor changes its number of channels.
    """
    found: dict[str, Ends] = {}
    for name, low, high in _each(model, samples, tensors, threads):
        if name in found:
            before = found[name]
            low, high = np.minimum(low, before[0]), np.maximum(high, before[1])
        found[name] = low, high
    return found


def channel_maxima(
    model: Model,
    samples: Iterable[Sample],
    tensors: Sequence[str] | None = None,
    *,
    threads: int = 2,
) -> dict[str, np.ndarray]:
    """max |x| of each channel over all samples; as `channel_extremes`."""
    found = channel_extremes(model, samples, tensors, threads=threads)
    return {name: np.maximum(-low, high) for name, (low, high) in found.items()}


@dataclass(frozen=True, eq=False)
class Peaks:
    """How far channels went.

    Args:
        greatest: tensor -> max |x| of each channel over all samples, float32[C].
        each: the same of each sample, of SAMPLES at most, float32[N, C].
    """

    greatest: Mapping[str, np.ndarray]
    each: Mapping[str, np.ndarray]

    def reach(self, usual: float = 0.9) -> dict[str, np.ndarray]:
        """How far each channel may go on new samples.

        As much beyond its greatest value as that is beyond the usual one of a sample: max^2 / u, u
        the quantile `usual` of the samples' maxima, but not beyond the tensor's greatest value. So
        channels that fire in a few samples only count among the greatest, those that never do have
        0. At 1 it is the maximum.

        Args:
            usual: 0 to 1.
        """
        return {name: _reach(self.each[name], top, usual) for name, top in self.greatest.items()}


def channel_peaks(
    model: Model,
    samples: Iterable[Sample],
    tensors: Sequence[str] | None = None,
    *,
    threads: int = 2,
) -> Peaks:
    """What tells how far channels may go; arguments as for `channel_extremes`."""
    rows: dict[str, list[np.ndarray]] = {}
    greatest: dict[str, np.ndarray] = {}
    for name, low, high in _each(model, samples, tensors, threads):
        here = np.maximum(-low, high)
        greatest[name] = np.maximum(greatest.get(name, here), here)
        if len(seen := rows.setdefault(name, [])) < SAMPLES:
            seen.append(here)
    return Peaks(greatest, {name: np.stack(each) for name, each in rows.items()})


def _reach(maxima: np.ndarray, top: np.ndarray, usual: float) -> np.ndarray:
    level = np.quantile(maxima, usual, axis=0) if usual < 1 else top
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        beyond = np.where(top > 0, np.square(top, dtype=np.float64) / level, 0.0)
    return np.minimum(beyond, top.max(initial=0.0))


def _each(
    model: Model, samples: Iterable[Sample], tensors: Sequence[str] | None, threads: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(tensor, least, greatest value of each channel) of every sample, one after the other."""
    keepers: dict[str, Keeper] = {}
    widths: dict[str, int] = {}
    content = model.to_bytes()
    for sample in samples:
        key = sample.signature
        if key not in keepers:
            keepers[key] = Keeper(model, signature=key or None, threads=threads, content=content)
        graph, read = keepers[key].graph, keepers[key].invoke(sample.inputs)
        for tensor in _wanted(graph, tensors):
            name, ends = graph.name(tensor), _ends(read(tensor))
            if ends is None:
                continue
            width = len(ends[0])
            if (before := widths.setdefault(name, width)) != width:
                raise DataError(f"{name} has {width} channels here and {before} before.")
            yield name, *ends
    if not keepers:
        raise DataError("There was no sample to take the channels' maxima from.")


def _ends(values: np.ndarray) -> Ends | None:
    """Least and greatest of each channel; None where there are no values."""
    if not values.size:
        return None
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    return rows.min(axis=0), rows.max(axis=0)


def _wanted(graph: Graph, tensors: Sequence[str] | None) -> list[int]:
    if tensors is None:
        return observed(graph)
    return [graph.by_name[name] for name in tensors if name in graph.by_name]
