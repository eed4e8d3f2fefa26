"""A file on its delegates, for people: the verdict, the GPU's table, fp16, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from tfq_ext.report.console import text_of
from tfq_ext.report.tables import LEFT, RIGHT, plain_table
from tfq_ext.report.words import count, printable, short
from tfq_ext.validation.delegates.fp16.values import Fp16Risk, TensorRisk
from tfq_ext.validation.delegates.values import (
    DIED,
    NOT_CHECKED,
    OK,
    REFUSED,
    WRONG,
    Bisection,
    DelegateReport,
    GpuRow,
    XnnpackCoverage,
)
from tfq_ext.validation.finding import Finding

STYLES = {
    OK: "green",
    WRONG: "bold red",
    DIED: "bold red",
    REFUSED: "yellow",
    NOT_CHECKED: "yellow",
}
GRADES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
INDENT = 2
SHOWN = 8  # refused ops, ops that XNNPACK left, tensors at risk
_BASELINE = "Errors are relative (L2), against XNNPACK on one CPU thread with the same inputs."


def to_text(report: DelegateReport, *, width: int = 100, top: int = SHOWN) -> str:
    """The report as plain text of so many columns."""
    return text_of(lambda console: show(report, console, top=top), width)


def show(report: DelegateReport, console: Console, *, top: int = SHOWN) -> None:
    """Print the report.

    Args:
        report: the findings.
        console: where to.
        top: at most so many refused ops, and tensors at risk.
    """
    console.print(_headline(report))
    console.print(Text(f"{count(report.samples, 'sample')}. {_BASELINE}", "dim"))
    for note in report.notes:
        console.print(Text(f"Note: {printable(note)}", "dim"))
    if report.gpu:
        _gpu(report.gpu, console, top)
    if report.bisection is not None:
        _bisection(report.bisection, console)
    if report.xnnpack is not None:
        _xnnpack(report.xnnpack, console, top)
    if report.fp16_risk is not None:
        _risk(report.fp16_risk, console, top)
    _findings(report.findings, console)


def _headline(report: DelegateReport) -> Text:
    if not report.gpu:
        return Text("GPU delegate: not asked for", "bold yellow")
    told = Text("GPU delegate: ", "bold")
    for k, row in enumerate(report.gpu):
        told.append(", " if k else "").append(f"{row.precision} ")
        told.append(row.status, STYLES[row.status])
    adapter = next((row.adapter for row in report.gpu if row.adapter), "")
    return told.append(f" on {_adapter(adapter)}" if adapter else "", "dim")


def _adapter(name: str) -> str:
    """Without the fields that the driver adds."""
    return printable(name.partition(", arch=")[0])


def _gpu(rows: Sequence[GpuRow], console: Console, top: int) -> None:
    columns = [("precision", LEFT), ("status", LEFT), ("error", RIGHT), ("limit", RIGHT)]
    columns += [("largest", RIGHT), ("top-1", RIGHT)]
    columns += [("first", RIGHT), ("steady", RIGHT), ("CPU", RIGHT), ("on GPU", RIGHT)]
    table = plain_table(columns, (_gpu_cells(row) for row in rows))
    for column in table.columns:
        column.no_wrap = True
    table.padding = (0, 1, 0, 0)
    _section("GPU", table, console)
    for reason, same in groupby(rows, key=lambda row: row.reason):
        if reason:
            names = " and ".join(row.precision for row in same)
            _line(Text(f"{names}: {printable(reason)}"), console)
    proof = next((row for row in rows if row.really_fp16), None)
    if proof is not None:
        _line(Text("fp16 was really fp16: its numbers are not fp32's.", "dim"), console)
    refused = list(dict.fromkeys(entry for row in rows for entry in row.refused))
    if refused:
        shown = [(r.op, short(r.tensor, 28), printable(r.reason)) for r in refused[:top]]
        columns = [("left to the CPU", LEFT), ("tensor", LEFT), ("the delegate's reason", LEFT)]
        _line(plain_table(columns, shown), console, gap=True)
        _more(len(refused) - top, console)


def _gpu_cells(row: GpuRow) -> list[str | Text]:
    largest = max((output.max_abs for output in row.outputs), default=None)
    return [
        row.precision,
        Text(row.status, STYLES[row.status]),
        _number(row.error),
        _number(row.limit) if row.outputs else "-",
        _number(largest),
        "-" if row.top1_agreement is None else f"{row.top1_agreement:.0%}",
        _ms(row.first_ms),
        _ms(row.steady_ms),
        _ms(row.cpu_ms),
        "-" if row.on_gpu is None else f"{row.on_gpu}/{row.ops}",
    ]


def _bisection(found: Bisection, console: Console) -> None:
    title = f"Bisection in {found.precision}, {count(len(found.probes), 'run')}"
    parts: list[RenderableType] = [Text(printable(found.verdict), "bold")]
    bad = found.first_bad
    if bad is not None:
        parts.append(Text(f"It makes {short(bad.tensor, 60)}. Error of the model's output with"))
        rows: list[tuple[str, float | None]] = [("the ops before it on the GPU", bad.before)]
        rows.append(("it as well", bad.after))
        rows += [("it alone", bad.alone), ("all ops but it", bad.without)]
        cells = [(name, _died(value, bad.died)) for name, value in rows if value is not None]
        table = plain_table([("on the GPU", LEFT), ("error", RIGHT)], cells)
        table.show_header = False
        parts.append(table)
    _section(title, parts[0], console)
    for part in parts[1:]:
        _line(part, console)


def _died(value: float | None, died: str) -> str:
    if died and value is not None and math.isinf(value):
        return "died"
    return _number(value)


def _xnnpack(found: XnnpackCoverage, console: Console, top: int) -> None:
    if found.why_not:
        _section("XNNPACK", Text(f"not known: {printable(found.why_not)}"), console)
        return
    time = "" if found.share is None else f", {found.share:.0%} of the time"
    text = (
        f"{found.taken} of {count(found.ops, 'op')}{time}; {count(found.partitions, 'partition')}."
    )
    _section("XNNPACK", Text(text), console)
    for line in found.breaks[:top]:
        _line(Text(f"- {printable(line)}"), console)
    _more(len(found.breaks) - top, console)
    if found.left and not found.breaks:
        rows = [(str(r.index), r.op, short(r.tensor, 44)) for r in found.left[:top]]
        table = plain_table([("", RIGHT), ("left to TFLite", LEFT), ("tensor", LEFT)], rows)
        _line(table, console)
        _more(len(found.left) - top, console)


def _risk(risk: Fp16Risk, console: Console, top: int) -> None:
    title = "fp16 from the CPU (no GPU needed), the riskiest tensors first"
    columns = [("tensor", LEFT), ("op", LEFT), ("largest", RIGHT), (">65504", RIGHT)]
    columns += [("<6e-5", RIGHT), ("to 0", RIGHT), ("adds", RIGHT), ("own error", RIGHT)]
    wide = console.width >= 100
    name = 40 if wide else 20
    rows = [_risk_cells(row, name, 20 if wide else 15) for row in risk.rows[:top]]
    table = plain_table(columns, rows)
    for column in table.columns:
        column.no_wrap = True
    table.padding = (0, 1, 0, 0)
    _section(title, table if rows else Text("No tensor could be looked at."), console)
    _more(len(risk.rows) - top, console)
    if rows:
        _line(Text(_OWN, "dim"), console)
    for line in (*_xnnpack_fp16(risk), *risk.notes):
        _line(Text(printable(line), "dim"), console)


_OWN = (
    "own error: of this op alone, products and sums in fp16 as GPUs add them (emulated), or of "
    "rounding its result where nothing is added."
)


def _risk_cells(row: TensorRisk, name: int, op: int) -> list[str | Text]:
    error = row.cast_error if row.emulated_error is None else row.emulated_error
    return [
        short(row.tensor, name),
        short(row.op, op),
        _number(row.max_abs),
        _share(row.over),
        _share(row.small),
        _share(row.vanishing),
        str(row.length) if row.length else "-",
        Text(_number(error), "red" if error > 1e-2 or row.over else ""),
    ]


def _xnnpack_fp16(risk: Fp16Risk) -> Iterable[str]:
    if risk.xnnpack_why_not:
        yield f"XNNPACK in fp16: not measured: {risk.xnnpack_why_not}."
        return
    worst = max(risk.xnnpack, key=lambda row: row.relative_l2, default=None)
    if worst is not None:
        name = f" (output {short(worst.name, 32)})" if len(risk.xnnpack) > 1 else ""
        yield (
            f"The whole model in XNNPACK's fp16: error {_number(worst.relative_l2)}{name}; its "
            "sums are fp32 unless the CPU computes in fp16, so a GPU's error may be larger."
        )


def _findings(findings: Sequence[Finding], console: Console) -> None:
    counted = [f for f in findings if not f.suppressed]
    if not counted:
        return
    console.print()
    console.print(Text("Findings", "bold"))
    for rule, same in groupby(counted, key=lambda f: f.rule):
        cases = list(same)
        head = Text(f"{rule.severity:<8}", GRADES[rule.severity]).append(rule.id, "bold")
        _line(head.append(f" ({len(cases)})" if len(cases) > 1 else "", "dim"), console)
        for case in cases[:3]:
            where = short(case.tensor, 40) if case.tensor else ""
            told = printable(case.message)
            text = f"{where}: {told}" if where and where not in told else told
            _line(Text(text), console, indent=2 * INDENT)
        _more(len(cases) - 3, console)
        _line(Text(f"-> {rule.remedy}", "green"), console, indent=2 * INDENT)


def _section(title: str, body: RenderableType, console: Console) -> None:
    console.print()
    console.print(Text(title, "bold"))
    _line(body, console)


def _line(
    body: RenderableType, console: Console, *, indent: int = INDENT, gap: bool = False
) -> None:
    console.print(Padding(body, (int(gap), 0, 0, indent), expand=False))


def _more(hidden: int, console: Console) -> None:
    if hidden > 0:
        _line(Text(f"and {hidden} more (--json lists them all)", "dim"), console)


def _number(x: float | None) -> str:
    if x is None:
        return "-"
    if math.isinf(x):
        return "inf"
    return f"{x:.2g}" if x else "0"


def _share(x: float) -> str:
    return "-" if x == 0 else f"{x:.0%}" if x >= 0.01 else "<1%"


def _ms(x: float | None) -> str:
    if x is None:
        return "-"
    return f"{x / 1e3:.1f} s" if x >= 1e4 else f"{x:.0f} ms" if x >= 10 else f"{x:.2g} ms"
