"""Sparse constants (block CSR, as TFLite's sparsifier stores them) -> plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.errors import ModelError


def dense(values: np.ndarray, shape: tuple[int, ...], sparsity: Any) -> np.ndarray:
    r"""The full array of a sparse constant.

    The file walks the dimensions in `traversalOrder`; a block dimension d >= rank subdivides
    dimension `blockMap[d - rank]`, so that its coordinate is :math:`outer \cdot block + inner`.

    Args:
        values: [stored] the values in the order of the walk.
        shape: of the result.
        sparsity: schema SparsityParametersT.

    Returns:
        dtype[shape], zero where nothing is stored.

    Raises:
        ModelError: indices, values and shape contradict each other.

    Source: TFLite schema, SparsityParameters; Kjolstad et al., "taco", section 3 (level formats).
    """
    order = [int(d) for d in sparsity.traversalOrder]
    blocks = [] if sparsity.blockMap is None else [int(d) for d in sparsity.blockMap]
    walk = _walk(sparsity.dimMetadata)
    by_dimension = dict(zip(order, zip(walk, sparsity.dimMetadata, strict=True), strict=True))
    coordinates = [by_dimension[d][0] for d in range(len(shape))]
    for inner, outer in enumerate(blocks, start=len(shape)):
        index, meta = by_dimension[inner]
        coordinates[outer] = coordinates[outer] * int(meta.denseSize) + index
    limits = zip(coordinates, shape, strict=True)
    if len(walk[0]) > len(values) or any(len(c) and c.max() >= n for c, n in limits):
        raise ModelError(
            f"A sparse constant of shape {shape} has {len(walk[0])} positions and {len(values)} "
            "values that do not fit it: the file is damaged."
        )
    full = np.zeros(shape, values.dtype)
    full[tuple(coordinates)] = values[: len(walk[0])]
    return full


def _walk(levels: Any) -> list[np.ndarray]:
    """int64[stored] coordinates, one array a level, of every stored value in file order."""
    columns: list[np.ndarray] = []
    rows = 1
    for meta in levels:
        if meta.format == schema.DimensionType.DENSE:
            repeats = np.full(rows, int(meta.denseSize))
            new = np.tile(np.arange(int(meta.denseSize)), rows)
        else:
            segments = np.asarray(meta.arraySegments.values, np.int64)
            repeats = np.diff(segments)
            new = np.asarray(meta.arrayIndices.values, np.int64)
        if len(repeats) != rows or repeats.sum() != len(new):
            raise ModelError("A sparse constant's index arrays do not fit: the file is damaged.")
        columns = [np.repeat(column, repeats) for column in columns] + [new]
        rows = len(new)
    return columns
