"""The laws of every observer, and that the fast path keeps them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tfq_ext.calibrate.accumulator import MAX_CHANNELS, Accumulator, observe_many
from tfq_ext.calibrate.observers import OBSERVERS
from tfq_ext.errors import StatsError, UnknownName

ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True)
ONE_SHAPE = st.tuples(st.integers(0, 4), st.just(3))
ANY_SHAPE = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
KEEPS_KEYS = ["sample_ranges", "full"]


def streams(shape):
    """Lists of (key, array): distinct keys, arrays of the given shapes."""
    array = arrays(np.float32, shape, elements=ANY_FLOAT)
    return st.dictionaries(st.integers(-(2**63), 2**63 - 1), array, max_size=5).map(
        lambda d: list(d.items())
    )


def bits(state):
    """A state as something that compares bit for bit: -0.0 is not 0.0 here."""
    if isinstance(state, tuple):
        return tuple(bits(s) for s in state)
    if isinstance(state, np.ndarray | float):
        array = np.asarray(state)
        return array.dtype.str, array.shape, array.tobytes()
    if hasattr(state, "__dataclass_fields__"):
        return tuple(bits(getattr(state, field)) for field in state.__dataclass_fields__)
    return state


def fold(observer, stream):
    state = observer.init()
    for key, x in stream:
        state = observer.update(state, key, x)
    return state


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("shape", [ONE_SHAPE, ANY_SHAPE], ids=["one shape", "any shape"])
def test_merge_is_associative_and_commutative_and_init_neutral(name, shape):
    observer = OBSERVERS[name]

    @settings(max_examples=25, deadline=None)
    @given(streams(shape), st.integers(0, 5), st.integers(0, 5))
    def law(stream, i, j):
        i, j = sorted((i, j))
        a, b, c = (fold(observer, part) for part in (stream[:i], stream[i:j], stream[j:]))
        merge = observer.merge
        left = merge(merge(a, b), c)
        assert bits(left) == bits(merge(a, merge(b, c)))
        assert bits(merge(a, b)) == bits(merge(b, a))
        assert bits(merge(a, observer.init())) == bits(a) == bits(merge(observer.init(), a))
        assert bits(left) == bits(fold(observer, stream))

    law()


@pytest.mark.parametrize("name", OBSERVERS)
def test_update_is_merge_of_one_and_order_is_free(name):
    observer = OBSERVERS[name]

    @settings(max_examples=25, deadline=None)
    @given(streams(ANY_SHAPE), st.randoms(use_true_random=False))
    def law(stream, random):
        state = fold(observer, stream)
        assert bits(fold(observer, random.sample(stream, len(stream)))) == bits(state)
        if stream:
            (key, x), before = stream[-1], fold(observer, stream[:-1])
            one = observer.update(observer.init(), key, x)
            assert bits(observer.merge(before, one)) == bits(state)

    law()


@pytest.mark.parametrize("name", OBSERVERS)
def test_update_leaves_its_arguments_alone(name):
    observer = OBSERVERS[name]
    x = np.array([[1.0, -0.0, np.nan]], np.float32)
    state = fold(observer, [(1, x)])
    before, x_before = bits(state), x.tobytes()
    observer.update(state, 2, x)
    assert (bits(state), x.tobytes()) == (before, x_before)


@pytest.mark.parametrize("name", KEEPS_KEYS)
def test_a_sample_cannot_be_counted_twice(name):
    observer = OBSERVERS[name]
    state = observer.update(observer.init(), 7, np.ones(3, np.float32))
    with pytest.raises(StatsError, match="twice, keys 7"):
        observer.merge(state, state)
    with pytest.raises(StatsError, match="twice, keys 7"):
        observer.update(state, 7, np.zeros(3, np.float32))


@pytest.mark.parametrize("shape", [ONE_SHAPE, ANY_SHAPE], ids=["one shape", "any shape"])
def test_full_is_all_the_others_and_the_accumulator_is_full(shape):
    @settings(max_examples=40, deadline=None)
    @given(streams(shape), st.randoms(use_true_random=False))
    def law(stream, random):
        full = fold(OBSERVERS["full"], stream)
        each = {name: fold(OBSERVERS[name], stream) for name in OBSERVERS}
        assert bits((full.min, full.max)) == bits(tuple(each["minmax"]))
        assert bits(full.histogram) == bits(each["histogram"])
        assert (full.count, full.nan, full.inf) == tuple(each["nonfinite"])
        ranges = (full.sample_keys, full.sample_min, full.sample_max)
        assert bits(ranges) == bits(each["sample_ranges"])
        assert bits(full.channels) == bits(each["moments"])
        accumulator = Accumulator()
        for key, x in random.sample(stream, len(stream)):
            accumulator.add(key, x)
        assert bits(accumulator.freeze()) == bits(full)

    law()


def accumulate(*samples):
    accumulator = Accumulator()
    for key, x in enumerate(samples):
        accumulator.add(key, x)
    return accumulator.freeze()


def test_a_big_tensor_against_numpy():
    rng = np.random.default_rng(3)
    xs = [np.maximum(rng.normal(size=(1, 57, 57, 24)), 0).astype(np.float32) for _ in range(3)]
    s, all_x = accumulate(*xs), np.stack(xs).astype(np.float64).reshape(-1, 24)
    assert (s.count, s.nan, s.inf, s.histogram.total) == (all_x.size, 0, 0, all_x.size)
    assert (s.min, s.max) == (0.0, all_x.max())
    assert s.sample_max.tolist() == [x.max() for x in xs]
    assert s.channels.n.tolist() == [len(all_x)] * 24
    np.testing.assert_allclose(s.channels.mean, all_x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(s.channels.variance, all_x.var(axis=0), rtol=1e-12)


def test_nan_and_inf_are_counted_apart_and_spoil_nothing():
    x = np.random.default_rng(4).normal(size=(50, 3)).astype(np.float32)
    spoiled = x.copy()
    spoiled[3, 0], spoiled[5, 1], spoiled[6, 1], spoiled[7, 2] = np.nan, np.inf, -np.inf, -np.nan
    s = accumulate(spoiled, x)
    kept = np.where(np.isfinite(spoiled), spoiled, np.nan)
    both = np.concatenate([kept, x]).astype(np.float64)
    assert (s.count, s.nan, s.inf) == (300, 2, 2)
    assert (s.min, s.max) == (np.nanmin(both), np.nanmax(both))
    assert s.channels.n.tolist() == [99, 98, 99]
    np.testing.assert_allclose(s.channels.mean, np.nanmean(both, axis=0), rtol=1e-12)
    np.testing.assert_allclose(s.channels.variance, np.nanvar(both, axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "lo", "hi"),
    [
        ([-0.0, -0.0], 0.0, 0.0),
        ([1e-45, 2e-45], 1e-45, 2e-45),
        ([-1e-45, 0.0], -1e-45, 0.0),
        ([3.4028235e38, -3.4028235e38], -3.4028235e38, 3.4028235e38),
        ([np.nan, np.inf], np.inf, -np.inf),
        ([np.nan, -2.0, np.inf], -2.0, -2.0),
        ([], np.inf, -np.inf),
    ],
)
def test_extremes_at_the_edges(x, lo, hi):
    s = accumulate(np.array(x, np.float32))
    expected = (float(np.float32(lo)), float(np.float32(hi)))
    assert (s.min, s.max) == expected
    assert not (s.min == 0 and np.signbit(s.min))
    assert s.sample_keys.tolist() == [0]


def test_the_largest_floats_do_not_overflow_the_moments():
    big = np.finfo(np.float32).max
    s = accumulate(np.full((100, 1), big), np.full((100, 1), -big))
    assert s.channels.mean.tolist() == [0.0]
    # each of the two float64 sums of 100 squares may be off by 100 roundings of 2^-53
    assert s.channels.variance[0] == pytest.approx(float(big) ** 2, rel=100 * 2.0**-53)


def test_channels_that_vary_are_given_up_and_the_rest_is_kept():
    s = accumulate(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
    assert s.channels is None
    assert s.histogram.total == 14


@pytest.mark.parametrize(
    ("channels", "followed"), [(MAX_CHANNELS, True), (MAX_CHANNELS + 1, False)]
)
def test_very_many_channels_are_not_followed(channels, followed):
    x = np.ones((2, channels), np.float32)
    s = accumulate(x)
    assert (s.channels is not None) is followed
    assert s.histogram.total == x.size


def test_counters_are_emptied_before_they_wrap(monkeypatch):
    x = np.ones(10, np.float32)
    monkeypatch.setattr("tfq_ext.calibrate.accumulator._COUNTER", 25)
    assert accumulate(x, x, x, x, x).histogram.total == 50


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.int64, np.bool_])
def test_other_numbers_are_cast(dtype):
    x = np.array([[0, 1], [1, 1]], dtype)
    assert accumulate(x) == accumulate(x.astype(np.float32))


@pytest.mark.parametrize("x", [np.array(["a"]), np.array([1j]), np.array([object()])])
def test_what_is_no_real_number_is_refused(x):
    with pytest.raises(StatsError, match="real numbers"):
        Accumulator().add(0, x)


def test_strides_and_read_only_views_are_taken():
    x = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    frozen = x.copy()
    frozen.flags.writeable = False
    raw = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert accumulate(x.transpose(2, 1, 0)) == accumulate(x.transpose(2, 1, 0).copy())
    assert accumulate(frozen) == accumulate(raw) == accumulate(x)


def test_the_accumulator_finds_a_repeated_key_and_goes_on_after_freeze():
    accumulator = Accumulator()
    accumulator.add(1, np.ones(2, np.float32))
    first = accumulator.freeze()
    accumulator.add(1, np.ones(2, np.float32))
    assert first.count == 2
    with pytest.raises(StatsError, match="counted twice"):
        accumulator.freeze()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_tensors_at_once_are_each_alone(threads):
    rng = np.random.default_rng(5)
    samples = [
        {f"t{i}": rng.normal(size=(1, 40 * i, 3)).astype(np.float32) for i in range(6)}
        for _ in range(4)
    ]
    accumulators = {}
    for key, views in enumerate(samples):
        observe_many(accumulators, views, key, threads=threads)
    for name, accumulator in accumulators.items():
        assert accumulator.freeze() == accumulate(*(views[name] for views in samples))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_any_thread_comes_out(threads):
    views = {"good": np.ones(9, np.float32), "bad": np.array(["x"])}
    with pytest.raises(StatsError):
        observe_many({}, views, 0, threads=threads)


def test_a_miss_says_what_there_is():
    with pytest.raises(UnknownName, match="minmax"):
        OBSERVERS["minmaxx"]
