"""The plain maps: TFLite's grid, equal codes on every route, the mask on the nudged range."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from grid_edges import edges, on_tie

from tfq_ext.qat import fake_quant as fq
from tfq_ext.qat.quantizers.base import file_range, grid_of
from tfq_ext.spec import QParams, QSpec, Range

RANGES = [(-7e-5, 2e-5), (0.0, 6.0), (-2.5, 2.5)]  # the last: -min/s is a tie
BITS = [2, 4, 8, 16]


def routes(x, lo, hi, spec):
    """route -> values of the map."""
    lo, hi = tf.constant(lo, tf.float32), tf.constant(hi, tf.float32)

    def plain(x):
        scale, zero = fq.grid_of_range(lo, hi, spec)
        return fq.fake_quant(x, scale, zero, spec)

    def chosen(x):
        return fq.fake_quant_range(x, lo, hi, spec)

    made = {"eager": plain, "graph": tf.function(plain)}
    made["xla"] = tf.function(plain, jit_compile=True)
    made |= {"chosen": chosen, "chosen in xla": tf.function(chosen, jit_compile=True)}
    return {name: route(tf.constant(x)).numpy() for name, route in made.items()}


def codes(values, params):
    return np.rint(values / params.scale).astype(np.int64) + params.zero_point


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("ends", RANGES)
def test_every_route_gives_the_codes_of_numpy_except_on_ties(bits, symmetric, ends):
    spec = QSpec(bits, symmetric=symmetric)
    params = QParams(spec, *grid_of(*ends, spec))
    s, z = float(params.scale), int(params.zero_point)
    near = edges(s, spec.qmin - z, spec.qmax - z) if bits <= 8 else np.zeros(0, np.float32)
    spread = np.random.default_rng(bits).normal(0, max(ends[1], -ends[0]) / 2, 20_000)
    x = np.concatenate([near, spread.astype(np.float32)])
    wanted = params.encode(x)
    for route, values in routes(x, *ends, spec).items():
        # the fused op rounds x - min, up to 2^b steps; the plain map x alone
        hair = 2.0 ** (bits - 22) if "chosen" in route else 0.0
        wrong = codes(values, params) != wanted
        assert not np.any(wrong & ~(on_tie(x, s) | on_tie(x, s, hair))), route
        assert np.abs(codes(values, params) - wanted).max() <= 1, route


@pytest.mark.parametrize("symmetric", [False, True])
def test_eager_graph_and_xla_agree_in_every_bit(symmetric):
    x = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    got = routes(x, -1.7, 2.3, QSpec(8, symmetric=symmetric))
    np.testing.assert_array_equal(got["eager"], got["graph"])
    np.testing.assert_array_equal(got["eager"], got["xla"])


def test_the_fused_op_differs_in_few_codes_and_only_on_ties():
    """A million values: FACTS.md counts 1 code in 4 million."""
    x = np.random.default_rng(2).normal(size=1_000_000).astype(np.float32)
    spec = QSpec(8, symmetric=False)
    params = QParams.from_range(spec, Range(np.float32(-4.1), np.float32(3.3)))
    got = routes(x, -4.1, 3.3, spec)
    apart = codes(got["eager"], params) != codes(got["chosen"], params)
    assert apart.sum() <= 4
    assert np.all(on_tie(x[apart], params.scale, 2e-5))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_grids_are_those_of_the_converter(bits):
    """Over ranges drawn at random, scale and zero point are QParams.from_range's, bit for bit."""
    rng = np.random.default_rng(3)
    spec = QSpec(bits, symmetric=False)
    lo = (-np.exp(rng.normal(size=500))).astype(np.float32)
    hi = np.exp(rng.normal(size=500)).astype(np.float32)
    run = tf.function(lambda a, b: fq.grid_of_range(a, b, spec), jit_compile=True)
    for scale, zero in (fq.grid_of_range(tf.constant(lo), tf.constant(hi), spec), run(lo, hi)):
        for k in range(500):
            wanted = QParams.from_range(spec, Range(lo[k], hi[k]))
            assert scale[k].numpy() == wanted.scale
            assert int(zero[k]) == wanted.zero_point


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_where_the_converter_would_nudge_otherwise_the_file_gets_a_range_an_ulp_away(bits):
    """Random ranges, and such whose zero point lies exactly between two codes."""
    spec = QSpec(bits, symmetric=False)
    rng = np.random.default_rng(8)
    steps = 2**bits - 1
    ties = [(-(k + 0.5) / 4, (steps - k - 0.5) / 4) for k in range(steps)]
    drawn = [(-float(a), float(b)) for a, b in np.exp(rng.normal(size=(300, 2)))]
    moved = 0
    for lo, hi in ties + drawn:
        lo, hi = float(np.float32(lo)), float(np.float32(hi))
        scale, zero = grid_of(lo, hi, spec)
        made = QParams.from_range(spec, Range(*file_range(lo, hi, spec)))
        assert (made.scale, made.zero_point) == (scale, zero)
        moved += file_range(lo, hi, spec) != (lo, hi)
    assert 0 < moved <= steps


def test_an_empty_range_has_scale_1_as_the_converter_gives_it():
    spec = QSpec(8, symmetric=False)
    scale, zero = fq.grid_of_range(tf.constant(0.0), tf.constant(0.0), spec)
    wanted = QParams.from_range(spec, Range(0.0, 0.0))
    assert (float(scale), int(zero)) == (float(wanted.scale), int(wanted.zero_point)) == (1.0, 0)
    x = np.array([-3.4, 0.0, 2.6, 400.0], np.float32)
    for values in routes(x, 0.0, 0.0, spec).values():
        np.testing.assert_array_equal(values, [-3, 0, 3, 127])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_laws_of_the_map(bits, symmetric):
    """Zero stays zero, twice is once, the error is half a step, and there are 2^b values."""
    spec = QSpec(bits, symmetric=symmetric)
    params = QParams.from_range(spec, Range(np.float32(-1.3), np.float32(2.1)))
    x = np.random.default_rng(4).uniform(-1.3, 2.1, 50_000).astype(np.float32)
    scale, zero = (tf.constant(v, tf.float32) for v in (params.scale, params.zero_point))
    once = fq.fake_quant(tf.constant(x), scale, zero, spec).numpy()
    twice = fq.fake_quant(tf.constant(once), scale, zero, spec).numpy()
    np.testing.assert_array_equal(once, twice)
    assert float(fq.fake_quant(tf.zeros(()), scale, zero, spec)) == 0.0
    assert len(np.unique(once)) <= 2**bits
    inside = (x >= params.range.min) & (x <= params.range.max)
    # two roundings of u before round() and one after it: 4 ulp of a value of 2^(b-1) steps
    slack = 4 * 2.0 ** (bits - 24)
    assert np.abs(once - x)[inside].max() <= params.scale * (0.5 + slack)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((3, 3, 5, 7), 3), ((7, 4), 0), ((2, 7, 3), 1)])
def test_per_channel_is_per_tensor_channel_by_channel(symmetric, shape, axis):
    rng = np.random.default_rng(5)
    x = rng.normal(size=shape).astype(np.float32)
    spec = QSpec(4, symmetric=symmetric)
    size = shape[axis]
    lo, hi = -rng.uniform(0.1, 2, size).astype(np.float32), rng.uniform(0.1, 2, size)
    scale, zero = fq.grid_of_range(tf.constant(lo), tf.constant(hi, tf.float32), spec)
    wide = [1] * len(shape)
    wide[axis] = size
    y = fq.fake_quant(x, tf.reshape(scale, wide), tf.reshape(zero, wide), spec).numpy()
    for c in range(size):
        mine = np.take(y, c, axis)
        alone = fq.fake_quant(tf.constant(np.take(x, c, axis)), scale[c], zero[c], spec)
        np.testing.assert_array_equal(mine, alone.numpy())


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_tensorflow_s_per_channel_op_is_a_witness(per_channel, bits):
    """Symmetric narrow weights, channels last: the same codes as tf.quantization's own kernel."""
    w = np.random.default_rng(6).normal(size=(3, 3, 16, 8)).astype(np.float32)
    axes = (0, 1, 2) if per_channel else None
    bound = np.abs(w).max(axis=axes)
    spec = QSpec(bits, narrow=True)
    scale, zero = fq.grid_of_range(tf.constant(-bound), tf.constant(bound), spec)
    mine = fq.fake_quant(tf.constant(w), scale, zero, spec).numpy()
    op = tf.quantization.fake_quant_with_min_max_vars
    op = tf.quantization.fake_quant_with_min_max_vars_per_channel if per_channel else op
    theirs = op(w, -bound, bound, num_bits=bits, narrow_range=True).numpy()
    apart = np.rint(mine / scale) != np.rint(theirs / scale)
    assert not np.any(apart & ~on_tie(w, np.broadcast_to(scale, w.shape)))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("jit", [False, True])
def test_the_gradient_passes_inside_the_nudged_range_edges_included(symmetric, jit):
    """[-1, 1.03] at 4 bits: the nudged range is another, and decides."""
    spec = QSpec(4, symmetric=symmetric)
    ends = np.float32(-1.0), np.float32(1.03)
    params = QParams.from_range(spec, Range(*ends))
    s, z = params.scale, int(params.zero_point)
    low, high = np.float32(spec.qmin - z) * s, np.float32(spec.qmax - z) * s
    up, down = np.nextafter([low, high], np.float32(9)), np.nextafter([low, high], np.float32(-9))
    x = np.concatenate([edges(s, spec.qmin - z, spec.qmax - z), [low, high], up, down])
    x = x.astype(np.float32)
    wanted = ((x >= low) & (x <= high)).astype(np.float32)
    assert 0 < wanted.sum() < len(x)
    assert (low, high) != ends

    def chosen(x):
        return fq.fake_quant_range(x, *map(tf.constant, ends), spec)

    def plain(x):
        return fq.fake_quant(x, *fq.grid_of_range(*map(tf.constant, ends), spec), spec)

    for route in (chosen, plain):

        @tf.function(jit_compile=jit)
        def slope(x, route=route):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = route(x)
            return tape.gradient(y, x, output_gradients=3.0 * tf.ones_like(x))

        got = slope(tf.constant(x)).numpy()
        hard = np.abs(x[:, None] - [low, high]).min(axis=1) <= 2e-7  # one ulp: kernels compute
        np.testing.assert_array_equal(got[~hard], 3 * wanted[~hard])  # the edge in other orders
        if route is plain:
            np.testing.assert_array_equal(got, 3 * wanted)


def test_straight_through_is_one_map_forward_and_another_back():
    x, y = tf.constant([1.0, -2.0]), tf.constant([7.0, 0.5])
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        out = fq.straight_through(x, y)
    dx, dy = tape.gradient(out, [x, y], output_gradients=tf.constant([2.0, 3.0]))
    np.testing.assert_array_equal(out, [7.0, 0.5])
    np.testing.assert_array_equal(dx, [2.0, 3.0])
    np.testing.assert_array_equal(dy, [0.0, 0.0])


def test_division_is_ieee_in_xla_too():
    x = np.random.default_rng(7).random(10_000).astype(np.float32)
    run = tf.function(lambda v: fq.divided(v, 127.0), jit_compile=True)
    np.testing.assert_array_equal(run(x).numpy(), x / np.float32(127))
    plain = tf.function(lambda v: v / 127.0, jit_compile=True)
    assert np.any(plain(x).numpy() != x / np.float32(127))  # why `divided` exists


def test_the_backend_under_test_is_tensorflow():
    assert keras.backend.backend() == "tensorflow"


def test_reciprocals_are_ieee_in_a_graph_too():
    """A vector of scales, as weights have; TensorFlow's graph rewrites 1 / s."""
    s = np.random.default_rng(9).uniform(0.1, 1, 1000).astype(np.float32)
    for jit in (False, True):
        run = tf.function(fq.inverse, jit_compile=jit)
        np.testing.assert_array_equal(run(s).numpy(), np.float32(1) / s)
