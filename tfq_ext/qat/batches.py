"""Calibration data as batches: arrays, or anything that yields batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import DataError

keras = need("keras", why="Quantization-aware training")
BATCH = 64
MOST = 256  # batches that are read of a stream, which may have no end


def batches(data: Any) -> Iterator[Any]:
    """Batches of model inputs, as nested structures of arrays.

    Args:
        data: an array (samples first), or dict, list or tuple of arrays for several inputs; or an
            iterable of batches (tf.data, PyDataset), where (x, y) pairs give x.

    Raises:
        DataError: no samples, or NaN or infinity among them.
    """
    for k, batch in enumerate(_raw(data)):
        for array in keras.tree.flatten(batch):
            if np.issubdtype(array.dtype, np.floating) and not np.all(np.isfinite(array)):
                raise DataError(f"Batch {k} of the data has NaN or infinite values.")
        yield batch


def first_batch(data: Any) -> Any:
    """The first batch; of a stream that can be read once, this uses it up."""
    for batch in batches(data):
        return batch
    raise DataError("The data has no samples; 100 are usual.")


def _raw(data: Any) -> Iterator[Any]:
    if _is_arrays(data):
        arrays = keras.tree.map_structure(np.asarray, data)
        count = min((len(a) for a in keras.tree.flatten(arrays)), default=0)
        for start in range(0, count, BATCH):
            yield keras.tree.map_structure(lambda a, s=start: a[s : s + BATCH], arrays)
        return
    stream = data() if callable(data) and not hasattr(data, "__iter__") else data
    if hasattr(stream, "__getitem__") and hasattr(stream, "__len__"):  # a PyDataset
        stream = (stream[k] for k in range(len(stream)))
    for item in islice(stream, MOST):
        x = item[0] if isinstance(item, tuple) and len(item) in (2, 3) else item
        yield keras.tree.map_structure(_array, x)


def _array(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


def _is_arrays(data: Any) -> bool:
    if isinstance(data, dict | list | tuple):
        return bool(data) and all(_is_arrays(x) for x in keras.tree.flatten(data))
    return isinstance(data, np.ndarray) or (hasattr(data, "__array__") and hasattr(data, "shape"))
