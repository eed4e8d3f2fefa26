"""Classification: top-1, top-5, per class, and who changed from which class to which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import paired_interval, wilson_interval
from tfq_ext.numerics.metrics import hits
from tfq_ext.validation.accuracy.rowwise import Columns, logits
from tfq_ext.validation.accuracy.values import Changed, ClassRow, MetricRow

TOP = 5


def columns(
    candidate: np.ndarray,
    reference: np.ndarray | None,
    labels: np.ndarray | None,
    finals: Mapping[str, str],
    label_offset: int,
) -> Columns:
    """Per row: class given (now, was), and for labelled rows hits of both models.

    Args:
        candidate, reference: real[R, C], [R, 1, 1, C], or one score [R, 1] of two classes.
        labels: whole numbers [R], or one-hot [R, C].
        finals: last op by model; tells a probability from a logit where there is one score.
        label_offset: added to the labels.

    Raises:
        DataError: outputs that are no class scores, labels that do not fit.
    """
    if _are_classes(candidate) and (reference is None or _are_classes(reference)):
        return _of_classes(candidate, reference, labels, label_offset)
    now = scores(candidate, finals["candidate"])
    made: Columns = {"now": now.argmax(1)}
    was = None
    if reference is not None:
        was = scores(reference, finals["reference"])
        made["was"] = was.argmax(1)
    if labels is None:
        return made
    truth = whole_labels(labels, now.shape[1], label_offset)
    made["judged:label"] = truth
    made |= {f"judged:candidate:{name}": x for name, x in _hits(now, truth).items()}
    if was is not None:
        made |= {f"judged:reference:{name}": x for name, x in _hits(was, truth).items()}
    best = now.argmax(1)
    made["judged:tied"] = hits(now, truth)
    made["judged:shifted"] = np.stack([best == truth + 1, best == truth - 1], 1).astype(np.float64)
    return made


def _are_classes(values: np.ndarray) -> bool:
    """Whether a model gives the class itself, one whole number a row, as ARG_MAX does."""
    return values.dtype.kind in "iu" and values.size == len(values)


def _of_classes(
    candidate: np.ndarray, reference: np.ndarray | None, labels: np.ndarray | None, offset: int
) -> Columns:
    """As `columns`; how many classes there are is not known, so neither are top-5 and ties."""
    sides = {"candidate": candidate.reshape(-1).astype(np.int64)}
    made: Columns = {"now": sides["candidate"]}
    if reference is not None:
        made["was"] = sides["reference"] = reference.reshape(-1).astype(np.int64)
    if labels is None:
        return made
    truth = whole_labels(labels, np.iinfo(np.int64).max, offset)
    made["judged:label"] = truth
    right = {who: (given == truth).astype(np.float64) for who, given in sides.items()}
    made |= {f"judged:{who}:top1": found for who, found in right.items()}
    best = sides["candidate"]
    made["judged:tied"] = right["candidate"]
    made["judged:shifted"] = np.stack([best == truth + 1, best == truth - 1], 1).astype(np.float64)
    return made


def _hits(values: np.ndarray, truth: np.ndarray) -> Columns:
    """0.0 or 1.0 a row. Of equal scores the first class wins, as in argmax and in every app."""
    own = np.take_along_axis(values, truth[:, None], axis=1)
    equal_before = (values == own) & (np.arange(values.shape[1]) < truth[:, None])
    rank = (values > own).sum(1) + equal_before.sum(1)
    found = {"top1": (rank < 1).astype(np.float64)}
    if values.shape[1] > TOP:
        found["top5"] = (rank < TOP).astype(np.float64)
    return found


def scores(values: np.ndarray, final: str) -> np.ndarray:
    """float[R, C]; one score becomes two classes, split at 0.5 behind LOGISTIC, else at 0."""
    rows = logits(values)
    if rows is None:
        raise DataError(
            f"classification needs one score per class, the output has shape "
            f"{list(values.shape[1:])} per sample. Choose another output or task."
        )
    if rows.shape[1] == 1:
        margin = np.asarray(rows, np.float64) - threshold(final)
        return np.concatenate([-margin, margin], axis=1)
    return rows


def threshold(final: str) -> float:
    """Where a single score splits two classes."""
    return 0.5 if final == "LOGISTIC" else 0.0


def whole_labels(labels: np.ndarray, classes: int, offset: int) -> np.ndarray:
    """int64[R] in 0..classes-1, from whole numbers or one-hot rows.

    Raises:
        DataError: anything else.
    """
    values = np.asarray(labels)
    if values.ndim > 1 and values[0].size == 1:
        values = values.reshape(len(values))
    if values.ndim == 2 and values.shape[1] == classes and _one_hot(values):
        values = values.argmax(1)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or (values != np.rint(values)).any():
        raise DataError(
            f"classification needs whole-number labels, one a sample, or one-hot rows of "
            f"{classes}; got {values.dtype} of shape {list(values.shape[1:])} per sample."
        )
    truth = values.astype(np.int64) + offset
    if truth.size and (truth.min() < 0 or truth.max() >= classes):
        wrong = int(truth.max() if truth.max() >= classes else truth.min())
        hint = " If labels count from 1, pass label_offset=-1." if wrong == classes else ""
        raise DataError(
            f"label {wrong} came, the model has {classes} classes, 0..{classes - 1}.{hint}"
        )
    return truth


def _one_hot(values: np.ndarray) -> bool:
    return bool((((values == 0) | (values == 1)).all(1) & (values.sum(1) == 1)).all())


def rows(joined: Columns, seed: int, confidence: float) -> tuple[MetricRow, ...]:
    """top1, and top5 where there are more than five classes."""
    names = [name for name in ("top1", "top5") if f"judged:candidate:{name}" in joined]
    return tuple(_row(name, joined, seed, confidence) for name in names)


def _row(name: str, joined: Columns, seed: int, confidence: float) -> MetricRow:
    mine, theirs = joined[f"judged:candidate:{name}"], joined.get(f"judged:reference:{name}")
    n, right = len(mine), float(mine.sum())
    drop, p_value = None, None
    if theirs is not None:
        found = paired_interval(theirs, mine, confidence, seed=seed)
        drop, p_value = (found.drop, found.lo, found.hi), found.p_value
    return MetricRow(
        name,
        "share",
        right / n,
        wilson_interval(right, n),
        None if theirs is None else float(theirs.mean()),
        drop,
        p_value,
        True,
    )


def classes(joined: Columns, names: Sequence[str]) -> tuple[ClassRow, ...]:
    """top-1 of every class that has samples."""
    truth, mine = joined["judged:label"], joined["judged:candidate:top1"]
    theirs = joined.get("judged:reference:top1")
    made = []
    for label in np.unique(truth).tolist():
        here = truth == label
        n, right = int(here.sum()), float(mine[here].sum())
        reference = None if theirs is None else float(theirs[here].mean())
        interval = wilson_interval(right, n)
        made.append(ClassRow(label, name_of(names, label), n, right / n, interval, reference))
    return tuple(made)


def changed(joined: Columns, names: Sequence[str]) -> tuple[Changed, ...]:
    """Pairs of classes that differ, most frequent first, then by class."""
    if "was" not in joined:
        return ()
    was, now = joined["was"], joined["now"]
    truth = joined.get("judged:label")
    if truth is None or len(truth) != len(now):  # some rows have no label: nobody was right
        truth = np.full(len(now), -1)
    at = np.flatnonzero(was != now)
    pairs = list(zip(was[at].tolist(), now[at].tolist(), strict=True))
    lost = Counter(pair for pair, t in zip(pairs, truth[at].tolist(), strict=True) if pair[0] == t)
    won = Counter(pair for pair, t in zip(pairs, truth[at].tolist(), strict=True) if pair[1] == t)
    ranked = sorted(Counter(pairs).items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(
        Changed(a, b, n, lost[a, b], won[a, b], name_of(names, a), name_of(names, b))
        for (a, b), n in ranked
    )


def name_of(names: Sequence[str], label: int) -> str:
    """ "" where the names do not reach."""
    return names[label] if 0 <= label < len(names) else ""
