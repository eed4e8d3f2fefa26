"""A folded BatchNormalization is a BatchNormalization, and its codes do not jitter."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kinds_zoo import LINEAR, randomised, values

from tfq_ext.errors import SpecError
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.kinds import channel_axes
from tfq_ext.qat.quantizers import WEIGHT_QUANTIZERS

L = keras.layers
BATCH = 8
every_kind = pytest.mark.parametrize("kind", LINEAR)


def pair(kind, *, mode="corrected", bits=8, quantizer="max", **norm):
    """(folded layer, plain layer, plain BatchNormalization) with the same weights."""
    keras.utils.set_random_seed(0)
    make, shape = LINEAR[kind]
    plain, plain_norm = make(), L.BatchNormalization(momentum=0.8, **norm)
    plain_norm(plain(np.zeros((1, *shape), np.float32)))
    randomised(plain_norm)
    inner = type(plain).from_config(plain.get_config())
    q = WEIGHT_QUANTIZERS[quantizer](bits=bits, axes=channel_axes(inner, "kernel"), name="q")
    copied = L.BatchNormalization.from_config(plain_norm.get_config())
    folded = FoldedBatchNorm(inner, copied, q, mode=mode)
    folded.build((None, *shape))
    inner.set_weights(plain.get_weights())
    copied.set_weights(plain_norm.get_weights())
    return folded, plain, plain_norm


def batch(kind, seed=0):
    return values((BATCH, *LINEAR[kind][1]), seed)


def close(a, b, tolerance=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, float(np.abs(b).max())), rtol=0)


@every_kind
@pytest.mark.parametrize("delayed", [False, True])
def test_without_quantizers_training_is_batch_normalization(kind, delayed):
    """Output, moving statistics and every gradient, with float and with identity quantizers."""
    folded, plain, norm = pair(kind, epsilon=1e-2)
    folded.quantizer.enabled = not delayed
    if not delayed:
        folded.quantizers["kernel"].call = lambda w, training=None: w  # Q is the identity
    x = batch(kind)
    seed = tf.constant(values(plain(x).shape, 5))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(folded(x, training=True) * seed)
    mine = tape.gradient(loss, [w.value for w in folded.trainable_weights])
    with tf.GradientTape() as tape:
        y = norm(plain(x), training=True)
        wanted_loss = tf.reduce_sum(y * seed)
    theirs = tape.gradient(
        wanted_loss, [w.value for w in (*plain.trainable_weights, *norm.trainable_weights)]
    )
    close(loss, wanted_loss, 1e-4)
    for a, b in zip(mine, theirs, strict=True):
        close(a, b, 2e-4)  # sums over up to 400 products of order 1, in another order
    close(folded.norm.moving_mean, norm.moving_mean)
    close(folded.norm.moving_variance, norm.moving_variance)


@every_kind
@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False}, {"epsilon": 0.1}])
def test_both_phases_equal_batch_normalization_to_1e_5(kind, options):
    folded, plain, norm = pair(kind, **options)
    folded.quantizer.enabled = False
    x = batch(kind)
    inference = norm(plain(x), training=False)
    close(folded(x, training=False), inference)
    folded.frozen = True
    close(folded(x, training=True), inference)
    folded.frozen = False
    close(folded(x, training=True), norm(plain(x), training=True))


@every_kind
def test_frozen_statistics_do_not_move(kind):
    folded, *_ = pair(kind)
    folded.frozen = True
    before = folded.norm.get_weights()
    folded(batch(kind), training=True)
    for a, b in zip(before, folded.norm.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def rounded_kernel(folded, x):
    """What the layer convolves with in training, as seen at the quantizer."""
    seen = []
    call = folded.quantizers["kernel"].call

    def watch(w, training=None, slot=0):
        seen.append(np.asarray(call(w, training=training)))
        return seen[-1]

    folded.quantizers["kernel"].call = watch
    folded(x, training=True)
    folded.quantizers["kernel"].call = call
    return seen[-1]


@pytest.mark.parametrize("kind", [k for k in LINEAR if k != "ChannelScale"])
def test_corrected_codes_do_not_depend_on_the_batch_and_naive_ones_do(kind):
    found = {}
    for mode in ("corrected", "naive"):
        kernels = []
        for seed in (0, 1):
            folded, *_ = pair(kind, mode=mode)
            kernels.append(rounded_kernel(folded, batch(kind, seed)))
        found[mode] = kernels
    np.testing.assert_array_equal(*found["corrected"])
    assert np.any(found["naive"][0] != found["naive"][1])


@every_kind
@pytest.mark.parametrize("bits", [8, 4])
def test_codes_are_those_of_inference(kind, bits):
    folded, *_ = pair(kind, bits=bits)
    weight = folded.weight()
    q, (scale, _) = folded.quantizer.codes(weight), folded.quantizer.grid(weight)
    spread = np.asarray(folded.quantizer.spread(scale, weight.ndim))
    assert np.abs(q).max() == 2 ** (bits - 1) - 1
    close(rounded_kernel(folded, batch(kind)), q * spread, 1e-6)
    assert np.abs(q * spread - weight).max() <= scale.max() / 2 * (1 + 1e-5)


def test_channel_scale_is_exact_on_any_grid():
    """One weight a channel: its code is the highest, so nothing is lost, not even at 4 bits."""
    folded, plain, norm = pair("ChannelScale", bits=4)
    x = batch("ChannelScale")
    assert set(np.abs(folded.quantizer.codes(folded.weight())).ravel()) == {7}
    close(folded(x, training=False), norm(plain(x), training=False), 1e-6)


@every_kind
def test_a_step_moves_the_weights(kind):
    folded, *_ = pair(kind)
    inputs = keras.Input(LINEAR[kind][1])
    model = keras.Model(inputs, folded(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    before = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    x = batch(kind)
    model.train_on_batch(x, np.zeros(folded(x).shape, np.float32))
    for a, b in zip(before, model.trainable_weights, strict=True):
        assert np.any(a != np.asarray(b))


@every_kind
def test_save_and_load(kind, tmp_path):
    folded, *_ = pair(kind, mode="naive")
    folded.frozen = True
    inputs = keras.Input(LINEAR[kind][1])
    model = keras.Model(inputs, folded(inputs))
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    layer = again.layers[-1]
    assert (layer.mode, layer.frozen) == ("naive", True)
    x = batch(kind)
    np.testing.assert_array_equal(model(x), again(x))


def test_a_norm_that_is_not_trainable_stays_in_inference():
    folded, plain, norm = pair("Conv2D")
    folded.quantizer.enabled = False
    folded.norm.trainable = False
    x = batch("Conv2D")
    close(folded(x, training=True), norm(plain(x), training=False))


def test_an_unknown_mode_is_refused():
    with pytest.raises(SpecError, match="corrected, naive; got 'both'"):
        FoldedBatchNorm(L.Dense(2), L.BatchNormalization(), None, mode="both")
