"""A saved QAT model, back as a Keras model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tfq_ext.qat.conv_bn  # registers the layers  # noqa: F401
from tfq_ext._optional import need
from tfq_ext.emit.quiet import quiet
from tfq_ext.emit.to_float.request import import_objects
from tfq_ext.errors import ModelError

keras = need("keras", why="Loading a QAT model")


def load_model(path: str | Path, custom_objects: Mapping[str, object] | Sequence[str] = ()) -> Any:
    """Load what `model.save` wrote of a QAT model; not compiled.

    Args:
        path: a .keras file.
        custom_objects: the model's own classes, by name, or import paths "package.module:Class".

    Raises:
        ModelError: it cannot be read as a Keras model.
    """
    objects = import_objects(custom_objects or None)
    try:
        with quiet():
            return keras.models.load_model(path, compile=False, custom_objects=objects)
    except (OSError, ValueError, TypeError) as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"{path} cannot be loaded as a Keras model: {lines[0] if lines else error}"
        ) from None
