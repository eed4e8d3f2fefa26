"""Several files of one model side by side: the table, and what it shows in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.tables import LEFT, RIGHT, plain_table
from tfq_ext.validation.accuracy import Accuracy
from tfq_ext.validation.latency import Latency


@dataclass(frozen=True)
class Row:
    """One file. The first row of a comparison is the float model.

    Args:
        name: how people call it.
        path: where it lies.
        size: bytes.
        accuracy: against the float model, with labels.
        latency: one thread, ratio to the float model.
    """

    name: str
    path: str
    size: int
    accuracy: Accuracy
    latency: Latency


@dataclass(frozen=True)
class Roles:
    """Names of the rows that the sentences speak of."""

    rival: str
    ours: str


COLUMNS = (
    ("", LEFT),
    ("size kB", RIGHT),
    ("top-1 % (95 %)", RIGHT),
    ("agree", RIGHT),
    ("SQNR dB", RIGHT),
    ("ms", RIGHT),
    ("x float", RIGHT),
)
LEGEND = (
    "TF: TFLiteConverter. agree: % of images with the float model's answer. SQNR: logits against "
    "the float model's. ms: median of one image on one thread, files taking turns; x float: by the "
    "float model's."
)


def comparison_table(rows: Sequence[Row]) -> Table:
    """One line a file."""
    table = plain_table(COLUMNS, [_cells(row, k == 0) for k, row in enumerate(rows)])
    for column in table.columns:
        column.no_wrap = True
    return table


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _cells(row: Row, is_float: bool) -> list[str | Text]:
    a, t = row.accuracy, row.latency
    return [
        Text(row.name, "bold"),
        f"{row.size / 1e3:.1f}",
        _top1(a),
        "" if is_float or a.agreement is None else f"{100 * a.agreement:.1f}",
        "" if is_float else f"{a.sqnr_db:.1f}",
        _milliseconds(t.median_ms),
        _ratio(t.ratio),
    ]


def _top1(a: Accuracy) -> str:
    if a.top1 is None or a.top1_interval is None:
        return ""
    low, high = a.top1_interval
    return f"{100 * a.top1:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def sentences(rows: Sequence[Row], roles: Roles) -> list[str]:
    """What the numbers say, whichever way they came out."""
    by_name = {row.name: row for row in rows}
    rival, ours = by_name[roles.rival], by_name[roles.ours]
    return [_nearness(rival, ours), _top1_drop(ours), _extremes(rows[1:])]


def _nearness(rival: Row, ours: Row) -> str:
    gain = ours.accuracy.sqnr_db - rival.accuracy.sqnr_db
    nearer = "nearer to" if gain >= 0 else "farther from"
    text = (
        f"{ours.name}: its logits lie {abs(gain):.1f} dB {nearer} the float model's than those of "
        f"{rival.name}"
    )
    changed = [_changed(row) for row in (ours, rival)]
    if None in changed:
        return f"{text}."
    return f"{text}, and {changed[0]} of {ours.accuracy.n} answers change instead of {changed[1]}."


def _changed(row: Row) -> int | None:
    a = row.accuracy
    return None if a.agreement is None else round((1 - a.agreement) * a.n)


def _top1_drop(ours: Row) -> str:
    drop = ours.accuracy.drop
    if drop is None:
        return "Without labels nothing can be said of accuracy."
    low, high = 100 * drop.lo, 100 * drop.hi
    lost = f"loses {100 * drop.drop:.2f}" if drop.drop >= 0 else f"gains {-100 * drop.drop:.2f}"
    verdict = (
        "no difference that these images could show"
        if low <= 0 <= high
        else "more than chance explains"
    )
    return (
        f"Against float it {lost} points of top-1 (95 % interval of the loss, same images: "
        f"{low:.2f} to {high:.2f}): {verdict}."
    )


def _extremes(rows: Sequence[Row]) -> str:
    nearest = max(rows, key=lambda row: row.accuracy.sqnr_db)
    smallest = min(rows, key=lambda row: row.size)
    fastest = min(rows, key=lambda row: row.latency.ratio)
    return (
        f"Nearest to float: {nearest.name} ({nearest.accuracy.sqnr_db:.1f} dB, "
        f"{_ratio(nearest.latency.ratio)} x its time). Smallest: {smallest.name} "
        f"({words.size(smallest.size)}, {_ratio(smallest.latency.ratio)} x). Fastest here: "
        f"{fastest.name} ({_ratio(fastest.latency.ratio)} x)."
    )
