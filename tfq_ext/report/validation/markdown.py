"""A summary for a pull request: verdict, gates, numbers, findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tfq_ext.report.validation import facts
from tfq_ext.validation.finding import SEVERITIES
from tfq_ext.validation.gate import FAIL, PASS
from tfq_ext.validation.verdict import Validation

MARKS = {PASS: "✅ pass", FAIL: "❌ fail"}


def markdown(validation: Validation) -> str:
    """GitHub-flavoured text; names from models cannot break out of their cells."""
    return "\n".join(_lines(validation)) + "\n"


def _lines(v: Validation) -> Iterator[str]:
    yield f"## `{_code(v.name)}`: {facts.verdict(v)}"
    yield ""
    yield from _table(
        ("gate", "verdict", "value", "bound", "margin", "detail"),
        [
            (g.name, MARKS.get(g.verdict, "⚠️ cannot judge"), g.value, g.bound, g.margin, g.detail)
            for g in v.gates
        ],
    )
    yield ""
    yield from _table(("", "value", "baseline"), facts.side_by_side(v))
    grave = [g for g in facts.grouped(v.findings) if g[0].severity != SEVERITIES[0]]
    if grave:
        yield ""
        yield f"<details><summary>Findings: {facts.counts(v.findings)}</summary>"
        yield ""
        yield from _table(
            ("severity", "rule", "cases", "for example", "what to do"),
            [
                (g[0].severity, g[0].rule.id, str(len(g)), g[0].message, g[0].rule.remedy)
                for g in grave
            ],
        )
        yield ""
        yield "</details>"
    yield ""
    yield f"<sub>{_cell(facts.origin_line(v))}</sub>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(entry) for entry in row) + " |"


def _cell(text: str) -> str:
    """One line of plain text: no pipes, tags, links or mentions out of a model's names."""
    flat = " ".join(text.split())
    for mark in "\\|`*_[]#@":
        flat = flat.replace(mark, f"\\{mark}" if mark != "@" else "@​")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in "`|<>")
