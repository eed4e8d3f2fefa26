"""The same networks in tf_keras, and TFMOT's quantization-aware training of them; child processes.

Only for processes of their own (`_bench.in_child`): TFMOT switches tf.keras to the legacy Keras.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _qat_nets import NETS, WIDTHS, Style

from tfq_ext._optional import need

WHY = "the comparison with TFMOT"


def legacy() -> tuple[Any, Any, Any]:
    """(tensorflow, tf_keras, tfmot), in the order that TFMOT needs."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    tf = need("tensorflow", why=WHY)
    tf_keras = need("tf_keras", why=WHY)
    return tf, tf_keras, need("tensorflow_model_optimization", why=WHY)


def network(net: str, relu: str, **options: Any) -> Any:
    """The float network in tf_keras, with random weights."""
    _, tf_keras, _ = legacy()
    return NETS[net](Style(tf_keras, relu=relu), **{"width": WIDTHS[net], **options})


def compiled(model: Any, rate: Any) -> Any:
    """With the optimizer and loss that everybody has."""
    _, tf_keras, _ = legacy()
    model.compile(
        tf_keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def timed(
    net: str, relu: str, options: dict[str, Any], batch: int, rounds: int, steps: int
) -> dict[str, list[float]]:
    """Milliseconds a step of the float network and of TFMOT's, in turns: name -> one a round."""
    _, _, tfmot = legacy()
    model = network(net, relu, **options)
    quantized = tfmot.quantization.keras.quantize_model(model)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, 32, 32, 3)).astype(np.float32)
    y = rng.integers(0, 10, batch)
    turns = {
        "float, tf_keras": stepper(compiled(model, 1e-3), x, y),
        "TFMOT": stepper(compiled(quantized, 1e-3), x, y),
    }
    return in_turns(turns, rounds, steps)


def stepper(model: Any, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """A function that trains one step; the same call in both Kerases."""
    x, y = (need("tensorflow", why=WHY).constant(values) for values in (x, y))
    return lambda: model.train_on_batch(x, y)


def in_turns(
    turns: dict[str, Callable[[], None]], rounds: int, steps: int
) -> dict[str, list[float]]:
    """Let everybody work in turns; ms a step, one number a round."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()
        turn()  # traced; buffers are there
    for _ in range(rounds):
        for name, turn in turns.items():
            begin = time.perf_counter()
            for _ in range(steps):
                turn()
            found[name].append(1e3 * (time.perf_counter() - begin) / steps)
    return found


def train_quantized(
    weights: Path, net: str, relu: str, width: float, stream: tuple[Any, ...], rate: float
) -> dict[str, Any]:
    """TFMOT's training from float weights and its int8 file by TFLiteConverter.

    Args:
        weights: .npz of the float network's arrays, in order.
        net, relu, width: of the network.
        stream: (data path, train, test, batch, steps, seed), as of our own run.
        rate: peak of the cosine.

    Returns:
        {"content": bytes, "answers": uint8[N] of the tf_keras model, "seconds": float}
    """
    from _qat_data import Batches
    from _qat_train import data_of

    tf, tf_keras, tfmot = legacy()
    path, train, test, batch, steps, seed = stream
    data, x_test = data_of(path, train, test)
    model = network(net, relu, width=width)
    with np.load(weights) as archive:
        model.set_weights([archive[name] for name in archive.files])
    quantized = tfmot.quantization.keras.quantize_model(model)
    compiled(quantized, tf_keras.optimizers.schedules.CosineDecay(rate, steps))
    batches = Batches(data.x_train, data.y_train, batch, steps, seed)
    begin = time.perf_counter()
    for k in range(steps):
        quantized.train_on_batch(*batches[k])
    seconds = time.perf_counter() - begin
    logits = quantized.predict(x_test, batch_size=500, verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(quantized)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = bytes(converter.convert())
    answers = np.argmax(logits, axis=1).astype(np.uint8)
    return {"content": content, "answers": answers, "seconds": seconds}
