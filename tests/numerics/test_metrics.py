"""Metrics: the laws of the table, and numbers worked out by hand."""

import numpy as np
import pytest

from tfq_ext.errors import DataError
from tfq_ext.numerics.metrics import (
    METRICS,
    SqnrAccumulator,
    agreement,
    cosine,
    hits,
    kl_divergence,
    log_softmax,
    relative_l2,
    sqnr_db,
    ties,
    top_k,
)

RNG = np.random.default_rng(2)
R = RNG.normal(size=(40, 7)).astype(np.float32)
C = R + 0.5 * RNG.normal(size=R.shape).astype(np.float32)

every_metric = pytest.mark.parametrize("name", METRICS)


@every_metric
def test_identity(name):
    metric = METRICS[name]
    assert metric.measure(R, R) == pytest.approx(metric.identity, abs=1e-12)


@every_metric
def test_worse_is_worse(name):
    metric = METRICS[name]
    near, far = metric.measure(R, C), metric.measure(R, -R)
    assert (near > far) == metric.higher_is_better
    assert (metric.identity > near) == metric.higher_is_better


@every_metric
def test_scale_invariance_is_what_the_entry_claims(name):
    metric = METRICS[name]
    plain = metric.measure(R, C)
    assert (metric.measure(R, 3 * C) == pytest.approx(plain)) == (metric.scale_free == "each")
    jointly = metric.measure(3 * R, 3 * C) == pytest.approx(plain)
    assert jointly == (metric.scale_free in ("each", "joint"))


@every_metric
def test_order_of_samples_does_not_matter(name):
    order = RNG.permutation(len(R))
    measure = METRICS[name].measure
    assert measure(R[order], C[order]) == pytest.approx(measure(R, C), rel=1e-12)


@every_metric
@pytest.mark.parametrize(
    ("r", "c", "match"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "shapes"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "Nothing"),
        (np.array([[1.0, np.nan]]), np.ones((1, 2)), "NaN or inf"),
        (np.ones((1, 2)), np.array([[np.inf, 1.0]]), "NaN or inf"),
    ],
)
def test_what_cannot_be_compared(name, r, c, match):
    with pytest.raises(DataError, match=match):
        METRICS[name].measure(r, c)


def test_sqnr_by_hand():
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert sqnr_db(np.ones(3), np.ones(3)) == np.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -np.inf
    assert sqnr_db(np.zeros(3), np.zeros(3)) == np.inf


def test_sqnr_of_one_more_bit_is_six_db():
    x = RNG.uniform(-1, 1, 100_000)
    coarse, fine = (np.round(x / s) * s for s in (1 / 64, 1 / 128))
    assert sqnr_db(x, fine) - sqnr_db(x, coarse) == pytest.approx(6.02, abs=0.1)


def test_sqnr_survives_float32_extremes():
    big = np.float32([3e38, -3e38])
    assert sqnr_db(big, big * np.float32(0.9)) == pytest.approx(20.0, abs=1e-4)


def test_accumulator_merges_exactly_in_any_order():
    empty = SqnrAccumulator()
    parts = [empty.add(R[i : i + 8], C[i : i + 8]) for i in range(0, 40, 8)]
    forth, back = empty, empty
    for part in parts:
        forth = forth.merge(part)
    for part in reversed(parts):
        back = part.merge(back)
    assert forth == back
    streamed = empty
    for i in range(0, 40, 8):
        streamed = streamed.add(R[i : i + 8], C[i : i + 8])
    assert streamed == forth
    assert forth.value == pytest.approx(sqnr_db(R, C), rel=1e-12)


def test_cosine_and_relative_l2_by_hand():
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(np.sqrt(0.5))
    assert cosine(np.zeros(2), np.array([1.0, 1])) == 0
    assert cosine(np.full(4, 1e-200), np.full(4, 1e-200)) == pytest.approx(1)
    assert relative_l2(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(0.1)
    assert relative_l2(np.zeros(2), np.ones(2)) == np.inf


def test_agreement_shares_ties():
    reference = np.array([[0.0, 1, 2], [5, 1, 2], [0, 3, 1], [4, 1, 1]])
    candidate = np.array([[0, 2, 2], [5, 1, 2], [7, 7, 7], [1, 4, 1]])
    assert agreement(reference, candidate) == pytest.approx((1 / 2 + 1 + 1 / 3 + 0) / 4)
    assert ties(candidate) == 2


def test_hits_across_a_tie():
    logits = np.array([[9, 5, 5, 5], [1, 2, 3, 4], [2, 2, 2, 2]])
    labels = np.array([1, 0, 3])
    assert hits(logits, labels, 1).tolist() == [0, 0, 0.25]
    assert hits(logits, labels, 2) == pytest.approx([1 / 3, 0, 0.5])
    assert hits(logits, labels, 4).tolist() == [1, 1, 1]
    assert top_k(logits, labels, 3) == pytest.approx((2 / 3 + 0 + 0.75) / 3)


def test_top_1_without_ties_is_argmax():
    labels = RNG.integers(0, 7, len(R))
    assert top_k(R, labels) == pytest.approx((R.argmax(1) == labels).mean())


@pytest.mark.parametrize(
    ("labels", "k"),
    [(np.zeros(3, int), 1), (np.full(40, 7), 1), (np.full(40, -1), 1), (R[:, 0] > 9, 8)],
)
def test_hits_that_do_not_fit(labels, k):
    with pytest.raises(DataError):
        hits(R, labels, k)


def test_kl_by_hand():
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    expected = (p * np.log(p / q)).sum()
    assert kl_divergence(np.log(p)[None], np.log(q)[None]) == pytest.approx(expected)
    # adding a constant to all logits of a sample changes nothing
    assert kl_divergence(R, C.astype(np.float64) + 100) == pytest.approx(
        kl_divergence(R, C), rel=1e-6
    )


def test_log_softmax_does_not_overflow():
    assert log_softmax(np.array([1e4, 0.0])).tolist() == [0.0, -1e4]
