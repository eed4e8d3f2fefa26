"""The tasks: what each keeps of every row, and what it says about all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfq_ext._table import Table
from tfq_ext.validation.accuracy import classification, regression, segmentation
from tfq_ext.validation.accuracy.rowwise import Columns
from tfq_ext.validation.accuracy.values import Changed, ClassRow, MetricRow


@dataclass(frozen=True)
class Rules:
    """Options of tasks.

    Args:
        label_offset: added to every class label.
        ignore_label: segmentation: label of pixels that do not count; None: all count.
    """

    label_offset: int = 0
    ignore_label: int | None = 255


Judge = Callable[
    [np.ndarray, np.ndarray | None, np.ndarray | None, Mapping[str, str], Rules], Columns
]


@dataclass(frozen=True)
class Task:
    """One entry of TASKS.

    Args:
        columns: (candidate, reference or None, labels or None, final op by model, rules) -> what
            to keep of each row. Names that begin with "judged:" are of labelled rows only.
        rows: (all rows' columns, seed, confidence of the drop) -> metrics, the main one first.
        classes, changed: (columns, class names) -> rows of the report.
        main: the metric that gates usually ask for.
        doc: one line.
    """

    columns: Judge
    rows: Callable[[Columns, int, float], tuple[MetricRow, ...]]
    classes: Callable[[Columns, Sequence[str]], tuple[ClassRow, ...]]
    changed: Callable[[Columns, Sequence[str]], tuple[Changed, ...]]
    main: str
    doc: str


def _nothing(joined: Columns, names: Sequence[str]) -> tuple:
    return ()


TASKS: Table[Task] = Table(
    "task",
    {
        "classification": Task(
            lambda c, r, y, finals, rules: classification.columns(
                c, r, y, finals, rules.label_offset
            ),
            classification.rows,
            classification.classes,
            classification.changed,
            "top1",
            "one class a sample: top-1, top-5, per class, which classes changed",
        ),
        "regression": Task(
            lambda c, r, y, finals, rules: regression.columns(c, r, y),
            regression.rows,
            _nothing,
            _nothing,
            "mae",
            "numbers: mean absolute error, root mean square error, R2",
        ),
        "segmentation": Task(
            lambda c, r, y, finals, rules: segmentation.columns(
                c, r, y, finals, rules.ignore_label
            ),
            segmentation.rows,
            segmentation.classes,
            _nothing,
            "miou",
            "one class a pixel: mean IoU over labelled classes, pixel accuracy",
        ),
    },
)
