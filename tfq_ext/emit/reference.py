"""What TFLiteConverter itself makes of a Keras file: the rival that our files are held against."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.emit.quiet import quiet

WHY = "Comparing with TFLiteConverter"


def load_keras(path: str | os.PathLike[str]) -> Any:
    """The Keras 3 model in a file.

    Raises:
        MissingDependency: TensorFlow, which brings Keras, is not installed.
    """
    with quiet():
        need("tensorflow", why=WHY)
        return need("keras", why=WHY).saving.load_model(path, compile=False)


def tflite_converter_int8(
    model: Any, samples: Iterable[np.ndarray], *, per_channel: bool = True
) -> bytes:
    """A full-integer file by `tf.lite.TFLiteConverter`, float32 at its borders.

    Args:
        model: Keras model with one input.
        samples: float32 inputs, each with the batch axis; read by its calibrator.
        per_channel: one scale per output channel of convolutions, its default; else per tensor.

    Raises:
        MissingDependency: TensorFlow is not installed.
    """
    with quiet():
        tf = need("tensorflow", why=WHY)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _dataset(samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter._experimental_disable_per_channel = not per_channel
        return bytes(converter.convert())


def _dataset(samples: Iterable[np.ndarray]) -> Callable[[], Iterator[list[np.ndarray]]]:
    def representative_dataset() -> Iterator[list[np.ndarray]]:
        for x in samples:
            yield [x]

    return representative_dataset
