"""measure(): real files in worker processes, against counts made by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from scipy.stats import binomtest
from tiny_models import Builder, add_model, cast_model, dense_model, quantized_io_model

from tfq_ext.errors import DataError, ModelError, UnknownName
from tfq_ext.numerics.intervals import wilson_interval
from tfq_ext.numerics.metrics import agreement, kl_divergence, sqnr_db
from tfq_ext.validation.accuracy import AccuracyReport, measure
from tfq_ext.validation.sandbox import Limits, ModelDied

RNG = np.random.default_rng(11)
N, C, D = 100, 7, 6
W = RNG.normal(size=(C, D)).astype(np.float32)
X = RNG.normal(size=(N, D)).astype(np.float32)
LOGITS = X @ W.T
BEST = LOGITS.argmax(1)
LABELS = np.where(np.arange(N) < 20, (BEST + 1) % C, BEST)  # twenty labels made wrong
INT8 = quantized_io_model(W, ("int8", 0.05, 3), ("int8", 0.1, -5))
UINT8 = quantized_io_model(W, ("uint8", 0.05, 131), ("uint8", 0.1, 123))
FLOAT = dense_model(W)
LIMITS = Limits(seconds=20.0)


def got(candidate, data=(X, LABELS), **options) -> AccuracyReport:
    return measure(
        candidate, data, **{"limits": LIMITS, "show_progress": False, "workers": 1} | options
    )


@cache
def plain() -> AccuracyReport:
    return got(FLOAT)


@cache
def pair() -> AccuracyReport:
    return got(INT8, reference=FLOAT)


def timeless(report: AccuracyReport) -> AccuracyReport:
    return replace(report, seconds=0.0, samples_per_second=0.0, workers=0)


def coded(x, w=W):
    """The int8 file in numpy."""
    return np.rint((np.rint(x / 0.05) * 0.05) @ w.T / 0.1) * 0.1


def test_float_against_numpy():
    report = plain()
    assert (report.n, report.labelled, report.task, report.output) == (N, N, "classification", "y")
    top1, top5 = report.metrics
    assert (top1.name, top1.candidate, top1.reference, top1.drop) == ("top1", 0.8, None, None)
    assert top1.interval == wilson_interval(80, N)
    rank = (np.sort(LOGITS, axis=1)[:, ::-1] == LOGITS[np.arange(N), LABELS][:, None]).argmax(1)
    assert (top5.name, top5.candidate) == ("top5", (rank < 5).mean())
    assert (report.agreement, report.sqnr_db, report.kl, report.changed) == (None, None, None, ())
    assert report.metric("top5") is top5
    assert report.metric("top9") is None
    assert report.to_dict()["metrics"][0]["name"] == "top1"


def test_int8_beside_float():
    report, codes = pair(), coded(X)
    top1 = report.metrics[0]
    now = codes.argmax(1)
    mine, theirs = (now == LABELS).astype(float), (BEST == LABELS).astype(float)
    assert top1.candidate == pytest.approx(mine.mean(), abs=1 / N)  # half an LSB moves one tie
    assert top1.reference == 0.8
    point, lo, hi = top1.drop
    assert lo < point < hi
    assert point == pytest.approx(theirs.mean() - top1.candidate)
    assert report.sqnr_db == pytest.approx(sqnr_db(LOGITS, codes), abs=0.1)
    assert report.kl == pytest.approx(kl_divergence(LOGITS, codes), rel=0.05)
    assert report.agreement == pytest.approx(agreement(LOGITS, codes), abs=1 / N)
    lost, won = int((theirs > mine).sum()), int((theirs < mine).sum())
    if top1.candidate == mine.mean():
        assert top1.p_value == pytest.approx(binomtest(lost, lost + won).pvalue)


def test_unsigned_io_is_the_same_grid():
    assert timeless(got(UINT8, reference=FLOAT)).metrics == timeless(pair()).metrics


def test_changed_classes_are_counted_by_hand():
    worse = dense_model(np.roll(W, 1, axis=0))  # every class moves up by one
    report = got(worse, (X, BEST), reference=FLOAT)
    assert report.metrics[0].candidate == 0.0
    counts = np.bincount(BEST, minlength=C)
    pairs = {(row.before, row.after): (row.count, row.lost, row.won) for row in report.changed}
    assert pairs == {(k, (k + 1) % C): (n, n, 0) for k, n in enumerate(counts) if n}
    listed = [row.count for row in report.changed]
    assert listed == sorted(listed, reverse=True)
    rows = {row.label: row for row in report.classes}
    assert {k: row.n for k, row in rows.items()} == {k: n for k, n in enumerate(counts) if n}
    assert all((row.candidate, row.reference) == (0.0, 1.0) for row in rows.values())


def test_workers_change_no_number():
    data = (np.tile(X, (4, 1)), np.tile(LABELS, 4))
    one, three = (got(INT8, data, reference=FLOAT, workers=k) for k in (1, 3))
    assert repr(timeless(one)) == repr(timeless(three))
    assert (one.workers, one.n) == (1, 400)
    assert 1 <= three.workers <= 3


def test_few_samples_take_one_worker():
    assert got(FLOAT, (X[:20], LABELS[:20]), workers=None).workers == 1


def test_one_sample():
    report = got(INT8, (X[50:51], LABELS[50:51]), reference=FLOAT)
    point, lo, hi = report.metrics[0].drop
    assert point == 0.0
    assert lo < -0.5  # one sample tells nothing
    assert hi > 0.5


@pytest.mark.parametrize(("labels", "share"), [(BEST, 1.0), ((BEST + 1) % C, 0.0)])
def test_all_right_and_all_wrong(labels, share):
    row = got(FLOAT, (X, labels), reference=FLOAT).metrics[0]
    assert (row.candidate, row.drop[0], row.p_value) == (share, 0.0, 1.0)
    assert row.interval == wilson_interval(share * N, N)
    assert row.drop[1] < 0 < row.drop[2]  # equal on 100 samples is no proof of equality


def test_ties_go_to_the_first_class_and_are_told():
    tied = dense_model(np.concatenate([W[:1], W[:1], np.zeros((1, D), np.float32)]))
    x = X[X @ W[0] > 0]
    first = got(tied, (x, np.zeros(len(x), int)))
    second = got(tied, (x, np.ones(len(x), int)))
    assert (first.metrics[0].candidate, second.metrics[0].candidate) == (1.0, 0.0)
    assert any("ties with other classes" in note and "50.00%" in note for note in second.notes)


def test_one_hot_labels_and_spread_labels():
    assert got(FLOAT, (X, np.eye(C)[LABELS])).metrics == plain().metrics
    assert got(FLOAT, (X, LABELS[:, None])).metrics == plain().metrics
    with pytest.raises(DataError, match="one-hot rows of 7"):
        got(FLOAT, (X, np.eye(C)[LABELS] * 0.5), task="classification")


def test_labels_from_one_are_refused_and_shifted_ones_are_told():
    with pytest.raises(DataError, match=r"Sample \d+: label 7 came.*0\.\.6.*label_offset=-1"):
        got(FLOAT, (X, BEST + 1))
    assert got(FLOAT, (X, BEST + 1), label_offset=-1).metrics[0].candidate == 1.0
    background = dense_model(np.concatenate([np.full((1, D), 0, np.float32), W]))
    x, y = X[LOGITS.max(1) > 0], BEST[LOGITS.max(1) > 0]
    report = got(background, (x, y))
    assert any("label_offset=+1 top-1 would be 100.0%" in note for note in report.notes)
    assert not any("shifted" in note for note in got(background, (x, y), label_offset=1).notes)


def test_without_labels_only_the_reference_speaks():
    report = got(INT8, X, reference=FLOAT)
    assert (report.task, report.labelled, report.metrics, report.classes) == (None, 0, (), ())
    assert report.agreement == pair().agreement
    with pytest.raises(DataError, match="neither labels nor a reference"):
        got(INT8, X)
    with pytest.raises(DataError, match="regression needs labels"):
        got(INT8, X, task="regression", metric=lambda p, y: 0.0)


def test_task_without_labels_still_says_who_changed():
    worse = dense_model(np.roll(W, 1, axis=0))
    report = got(worse, X, reference=FLOAT, task="classification")
    assert sum(row.count for row in report.changed) == N
    assert all((row.lost, row.won) == (0, 0) for row in report.changed)


def test_nan_names_the_sample_and_the_model():
    x = RNG.uniform(1, 2, (40, 2)).astype(np.float32)
    x[33] = 3e38
    inf = dense_model(np.full((3, 2), 1e3, np.float32))
    with pytest.raises(DataError, match=r"Sample 33: the candidate's output 'y' holds 3 values"):
        got(inf, (x, np.zeros(40, int)))
    with pytest.raises(DataError, match=r"Sample 33: the reference's output 'y' holds"):
        got(dense_model(np.ones((3, 2)) / 100), x, reference=inf)


def loop_model() -> bytes:
    """float32[1] as it is, but 0.0 is doubled for ever."""
    b = Builder()
    x, y = b.tensor("x", (1,)), b.tensor("y", (1,))
    b.op("WHILE", [x], [y], "WhileOptions")
    options = b.graph.operators[0].builtinOptions
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    b.end([x], [y])
    b.begin()
    z, zero = b.tensor("z", (1,)), b.tensor("0", (1,), values=np.zeros(1, np.float32))
    same = b.tensor("same", (1,), "int32")
    b.graph.tensors[same].type = schema.TensorType.BOOL
    b.op("EQUAL", [z, zero], [same], "EqualOptions")
    b.end([z], [same])
    b.begin()
    z, w = b.tensor("z", (1,)), b.tensor("w", (1,))
    b.op("ADD", [z, z], [w], "AddOptions")
    b.end([z], [w])
    return b.bytes()


def double_model() -> bytes:
    b = Builder()
    x, y = b.tensor("x", (1,)), b.tensor("y", (1,))
    b.op("ADD", [x, x], [y], "AddOptions")
    b.end([x], [y])
    return b.bytes()


def test_a_hang_in_a_worker_names_sample_and_model():
    x = RNG.uniform(1, 2, 40).astype(np.float32)
    x[37] = 0
    short = {"limits": Limits(seconds=1.0), "task": "regression"}
    fine, hangs = double_model(), loop_model()
    assert got(hangs, (x[:37], x[:37]), task="regression").metrics[0].candidate == 0.0
    with pytest.raises(ModelDied, match=r"Sample 37, the candidate: .*no answer in 1 s at invoke"):
        got(hangs, x, reference=fine, workers=2, **short)
    with pytest.raises(ModelDied, match=r"Sample 37, the reference: "):
        got(fine, x, reference=hangs, **short)


def test_output_by_name_and_by_position():
    b = Builder()
    x = b.tensor("in", (-1, D))
    b.end([x], [b.dense(x, W[:2], -1), b.dense(x, W, -1)], "serve")
    two = b.bytes()
    assert got(two, output="y1").metrics == plain().metrics
    report = got(two, X, reference=two)
    assert report.output == "y"
    assert any("2 outputs; the first, y, is judged" in note for note in report.notes)
    assert got(two, output="y1", reference=FLOAT).sqnr_db > 100
    with pytest.raises(DataError, match="No output named 'z'; the model has y, y1"):
        got(two, output="z")


def test_batches_fixed_and_free_agree():
    fixed = dense_model(W, batch=4)
    report = got(fixed, reference=FLOAT)
    assert (report.n, report.sqnr_db, report.agreement) == (N, float("inf"), 1.0)
    assert got(FLOAT, reference=fixed).metrics == report.metrics
    with pytest.raises(DataError, match="batches of 4, the reference of 3"):
        got(fixed, reference=dense_model(W, batch=3))


def test_several_inputs_and_integer_ids():
    a, c = RNG.normal(size=(2, 10, 2)).astype(np.float32)
    report = got(add_model(), ({"a": a, "b": c}, a + c), task="regression")
    assert report.metrics[0].candidate == 0.0
    ids = RNG.integers(0, 9, (10, 3)).astype(np.int32)
    assert got(cast_model(), (ids, ids)).metrics[0].candidate == 0.0


def test_inputs_off_their_grid_are_told():
    far = got(INT8, (X * 50, LABELS))
    assert any("lie outside and are clipped" in note for note in far.notes)
    small = got(INT8, (X / 500, LABELS))
    assert any("scaled once too often" in note for note in small.notes)
    assert not any("input" in note for note in pair().notes)


def test_unusable_requests():
    with pytest.raises(UnknownName, match="classification"):
        got(FLOAT, task="classificaton")
    with pytest.raises(DataError, match="1 or more workers"):
        got(FLOAT, workers=0)
    with pytest.raises(ModelError, match="is not a"):
        got(b"certainly not a model")
    with pytest.raises(ModelError, match="no signature 'other'"):
        got(FLOAT, signature="other")
    with pytest.raises(DataError, match="cannot be compared"):
        got(FLOAT, X, reference=dense_model(W[:3]))
    with pytest.raises(DataError, match="two classes or a quantity"):
        got(dense_model(W[:1]))


def test_binary_scores():
    one = dense_model(W[:1])
    truth = (X @ W[0] > 0).astype(int)
    assert got(one, (X, truth), task="classification").metrics[0].candidate == 1.0
    assert len(got(one, (X, truth), task="classification").metrics) == 1  # no top5 of two


def test_spatial_logits():
    b = Builder()
    x = b.tensor("in", (-1, D))
    flat = b.dense(x, W, -1)
    shape = b.tensor("shape", (4,), "int32", values=np.array([-1, 1, 1, C], np.int32))
    y = b.tensor("y", (-1, 1, 1, C))
    b.op("RESHAPE", [flat, shape], [y], "ReshapeOptions")
    b.end([x], [y], "serve")
    report = got(b.bytes(), reference=FLOAT)
    assert (report.metrics, report.agreement) == (got(FLOAT, reference=FLOAT).metrics, 1.0)


def test_rows_that_see_each_other_run_one_by_one():
    """The batch axis is free, yet every row gets the mean of its batch: 2x alone."""
    b = Builder()
    x = b.tensor("in", (-1, D))
    axis = b.tensor("axis", (1,), "int32", values=np.array([0], np.int32))
    mean, y = b.tensor("mean", (1, D)), b.tensor("y", (-1, D))
    b.op("MEAN", [x, axis], [mean], "ReducerOptions")
    b.graph.operators[-1].builtinOptions.keepDims = True
    b.op("ADD", [x, mean], [y], "AddOptions")
    b.end([x], [y], "serve")
    report = got(b.bytes(), (X, 2 * X), task="regression")
    assert report.metrics[0].candidate == pytest.approx(0, abs=1e-6)


def test_some_labels():
    def some():
        for k in range(60):
            yield (X[k : k + 1], LABELS[k]) if k % 3 else (X[k : k + 1],)

    report = got(INT8, some, reference=FLOAT)
    kept = np.arange(60) % 3 > 0
    assert (report.n, report.labelled) == (60, 40)
    assert report.metrics[0].reference == (BEST == LABELS)[:60][kept].mean()
    with pytest.raises(DataError, match="a label for every sample"):
        got(INT8, some, reference=FLOAT, task="classification", metric=lambda p, y: 0.0)
    with pytest.raises(DataError, match="stop needs a label for every sample"):
        got(INT8, lambda: list(some())[1:], reference=FLOAT, stop=0.1)
