"""Trained maps: what they tell scale, threshold, offset and ceiling equals the closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from grid_edges import edges, on_tie

from tfq_ext.qat import fake_quant as fq
from tfq_ext.qat.maps import learned
from tfq_ext.spec import QSpec

jitted = pytest.mark.parametrize("jit", [False, True])
GRIDS = [(0.25, -7, 7), (0.25, -8, 7), (0.37, 0, 15), (1e-3, -127, 127)]  # scale, low, high
every_grid = pytest.mark.parametrize(("scale", "low", "high"), GRIDS)


def sloped(route, jit=False):
    """x, parameters -> (values, gradient of x, gradients of the parameters)."""

    @tf.function(jit_compile=jit)
    def traced(x, upstream, *given):
        with tf.GradientTape() as tape:
            tape.watch([x, *given])
            y = route(x, *given)
        return y, tape.gradient(y, [x, *given], output_gradients=upstream)

    def run(x, *parameters, upstream=None):
        given = [tf.constant(p, tf.float32) for p in parameters]
        upstream = tf.ones_like(x) if upstream is None else tf.constant(upstream)
        y, (dx, *rest) = traced(tf.constant(x), upstream, *given)
        return y.numpy(), dx.numpy(), [d.numpy() for d in rest]

    return run


def each(route, x, parameter, jit=False):
    """d y_i / d parameter for every value of x apart: the map under one weight per value."""
    wide = np.full(x.shape, parameter, np.float32)  # a parameter per value: nothing is summed
    return sloped(route, jit)(x, wide)


@jitted
@every_grid
def test_lsq_is_its_closed_form_on_and_beside_every_edge(scale, low, high, jit):
    x = edges(scale, low, high)
    s, gain = np.float32(scale), 0.125
    y, dx, (ds,) = each(lambda x, s: learned.lsq(x, s, low, high, gain), x, s, jit)
    u = x.astype(np.float64) / np.float64(s)
    inside = (x >= np.float32(low) * s) & (x <= np.float32(high) * s)
    wanted = np.where(inside, np.rint(u) - u, np.clip(np.rint(u), low, high)) * gain
    clear = (
        ~on_tie(x, s) | ~inside
    )  # on a tie rounding up and down are both right: the slope jumps by 1
    slack = 4e-7 * max(high, -low)  # u in float32
    np.testing.assert_allclose(ds[clear], wanted[clear], atol=slack, rtol=0)
    np.testing.assert_array_equal(dx, inside)
    np.testing.assert_allclose(np.abs(ds[~clear]), gain / 2, atol=3e-6 * high)
    plain = fq.on_grid(tf.constant(x), tf.constant(s), float(low), float(high))
    np.testing.assert_array_equal(y, plain)


def test_lsq_sums_over_what_shares_a_scale():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
    s = rng.uniform(0.1, 0.3, (1, 1, 1, 5)).astype(np.float32)
    up = rng.normal(size=w.shape).astype(np.float32)
    _, _, (ds,) = sloped(lambda x, s: learned.lsq(x, s, -7, 7, 1.0))(w, s, upstream=up)
    u = w.astype(np.float64) / s
    slope = np.where(np.abs(u) <= 7, np.rint(u) - u, np.clip(np.rint(u), -7, 7))
    assert ds.shape == s.shape
    np.testing.assert_allclose(ds, (slope * up).sum((0, 1, 2), keepdims=True), rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "scales", "batched", "n"),
    [
        ((3, 3, 8, 16), (1, 1, 1, 16), False, 72),  # weights of one channel
        ((3, 3, 8, 16), (), False, 1152),
        ((32, 7, 7, 8), (), True, 392),  # the features of one sample
        ((32,), (), True, 1),
    ],
)
def test_the_gradient_scale_is_one_over_the_root_of_n_times_qp(shape, scales, batched, n):
    gain = learned.step_gain(tf.zeros(shape), tf.ones(scales), 127, batched=batched)
    np.testing.assert_allclose(gain, 1 / np.sqrt(n * 127), rtol=1e-6)


def test_the_gradient_of_extremes_adds_up():
    """1000 values far above and 500 far below: high * 1000 + low * 500."""
    x = np.concatenate([np.full(1000, 90.0), np.full(500, -90.0)]).astype(np.float32)
    _, _, (ds,) = sloped(lambda x, s: learned.lsq(x, s, -8, 7, 1.0))(x, 0.5)
    assert ds == 7 * 1000 - 8 * 500


@jitted
@pytest.mark.parametrize("beta", [0.0, 1.6, 11.0])
def test_lsq_plus_is_its_closed_form(beta, jit):
    s, qmin, qmax = np.float32(0.4), -8, 7
    b = np.float32(beta)
    z = np.clip(np.rint(-b / s), qmin, qmax)
    low, high = qmin - z, qmax - z
    x = edges(0.4, int(low), int(high))

    def route(x, s, b):
        zero = learned.zero_of_offset(s[0], b[0], float(qmin), float(qmax))
        return learned.lsq_plus(x, s[0], b[0], zero, qmin, qmax, 1.0)

    run = sloped(route, jit)
    for k in range(0, len(x), 5):  # the gradients are sums over x: one value at a time
        y, dx, (ds, db) = run(x[k : k + 1], [s], [b])
        u = np.float64(x[k]) / np.float64(s)
        inside = np.float32(low) * s <= x[k] <= np.float32(high) * s
        assert dx[0] == inside
        assert db[0] == (not inside)
        assert y[0] == s * np.float32(np.clip(np.rint(x[k] * (np.float32(1) / s)), low, high))
        if not on_tie(x[k], s):
            wanted = np.rint(u) - u if inside else np.clip(np.rint(u) + z, qmin, qmax)
            np.testing.assert_allclose(ds[0], wanted, atol=1e-5)


@jitted
@pytest.mark.parametrize(("low", "high", "bits"), [(-8, 7, 3), (-7, 7, 3), (0, 15, 4)])
@pytest.mark.parametrize("log2_t", [-2.0, -1.7, 0.01, 3.0])
def test_tqt_is_its_closed_form(low, high, bits, log2_t, jit):
    s = np.float32(2.0 ** (np.ceil(np.float32(log2_t)) - bits))
    x = edges(s, low, high)
    y, dx, (dt,) = each(lambda x, t: learned.tqt(x, t, low, high, bits), x, log2_t, jit)
    u = x / s  # exact: s is a power of two
    inside = (np.rint(u) >= low) & (np.rint(u) <= high)
    slope = np.where(inside, np.rint(u) - u, np.where(u < 0, low, high))
    np.testing.assert_allclose(dt, s * np.log(2) * slope, rtol=1e-6)
    np.testing.assert_array_equal(dx, inside)
    np.testing.assert_array_equal(y, s * np.clip(np.rint(u), low, high))


@jitted
def test_powers_of_two_are_exact(jit):
    exponents = np.arange(-60, 61).astype(np.float32)
    got = tf.function(learned.power_of_two, jit_compile=jit)(tf.constant(exponents))
    np.testing.assert_array_equal(got, np.exp2(exponents.astype(np.float64)))


@pytest.mark.parametrize("signed", [False, True])
def test_pact_is_its_closed_form(signed):
    alpha, steps = np.float32(5.25), 7 if signed else 15
    low, high = (-7, 7) if signed else (0, 15)
    s = alpha / np.float32(steps)
    run = sloped(lambda x, a: learned.pact(x, a, s, low, high))
    for x in [*edges(s, low, high)[::3].tolist(), 0.0, float(alpha), -float(alpha)]:
        value = np.array([x], np.float32)
        _, dx, (da,) = run(value, alpha)
        x = value[0]
        assert dx[0] == (-alpha < x < alpha if signed else 0 <= x < alpha)
        assert da == (1 if x >= alpha else -1 if signed and x <= -alpha else 0)


def test_at_the_start_all_of_them_are_plain_fake_quantization():
    x = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    spec, s = QSpec(4, symmetric=False), tf.constant(0.25)
    wanted = fq.fake_quant(x, s, 0.0, spec).numpy()
    maps = {
        "lsq": learned.lsq(x, s, -8, 7, 1.0),
        "lsq+": learned.lsq_plus(x, s, 0.0, 0.0, -8, 7, 1.0),
        "tqt": learned.tqt(x, tf.constant(0.9), -8, 7, 3),  # 2^1 / 2^3 = 0.25
        "pact": learned.pact(x, tf.constant(1.75), s, -8, 7),
    }
    for name, y in maps.items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(y), wanted, err_msg=name)
