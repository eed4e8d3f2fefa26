"""A network and data of a second, and how to run a test file on another Keras backend."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from tfq_ext.qat.build import quantize_aware

L = keras.layers
BATCH, BATCHES = 8, 8  # an epoch is 8 steps


def float_net(classes=3, seed=0):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((6, 6, 2))
    x = L.Conv2D(4, 3, use_bias=False, name="conv")(x)
    x = L.BatchNormalization(name="norm", momentum=0.9)(x)
    x = L.ReLU(name="relu")(x)
    x = L.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, L.Dense(classes, name="logits")(x))
    model.get_layer("norm").moving_variance.assign([0.8, 0.9, 1.1, 1.2])  # as after training
    return model


def data(seed=0, count=BATCH * BATCHES):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6, 6, 2)).astype(np.float32)
    return x, (x.mean((1, 2)) @ rng.normal(size=(2, 3))).argmax(1).astype(np.int32)


def qat_net(weight_bits=4, **options):
    return quantize_aware(float_net(), data()[0], weight_bits=weight_bits, **options)


def compiled(model, rate=1e-4, optimizer=None, **options):
    """Without XLA on TensorFlow unless asked for: it takes seconds a trace to compile."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if keras.backend.backend() == "tensorflow" and not options.get("run_eagerly"):
        options.setdefault("jit_compile", False)
    model.compile(optimizer or keras.optimizers.Adam(rate), loss, metrics=["accuracy"], **options)
    return model


def eager(model, rate=1e-4, optimizer=None):
    """Op by op, where a test is not about compiled steps: tracing takes seconds, 8 steps one."""
    if keras.backend.backend() == "jax":
        return compiled(model, rate, optimizer)  # JAX traces in no time, and is slow without
    return compiled(model, rate, optimizer, run_eagerly=True)


def fit(model, *callbacks, epochs=2, **options):
    x, y = data()
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)


class Watch(keras.callbacks.Callback):
    """Calls a function after every batch, the model's variables up to date."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.look(self.model))


def numpy(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def on_backend(backend, file, chosen=""):
    """Run the tests of a file whose name contains `chosen` in a process with that Keras backend."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if keras.backend.backend() == backend:
        pytest.skip(f"this is {backend} already")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(file)]
    command += ["-k", chosen] if chosen else []
    done = subprocess.run(
        command,
        env={**os.environ, "KERAS_BACKEND": backend, "PYTEST_ADDOPTS": ""},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
