"""A small MobileNet-v1 for the bundled images that the tool trains itself, with ReLU6 or ReLU.

The bundled network takes minutes of a CPU to be made trainable alone; this one seconds.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _paper import Lab, Row
from _paper_networks import CALIBRATE, TRAINED, Network, of_arrays
from _paper_tune import BATCH, Ground
from _qat_nets import Style

from tfq_ext import demo
from tfq_ext._optional import need

# Filters of a 1x1 convolution behind each depthwise one, and the depthwise one's stride.
BLOCKS = ((32, 1), (64, 2), (64, 1), (128, 2))
SIDE, CLASSES = 28, 10
RATE = 0.1  # peak, from random weights
TUNED = 0.2  # share of it in fine-tuning
SEED = 0


def network(keras: Any, relu: str) -> Any:
    """float32[N, 28, 28, 1] -> logits; Howard et al. 1704.04861, table 1, cut short."""
    style = Style(keras, relu=relu)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = style.norm(image, style.conv(16, 3, 2, "stem"))
    for k, (filters, stride) in enumerate(BLOCKS):
        x = style.norm(x, style.depthwise(stride, f"block{k}_depthwise"))
        x = style.norm(x, style.conv(filters, 1, 1, f"block{k}_project"))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, name="logits")(x), name="small")


def images() -> tuple[np.ndarray, np.ndarray]:
    """All bundled images that judge nothing, and their labels."""
    x, y = (part[:TRAINED] for part in demo.evaluation())
    first = demo.images("calibration")
    labels = np.concatenate([first[1], y]).astype(np.int64)
    return np.concatenate([demo.calibration(), x]), labels


def grounds(lab: Lab, judges: int, steps: int, ways: dict[str, tuple[str, ...]]) -> list[Ground]:
    """A trained network for each activation, as a place to train further.

    Args:
        lab: where the models are kept.
        judges: images that judge.
        steps: of fine-tuning; float training has four times as many.
        ways: "relu6" or "relu" -> names of WAYS.
    """
    x, y = (part[TRAINED : TRAINED + judges] for part in demo.evaluation())
    arrays = (demo.calibration()[:CALIBRATE], x, y)
    every, labels = images()
    found = []
    for relu, names in ways.items():
        source = lab.out / f"small-{relu}-{4 * steps}.keras"
        lab.known("float", source.stem, partial(_trained, source, relu, 4 * steps))
        id, name = f"small-{relu}-{len(y)}", "small" if relu == "relu6" else "small, ReLU"
        about = (
            f"{len(y)} bundled test images; trained here from random weights, {4 * steps} steps of "
            f"{BATCH} on {len(every)} other images, seed {SEED}"
        )
        one: Network = of_arrays(id, name, about, source, arrays)
        found.append(Ground(one, every, labels, steps, TUNED * RATE, names, about))
    return found


def _trained(path: Path, relu: str, steps: int) -> Row:
    keras = need("keras", why="training")
    keras.utils.set_random_seed(SEED)
    x, y = images()
    model = network(keras, relu)
    falling = keras.optimizers.schedules.CosineDecay(RATE, steps)
    model.compile(
        keras.optimizers.SGD(falling, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # XLA takes longer to compile than a short run on a CPU takes
    )
    order = np.random.default_rng(SEED).integers(0, len(y), steps * BATCH)
    how = {"batch_size": BATCH, "epochs": 1, "shuffle": False, "verbose": 0}
    history = model.fit(x[order], y[order], **how)
    bare = keras.models.clone_model(model)
    bare.set_weights(model.get_weights())
    bare.save(path)
    return {"steps": steps, "train_accuracy": float(history.history["accuracy"][-1])}
