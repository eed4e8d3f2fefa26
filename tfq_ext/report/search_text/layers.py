"""A sensitivity as a table: one line a layer, the worst first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from tfq_ext.report.console import text_of
from tfq_ext.report.lined import Lined
from tfq_ext.report.words import count, db
from tfq_ext.search.sensitivity import ALL, ALL_BUT, ONLY, Sensitivity, SensitivityRow
from tfq_ext.validation.comparison.labels import labels

TOP = 20
WIDTH = 100


def show_sensitivity(
    found: Sensitivity, console: Console, *, top: int | None = TOP, in_order: bool = False
) -> None:
    """Print it.

    Args:
        found: what was measured.
        console: where to.
        top: so many layers; None: all.
        in_order: of execution, not the worst first.
    """
    for line in _head(found):
        console.print(line, soft_wrap=True)
    names = found.layers if in_order else sorted(found.layers, key=lambda n: worst(found, n))
    shown = names if top is None else names[:top]
    if shown:
        console.print()
        console.print(_table(found, shown))
    if len(shown) < len(names):
        console.print(f"and {count(len(names) - len(shown), 'layer')} more (--all)")
    console.print()
    for line in LEGEND:
        console.print(line, soft_wrap=True)


LEGEND = (
    "w4, w8, a8: SQNR of the outputs with only this layer's weights (w) or results (a) rounded.",
    "freed: dB gained where all is quantized but this layer.",
)


def sensitivity_text(found: Sensitivity) -> str:
    """The same as plain text of 100 columns."""
    return text_of(lambda console: show_sensitivity(found, console), WIDTH).rstrip("\n")


def _head(found: Sensitivity) -> list[str]:
    """The whole network, one line a width."""
    lines = [f"{count(len(found.layers), 'layer')}, measured on {count(found.samples, 'sample')}."]
    for row in found.rows:
        if row.scope == ALL:
            parts = [f"SQNR {db(row.sqnr_db)}", *_more(row, found)]
            lines.append(f"All layers w{row.weights}a{row.activations}: {', '.join(parts)}.")
    return lines


def _more(row: SensitivityRow, found: Sensitivity) -> list[str]:
    parts = []
    if row.kl is not None:
        parts.append(f"KL {row.kl:.2g} nats")
    if row.agreement is not None:
        parts.append(f"agreement {100 * row.agreement:.1f} %")
    for name, value in row.metrics.items():
        parts.append(f"{name} {value:.4g} (float {found.float_metrics.get(name, math.nan):.4g})")
    return parts


def worst(found: Sensitivity, layer: str) -> float:
    """What the table is sorted by: the sum of what the layer does alone, least dB first."""
    rows = [r for r in found.rows if r.layer == layer and r.scope == ONLY]
    if not rows:
        gains = [g for r in found.rows if r.layer == layer and (g := freed(found, r)) is not None]
        return -max(gains, default=0.0)
    bits = min((r.weights for r in rows if r.weights), default=0)
    kept = [r for r in rows if r.weights == bits or not r.weights]
    noise = sum(10 ** (-r.sqnr_db / 10) for r in kept if r.activations != 16)
    return -10 * math.log10(noise) if noise > 0 else math.inf


def freed(found: Sensitivity, row: SensitivityRow) -> float | None:
    """dB that leaving this one layer float gains; None where not measured or not a number."""
    whole = found.find("", ALL, weights=row.weights, activations=row.activations)
    if row.scope != ALL_BUT or whole is None:
        return None
    gain = row.sqnr_db - whole.sqnr_db
    return gain if math.isfinite(gain) else None


def _table(found: Sensitivity, names: Sequence[str]) -> Lined:
    only = _keys(found, ONLY)
    but = _keys(found, ALL_BUT)
    kls = [key for key in only if any(r.kl is not None for r in _rows(found, ONLY, key))][-2:]
    titles = ["layer", "op", "weights"]
    titles += [_label(*key) for key in only]
    titles += [f"KL {_label(*key)}" for key in kls if key[0]]
    titles += [f"freed {_label(*key)}" for key in but]
    wide = [title for title in titles if title.startswith("freed") and title.endswith("a16")]
    ops = {row.layer: row.op for row in found.rows if row.layer}
    short, rows = labels(ops), []
    for name in names:
        cells = [short[name], ops[name], _amount(found.elements.get(name, 0))]
        for w, a in only:
            row = found.find(name, ONLY, weights=w, activations=a)
            cells.append("-" if row is None else db(row.sqnr_db))
        for w, a in (key for key in kls if key[0]):
            row = found.find(name, ONLY, weights=w, activations=a)
            cells.append("-" if row is None or row.kl is None else f"{row.kl:.1e}")
        for w, a in but:
            row = found.find(name, ALL_BUT, weights=w, activations=a)
            gain = None if row is None else freed(found, row)
            cells.append("-" if gain is None else f"{gain:+.2f}")
        rows.append(cells)
    kinds = ["name", "left", *["right"] * (len(titles) - 2)]
    kl = [title for title in titles if title.startswith("KL")]
    return Lined(titles, kinds, rows, spare=["weights", *kl, *wide, "op"])


def _keys(found: Sensitivity, scope: str) -> list[tuple[int, int]]:
    """(weights, activations) that were measured, in the order of the first layer that has all."""
    seen = {(r.weights, r.activations) for r in found.rows if r.scope == scope and r.layer}
    return sorted(seen, key=lambda key: (not key[0], -key[0], key[1]))


def _rows(found: Sensitivity, scope: str, key: tuple[int, int]) -> list[SensitivityRow]:
    rows = (r for r in found.rows if r.scope == scope and r.layer)
    return [r for r in rows if (r.weights, r.activations) == key]


def _label(weights: int, activations: int) -> str:
    return (f"w{weights}" if weights else "") + (f"a{activations}" if activations else "")


def _amount(n: int) -> str:
    if not n:
        return "-"
    return f"{n / 1e6:.2f} M" if n >= 1e6 else f"{n / 1e3:.1f} k" if n >= 1e3 else str(n)
