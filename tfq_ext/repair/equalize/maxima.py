"""How far each channel of each activation reaches, over samples, in one streaming pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.spec import Sample
from tfq_ext.tflite.grids import observed
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import Keeper


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
    keepers: dict[str, Keeper] = {}
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    content = model.to_bytes()
    for sample in samples:
        key = sample.signature
        if key not in keepers:
            keepers[key] = Keeper(model, signature=key or None, threads=threads, content=content)
        read = keepers[key].invoke(sample.inputs)
        for tensor in _wanted(keepers[key].graph, tensors):
            _add(found, keepers[key].graph.name(tensor), read(tensor))
    if not keepers:
        raise DataError("There was no sample to take the channels' maxima from.")
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


def _wanted(graph: Graph, tensors: Sequence[str] | None) -> list[int]:
    if tensors is None:
        return observed(graph)
    return [graph.by_name[name] for name in tensors if name in graph.by_name]


def _add(found: dict[str, tuple[np.ndarray, np.ndarray]], name: str, values: np.ndarray) -> None:
    if not values.size:
        return
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    low, high = rows.min(axis=0), rows.max(axis=0)
    if name in found:
        before = found[name]
        if len(low) != len(before[0]):
            raise DataError(f"{name} has {len(low)} channels here and {len(before[0])} before.")
        low, high = np.minimum(low, before[0]), np.maximum(high, before[1])
    found[name] = low, high
