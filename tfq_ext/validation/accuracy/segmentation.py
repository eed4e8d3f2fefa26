"""Segmentation: mean IoU over the labelled classes, and pixel accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import percentile_interval, resampled_sums
from tfq_ext.validation.accuracy.classification import name_of, threshold
from tfq_ext.validation.accuracy.rowwise import Columns, flat
from tfq_ext.validation.accuracy.values import ClassRow, MetricRow

_BOTH = ("candidate", "reference")
MOST_CLASSES = 1024


def columns(
    candidate: np.ndarray,
    reference: np.ndarray | None,
    labels: np.ndarray | None,
    finals: Mapping[str, str],
    ignore: int | None,
) -> Columns:
    """Per row: pixels on which both models agree; for labelled rows pixels by class.

    Args:
        candidate, reference: scores [R, H, W, C], one score [R, H, W, 1] of two classes, or
            classes int[R, H, W].
        labels: classes int[R, H, W], [R, H, W, 1], or one-hot [R, H, W, C].
        finals: last op by model.
        ignore: label of pixels that do not count; None: every pixel counts.

    Raises:
        DataError: shapes that do not fit, labels out of range.
    """
    maps = {"candidate": class_map(candidate, finals["candidate"])}
    if reference is not None:
        maps["reference"] = class_map(reference, finals["reference"])
    made: Columns = {}
    if reference is not None:
        same = maps["candidate"][0] == maps["reference"][0]
        made["agree"] = flat(same).mean(axis=1)
    if labels is None:
        return made
    count = maps["candidate"][1]
    truth = label_map(labels, maps["candidate"][0].shape, count, ignore)
    known = flat(truth) >= 0
    count = count or max(int(truth.max(initial=0)), int(maps["candidate"][0].max())) + 1
    made["judged:labelled"] = _counts(flat(truth), known, count)
    for name, (classes, _) in maps.items():
        found = flat(classes)
        made[f"judged:{name}:given"] = _counts(found, known, count)
        made[f"judged:{name}:right"] = _counts(found, known & (found == flat(truth)), count)
    return made


def class_map(values: np.ndarray, final: str) -> tuple[np.ndarray, int]:
    """(int[R, H, W], number of classes; 0 where a class map does not tell)."""
    if values.dtype.kind in "iu" and values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.dtype.kind in "iu" and values.ndim == 3:
        return values.astype(np.int64), 0
    if final in ("ARG_MAX", "ARG_MIN"):  # its codes may come as reals
        return values.reshape(values.shape[:3]).astype(np.int64), 0
    if values.ndim != 4:
        raise DataError(
            f"segmentation needs an output [H, W, classes] or a map of classes [H, W]; got "
            f"{list(values.shape[1:])} per sample. Choose another output or task."
        )
    if values.shape[-1] == 1:
        return (values[..., 0] > threshold(final)).astype(np.int64), 2
    return values.argmax(axis=-1), int(values.shape[-1])


def label_map(
    labels: np.ndarray, shape: tuple[int, ...], count: int, ignore: int | None
) -> np.ndarray:
    """int64[R, H, W] with -1 where pixels do not count.

    Raises:
        DataError: see `columns`.
    """
    truth = np.asarray(labels)
    if truth.ndim == 4:
        truth = truth[..., 0] if truth.shape[-1] == 1 else truth.argmax(axis=-1)
    if truth.shape != shape:
        raise DataError(
            f"the label map is {list(truth.shape[1:])}, the output {list(shape[1:])}. Resize the "
            "label map to the output's size with nearest neighbour."
        )
    if truth.dtype.kind not in "iub" and (truth != np.rint(truth)).any():
        raise DataError(f"a label map holds whole numbers, got fractions ({truth.dtype}).")
    truth = truth.astype(np.int64)
    if ignore is not None:
        truth = np.where(truth == ignore, -1, truth)
    if truth.min(initial=0) < -1 or (ignore is None and truth.min(initial=0) < 0):
        raise DataError(f"label {int(truth.min())} came; classes count from 0.")
    if (top := int(truth.max(initial=0))) >= (count or MOST_CLASSES):
        raise DataError(
            f"label {top} came, the model has {count or MOST_CLASSES} classes. If it marks pixels "
            f"that do not count, pass ignore_label={top}."
        )
    return truth


def _counts(classes: np.ndarray, where: np.ndarray, count: int) -> np.ndarray:
    """int64[R, count], pixels of each class; what lies beyond is no class."""
    rows = np.arange(len(classes))[:, None] * (count + 1)
    clipped = np.clip(classes, -1, count)
    clipped = np.where(where & (clipped >= 0), clipped, count)
    size = len(classes) * (count + 1)
    return np.bincount((rows + clipped).ravel(), minlength=size).reshape(-1, count + 1)[:, :count]


def rows(joined: Columns, seed: int, confidence: float) -> tuple[MetricRow, ...]:
    """miou and pixel_accuracy; intervals by a paired bootstrap over the images."""
    names = ["labelled", *(f"{w}:{x}" for w in _BOTH for x in ("given", "right"))]
    names = [name for name in names if f"judged:{name}" in joined]
    stacked = np.concatenate([joined[f"judged:{name}"] for name in names], axis=1)
    whole = _split(stacked.sum(axis=0, keepdims=True), names)
    if not whole["labelled"].any():
        raise DataError("No pixel of any label counts: all are marked to be ignored.")
    drawn = _split(resampled_sums(stacked, seed=seed), names) if len(stacked) > 1 else None
    made = []
    for name, measure in (("miou", mean_iou), ("pixel_accuracy", _pixel_accuracy)):
        mine, theirs = float(measure(whole, "candidate")[0]), None
        interval, drop = None, None
        if drawn is not None:
            interval = percentile_interval(measure(drawn, "candidate"))
        if "reference:given" in whole:
            theirs = float(measure(whole, "reference")[0])
            ends = (-np.inf, np.inf)
            if drawn is not None:
                lost = measure(drawn, "reference") - measure(drawn, "candidate")
                ends = percentile_interval(lost, confidence)
            drop = (theirs - mine, *ends)
        made.append(MetricRow(name, "share", mine, interval, theirs, drop, None, True))
    return tuple(made)


def _split(sums: np.ndarray, names: list[str]) -> Columns:
    return dict(zip(names, np.split(sums, len(names), axis=1), strict=True))


def iou(sums: Columns, who: str) -> np.ndarray:
    """[B, C]; NaN for a class that no label shows."""
    right, labelled = sums[f"{who}:right"], sums["labelled"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(labelled > 0, right / (labelled + sums[f"{who}:given"] - right), np.nan)


def mean_iou(sums: Columns, who: str) -> np.ndarray:
    """[B]; over the classes that labels show, the same ones for both models."""
    return np.asarray(np.nanmean(iou(sums, who), axis=1))


def _pixel_accuracy(sums: Columns, who: str) -> np.ndarray:
    return np.asarray(sums[f"{who}:right"].sum(axis=1) / sums["labelled"].sum(axis=1))


def classes(joined: Columns, names: Sequence[str]) -> tuple[ClassRow, ...]:
    """IoU of every class that labels show."""
    sums = {k.removeprefix("judged:"): x for k, x in joined.items() if k.startswith("judged:")}
    shown = (sums["labelled"] > 0).sum(axis=0)
    whole = {key: x.sum(axis=0, keepdims=True) for key, x in sums.items() if x.ndim == 2}
    mine = iou(whole, "candidate")[0]
    theirs = iou(whole, "reference")[0] if "reference:given" in whole else None
    return tuple(
        ClassRow(
            label,
            name_of(names, label),
            int(shown[label]),
            float(mine[label]),
            None,
            None if theirs is None else float(theirs[label]),
        )
        for label in np.flatnonzero(shown).tolist()
    )
