"""Regression, segmentation, metrics of the user's, early stops: slow loops as witnesses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Builder, dense_model

from tfq_ext.errors import DataError
from tfq_ext.validation.accuracy import measure
from tfq_ext.validation.accuracy.notes import too_small
from tfq_ext.validation.accuracy.segmentation import columns, rows
from tfq_ext.validation.accuracy.sequential import ERROR, Looks, error_of

RNG = np.random.default_rng(5)
N, D = 60, 4
W = RNG.normal(size=(2, D)).astype(np.float32)
X = RNG.normal(size=(N, D)).astype(np.float32)
TRUE = X @ W.T
Y = TRUE + RNG.normal(scale=0.3, size=TRUE.shape)
FLOAT = dense_model(W)
WORSE = dense_model(W * 1.2)


def got(candidate, data, **options):
    return measure(candidate, data, **{"show_progress": False, "workers": 1} | options)


def by_name(report):
    return {row.name: row for row in report.metrics}


def test_regression_against_plain_loops():
    report = got(WORSE, (X, Y), reference=FLOAT)
    rows_ = by_name(report)
    assert report.task == "regression"
    for who, values in (("candidate", 1.2 * TRUE), ("reference", TRUE)):
        total = square = spread = 0.0
        for k in range(N):
            for d in range(2):
                total += abs(values[k, d] - Y[k, d])
                square += (values[k, d] - Y[k, d]) ** 2
                spread += (Y[k, d] - Y[:, d].mean()) ** 2
        witness = {"mae": total / N / 2, "rmse": (square / N / 2) ** 0.5, "r2": 1 - square / spread}
        for name, value in witness.items():
            assert getattr(rows_[name], who) == pytest.approx(value, rel=1e-5)
    for name, row in rows_.items():
        point, lo, hi = row.drop
        assert lo < point < hi
        assert point > 0  # worse, whatever the metric's direction
        assert row.higher_is_better == (name == "r2")
        assert row.interval[0] < row.candidate < row.interval[1]
    assert (report.agreement, report.kl, report.classes) == (None, None, ())


def test_regression_edges():
    one = got(WORSE, (X[:1], Y[:1]), reference=FLOAT).metrics
    assert [row.drop[1:] for row in one] == [(-np.inf, np.inf)] * 3
    assert [row.interval for row in one] == [None] * 3
    exact = by_name(got(FLOAT, (X, got_outputs()), reference=FLOAT))
    assert (exact["mae"].candidate, exact["r2"].candidate) == (0.0, 1.0)
    assert exact["mae"].drop == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match=r"Sample 0: regression needs as many values.* 3 and 2"):
        got(FLOAT, (X, np.zeros((N, 3))), task="regression")
    with pytest.raises(DataError, match="Sample 7: the label holds NaN"):
        got(FLOAT, (X, np.where(np.arange(N)[:, None] == 7, np.nan, Y)))


def got_outputs():
    from tfq_ext.tflite.runner import Runner

    return Runner(FLOAT)({"x": X})["y"]


def test_r2_of_labels_far_from_zero():
    """The spread of 1e6 + small must not drown in the square of 1e6."""
    shifted = 1e6 + Y
    row = by_name(got(FLOAT, (X, shifted), task="regression"))["r2"]
    square = np.square(TRUE - shifted).sum()
    spread = np.square(shifted - shifted.mean(axis=0)).sum()
    assert row.candidate == pytest.approx(1 - square / spread, rel=1e-4)


# segmentation

MAPS = RNG.integers(0, 4, (12, 5, 6))
MAPS[0, 0] = 255
SCORES = np.eye(4)[np.where(MAPS == 255, 0, MAPS)] + RNG.normal(scale=0.45, size=(12, 5, 6, 4))
FINALS = {"candidate": "CONV_2D", "reference": "CONV_2D"}


def slow_miou(classes, truth, count):
    found = []
    for c in range(count):
        both = either = 0
        for a, t in zip(classes.ravel(), truth.ravel(), strict=True):
            if t != 255:
                both += a == c and t == c
                either += a == c or t == c
        if (truth == c).any():
            found.append(both / either)
    return np.mean(found)


def test_miou_against_a_loop_over_pixels():
    made = columns(SCORES, np.eye(4)[MAPS % 4], MAPS, FINALS, 255)
    miou, pixels = rows(made, 0, 0.95)
    classes = SCORES.argmax(-1)
    assert miou.candidate == pytest.approx(slow_miou(classes, MAPS, 4))
    assert pixels.candidate == pytest.approx((classes == MAPS)[MAPS != 255].mean())
    assert miou.reference == 1.0
    assert miou.drop[1] < miou.drop[0] == 1 - miou.candidate < miou.drop[2]
    assert made["agree"].mean() == pytest.approx((classes == (MAPS % 4)).mean())


def test_class_that_no_label_shows_does_not_count():
    maps = np.where(MAPS == 3, 2, MAPS)
    assert rows(columns(SCORES, None, maps, FINALS, 255), 0, 0.95)[0].candidate == pytest.approx(
        slow_miou(SCORES.argmax(-1), maps, 3)
    )


def test_binary_and_class_maps_and_one_hot():
    truth = (MAPS % 2).astype(np.uint8)
    finals = {"candidate": "LOGISTIC", "reference": ""}
    sure = np.where(truth, 0.9, 0.1)[..., None]
    assert rows(columns(sure, None, truth, finals, 255), 0, 0.95)[0].candidate == 1.0
    logits = {"candidate": "CONV_2D"}
    half = rows(columns(sure, None, truth, logits, 255), 0, 0.95)[1].candidate
    assert half == pytest.approx(truth.mean())  # all above 0: one class everywhere
    given = truth.astype(np.int64)
    assert rows(columns(given, None, truth, {"candidate": ""}, 255), 0, 0.95)[0].candidate == 1.0
    hot = np.eye(2)[truth]
    assert rows(columns(sure, None, hot, finals, None), 0, 0.95)[0].candidate == 1.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (MAPS[:, :4], "Resize the label map"),
        (MAPS + 1, "label 4 came, the model has 4 classes"),
        (MAPS - 1, "classes count from 0"),
        (MAPS + 0.5, "fractions"),
    ],
)
def test_label_maps_that_do_not_fit(labels, message):
    with pytest.raises(DataError, match=message):
        columns(
            SCORES,
            None,
            np.where(MAPS == 255, 0, labels) if labels.shape == MAPS.shape else labels,
            FINALS,
            None,
        )


def identity_image() -> bytes:
    """float32[-1, 5, 6, 4] as it is: + 0."""
    b = Builder()
    x, y = b.tensor("x", (-1, 5, 6, 4)), b.tensor("y", (-1, 5, 6, 4))
    z = b.tensor("0", (1,), values=np.zeros(1, np.float32))
    b.op("ADD", [x, z], [y], "AddOptions")
    b.end([x], [y], "serve")
    return b.bytes()


def test_segmentation_through_a_file():
    model = identity_image()
    report = got(model, (SCORES.astype(np.float32), MAPS), reference=model)
    assert report.task == "segmentation"
    assert report.metrics[0].candidate == pytest.approx(slow_miou(SCORES.argmax(-1), MAPS, 4))
    assert (report.agreement, report.metrics[0].drop[0]) == (1.0, 0.0)
    assert [row.label for row in report.classes] == [0, 1, 2, 3]
    mean = np.mean([row.candidate for row in report.classes])
    assert mean == pytest.approx(report.metrics[0].candidate)
    assert any("few for a bootstrap" in note for note in report.notes)
    parts = got(model, (SCORES.astype(np.float32), MAPS), reference=model, workers=2)
    assert parts.metrics == report.metrics


# metrics of the user's


def test_metric_of_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "my_metric_module.py").write_text(
        "import numpy as np\n"
        "def worst(p, y): return float(np.abs(p - y).max())\n"
        "worst.higher_is_better = False\n"
        "def each(p, y): return -np.abs(p - y).max(axis=1)\n"
        "def broken(p, y): raise KeyError('no')\n"
        "def wrong(p, y): return np.zeros((3, 3))\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    options = {"reference": FLOAT}
    worst = got(WORSE, (X, Y), metric="my_metric_module:worst", **options).metrics[-1]
    assert worst.candidate == pytest.approx(np.abs(1.2 * TRUE - Y).max(), rel=1e-5)
    assert worst.drop[0] == pytest.approx(worst.candidate - worst.reference)
    assert worst.interval is not None
    each = got(WORSE, (X, Y), metric="my_metric_module:each", **options).metrics[-1]
    assert each.candidate == pytest.approx(-np.abs(1.2 * TRUE - Y).max(axis=1).mean(), rel=1e-5)
    assert each.drop[1] < each.drop[0] == pytest.approx(each.reference - each.candidate)
    for name, message in (
        ("broken", "failed: KeyError"),
        ("wrong", r"gave shape \[3, 3\]"),
        ("number", "is a int, not a function"),
        ("absent", "AttributeError"),
    ):
        with pytest.raises(DataError, match=message):
            got(WORSE, (X, Y), metric=f"my_metric_module:{name}")
    with pytest.raises(DataError, match="written module:function"):
        got(WORSE, (X, Y), metric="nothing")


def test_metric_alone_and_its_room(monkeypatch):
    report = got(FLOAT, X, metric=lambda p, y: float(p.mean()))
    assert report.task is None
    assert report.metrics[0].candidate == pytest.approx(TRUE.mean(), abs=1e-6)
    monkeypatch.setattr("tfq_ext.validation.accuracy.custom.MAX_BYTES", 100)
    with pytest.raises(DataError, match="every prediction at once"):
        got(FLOAT, X, metric=lambda p, y: 0.0)


# early stop

MANY = RNG.normal(size=(3000, D)).astype(np.float32)
FOUR = dense_model(np.concatenate([W, -W]))
RIGHT = (MANY @ np.concatenate([W, -W]).T).argmax(1)
ROLLED = dense_model(np.roll(np.concatenate([W, -W]), 1, axis=0))


def test_stops_when_the_drop_is_plain():
    report = got(ROLLED, (MANY, RIGHT), reference=FOUR, stop=0.01)
    assert report.stopped_early
    assert report.n == 128
    point, lo, _ = report.metrics[0].drop
    assert point == 1.0
    assert lo > 0.9
    three = got(ROLLED, (MANY, RIGHT), reference=FOUR, stop=0.01, workers=3)
    same = {"seconds": 0.0, "samples_per_second": 0.0, "workers": 0}
    assert repr(replace(report, **same)) == repr(replace(three, **same))
    fine = got(FOUR, (MANY, RIGHT), reference=FOUR, stop=0.03)
    assert (fine.stopped_early, fine.n) == (True, 256)
    assert fine.metrics[0].drop[2] <= 0.03


def test_goes_on_while_nothing_is_decided():
    report = got(FOUR, (MANY[:500], RIGHT[:500]), reference=FOUR, stop=0.0)
    assert (report.stopped_early, report.n) == (False, 500)
    assert any("No early look decided" in note for note in report.notes)
    assert "too few to tell" in too_small(report, 0.0)
    assert too_small(report, 0.1) == ""


def test_stop_reads_samples_in_random_order():
    """Sorted by class, the first half says nothing about the second."""
    order = np.argsort(RIGHT, kind="stable")
    half = RIGHT[order].copy()
    half[1500:] = (half[1500:] + 1) % 4  # the reference is right on the first half only
    report = got(ROLLED, (MANY[order], half), reference=FOUR, stop=0.5)
    assert report.metrics[0].reference == pytest.approx(0.5, abs=0.2)


def test_stop_needs_what_it_watches():
    with pytest.raises(DataError, match="there is none"):
        got(FOUR, (MANY, RIGHT), stop=0.01)
    with pytest.raises(DataError, match="labels of classes"):
        got(FLOAT, (X, Y), reference=FLOAT, stop=0.01)
    with pytest.raises(DataError, match=r"a share in \(-1, 1\)"):
        got(FOUR, (MANY, RIGHT), reference=FOUR, stop=5)


def test_looks_err_less_than_promised():
    """True drop on the bound: deciding at all is an error."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        reference = np.ones(4096)
        candidate = (rng.random(4096) >= 0.05).astype(float)
        wrong += Looks(0.05).decide(reference, candidate) is not None
    assert wrong <= 200 * ERROR
    assert sum(error_of(k) for k in range(1, 1000)) < ERROR / 2
