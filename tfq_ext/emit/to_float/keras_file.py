"""`.keras` and `.h5` files -> model object -> flatbuffer: Keras 3 first, then tf_keras."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfq_ext._optional import need
from tfq_ext.emit.to_float.keras_model import (
    convert_keras,
    convert_tf_keras,
    require_tensorflow_backend,
)
from tfq_ext.emit.to_float.messages import first_line
from tfq_ext.emit.to_float.request import Converted, Request, digest_of_path
from tfq_ext.errors import MissingDependency, ModelError

HDF5 = b"\x89HDF\r\n\x1a\n"


def is_keras_file(path: Path, head: bytes) -> bool:
    """True for an HDF5 file, and for a zip with Keras' config.json in it."""
    if head.startswith(HDF5):
        return True
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        return path.suffix == ".keras"


def convert_keras_file(source: str | os.PathLike[str], request: Request) -> Converted:
    """Load with Keras 3; a legacy .h5 that it refuses, with tf_keras.

    Python code stored in a file (Lambda layers) is never run: tf_keras would run it unasked, so
    such a file does not get there.
    """
    path = Path(source)
    digest = digest_of_path(path)
    require_tensorflow_backend()
    keras = need("keras", why="Reading a Keras file")
    try:
        model = keras.saving.load_model(path, custom_objects=_objects(request), compile=False)
    except Exception as error:  # Keras raises ValueError, TypeError, OSError, KeyError, ...
        return _second_try(path, error, request, digest)
    return replace(convert_keras(model, request), digest=digest)


def _second_try(path: Path, error: Exception, request: Request, digest: str) -> Converted:
    fatal = _reason(path, str(error))
    if fatal is not None or not _is_legacy(path):
        raise ModelError(fatal or _cannot_load(path, error)) from None
    if _holds_code(path):
        raise ModelError(_LAMBDA.say(path, None)) from None
    why = first_line(str(error), 120)
    try:
        tf_keras = need("tf_keras", why=f"{path} was saved by Keras 2 and Keras 3 refuses it. It")
    except MissingDependency as missing:
        raise MissingDependency(f"{missing} (Keras 3 said: {why})") from None
    try:
        model = tf_keras.models.load_model(
            path, custom_objects=_objects(request), compile=False, safe_mode=True
        )
    except Exception as second:
        raise ModelError(_reason(path, str(second)) or _cannot_load(path, error)) from None
    note = f"Loaded with tf_keras; Keras 3 refused it ({why})."
    converted = convert_tf_keras(model, request)
    return replace(converted, notes=(note, *converted.notes), digest=digest, kind="tf_keras")


def _objects(request: Request) -> dict[str, object] | None:
    return dict(request.custom_objects) or None


@dataclass(frozen=True)
class _Refusal:
    """Why a file cannot be loaded by anybody: Keras' words, and ours."""

    regex: str
    say: Callable[[Path, Any], str]


_LAMBDA = _Refusal(
    r"`Lambda` layer|enable_unsafe_deserialization|safe_mode=False",
    lambda path, m: (
        f"{path} holds Python code (a Lambda layer), which is not run unasked. If you trust the "
        "file, load it with keras.saving.load_model(path, safe_mode=False) and give the model."
    ),
)
_REFUSALS: tuple[_Refusal, ...] = (
    _LAMBDA,
    _Refusal(
        r"Unknown (?:layer|object|activation function|\w+): '?([\w.>]+)|Could not locate "
        r"(?:class|function) '([^']+)'",
        lambda path, m: (
            f"{path} uses {m[1] or m[2]!r}, which Keras does not know. Say where its class is: "
            f"custom_objects=['your.module:{(m[1] or m[2]).rpartition('>')[2]}'], on the command "
            f"line --custom-objects your.module:{(m[1] or m[2]).rpartition('>')[2]}."
        ),
    ),
    _Refusal(
        r"No model config found",
        lambda path, m: (
            f"{path} holds weights but no architecture. Build the model, call "
            "model.load_weights(path), and give the model or save it whole (model.save)."
        ),
    ),
)


def _reason(path: Path, text: str) -> str | None:
    for refusal in _REFUSALS:
        match = re.search(refusal.regex, text)
        if match:
            return refusal.say(path, match)
    return None


def _cannot_load(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be loaded ({type(error).__name__}: {first_line(str(error), 200)}). The "
        "file is damaged, or of another Keras version: save it again where it still loads."
    )


def _is_legacy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def _holds_code(path: Path) -> bool:
    """True when the architecture in a legacy .h5 has a Lambda layer (marshalled Python)."""
    h5py = need("h5py", why="Reading a legacy .h5")
    try:
        with h5py.File(path) as file:
            raw = file.attrs.get("model_config")
    except OSError as error:
        raise ModelError(_cannot_load(path, error)) from None
    if raw is None:
        return False
    lambdas = [n["config"] for n in _nodes(json.loads(raw)) if n.get("class_name") == "Lambda"]
    return any(config.get("function_type") != "function" for config in lambdas)


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """Every dict in a JSON tree."""
    if isinstance(tree, dict):
        return [tree, *(n for child in tree.values() for n in _nodes(child))]
    if isinstance(tree, list):
        return [n for child in tree for n in _nodes(child)]
    return []
