"""An audit for people: the headline, the worst tensors, both files, the noise, what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfq_ext.repair.audit.advice import dominant_sentence, headline, next_steps, scores, step_label
from tfq_ext.repair.audit.values import Audit, TensorRow, Variant
from tfq_ext.spec import Range

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

BAR = 24  # characters of the longest bar
WIDE_TERMINAL = 96  # columns; narrower ones do without the op codes
_EIGHTHS = " ▏▎▍▌▋▊▉"
_TITLE = "bold"


class Column(NamedTuple):
    """One column of the table of tensors.

    Args:
        title, justify: as rich has them.
        cell: text of a row.
        style: colour of a row's cell.
        fixed: keeps its width; the others are cut with an ellipsis.
    """

    title: str
    justify: str
    cell: Callable[[TensorRow], str]
    style: Callable[[TensorRow], str] = lambda row: ""
    fixed: bool = True


def to_text(audit: Audit, *, width: int = 100, top: int = 10) -> str:
    """The report as plain text.

    Args:
        audit: the findings.
        width: columns.
        top: at most so many tensors.
    """
    from io import StringIO

    from rich.console import Console

    file = StringIO()
    show(audit, Console(file=file, width=width, color_system=None), top=top)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def show(audit: Audit, console: Console, *, top: int = 10) -> None:
    """Print the report."""
    _headline(audit, console)
    _tensors(audit, console, top)
    _variants(audit, console)
    _waterfall(audit, console)
    _next(audit, console)


def _headline(audit: Audit, console: Console) -> None:
    from rich.text import Text

    colour = "yellow" if audit.wide or audit.clipping else "green"
    console.print(Text(headline(audit), style=f"bold {colour}"))
    console.print(Text(scores(audit), style="bold"))
    console.print(
        Text(
            f"True ranges from {audit.samples} samples; output figures from {audit.judges} others.",
            style="dim",
        )
    )
    for note in audit.notes:
        console.print(Text(f"Note: {note}", style="dim"))


def _tensors(audit: Audit, console: Console, top: int) -> None:
    rows = list(dict.fromkeys([*audit.wide, *sorted(audit.clipping, key=lambda r: -r.outside)]))
    if not rows or top < 1:
        return
    table = _table(console, [(c.title, c.justify, c.fixed) for c in _columns(audit, console)])
    for row in rows[:top]:
        table.add_row(*(_cell(c.cell(row), c.style(row)) for c in _columns(audit, console)))
    hidden = f", the worst {top} of {len(rows)} (--top)" if len(rows) > top else ""
    title = "Ranges that do not fit" if audit.subject == "file" else "Ranges recorded too wide"
    _section(console, f"{title}{hidden}", table)


def _columns(audit: Audit, console: Console) -> list[Column]:
    given, true = {
        "converter": ("recorded", "true"),
        "file": ("in the file", "needed"),
    }[audit.subject]
    columns = [
        Column("tensor", "left", lambda row: row.label, lambda row: "bold", fixed=False),
        Column("made by", "left", lambda row: row.op, lambda row: "dim"),
        Column(given, "right", lambda row: _range(row.given)),
        Column(true, "right", lambda row: _range(row.true)),
        Column("wider", "right", lambda row: f"{row.ratio:.2f}x", _severity),
        Column("lost", "right", lambda row: f"{max(row.bits_lost, 0.0):.1f} bit", _severity),
    ]
    if audit.clipping:
        columns.append(Column("clips", "right", _clips))
    if any(row.leak for row in audit.wide):
        columns.append(Column("leaked from", "left", _leak, fixed=False))
    if console.width < WIDE_TERMINAL:
        columns = [c for c in columns if c.title != "made by"]
    return columns


def _clips(row: TensorRow) -> str:
    return f"{row.outside:.2%}" if row.outside > 0 else "-"


def _leak(row: TensorRow) -> str:
    return f"{row.leak.op} {row.leak.label}" if row.leak else ""


def _severity(row: TensorRow) -> str:
    return "red" if row.bits_lost >= 0.5 else "yellow" if row.bits_lost >= 0.1 else ""


def _range(r: Range) -> str:
    return f"{_number(r.min)} .. {_number(r.max)}"


def _number(x: float) -> str:
    """Three digits, as short as they get: -19.6, 0.0312, 1.2e-05."""
    return f"{x:.3g}" if x else "0"


def _variants(audit: Audit, console: Console) -> None:
    if not audit.variants:
        return
    best = max(audit.variants, key=lambda v: v.sqnr_db)
    table = _table(
        console, [("ranges", "left", False), ("SQNR", "right", True), ("agrees", "right", True)]
    )
    for row in audit.variants:
        style = "bold green" if row is best and len(audit.variants) > 1 else ""
        table.add_row(
            *(_cell(text, style) for text in (_named(row), _db(row.sqnr_db), _agreement(row)))
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
    table = _table(
        console,
        [("source", "left", True), ("alone", "right", True), ("", "left", False)],
        header=False,
    )
    for step in fall.steps:
        share = step.power / total if total else 0.0
        style = "red" if step is fall.dominant else "cyan"
        bar = f"{_bar(share, console)} {share:.0%}" if share > 0 else _removed(share)
        table.add_row(_cell(step_label(audit, step)), _cell(_db(step.sqnr_db)), _cell(bar, style))
    gap = fall.together - fall.naive
    table.add_row(_cell("simply added", "dim"), _cell(_db(fall.naive), "dim"), _cell(""))
    table.add_row(
        _cell("together, in the file", "bold"),
        _cell(_db(fall.together), "bold"),
        _cell(_interaction(gap), "dim"),
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
        console.print(Padding(Text(sentence), (0, 0, 0, 2), expand=False))


def _table(
    console: Console, columns: Sequence[tuple[str, str, bool]], *, header: bool = True
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if header else (0, 2, 0, 0),
    )
    for title, justify, fixed in columns:
        table.add_column(
            Text(title, style="dim", no_wrap=True),
            justify=justify,  # type: ignore[arg-type]
            no_wrap=fixed,  # rich narrows the others first
            min_width=None if fixed else 12,
        )
    return table


def _cell(text: str, style: str = "") -> Text:
    """A Text, never markup: names of tensors may hold brackets."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _section(console: Console, title: str, *parts: object) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print()
    console.print(Text(title, style=_TITLE))
    for part in parts:
        console.print(Padding(part, (0, 0, 0, 2), expand=False))  # type: ignore[arg-type]
