"""A comparison in a few sentences: how good, where it is lost, what to do."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from tfq_ext.validation.comparison.causes import CAUSES, VICTIM
from tfq_ext.validation.comparison.labels import printable
from tfq_ext.validation.comparison.values import Comparison, LayerRow

FEW = 0.5  # share of the loss that few layers must make to be named alone
LEAST = 0.02  # share of the loss of a layer whose remedy is worth a line


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Args:
        text: a sentence.
        command: what to type; "" where there is nothing to type.
    """

    text: str
    command: str = ""


def headline(comparison: Comparison) -> str:
    """The outputs, and the layer where it is lost."""
    return " ".join(part for part in (outputs(comparison), lost_at(comparison)) if part)


def outputs(comparison: Comparison) -> str:
    """SQNR of every output."""
    if not comparison.outputs:
        return "No output holds reals, so there is no SQNR to state."
    listed = ", ".join(f"{db(r.sqnr_db)} ({printable(r.tensor)})" for r in comparison.outputs[:4])
    more = f" and {len(comparison.outputs) - 4} more" if len(comparison.outputs) > 4 else ""
    plural = "Outputs" if len(comparison.outputs) > 1 else "Output"
    return f"{plural} against the reference: {listed}{more}."


def lost_at(comparison: Comparison) -> str:
    """Which layer loses most, in words."""
    rows = [row for row in comparison.worst(len(comparison.rows)) if row.loss > 0]
    if not rows or all(math.isinf(r.sqnr_db) or r.sqnr_db > 90 for r in comparison.outputs):
        return ""
    first = rows[0]
    assert first.own_sqnr_db is not None
    if first.loss < 0.1 and not first.verdict:
        return f"No layer stands out: the noisiest adds {first.loss:.0%} of all own noise."
    verdict = f": {first.verdict}" if first.verdict else ""
    return (
        f"Most is lost at {first.op} {first.label!r}: {first.own_sqnr_db:.1f} dB on exact inputs, "
        f"{first.loss:.0%} of all own noise{verdict}."
    )


def next_steps(comparison: Comparison) -> list[Advice]:
    """Remedies of the worst layers, one a cause, with the command to try."""
    found: dict[str, list[LayerRow]] = {}
    for row in comparison.worst(len(comparison.rows)):
        cause = next((c for c in row.causes if c not in (VICTIM, "input-grid")), None)
        if cause is not None and (row.loss >= LEAST or VICTIM not in row.causes):
            found.setdefault(cause, []).append(row)
    steps, told = [], set[str]()
    for cause, rows in list(found.items())[:4]:
        named = ", ".join(repr(row.label) for row in rows[:2])
        more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
        text = f"{CAUSES[cause].remedy} ({named}{more})"
        line = command(comparison, CAUSES[cause].settings)
        steps.append(Advice(text, "" if line in told else line))
        told.add(line)
    return steps


def command(comparison: Comparison, settings: str) -> str:
    """`tfq quantize` as it would be typed; "" where the models are no paths or nothing is set."""
    if not settings or not comparison.data or not Path(comparison.reference).suffix:
        return ""
    parts = ["tfq", "quantize", comparison.reference, "--data", "CALIBRATION_SAMPLES"]
    parts += ["--preprocess", comparison.preprocess] if comparison.preprocess else []
    name, _, value = settings.partition("=")
    parts += ["--recipe", value] if name == "recipe" else ["--set", settings]
    target = f"{Path(comparison.reference).stem}.again.tflite"
    return " ".join(shlex.quote(part) for part in [*parts, "-o", target])


def db(value: float) -> str:
    """A level with one decimal."""
    return "exact" if value == math.inf else f"{value:.1f} dB"
