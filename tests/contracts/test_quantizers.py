"""The laws of every quantizer, over the two tables."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from grid_edges import on_tie

from tfq_ext.errors import ModelError, SpecError, UnknownName
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS, Quantizer
from tfq_ext.spec import QParams, QSpec, Range

pytestmark = pytest.mark.tf
ops = keras.ops
every_activation = pytest.mark.parametrize("name", ACTIVATION_QUANTIZERS)
every_weight = pytest.mark.parametrize("name", WEIGHT_QUANTIZERS)
SHAPES = {
    "conv": ((3, 3, 8, 6), (3,)),
    "depthwise": ((3, 3, 6, 2), (2, 3)),
    "transposed": ((3, 3, 6, 8), (2,)),
    "dense": ((20, 7), (1,)),
    "per tensor": ((20, 7), None),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
TERNARY = ("twn", "fgq")
STATELESS = (*TERNARY, "max", "stochastic")  # their grid follows the weights


def weight(shape: str, seed: int = 0) -> np.ndarray:
    w = np.random.default_rng(seed).standard_t(4, SHAPES[shape][0]).astype(np.float32) * 0.1
    w[..., 0] = 0.0 if SHAPES[shape][1] is not None else w[..., 0]
    return w


def started(name: str, shape: str, w: np.ndarray, **settings):
    q = WEIGHT_QUANTIZERS[name](**{"bits": 4, "axes": SHAPES[shape][1], **settings})
    q.build(w.shape)
    q.start_from(w)
    return q


def activations(signed: bool, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(32, 40)).astype(np.float32)
    return x if signed else np.maximum(x, 0)


def active(name: str, x: np.ndarray, **settings):
    q = ACTIVATION_QUANTIZERS[name](**settings)
    q.start(x.min(), x.max())
    return q


def again(q):
    """A quantizer from another's config and variables, as load_model makes it."""
    new = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(q))
    if not new.built:
        new.build(q.get_build_config()["input_shape"])
    new.set_weights(q.get_weights())
    return new


# --- both tables ---------------------------------------------------------------------------------


def test_the_tables_answer_back():
    with pytest.raises(UnknownName, match="Did you mean 'lsq"):
        ACTIVATION_QUANTIZERS["lsq-"]
    with pytest.raises(UnknownName, match="Known: max, lsq, tqt, twn, fgq, a2q, stochastic"):
        WEIGHT_QUANTIZERS["minmax"]


@pytest.mark.parametrize(
    "make", [*ACTIVATION_QUANTIZERS.values(), *WEIGHT_QUANTIZERS.values()], ids=str
)
def test_a_config_holds_every_argument(make):
    q = make(name="mine")
    assert isinstance(q, Quantizer)
    config = q.get_config()
    assert type(q).from_config(config).get_config() == config
    assert {"bits", "symmetric", "narrow", "axes", "enabled", "frozen"} <= set(config)


@every_activation
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_dtype_that_came_in_goes_out_and_float32_is_between(name, dtype):
    x = activations(signed=False)
    q = active(name, x)
    y = q(ops.cast(x, dtype))
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    exact = q(ops.cast(ops.cast(x, dtype), "float32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(y, "float32")),
        ops.convert_to_numpy(ops.cast(ops.cast(exact, dtype), "float32")),
    )
    assert all(keras.backend.standardize_dtype(v.dtype) == "float32" for v in q.variables)


def same_step(q, x=None):
    """step() in a graph is grid()'s scale; an ulp beside it where the scale is a mean."""
    compiled = tf.function(lambda: q.step(x), jit_compile=False)
    for found in (q.step(x), compiled()):
        np.testing.assert_array_max_ulp(ops.convert_to_numpy(found), q.grid(x)[0], 1)


@every_activation
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_the_step_of_a_range_in_the_graph_is_its_scale(name, signed, bits):
    same_step(active(name, activations(signed), bits=bits))


@every_weight
@every_shape
def test_the_step_of_weights_in_the_graph_is_their_scale(name, shape):
    w = weight(shape)
    same_step(started(name, shape, w), tf.constant(w))


# --- activations ---------------------------------------------------------------------------------


@every_activation
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (4, False), (2, False), (16, True)])
def test_the_range_makes_the_grid_and_the_grid_the_values(name, signed, bits, symmetric):
    """range() through TFLite's arithmetic is grid(), and the forward map lies on it."""
    if name == "lsq+" and symmetric:
        pytest.skip("lsq+ learns a zero point")
    x = activations(signed)
    q = active(name, x, bits=bits, symmetric=symmetric)
    spec = QSpec(bits, symmetric=symmetric)
    made = QParams.from_range(spec, Range(*q.range()))
    scale, zero = q.grid()
    assert (made.scale, made.zero_point) == (scale, zero)
    y = ops.convert_to_numpy(q(x))
    codes = np.rint(y / scale) + zero
    assert codes.min() >= spec.qmin
    assert codes.max() <= spec.qmax
    # the fused op's last bit: 1e-6 of the widest value
    np.testing.assert_allclose(y, (codes - zero) * scale, atol=1e-6 * np.abs(y).max(), rtol=0)
    wanted, apart = made.encode(x), np.rint(y / scale) + zero != made.encode(x)
    clipped = (wanted == spec.qmin) | (wanted == spec.qmax)  # learned grids may be narrow: -qmax
    assert not np.any(apart & ~on_tie(x, scale, 2.0 ** (bits - 22)) & ~clipped)


@every_activation
def test_zero_stays_zero_and_twice_is_once(name):
    q = active(name, activations(signed=True))
    assert float(q(np.zeros((1, 1), np.float32))[0, 0]) == 0.0
    once = q(activations(signed=True))
    np.testing.assert_allclose(q(once), once, atol=1e-6)


@every_activation
def test_switched_off_it_is_the_identity(name):
    x = activations(signed=True)
    q = active(name, x)
    q.enabled = False
    np.testing.assert_array_equal(q(x), x)


@every_activation
def test_frozen_nothing_moves_and_the_grid_is_where_it_was(name):
    x = activations(signed=True)
    q = active(name, x)
    step(q, x)
    before = q.grid()
    q.frozen = True
    for a, b in zip(before, q.grid(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    held = q.grid()
    step(q, 3 * x, optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    for a, b in zip(held, q.grid(), strict=True):
        np.testing.assert_array_equal(a, b)
    again_q = again(q)
    assert again_q.frozen
    np.testing.assert_array_equal(again_q(x), q(x))


def step(q, x, optimizer=None):
    """One training step that pulls what comes out towards 3."""
    optimizer = optimizer or keras.optimizers.SGD(0.1)
    with tf.GradientTape() as tape:
        y = q(ops.convert_to_tensor(x), training=True)
        loss = tf.reduce_mean(tf.square(y - 3.0)) + sum(q.losses)
    variables = q.trainable_variables
    grads = tape.gradient(loss, [v.value for v in variables])
    assert all(g is not None and np.all(np.isfinite(g)) for g in grads)
    if variables:
        optimizer.apply(grads, variables)


@every_activation
def test_a_step_moves_what_is_learned_and_config_and_variables_bring_it_back(name):
    x = activations(signed=True)
    q = active(name, x / 2)
    before = q.get_weights()
    step(q, x)
    moved = any(not np.array_equal(a, b) for a, b in zip(before, q.get_weights(), strict=True))
    assert moved == (name != "fixed")
    new = again(q)
    assert new.range() == q.range()
    np.testing.assert_array_equal(new(x), q(x))


@every_activation
@pytest.mark.parametrize("signed", [False, True])
def test_other_bits_keep_the_range(name, signed):
    x = activations(signed)
    q = active(name, x)
    lo, hi = q.range()
    q.bits = 5
    new_lo, new_hi = q.range()
    step_size = float(q.grid()[0])
    assert abs(new_lo - lo) <= 1.01 * step_size
    assert abs(new_hi - hi) <= 1.01 * step_size
    q.bits = 8
    np.testing.assert_allclose(q.range(), (lo, hi), atol=0.51 * step_size)  # z was nudged
    assert len(np.unique(ops.convert_to_numpy(q(x)))) <= 256


@every_activation
@pytest.mark.parametrize("jit", [False, True])
def test_a_compiled_step_moves_as_an_eager_one(name, jit):
    x = activations(signed=True)
    mine, theirs = active(name, x / 2), active(name, x / 2)

    def losses(q):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(q(ops.convert_to_tensor(x), training=True)))
        return tape.gradient(loss, [v.value for v in q.trainable_variables])

    eager, compiled = losses(mine), tf.function(partial(losses, theirs), jit_compile=jit)()
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mine.range(), theirs.range(), rtol=1e-6)


@every_activation
def test_ranges_that_are_none_are_refused(name):
    with pytest.raises(ModelError, match="no range to start from"):
        ACTIVATION_QUANTIZERS[name]().start(np.nan, 1.0)
    with pytest.raises(ModelError, match="no range to start from"):
        ACTIVATION_QUANTIZERS[name]().start(2.0, 1.0)


@every_activation
def test_a_tensor_of_zeros_has_a_grid(name):
    q = ACTIVATION_QUANTIZERS[name]()
    q.start(0.0, 0.0)
    y = ops.convert_to_numpy(q(np.zeros((4, 4), np.float32), training=True))
    assert np.all(y == 0)
    scale, zero = q.grid()
    assert scale > 0
    assert np.isfinite(scale)
    assert -128 <= zero <= 127


# --- weights -------------------------------------------------------------------------------------


@every_weight
@every_shape
@pytest.mark.parametrize("bits", [8, 4])
def test_codes_times_scale_are_the_forward_map_bit_for_bit(name, shape, bits):
    w = weight(shape)
    q = started(name, shape, w, bits=bits)
    codes, (scale, zero) = q.codes(w), q.grid(w)
    assert codes.dtype == np.int8
    assert scale.dtype == np.float32
    assert scale.shape == zero.shape == q.channels(w.shape)
    assert codes.min() >= q.spec.qmin
    assert codes.max() <= q.spec.qmax
    spread = np.asarray(q.spread(scale, w.ndim))
    y = ops.convert_to_numpy(q(w))
    np.testing.assert_array_equal(codes.astype(np.float32) * spread, y)
    assert np.all(np.isfinite(y))


@every_weight
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("shape", ["conv", "depthwise"])
def test_compiled_codes_are_the_eager_ones(name, jit, shape):
    w = weight(shape)
    q = started(name, shape, w)
    spread = np.asarray(q.spread(q.grid(w)[0], w.ndim))
    compiled = tf.function(q.call, jit_compile=jit)(tf.constant(w)).numpy()
    apart = np.rint(compiled / spread) != q.codes(w)
    # norms and sums of "a2q" and "fgq" differ in their last bits under XLA
    assert apart.mean() <= (0.005 if name in ("a2q", "fgq") else 0.0)


@every_weight
def test_dead_channels_have_a_scale_and_no_nan(name):
    w = np.zeros((3, 3, 4, 5), np.float32)
    q = WEIGHT_QUANTIZERS[name](axes=(3,))
    q.build(w.shape)
    q.start_from(w)
    scale, _ = q.grid(w)
    assert np.all(scale > 0)
    with tf.GradientTape() as tape:
        v = tf.Variable(w)
        loss = tf.reduce_sum(tf.square(q(v, training=True) - 1.0)) + sum(q.losses)
    grads = tape.gradient(loss, [v, *(t.value for t in q.trainable_variables)])
    assert all(np.all(np.isfinite(g)) for g in grads)
    assert q.codes(w).max() == 0


@every_weight
@every_shape
def test_config_and_variables_bring_a_weight_quantizer_back(name, shape):
    w = weight(shape)
    q = started(name, shape, w)
    new = again(q)
    np.testing.assert_array_equal(new.codes(w), q.codes(w))
    np.testing.assert_array_equal(new.grid(w)[0], q.grid(w)[0])


@every_weight
def test_a_layer_learns_through_it(name):
    """Straight through: the weights move, and so does what the quantizer trains."""
    w = weight("dense")
    q = started(name, "dense", w)
    v = tf.Variable(w)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(q(v, training=True) - 1.0))
    grads = tape.gradient(loss, [v, *(t.value for t in q.trainable_variables)])
    assert all(g is not None and np.any(g) for g in grads[:2])
    assert bool(q.trainable_variables) == (name not in STATELESS)


@every_weight
def test_other_bits_keep_the_range_of_weights(name):
    w = weight("conv")
    q = started(name, "conv", w, bits=8)
    if name in TERNARY:
        with pytest.raises(SpecError, match="three values"):
            q.bits = 5
        return
    live = np.abs(w).max(axis=(0, 1, 2)) > 0  # a dead channel has the least scale, whatever bits
    top = q.grid(w)[0] * q.spec.qmax
    q.bits = 5
    # tqt's threshold stays, and its range is the threshold less one step
    rtol = 0.07 if name == "tqt" else 1e-5
    np.testing.assert_allclose((q.grid(w)[0] * q.spec.qmax)[live], top[live], rtol=rtol)
    assert np.abs(q.codes(w)).max() <= 15


@every_weight
def test_frozen_weights_stay_on_their_grid(name):
    w = weight("dense")
    q = started(name, "dense", w)
    for variable in q.trainable_variables:
        variable.assign(variable + 0.1)
    before, codes = q.grid(w)[0], q.codes(w)
    q.frozen = True
    np.testing.assert_allclose(q.grid(w)[0], before, rtol=1e-6)
    for variable in q.trainable_variables:
        variable.assign(variable + 5.0)
    np.testing.assert_allclose(q.grid(w)[0], before, rtol=1e-6)
    assert np.mean(q.codes(w) != codes) < 0.02
    q.frozen = False
    np.testing.assert_allclose(q.grid(w)[0], before, rtol=1e-6)


@every_weight
def test_switched_off_weights_have_no_codes(name):
    w = weight("dense")
    q = started(name, "dense", w, enabled=False)
    np.testing.assert_array_equal(q(w), w)
    with pytest.raises(ModelError, match="enabled"):
        q.codes(w)
