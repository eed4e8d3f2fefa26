"""A Validation on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.tables import plain_table
from tfq_ext.report.validation import facts
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.gate import FAIL, GATES, PASS, UNDECIDED, GateResult
from tfq_ext.validation.gate.bounds import UNITS
from tfq_ext.validation.verdict import NotChecked, Validation

LEFT, RIGHT = "left", "right"
STYLES = {PASS: "green", FAIL: "bold red", UNDECIDED: "yellow"}
GRADES = {"error": "red", "warning": "yellow", "info": "dim"}
SHOWN, WORST = 8, 4


def view(v: Validation) -> RenderableType:
    """Everything that `tfq validate` tells a person: the verdict first."""
    style = "green" if v.passed else "bold red" if v.exit_code == 1 else "yellow"
    parts: list[RenderableType] = [
        Text.assemble((words.short(v.name), "bold"), ": ", (facts.verdict(v), style)),
        "",
        gate_table(v.gates),
    ]
    sides = facts.side_by_side(v)
    if len(sides) > 1:
        parts += ["", _sides(sides, bool(v.reference_bytes))]
    if line := facts.integer_line(v):
        parts += ["", f"Integer arithmetic: {line}"]
    parts += _layers(v) + _findings(v.findings) + _notes(v) + _unchecked(v)
    parts += ["", Text(facts.origin_line(v), "dim")]
    return Group(*parts)


def gate_table(gates: Sequence[GateResult]) -> Table:
    """Gate, verdict, value, bound, margin; the detail below where there is one."""
    table = plain_table(
        [("gate", LEFT), ("verdict", LEFT), ("value", RIGHT), ("bound", LEFT), ("margin", RIGHT)],
        (),
    )
    for gate in gates:
        table.add_row(
            words.short(gate.name),
            Text(gate.verdict, STYLES[gate.verdict]),
            _cut(gate.value) or "-",
            gate.bound,
            gate.margin,
        )
    table.columns[0].no_wrap = True
    return _with_details(table, gates)


def _with_details(table: Table, gates: Sequence[GateResult]) -> Table:
    outer = Table.grid()
    outer.add_row(table)
    for gate in gates:
        if gate.detail:
            text = f"{gate.name}: {gate.detail}"
            outer.add_row(Padding(Text(words.printable(text), "dim"), (0, 0, 0, 2)))
    return outer


def _cut(text: str, width: int = 40) -> str:
    clean = words.printable(text)
    return clean if len(clean) <= width else f"{clean[: width - 3]}..."


def _sides(sides: Sequence[facts.Side], with_base: bool) -> Table:
    head = [("", LEFT), ("this file", LEFT)] + ([("reference", LEFT)] if with_base else [])
    return plain_table(head, [side[: len(head)] for side in sides])


def _layers(v: Validation) -> list[RenderableType]:
    if isinstance(v.comparison, NotChecked):
        return []
    bad = [row for row in v.comparison.worst(WORST) if row.verdict]
    if not bad:
        return ["", "No layer loses much: tfq compare shows each."]
    parts: list[RenderableType] = ["", Text("Layers that lose most", "bold")]
    for row in bad:
        own = "" if row.own_sqnr_db is None else f"alone {words.db(row.own_sqnr_db)}, "
        text = Text(f"{row.op} {row.label}: {own}in the file {words.db(row.sqnr_db)}")
        text.append(f"\n  {row.verdict.partition(';')[0]}", "dim")
        text.append(f"\n  {row.remedies[0]}" if row.remedies else "", "dim")
        parts.append(Padding(text, (0, 0, 0, 2)))
    return parts


def _findings(findings: Sequence[Finding]) -> list[RenderableType]:
    hidden = sum(bool(f.suppressed) for f in findings)
    title = Text(f"Findings: {facts.counts(findings)}", "bold")
    if hidden:
        title.append(f" ({hidden} suppressed by the config)", "dim")
    parts: list[RenderableType] = ["", title]
    groups = facts.grouped(findings)
    for group in groups[:SHOWN]:
        parts.append(_group(group))
    if len(groups) > SHOWN:
        more = words.count(len(groups) - SHOWN, "more rule")
        parts.append(f"  ... and {more}: --html and --report have all")
    return parts


def _group(group: Sequence[Finding]) -> RenderableType:
    first = group[0]
    more = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
    where = f" [{words.short(first.tensor, 40)}]" if first.tensor else ""
    text = Text.assemble(
        (first.severity, GRADES[first.severity]),
        f" {first.rule.id}{more}: {words.printable(first.message)}{where}",
    )
    if first.severity != "info":
        text.append(f"\n  {first.rule.remedy}", "dim")
    return Padding(text, (0, 0, 0, 2))


def _notes(v: Validation) -> list[RenderableType]:
    """What to know about accuracy and times; the page has the notes of every check."""
    notes = [n for part in (v.accuracy, v.latency) for n in getattr(part, "notes", ())]
    return ["", *(Text(f"Note: {words.printable(note)}", "dim") for note in notes)] if notes else []


def _unchecked(v: Validation) -> list[RenderableType]:
    rows = facts.unchecked(v)
    if not rows:
        return []
    return ["", plain_table([("not checked", LEFT), ("why", LEFT)], rows)]


def gate_list() -> RenderableType:
    """`tfq validate --gates`."""
    examples = {"flag": "true", "severity": "error", "version": "2.14.0", "top1": "75%"}
    rows = [
        (
            name,
            f"{name}={examples.get(name) or examples.get(gate.bound) or UNITS[gate.unit].example}",
            gate.side if gate.bound == "number" else "",
            gate.doc,
        )
        for name, gate in GATES.items()
    ]
    rows += [
        ("metric:NAME", "metric:mae=0.2", "", "any metric that was measured, on these samples"),
        ("drop:NAME", "drop:miou=1%", "at most", "any metric's loss against the reference"),
    ]
    head = [("gate", LEFT), ("--gate", LEFT), ("", LEFT), ("what is bounded", LEFT)]
    return plain_table(head, rows)


def summary(v: Validation) -> str:
    """What `print(validation)` shows: a dozen plain lines."""
    lines = [f"{v.name}: {facts.verdict(v)}"]
    lines += [
        f"  {g.verdict:12} {g.name}: {g.value or 'not measured'} ({g.bound})"
        + (f"; {g.detail}" if g.detail else "")
        for g in v.gates
    ]
    lines += [
        f"  {what}: {value}" + (f", reference {base}" if base else "")
        for what, value, base in facts.side_by_side(v)
    ]
    lines.append(f"  findings: {facts.counts(v.findings)}")
    return "\n".join(lines)
