"""JAX and torch give TensorFlow's bits: codes, scales, gradients, and a step of training."""

import sys

import numpy as np
import other_backend
import pytest

every_backend = pytest.mark.parametrize("backend", other_backend.BACKENDS)

QUANTIZERS = """
import sys
import numpy as np
import keras
from keras import ops
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS

rng = np.random.default_rng(0)
x = rng.normal(size=(16, 9)).astype(np.float32)
w = rng.normal(size=(3, 3, 6, 5)).astype(np.float32)
out = {}
for name in ACTIVATION_QUANTIZERS:
    for bits, low in ((8, x.min()), (4, 0.0)):
        q = ACTIVATION_QUANTIZERS[name](bits=bits)
        q.start(low, 2.0)
        y = q(ops.convert_to_tensor(x))
        out[f"{name} {bits}"] = ops.convert_to_numpy(y)
        out[f"{name} {bits} scale"], out[f"{name} {bits} zero"] = q.grid()
for name in WEIGHT_QUANTIZERS:
    q = WEIGHT_QUANTIZERS[name](bits=4, axes=(3,))
    q.build(w.shape)
    q.start_from(w)
    out[f"{name} codes"], out[f"{name} scale"] = q.codes(w), q.grid(w)[0]
np.savez(sys.argv[1] if len(sys.argv) > 1 else "out.npz", **out)
"""
SUMS = ("twn", "fgq", "a2q")  # their scales or norms are sums, whose order a backend chooses


@every_backend
def test_every_quantizer_gives_the_same_codes_and_scales(backend, tmp_path, monkeypatch):
    other_backend.run(QUANTIZERS, backend, tmp_path)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "mine.npz")])
    exec(QUANTIZERS, {})
    mine, theirs = np.load(tmp_path / "mine.npz"), np.load(tmp_path / "out.npz")
    assert set(mine) == set(theirs)
    for name in mine:
        if name.split()[0] in SUMS and name.endswith("scale"):
            np.testing.assert_allclose(theirs[name], mine[name], rtol=5e-7, err_msg=name)
        else:
            same(mine[name], theirs[name], name)


def same(mine, theirs, name):
    """Equal; what TensorFlow's fused op computes, to the last bit of its sum."""
    fused = name.split()[0] in ("ema", "fixed") and mine.ndim == 2
    if fused:
        np.testing.assert_allclose(theirs, mine, atol=1e-6, err_msg=name)
    else:
        np.testing.assert_array_equal(theirs, mine, err_msg=name)


TRAINING = """
import numpy as np
import keras
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS


class Rounded(keras.layers.Layer):
    def __init__(self, kind):
        super().__init__()
        self.q = WEIGHT_QUANTIZERS[kind](bits=4, axes=(1,))

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.q.build(self.kernel.shape)

    def call(self, x, training=None):
        return keras.ops.matmul(x, self.q(self.kernel, training=training))


rng = np.random.default_rng(0)
x = rng.normal(size=(64, 6)).astype(np.float32)
y = rng.normal(size=(64, 4)).astype(np.float32)
for kind, activation in PAIRS:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    h = ACTIVATION_QUANTIZERS[activation](name="r")(inputs)
    layer = Rounded(kind)
    model = keras.Model(inputs, layer(h))
    layer.q.start_from(keras.ops.convert_to_numpy(layer.kernel))
    model.get_layer("r").start(-3.0, 3.0)
    before = [np.array(w) for w in model.get_weights()]
    model.compile("sgd", "mse")
    loss = model.fit(x, y, epochs=3, batch_size=16, verbose=0).history["loss"]
    assert np.all(np.isfinite(loss)) and loss[-1] < loss[0], (kind, activation, loss)
    assert all(np.all(np.isfinite(w)) for w in model.get_weights())
    for variable, old in zip(model.weights, before):
        moved = not np.array_equal(keras.ops.convert_to_numpy(variable), old)
        assert moved == (variable.path.split("/")[-1] not in STILL), (kind, variable.path)
"""
# a kernel "stochastic" has a generator; anchors stand still until they are set
PAIRS = [("max", "ema"), ("lsq", "lsq"), ("a2q", "lsq+"), ("tqt", "tqt"), ("twn", "pact")]
PAIRS += [("stochastic", "ema")]
STILL = ("scale", "offset", "log2_t", "alpha", "norm")


@every_backend
def test_training_moves_what_is_trained(backend, tmp_path):
    other_backend.run(f"PAIRS, STILL = {PAIRS}, {STILL}\n{TRAINING}", backend, tmp_path)


def test_training_moves_what_is_trained_in_tensorflow():
    exec(TRAINING, {"PAIRS": PAIRS, "STILL": STILL, "__name__": "training"})
