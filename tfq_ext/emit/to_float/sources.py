"""What a model can be given as: how each kind is recognised, and who converts it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfq_ext._optional import loaded
from tfq_ext._table import Table
from tfq_ext.emit.to_float import keras_model
from tfq_ext.emit.to_float.flatbuffer import convert_tflite
from tfq_ext.emit.to_float.functions import convert_functions, is_function
from tfq_ext.emit.to_float.keras_file import convert_keras_file, is_keras_file
from tfq_ext.emit.to_float.request import Converted, Request
from tfq_ext.emit.to_float.saved_model import convert_saved_model, is_saved_model
from tfq_ext.errors import ModelError


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Args:
        kind: what `Pivot.source` says.
        is_it: recognises the source without importing TensorFlow.
        convert: makes a flatbuffer of it.
    """

    kind: str
    is_it: Callable[[Any], bool]
    convert: Callable[[Any, Request], Converted]


def _path(source: object) -> Path | None:
    return Path(source) if isinstance(source, str | os.PathLike) else None


def _head(source: object) -> bytes:
    path = _path(source)
    if path is None or not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(16)


def _is_tflite(source: object) -> bool:
    path = _path(source)
    named = path is not None and path.is_file() and path.suffix in (".tflite", ".lite")
    return isinstance(source, bytes | bytearray) or _head(source)[4:8] == b"TFL3" or named


def _is_keras_file(source: object) -> bool:
    path = _path(source)
    return path is not None and path.is_file() and is_keras_file(path, _head(source))


def _is_saved_model(source: object) -> bool:
    path = _path(source)
    return path is not None and is_saved_model(path)


# Asked from the top; the first that knows the source converts it.
SOURCES: Table[Kind] = Table(
    "kind of model",
    {
        "tflite": Kind("tflite", _is_tflite, convert_tflite),
        "saved_model": Kind("saved_model", _is_saved_model, convert_saved_model),
        "keras_file": Kind("keras", _is_keras_file, convert_keras_file),
        "keras": Kind("keras", keras_model.is_keras_model, keras_model.convert_keras),
        "tf_keras": Kind("tf_keras", keras_model.is_tf_keras_model, keras_model.convert_tf_keras),
        "function": Kind("function", is_function, convert_functions),
        "layer": Kind("keras", keras_model.is_layer, keras_model.refuse_layer),
    },
)

KNOWN = (
    "a Keras model or its .keras/.h5 file, a SavedModel folder, a tf.function, "
    "or a float .tflite (path or bytes)"
)

# First bytes or suffix of files that people have instead, and the way from there.
_STRANGERS: tuple[tuple[str, bytes, str], ...] = (
    (".onnx", b"", "an ONNX model: convert it to a SavedModel or .tflite first (onnx2tf)"),
    (".pt", b"", "a PyTorch model: convert it to a float .tflite first (litert-torch)"),
    (".pth", b"", "a PyTorch model: convert it to a float .tflite first (litert-torch)"),
    (".pb", b"", "a frozen graph: save it as a SavedModel with signatures first"),
    (".task", b"PK", "a MediaPipe bundle: unzip it and give the .tflite inside"),
    (".litertlm", b"", "a LiteRT-LM bundle: give the .tflite inside"),
    (".zip", b"PK", "a zip archive: unpack it and give what is inside"),
)


def recognise(source: object) -> Kind:
    """The entry of SOURCES for a source.

    Raises:
        ModelError: nobody knows it; says what it looks like and what is allowed.
    """
    for kind in SOURCES.values():
        if kind.is_it(source):
            return kind
    path = _path(source)
    raise ModelError(_unknown_object(source) if path is None else _unknown_path(path))


def _unknown_object(source: object) -> str:
    what = f"{type(source).__module__}.{type(source).__qualname__}"
    tf = loaded("tensorflow")
    if tf is not None and isinstance(source, tf.Module):
        return (
            f"Got a tf.Module ({what}). Give its tf.function(s), "
            "or save it with tf.saved_model.save and give the folder."
        )
    return f"Got a {what}, which is no model. Allowed: {KNOWN}."


def _unknown_path(path: Path) -> str:
    if not path.exists():
        return f"There is no {path}. Allowed: {KNOWN}."
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir())
        listed = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
        return (
            f"{path} is a folder without saved_model.pb (it holds: {listed or 'nothing'}), so it "
            f"is no SavedModel. Allowed: {KNOWN}."
        )
    head = _head(path)
    for suffix, start, what in _STRANGERS:
        if path.suffix == suffix and head.startswith(start):
            return f"{path} is {what}."
    if path.suffix in (".keras", ".h5", ".hdf5"):
        kind = "a zip without config.json" if zipfile.is_zipfile(path) else f"begins {head!r}"
        return f"{path} is no Keras file in spite of its name: it {_is(kind)}. Save it again."
    return f"{path} is no model that tfq_ext knows: it begins {head!r}. Allowed: {KNOWN}."


def _is(kind: str) -> str:
    return kind if kind.startswith("begins") else f"is {kind}"
