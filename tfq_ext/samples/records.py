"""TFRecord files of tf.train.Example as samples: images, raw tensors, or lists of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.adapt import samples_of
from tfq_ext.samples.images import image_row
from tfq_ext.samples.request import Request
from tfq_ext.samples.source import Stream
from tfq_ext.samples.spec import InputSpec, Sample, show_shape
from tfq_ext.samples.tfrecord import Feature, example, records

LABELS = ("image/class/label", "label", "labels", "y", "target")
ONLY_INPUT = ("image/encoded", "image", "image_raw", "x", "input", "inputs", "features")
_ENCODED = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"RIFF")


def from_tfrecord(paths: Sequence[Path], request: Request) -> Stream:
    """Examples of one or more files, in order, read without TensorFlow.

    A feature feeds the input of its name; a model with one input also takes the usual names
    (image/encoded, image, x, ...) or the only feature that is no label. Bytes are an encoded
    image, or the raw little-endian values; lists of numbers take the input's shape.
    """
    if len({spec.signature for spec in request.inputs}) > 1:
        raise DataError("A TFRecord cannot choose signatures; yield (signature, dict) instead.")
    what = paths[0].name if len(paths) == 1 else f"{len(paths)} TFRecord files"

    def items() -> Iterator[object]:
        for path in paths:
            for number, payload in enumerate(records(path)):
                where = f"{path.name}, record {number}"
                yield _item(example(payload, where), request, where)

    def start() -> Iterator[Sample]:
        return samples_of(items(), request.inputs, split=False, what=what)

    return Stream(what, start, preprocessed=True, labelled=True)


def _item(features: Mapping[str, Feature], request: Request, where: str) -> object:
    arrays = {}
    for spec in request.inputs:
        name = _feature_name(features, spec, len(request.inputs) == 1, where)
        try:
            arrays[spec.name] = _row(features[name], spec, request, f"{where}, feature {name}")
        except DataError as error:
            raise DataError(f"{where}, feature {name}: {error}") from None
    return arrays, _label(features, request, where)


def _feature_name(features: Mapping[str, Feature], spec: InputSpec, only: bool, where: str) -> str:
    candidates = (spec.name, *(ONLY_INPUT if only else ()))
    found = [name for name in candidates if name in features]
    if not found and only:
        found = [name for name in features if name not in LABELS]
        found = found if len(found) == 1 else []
    if not found:
        raise DataError(
            f"{where}: no feature for input {spec.name!r} among {sorted(features)}. Name the "
            "feature like the input, or pass a tf.data.Dataset that parses the examples."
        )
    return found[0]


def _row(feature: Feature, spec: InputSpec, request: Request, what: str) -> np.ndarray:
    """One sample without its batch axis, from a list of numbers or from bytes."""
    if isinstance(feature, list):
        if spec.is_text:
            return np.array(feature, object).reshape(_row_shape(spec, len(feature)))
        if len(feature) != 1:
            raise DataError(f"{len(feature)} byte strings, one is expected.")
        if spec.is_image and feature[0].startswith(_ENCODED):
            return image_row(feature[0], spec, request.preprocess, what)
        return _shaped(_raw(feature[0], spec), spec, request)
    return _shaped(feature, spec, request)


def _raw(data: bytes, spec: InputSpec) -> np.ndarray:
    """Values as tf.io.decode_raw would read them; bytes as pixels if only that fits."""
    for dtype in (np.dtype(spec.dtype).newbyteorder("<"), np.dtype(np.uint8)):
        size = int(np.prod([abs(axis) for axis in spec.shape[1:]]))
        if len(data) == size * dtype.itemsize or (-1 in spec.shape[1:] and dtype.itemsize > 1):
            if len(data) % dtype.itemsize:
                continue
            return np.frombuffer(data, dtype)
    raise DataError(
        f"{len(data)} bytes are no encoded image and no raw {spec.dtype} or uint8 values of shape "
        f"{show_shape(spec.shape[1:])}."
    )


def _shaped(values: np.ndarray, spec: InputSpec, request: Request) -> np.ndarray:
    row = values.reshape(_row_shape(spec, values.size))
    if request.preprocess is not None and spec.is_image:
        axis = request.preprocess.channel_axis(spec.shape)
        return request.preprocess.values(row, axis=axis if axis < 0 else 0, dtype=spec.dtype)
    return row


def _row_shape(spec: InputSpec, size: int) -> tuple[int, ...]:
    """The row's shape with its one free axis filled in from the number of values."""
    shape = spec.shape[1:]
    fixed = int(np.prod([axis for axis in shape if axis >= 0]))
    free = shape.count(-1)
    if free > 1 or fixed == 0 or size % fixed or (not free and size != fixed):
        raise DataError(
            f"{size} values do not make one sample of shape {show_shape(shape)}"
            + (": it has several free axes." if free > 1 else ".")
        )
    return tuple(size // fixed if axis < 0 else axis for axis in shape)


def _label(features: Mapping[str, Feature], request: Request, where: str) -> object:
    asked = request.labels if isinstance(request.labels, str) else None
    inputs = {spec.name for spec in request.inputs}
    names = [n for n in (asked, *LABELS) if n is not None and n in features and n not in inputs]
    if not names or (asked is not None and names[0] != asked):
        if request.labels is None:
            return None
        raise DataError(f"{where}: no label {asked or LABELS} among {sorted(features)}.")
    value = features[names[0]]
    if len(value) != 1:
        return value
    return value[0].item() if isinstance(value, np.ndarray) else value[0]
