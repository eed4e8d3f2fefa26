"""Models and documentation-style scripts that run with either converter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

SHAPE = (8, 8, 3)


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *SHAPE)).astype(np.float32)


def dataset(x: np.ndarray) -> Callable[[], Iterator[list[np.ndarray]]]:
    def representative_dataset() -> Iterator[list[np.ndarray]]:
        for i in range(len(x)):
            yield [x[i : i + 1]]

    return representative_dataset


def network(keras: Any) -> Any:
    """Convolution, depthwise, residual, dense: every weight kind, channels of unlike size."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    y = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(16, 1)(y)
    x = keras.layers.Add()([x, y])
    x = keras.layers.Conv2D(24, 3, activation="relu")(x)  # over 1024 weights: dynamic range
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="logits")(x))
    rng = np.random.default_rng(2)
    for layer in model.layers:
        values = [w * np.exp(rng.normal(size=w.shape[-1])) for w in layer.get_weights()]
        layer.set_weights(values)
    return model


def sine_network(keras: Any) -> Any:
    """SIN has no int8 kernel."""
    inputs = keras.Input((4,))
    x = keras.ops.sin(keras.layers.Dense(4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def default(c: Any, tf: Any) -> None:
    c.optimizations = [tf.lite.Optimize.DEFAULT]


def float16(c: Any, tf: Any) -> None:
    default(c, tf)
    c.target_spec.supported_types = [tf.float16]


def with_data(c: Any, tf: Any) -> None:
    default(c, tf)
    c.representative_dataset = dataset(images(40))


def integer_only(c: Any, tf: Any) -> None:
    with_data(c, tf)
    c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def int8_ops_without_data(c: Any, tf: Any) -> None:
    """TensorFlow refuses this."""
    default(c, tf)
    c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def uint8_border(c: Any, tf: Any) -> None:
    integer_only(c, tf)
    c.inference_input_type = tf.uint8
    c.inference_output_type = tf.int8


def int8_by_type(c: Any, tf: Any) -> None:
    def representative_dataset() -> Iterator[list[Any]]:
        for x in tf.data.Dataset.from_tensor_slices(images(40)).batch(1).take(40):
            yield [tf.cast(x, tf.float32)]

    default(c, tf)
    c.representative_dataset = tf.lite.RepresentativeDataset(representative_dataset)
    c.target_spec.supported_types = {tf.int8}


def int16x8(c: Any, tf: Any) -> None:
    with_data(c, tf)
    c.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]


def int16_border(c: Any, tf: Any) -> None:
    with_data(c, tf)
    c.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    c.inference_input_type = tf.int16
    c.inference_output_type = tf.int16


def plain_float(c: Any, tf: Any) -> None:
    """TFLiteConverter's default."""


# Name of the mode -> script, and ModelOptimizationMode in the conversion metadata.
SCRIPTS: dict[str, tuple[Callable[[Any, Any], None], list[int]]] = {
    "float": (plain_float, []),
    "dynamic": (default, [1002]),
    "float16": (float16, [1001]),
    "int8, float border": (with_data, [1003]),
    "int8 only, uint8 in": (uint8_border, [1003]),
    "int8 by type": (int8_by_type, [1003]),
    "int16x8": (int16x8, [1004]),
    "int16x8 only, int16 border": (int16_border, [1004]),
}


def border(content: bytes) -> list[tuple[str, str, list[int]]]:
    """Name, dtype and shape of every input and output, then of the signatures'."""
    interpreter = Interpreter(model_content=content)
    rows = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    for key in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(key)
        for details in (runner.get_input_details(), runner.get_output_details()):
            rows += [{**d, "name": f"{key}/{name}"} for name, d in sorted(details.items())]
    return [(d["name"], np.dtype(d["dtype"]).name, d["shape_signature"].tolist()) for d in rows]


def outputs(content: bytes, x: np.ndarray) -> np.ndarray:
    """The first output in reals, for the one input."""
    runner = Runner(content)
    return next(iter(runner({next(iter(runner.inputs)): x}).values()))


def codes(content: bytes) -> list[str]:
    """Op names of a file, in order."""
    return [code for *_, code in Model.parse(content).walk()]
