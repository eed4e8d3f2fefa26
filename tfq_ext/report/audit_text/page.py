"""An audit for people: the headline, the worst tensors, both files, the noise, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfq_ext.repair.audit.advice import dominant_sentence, headline, next_steps, scores, step_label
from tfq_ext.repair.audit.values import Audit, FileFacts, Variant
from tfq_ext.report.audit_text.table import cell, new_table, tensor_table
from tfq_ext.report.console import text_of

if TYPE_CHECKING:
    from rich.console import Console

BAR = 24  # characters of the longest bar
INDENT = 2
_EIGHTHS = " ▏▎▍▌▋▊▉"
_TITLE = "bold"


def to_text(audit: Audit, *, width: int = 100, top: int = 10) -> str:
    """The report as plain text.

    Args:
        audit: the findings.
        width: columns.
        top: at most so many tensors.
    """
    return text_of(lambda console: show(audit, console, top=top), width)


def show(audit: Audit, console: Console, *, top: int = 10) -> None:
    """Print the report."""
    _headline(audit, console)
    found = tensor_table(audit, console.width - INDENT, top)
    if found is not None:
        _section(console, *found)
    _variants(audit, console)
    _waterfall(audit, console)
    _next(audit, console)


def made_of(file: FileFacts) -> str:
    """How the weights of a file are scaled, and how many ops are float."""
    single, floats = len(file.per_tensor), len(file.float_ops)
    return (
        f"Weights: {file.weights} with a scale per channel, {single} with one scale for all. "
        f"Float ops: {floats}{': ' if floats else '.'}"
        f"{', '.join(dict.fromkeys(row.op for row in file.float_ops))}"
    )


def _headline(audit: Audit, console: Console) -> None:
    from rich.text import Text

    colour = "yellow" if audit.wide or audit.clipping else "green"
    console.print(Text(headline(audit), style=f"bold {colour}"))
    if measured := scores(audit):
        console.print(Text(measured, style="bold"))
    console.print(
        Text(
            f"True ranges from {audit.samples} samples; output figures from {audit.judges} others.",
            style="dim",
        )
    )
    if audit.file is not None:
        console.print(Text(made_of(audit.file), style="dim"))
    for note in audit.notes:
        console.print(Text(f"Note: {note}", style="dim"))


def _variants(audit: Audit, console: Console) -> None:
    if not audit.variants:
        return
    best = max(audit.variants, key=lambda v: v.sqnr_db)
    table = new_table([("ranges", "left"), ("SQNR", "right"), ("agrees", "right")])
    for row in audit.variants:
        style = "bold green" if row is best and len(audit.variants) > 1 else ""
        table.add_row(
            *(cell(text, style) for text in (_named(row), _db(row.sqnr_db), _agreement(row)))
        )
    _section(console, "The integer file, against the float model", table)


def _named(row: Variant) -> str:
    return f"{row.name} (tfq quantize)" if row.name == "auto" else row.name


def _agreement(row: Variant) -> str:
    if row.agreement is None or row.agreement_interval is None:
        return "-"
    low, high = row.agreement_interval
    return f"{row.agreement:.1%}  ({low:.0%} .. {high:.0%})"


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"


def _waterfall(audit: Audit, console: Console) -> None:
    fall = audit.waterfall
    if fall is None or not fall.steps:
        return
    total = sum(max(step.power, 0.0) for step in fall.steps)
    table = new_table([("source", "left"), ("alone", "right"), ("", "left")], header=False)
    for step in fall.steps:
        share = step.power / total if total else 0.0
        style = "red" if step is fall.dominant else "cyan"
        bar = f"{_bar(share, console)} {share:.0%}" if share > 0 else _removed(share)
        table.add_row(cell(step_label(audit, step)), cell(_db(step.sqnr_db)), cell(bar, style))
    gap = fall.together - fall.naive
    table.add_row(cell("simply added", "dim"), cell(_db(fall.naive), "dim"), cell(""))
    table.add_row(
        cell("together, in the file", "bold"),
        cell(_db(fall.together), "bold"),
        cell(_interaction(gap), "dim"),
    )
    _section(console, f"Where the noise comes from ({fall.whose})", table)
    _paragraph(console, dominant_sentence(audit))


def _removed(share: float) -> str:
    return f"removes {-share:.0%}" if share <= -0.005 else "none"


def _interaction(gap: float) -> str:
    if not abs(gap) >= 0.5:
        return "as if independent"
    return f"{gap:+.1f} dB: errors {'add up' if gap < 0 else 'cancel in part'}"


def _bar(share: float, console: Console) -> str:
    """A bar of eighths of a character, or of # where the terminal has no Unicode."""
    eighths = max(round(share * BAR * 8), 1)
    if not console.encoding.lower().startswith("utf"):
        return "#" * max(round(share * BAR), 1)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _next(audit: Audit, console: Console) -> None:
    from rich.text import Text

    steps = next_steps(audit)
    if not steps:
        return
    console.print()
    console.print(Text("What to do", style=_TITLE))
    for step in steps:
        _paragraph(console, step.text)
        if step.command:  # never wrapped, so that it can be copied
            console.print(Text(f"    {step.command}", style="cyan"), soft_wrap=True)


def _paragraph(console: Console, sentence: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if sentence:
        console.print(Padding(Text(sentence), (0, 0, 0, INDENT), expand=False))


def _section(console: Console, title: str, *parts: object) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print()
    console.print(Text(title, style=_TITLE))
    for part in parts:
        console.print(Padding(part, (0, 0, 0, INDENT), expand=False))  # type: ignore[arg-type]
