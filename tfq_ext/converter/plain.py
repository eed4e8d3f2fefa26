"""The real tf.lite.TFLiteConverter inside: settings, float conversion, and the way back to it."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

from tfq_ext._optional import need
from tfq_ext.converter.metadata import with_mode
from tfq_ext.converter.modes import INT8_OPS, INT16_OPS
from tfq_ext.emit.quiet import quiet
from tfq_ext.tflite.read import read_bytes


@dataclass(frozen=True)
class Plain:
    """A tf.lite.TFLiteConverter, or the settings of one around a finished float .tflite.

    Args:
        settings: the converter; for a .tflite, one without functions that only holds attributes.
        source: path or bytes of the .tflite.
    """

    settings: Any
    source: str | os.PathLike[str] | bytes | None = None

    @classmethod
    def made(cls, factory: str, *args: Any, **options: Any) -> Plain:
        """By one of TFLiteConverter's own class methods; "" is its constructor."""
        tf = need("tensorflow", why="TFLiteConverter")
        make = getattr(tf.lite.TFLiteConverter, factory) if factory else tf.lite.TFLiteConverter
        with quiet():
            return cls(make(*args, **options))

    @classmethod
    def around(cls, source: str | os.PathLike[str] | bytes) -> Plain:
        """Around a .tflite, which TFLiteConverter does not take."""
        tf = need("tensorflow", why="TFLiteConverter")
        return cls(tf.lite.TFLiteConverter([]), source)

    def convert(self, *, verbose: bool = False) -> bytes:
        """As the plain converter does it, with all its attributes and errors (no .tflite)."""
        assert self.source is None
        with quiet(verbose=verbose):
            return bytes(self.settings.convert())

    def float_file(self, mode: str, *, verbose: bool = False) -> bytes:
        """The model as a float .tflite, under every attribute that is not about quantization.

        Args:
            mode: what the file will become, for the conversion metadata that survives in it.
            verbose: let the converter's messages through.
        """
        if self.source is not None:
            return read_bytes(self.source)
        with quiet(verbose=verbose):
            content = bytes(_as_float(self.settings).convert())
        return with_mode(content, mode)


def _as_float(settings: Any) -> Any:
    """A copy that converts without quantizing; the user's object stays as it is."""
    tf = need("tensorflow", why="TFLiteConverter")
    plain = copy.copy(settings)
    plain.target_spec = spec = copy.copy(settings.target_spec)
    ops = {op for op in spec.supported_ops if op.name not in (INT8_OPS, INT16_OPS)}
    spec.supported_ops = ops or {tf.lite.OpsSet.TFLITE_BUILTINS}
    spec.supported_types = set()
    plain.optimizations = set()
    plain.representative_dataset = None
    plain.inference_input_type = plain.inference_output_type = tf.float32
    return plain
