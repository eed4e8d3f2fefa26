"""Lint findings, and the rules themselves, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.console import text_of
from tfq_ext.report.tables import LEFT, plain_table
from tfq_ext.validation.finding import SEVERITIES, Finding, Rule

if TYPE_CHECKING:
    from tfq_ext.validation.lint import LintReport

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
NOUNS = {"error": "error", "warning": "warning", "info": "note"}
INDENT = 9  # columns of the longest severity and a gap


def to_text(report: LintReport, *, width: int = 100, severity: str = "info") -> str:
    """The report as plain text."""
    return text_of(lambda console: show(report, console, severity=severity), width)


def show(
    report: LintReport, console: Console, *, severity: str = "info", every: bool = False
) -> None:
    """Print the report.

    Args:
        report: the findings.
        console: where to.
        severity: the mildest that is shown.
        every: list each finding, not one line a rule.
    """
    console.print(_headline(report))
    shown = SEVERITIES[SEVERITIES.index(severity) :]
    groups = [g for g in report.grouped().values() if g[0].severity in shown]
    for found in groups:
        if every or found[0].severity != "info":
            _rule(found, console, every)
    if not every:
        _notes([g for g in groups if g[0].severity == "info"], console)
    _hidden(report, shown, console)
    _suppressed(report, console)
    console.print()
    console.print(Text(_judged(report), "dim"))


def _headline(report: LintReport) -> Text:
    name = words.short(PurePath(report.file).name, 60) if report.file else "The model"
    counts = {NOUNS[grade]: n for grade, n in report.counts.items() if n}
    told = ", ".join(words.count(n, noun) for noun, n in counts.items()) or "nothing found"
    return Text(f"{name}: {told}", STYLES.get(report.worst, "bold green"))


def _rule(found: Sequence[Finding], console: Console, every: bool) -> None:
    rule, first = found[0].rule, found[0]
    head = Text(f"{rule.severity:<{INDENT}}", STYLES[rule.severity])
    head.append(rule.id, "bold").append(_count(found), "dim")
    console.print()
    console.print(head)
    parts = [Text(rule.what)]
    if every:
        parts += [_placed(finding) for finding in found]
    else:
        if len({f.op for f in found}) > 1:
            parts.append(Text(_kinds(found), "dim"))
        parts.append(Text(f"{_chosen(found)}{_place(first)}{_clean(first.message)}"))
    parts.append(Text(f"-> {rule.remedy}", "green"))
    for part in parts:
        console.print(Padding(part, (0, 0, 0, INDENT), expand=False))


def _chosen(found: Sequence[Finding]) -> str:
    """What the one that is shown stands for."""
    if len(found) == 1:
        return ""
    return "the worst, " if len({f.message for f in found}) > 1 else "for example, "


def _kinds(found: Sequence[Finding]) -> str:
    """ "CONV_2D 28, DEPTHWISE_CONV_2D 17", the most frequent first."""
    codes = Counter(words.short(f.op, 32) for f in found if f.op)
    return ", ".join(f"{code} {n}" for code, n in codes.most_common(8))


def _count(found: Sequence[Finding]) -> str:
    return f" ({len(found)})" if len(found) > 1 else ""


def _notes(groups: Sequence[Sequence[Finding]], console: Console) -> None:
    """Findings worth knowing: one line a rule, the worst case beside it."""
    if not groups:
        return
    table = plain_table([("", LEFT), ("", LEFT), ("", LEFT)], ())
    table.show_header = False
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for found in groups:
        grade = Text(f"{found[0].severity:<{INDENT - 2}}", STYLES["info"])
        title = Text(found[0].rule.id).append(_count(found), "dim")
        table.add_row(grade, title, Text(_clean(found[0].message)))
    console.print()
    console.print(table)


def _placed(finding: Finding) -> Text:
    return Text(f"- {_place(finding)}{_clean(finding.message)}")


def _place(finding: Finding) -> str:
    """ "CONV_2D #12 tensor: ", as much of it as is known."""
    number = "" if finding.op_index is None else f" #{finding.op_index}"
    beside = f" (subgraph {finding.subgraph})" if finding.subgraph else ""
    parts = [f"{words.short(finding.op, 32)}{number}{beside}" if finding.op else ""]
    parts.append(words.short(finding.tensor, 36) if finding.tensor else "")
    told = " ".join(part for part in parts if part)
    return f"{told}: " if told else ""


def _clean(message: str) -> str:
    """On one line, without control characters."""
    return words.printable(" ".join(message.split()))


def _hidden(report: LintReport, shown: Sequence[str], console: Console) -> None:
    left = {NOUNS[g]: n for g, n in report.counts.items() if n and g not in shown}
    if left:
        told = " and ".join(words.count(n, noun) for noun, n in left.items())
        console.print(Text(f"{told} not shown (--severity info)", "dim"))


def _suppressed(report: LintReport, console: Console) -> None:
    silent: dict[tuple[str, str], int] = {}
    for finding in report.findings:
        if finding.suppressed:
            key = (finding.rule.id, finding.suppressed)
            silent[key] = silent.get(key, 0) + 1
    if not silent and not report.idle:
        return
    console.print()
    for (rule, reason), n in silent.items():
        text = f"suppressed {rule} ({n}): {_clean(reason)}"
        console.print(Text(text, "dim"))
    for entry in report.idle:
        console.print(Text(f"suppression of {_clean(entry)} fits nothing: drop it", "dim"))


def _judged(report: LintReport) -> str:
    by_reason: dict[str, int] = {}
    for reason in report.skipped.values():
        by_reason[reason] = by_reason.get(reason, 0) + 1
    samples = f", {words.count(report.samples, 'sample')} run" if report.samples else ""
    left = "; ".join(f"{n} {_need(n, reason)}" for reason, n in by_reason.items())
    return (
        f"{words.count(len(report.checked), 'rule')} judged{samples}"
        f"{f'; not judged: {left}' if left else ''}."
    )


def _need(n: int, reason: str) -> str:
    return reason if n == 1 else reason.replace("needs", "need", 1)


def show_rules(rules: Mapping[str, Rule], console: Console) -> None:
    """Every rule in one line."""
    table = plain_table([("rule", LEFT), ("", LEFT), ("what", LEFT)], ())
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for rule in rules.values():
        grade = Text(rule.severity, STYLES[rule.severity])
        table.add_row(Text(rule.id, "bold"), grade, Text(rule.what))
    console.print(table)
    console.print()
    console.print(Text(f"{len(rules)} rules; tfq lint --rules ID explains one.", "dim"))


def show_rule(rule: Rule, needs: str, console: Console) -> None:
    """One rule in full, and how to silence it."""
    console.print(Text(rule.id, "bold").append(f"  {rule.severity}", STYLES[rule.severity]))
    rows = [("what", rule.what), ("why", rule.why), ("do", rule.remedy), ("source", rule.source)]
    rows += [("needs", needs)] if needs else []
    rows.append(("silence", f'{{ id = "{rule.id}", reason = "..." }} in [lint] suppress'))
    table = plain_table([("", LEFT), ("", LEFT)], ())
    table.show_header = False
    for title, told in rows:
        table.add_row(Text(title, "dim"), Text(told))
    console.print(table)


def markdown(chapters: Mapping[str, Iterable[tuple[Rule, str]]]) -> str:
    """The page docs/reference/lint_rules.md.

    Args:
        chapters: heading -> (rule, what it needs) in order.
    """
    lines = [
        "# Lint rules",
        "",
        "Written by `python tools/lint_docs.py` from the tables in `tfq_ext/validation`; do not",
        "edit. `tfq lint --rules` lists the same in a terminal.",
        "",
        "`error`: the file gives wrong numbers or will not run. `warning`: it loses accuracy,",
        "speed or reach. `info`: worth knowing.",
    ]
    for heading, rows in chapters.items():
        lines += ["", f"## {heading}"]
        for rule, needs in rows:
            lines += ["", f"### `{rule.id}` ({rule.severity})", "", rule.what, rule.why, ""]
            lines += [f"* Do: {rule.remedy}", f"* Source: {rule.source}"]
            lines += [f"* Needs: {needs}"] if needs else []
    return "\n".join(lines) + "\n"
