"""Limit, seeded subset, split, digest, one-shot sources and the copy on disk."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfq_ext.errors import DataError
from tfq_ext.samples import Digest, InputSpec, open_samples, progress
from tfq_ext.samples.select import hash64, split_stages, subset

X = InputSpec("x", (1, 4), "float32")


def rows(n):
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


def keys(samples):
    return [sample.key for sample in samples]


@given(
    n=st.integers(2, 300), fraction=st.floats(0.01, 0.99), seed=st.integers(-3, 2**64), at=st.data()
)
@settings(deadline=None, max_examples=60)
def test_split_is_disjoint_whole_proportional_and_never_empty(n, fraction, seed, at):
    index = sorted(at.draw(st.sets(st.integers(0, 10**6), min_size=n, max_size=n)))
    keep, hold = ([*stage(iter(index))] for stage in split_stages(fraction, seed))
    assert sorted(keep + hold) == index
    assert keep
    assert hold
    assert abs(len(hold) - fraction * n) <= 2.001
    again = [*split_stages(fraction, seed)[1](iter(index))]
    assert again == hold


def test_split_of_a_hundred_holds_back_a_fifth_and_no_period_shows():
    keep, hold = open_samples(rows(1000), [X]).split(0.2, seed=3)
    held = np.array(keys(hold))
    assert abs(len(held) - 200) <= 1
    assert keep.count + hold.count == 1000
    assert np.bincount(held % 5, minlength=5).min() > 20  # a fixed stride would give 200 and 0s
    assert keys(hold) != keys(open_samples(rows(1000), [X]).split(0.2, seed=4)[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2])
def test_split_fractions_out_of_range(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        open_samples(rows(10), [X]).split(fraction)


def test_one_sample_cannot_be_split():
    with pytest.raises(DataError, match="one sample cannot be split"):
        open_samples(rows(1), [X]).split(0.5)


def test_limit():
    samples = open_samples(rows(10), [X], limit=4)
    assert keys(samples) == [0, 1, 2, 3]
    assert keys(samples.limit(2)) == [0, 1]
    assert open_samples(rows(3), [X], limit=100).count == 3
    with pytest.raises(DataError, match="1 or more"):
        open_samples(rows(3), [X], limit=0)


def test_a_limited_function_is_read_no_further():
    read = []

    def endless():
        while True:
            read.append(1)
            yield [rows(1) + len(read)]

    assert keys(open_samples(endless, [X], limit=5)) == [0, 1, 2, 3, 4]
    assert len(read) == 5
    some = open_samples(open_samples(endless, [X], limit=9), [X], limit=3, shuffle=True)
    assert len(keys(some)) == 3
    assert max(keys(some)) < 9


def test_a_seeded_subset_is_the_same_for_every_source():
    x = rows(200)
    a = open_samples(x, [X], limit=20, shuffle=True, seed=7)
    b = open_samples(lambda: ([r[None]] for r in x), [X], limit=20, shuffle=True, seed=7)
    c = open_samples(([r[None]] for r in x), [X], limit=20, shuffle=True, seed=7)
    assert keys(a) == keys(b) == keys(c) == sorted(keys(a))
    assert len(keys(a)) == 20
    assert a.digest() == b.digest() == c.digest()
    assert keys(open_samples(x, [X], limit=20, shuffle=True, seed=8)) != keys(a)
    assert max(keys(a)) > 100  # not the first ones
    c.close()


def test_a_subset_of_samples_is_drawn_from_what_they_hold():
    keep, hold = open_samples(rows(100), [X]).split(0.3)
    some = keys(open_samples(keep, [X], limit=10, shuffle=True))
    assert len(some) == 10
    assert not set(some) & set(keys(hold))


def test_subset_over_blocks_equals_one_sort():
    n, k = 200_000, 50
    order = np.argsort(hash64(np.arange(n), 5), kind="stable")
    assert subset(range(n), k, 5) == frozenset(order[:k].tolist())


def test_hash_is_splitmix64():
    # splitmix64 from state 0: the first outputs of the reference C code (Vigna, splitmix64.c).
    assert hash64(np.arange(2), 0).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_digest_is_stable_and_sees_everything():
    samples = open_samples(rows(5), [X])
    base = samples.digest()
    assert base == samples.digest() == open_samples(rows(5).astype(np.float64), [X]).digest()
    adder = Digest()
    for sample in samples:
        adder.add(sample)
    assert adder.hexdigest() == base
    changed = rows(5)
    changed[4, 3] = np.nextafter(changed[4, 3], np.float32(9))
    assert open_samples(changed, [X]).digest() != base
    assert open_samples(changed, [X]).digest(4) == samples.digest(4) != base
    renamed = InputSpec("z", (1, 4), "float32")
    assert open_samples(rows(5), [renamed]).digest() != base
    assert open_samples(rows(5)[::-1], [X]).digest() != base


def test_digest_golden():
    samples = open_samples(np.arange(8, dtype=np.float32).reshape(2, 4), [X])
    assert samples.digest() == GOLDEN


# Written once; results carry this hash, so a change of it must be a decision (Digest's "1").
GOLDEN = "15f01c0826dde298884a45fb8a42a297d7abc064d92e2065ee4592eb51908f9e"


def test_a_generator_object_is_read_once_and_the_second_pass_explains():
    samples = open_samples(([r[None]] for r in rows(5)), [X])
    assert samples.one_shot
    assert samples.count is None
    with pytest.raises(DataError, match="only once"):
        samples.digest()
    with pytest.raises(DataError, match="Pass the function"):
        samples.split(0.2)
    assert len(list(samples)) == 5
    with pytest.raises(DataError, match="Pass the function that makes it"):
        list(samples)


def test_a_function_around_one_exhausted_generator_is_noticed():
    spent = ([r[None]] for r in rows(5))
    samples = open_samples(lambda: map(list, spent), [X])
    assert len(list(samples)) == 5
    with pytest.raises(DataError, match="only once"):
        list(samples)


def test_reusable_keeps_samples_on_disk_until_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    x = rows(6)
    once = open_samples((([r[None]], i) for i, r in enumerate(x)), [X])
    with once.reusable() as kept:
        assert kept.reusable() is kept
        assert kept.labels == list(range(6))
        for _ in range(2):
            np.testing.assert_array_equal([s.inputs["x"][0] for s in kept], x)
        assert kept.digest() == open_samples(x, [X]).digest()
        assert len(list(tmp_path.glob("*/*.npy"))) == 6
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="were closed"):
        list(kept)


def test_materialise_is_bounded_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DataError, match="after 2 samples"):
        open_samples(([r[None]] for r in rows(6)), [X]).reusable(max_bytes=40)
    bad = rows(6)
    bad[4] = np.nan
    with pytest.raises(DataError, match="Sample 4"):
        open_samples(([r[None]] for r in bad), [X]).reusable()
    assert list(tmp_path.iterdir()) == []
    kept = open_samples(([r[None]] for r in rows(6)), [X]).materialise(3)
    assert kept.count == 3
    del kept
    assert list(tmp_path.iterdir()) == []


def test_a_materialised_subset_keeps_its_keys():
    some = open_samples(rows(50), [X], limit=5, shuffle=True)
    with some.materialise() as kept:
        assert keys(kept) == keys(some)


def test_nothing_came():
    with pytest.raises(DataError, match="no samples came"):
        list(open_samples(lambda: iter(()), [X]))


def test_progress_is_silent_unless_asked(capsys):
    samples = open_samples(rows(5), [X])
    assert len(list(progress(samples, label="observe"))) == 5
    assert capsys.readouterr().err == ""


def test_progress_shows_count_and_goes_to_stderr(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    assert len(list(progress(open_samples(rows(5), [X]), label="observe", enabled=True))) == 5
    assert "observe" in screen.getvalue()
    assert "5/5" in screen.getvalue()


def test_a_notebook_keeps_no_frames_of_bars(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = []
    for kernel in (False, True):  # a notebook runs `!tfq` on a terminal, and stores all it gets
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        if kernel:
            monkeypatch.setenv("JPY_PARENT_PID", "1")
        else:
            monkeypatch.delenv("JPY_PARENT_PID", raising=False)
        assert len(list(progress(open_samples(rows(5), [X]), label="observe"))) == 5
        shown.append(screen.getvalue())
    assert "observe" in shown[0]
    assert shown[1] == ""
