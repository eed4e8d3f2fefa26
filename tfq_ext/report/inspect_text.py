"""An inspection for people: what it is, what it needs, where the bytes are, what is not integer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfq_ext.report import inspect_tables as tables
from tfq_ext.report import words
from tfq_ext.report.console import text_of
from tfq_ext.report.inspect_tables import amount, number, safe, shape_text, share, size
from tfq_ext.validation.inspection.model import Inspection
from tfq_ext.validation.inspection.rows import OpRow, TensorRow, WeightRow

BAR = 20
HOLLOW = 0.3  # weights with more zeros than this are worth a word


@dataclass(frozen=True)
class View:
    """What to show.

    Args:
        ops, tensors, weights: the long tables.
        op, name: globs that these tables are filtered by.
        top: rows of each table at most.
    """

    ops: bool = False
    tensors: bool = False
    weights: bool = False
    op: str | None = None
    name: str | None = None
    top: int = 12

    @property
    def filtered(self) -> bool:
        """Whether only a part of the file is asked for."""
        return self.op is not None or self.name is not None


def to_text(found: Inspection, *, width: int = 100, view: View | None = None) -> str:
    """The report as plain text."""
    return text_of(lambda console: show(found, console, view or View()), width).rstrip("\n")


def show(found: Inspection, console: Console, view: View) -> None:
    """Print the report."""
    if view.filtered and not (view.ops or view.tensors or view.weights):
        view = replace(view, ops=True, weights=True)
    console.print(_headline(found, console.width))
    if not view.filtered:
        for part in (_facts, _room, _op_table, _not_integer, _islands, _odd_weights):
            console.print(Group(*part(found, view)), end="")
    for part in (_long_ops, _long_tensors, _long_weights):
        console.print(Group(*part(found, view)), end="")


def _headline(found: Inspection, width: int) -> Text:
    name = found.source.replace("\\", "/").rsplit("/", 1)[-1]
    what = f": {found.kind}, {size(found.size_bytes)}"
    return Text(f"{safe(name, max(width - len(what), 24))}{what}", "bold")


def _section(title: str, *body: RenderableType) -> Iterator[RenderableType]:
    yield ""
    yield Text(title, "bold")
    for part in body:
        yield Padding(part, (0, 0, 0, 2), expand=False)


def _more(hidden: int, how: str) -> list[RenderableType]:
    return [Text(f"and {hidden} more ({how})", "dim")] if hidden > 0 else []


def _facts(found: Inspection, view: View) -> Iterator[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for title, line in _lines(found, view):
        grid.add_row(title, Text(line))
    yield Padding(grid, (0, 0, 0, 2), expand=False)


def _lines(found: Inspection, view: View) -> Iterator[tuple[str, str]]:
    yield from _interface("input", found.inputs, view.top)
    yield from _interface("output", found.outputs, view.top)
    for s in found.signatures[: view.top]:
        takes, gives = (", ".join(safe(n, 24) for n, _ in e[:6]) for e in (s.inputs, s.outputs))
        where = f", subgraph {s.subgraph}" if len(found.subgraphs) > 1 else ""
        yield "signature", f"{safe(s.key, 30)}({takes}) -> {gives}{where}"
    yield "integer", _integer(found)
    yield "work", _work(found)
    if memory := _memory(found):
        yield "memory", memory
    yield "needs", _needs(found)
    if len(found.subgraphs) > 1:
        rows = (
            f"{g.index} {safe(g.name, 20)} ({words.count(g.ops, 'op')})" for g in found.subgraphs
        )
        yield "subgraphs", ", ".join(list(rows)[: view.top])
    yield from _extras(found)


def _interface(title: str, rows: Sequence[TensorRow], top: int) -> Iterator[tuple[str, str]]:
    for row in rows[:top]:
        grid = ""
        if row.range is not None and row.scale is not None:
            low, high = row.range
            grid = f", {number(low)} .. {number(high)} (scale {number(row.scale)}, "
            grid += f"zero point {row.zero_point})"
        yield title, f"{safe(row.name, 40)}: {row.dtype} {shape_text(row.shape)}{grid}"
    if len(rows) > top:
        yield title, f"and {len(rows) - top} more"


def _integer(found: Inspection) -> str:
    kinds = found.coverage.ops
    total = sum(kinds.get(kind, 0) for kind in tables.COLOURS)
    if not total:
        return "nothing computes"
    parts = [f"{kinds.get('integer', 0)} of {words.count(total, 'op')}"]
    if found.coverage.share_macs is not None:
        done = found.coverage.macs.get("integer", 0)
        parts.append(f"{share(done, found.macs) if done else '0 %'} of the MACs")
    others = [f"{kinds[k]} {k}" for k in ("hybrid", "float", "custom") if kinds.get(k)]
    return ", ".join(parts) + (f"; {', '.join(others)}" if others else "")


def _work(found: Inspection) -> str:
    line = f"{amount(found.macs)} MACs a run, {amount(found.parameters)} parameters"
    notes = []
    if unknown := found.coverage.unknown_macs:
        notes.append(f"MACs of {words.count(unknown, 'op')} not known")
    if any(g.open_tensors for g in found.subgraphs):
        notes.append("open dimensions count as 1")
    if any(g.role == "body" and g.macs for g in found.subgraphs):
        notes.append("bodies of loops and branches as run once")
    return line + (f" ({'; '.join(notes)})" if notes else "")


def _memory(found: Inspection) -> str:
    first = found.subgraphs[0]
    if first.peak_bytes is None or first.peak_op is None:
        return ""
    at = next(row for row in found.ops if row.subgraph == 0 and row.index == first.peak_op)
    return f"activations at least {size(first.peak_bytes)} at once (op {at.index}, {at.code})"


def _needs(found: Inspection) -> str:
    need = found.runtime
    parts = []
    if need.release:
        also = f" and {words.count(len(need.others), 'other op')}" if need.others else ""
        parts.append(f"TFLite {need.release} or later, for {need.op} version {need.version}{also}")
    for op, version in need.unlisted[:3]:
        parts.append(f"{op} version {version}, which no release up to 2.23 is known to have")
    if found.stated_runtime and found.stated_runtime != need.release:
        parts.append(f"the file itself says {tables.clean(found.stated_runtime, 16)}")
    if need.custom:
        names = ", ".join(safe(n.partition(":")[2], 40) for n in need.custom[:6])
        parts.append(f"custom ops: {names}")
    return "; ".join(parts) or "no op"


def _extras(found: Inspection) -> Iterator[tuple[str, str]]:
    if found.sparse:
        stored, dense = (sum(getattr(r, k) for r in found.sparse) for k in ("stored", "dense"))
        line = f"{words.count(len(found.sparse), 'constant')}, {share(stored, dense)} of the values"
        yield "sparse", f"{line} stored; DENSIFY fills in the zeros"
    shown = [b for b in found.shared if b.size >= 64]
    if shown:
        saved = sum(b.size * (len(b.tensors) - 1) for b in shown)
        line = f"{words.count(len(shown), 'buffer')} used by several tensors"
        yield "shared", f"{line}: {size(saved)} saved"
    if found.description:
        yield "made by", tables.clean(found.description, 100)
    for entry in found.metadata:
        if entry.name != "min_runtime_version":
            said = f": {tables.clean(entry.text, 160)}" if entry.text else ""
            yield "metadata", f"{safe(entry.name, 40)}, {size(entry.size)}{said}"
    if found.associated_files:
        names = (f"{safe(f.name, 40)} ({size(f.size)})" for f in found.associated_files[:6])
        yield "files", ", ".join(names)


def _room(found: Inspection, view: View) -> Iterator[RenderableType]:
    rows = [row for row in found.parts.items() if row[1]]
    most = max((size for _, size in rows), default=1)
    columns: list[tables.Column[tuple[str, int]]] = [
        ("part", "left", lambda row: row[0]),
        ("bytes", "right", lambda row: size(row[1])),
        ("", "right", lambda row: share(row[1], found.size_bytes)),
        ("", "left", lambda row: "#" * round(BAR * row[1] / most)),
    ]
    yield from _section("Where the bytes are", tables.table(columns, rows))


def _op_table(found: Inspection, view: View) -> Iterator[RenderableType]:
    made = tables.groups(found.ops)
    shown = made[: view.top]
    hidden = sum(len(g.rows) for g in made[view.top :])
    body = tables.op_groups(found, shown)
    title = f"{words.count(len(found.ops), 'op')} of {words.count(len(found.op_counts), 'kind')}"
    yield from _section(title, body, *_more(hidden, "--top, --ops"))


def _not_integer(found: Inspection, view: View) -> Iterator[RenderableType]:
    grouped: dict[str, list[OpRow]] = {}
    for row in found.ops:
        if row.reason:
            grouped.setdefault(row.reason, []).append(row)
    if not grouped:
        return
    rows = sorted(grouped.values(), key=lambda g: (-sum(r.macs or 0 for r in g), -len(g)))
    columns: list[tables.Column[list[OpRow]]] = [
        ("ops", "right", lambda g: str(len(g))),
        ("MACs", "right", lambda g: amount(sum(r.macs or 0 for r in g))),
        ("which, and why", "text", lambda g: f"{_which(g)}: {g[0].reason}"),
    ]
    body = tables.broken_table(columns, rows[: view.top])
    yield from _section("Not integer", body, *_more(len(rows) - view.top, "--top"))


def _which(rows: Sequence[OpRow], most: int = 5) -> str:
    """The kinds of ops, most frequent first, and one by name where there are few."""
    counts = Counter(row.code for row in rows).most_common()
    names = [f"{safe(code, 40)}{f' x{n}' * (n > 1)}" for code, n in counts[:most]]
    names += [words.count(len(counts) - most, "other kind")] if len(counts) > most else []
    return ", ".join(names)


def _islands(found: Inspection, view: View) -> Iterator[RenderableType]:
    lines: list[RenderableType] = []
    for island in found.islands[: view.top]:
        names = ", ".join(safe(code, 30) for code in island.codes[:5])
        span = f"op {island.members[0]}" + f" to {island.members[-1]}" * (len(island.members) > 1)
        causes = (tables.clean(cause, 120) for cause in island.causes[:4])
        why = "; ".join(causes) or "no op in it must be float: left so by choice or range"
        borders = f"{island.entered} DEQUANTIZE before, {island.left} QUANTIZE behind"
        head = f"{words.count(len(island.members), 'op')} ({names}), {span}; {borders}"
        lines += [Text(head), Padding(Text(why, "dim"), (0, 0, 0, 2))]
    lines += _more(len(found.islands) - view.top, "--top")
    counts: dict[str, int] = {}
    for bridge in found.bridges:
        counts[bridge.kind] = counts.get(bridge.kind, 0) + 1
    if counts and (found.islands or set(counts) - {"unpack"}):
        kinds = ", ".join(f"{n} {_BRIDGES[kind]}" for kind, n in counts.items())
        lines.append(Text(f"QUANTIZE and DEQUANTIZE: {kinds}"))
    spare: dict[str, int] = {}
    for bridge in found.bridges:
        if bridge.removable:
            key = f"{bridge.code} {bridge.removable}"
            spare[key] = spare.get(key, 0) + 1
    lines += [Text(f"{n} could go: {why}", "yellow") for why, n in spare.items()]
    if lines:
        yield from _section("Between float and integer", *lines)


_BRIDGES = {
    "unpack": "widening constants",
    "border": "at the model's input or output",
    "requantize": "from grid to grid",
    "inside": "inside",
}


def _odd_weights(found: Inspection, view: View) -> Iterator[RenderableType]:
    if view.weights:
        return
    dead, faint = (sum(len(getattr(row, k)) for row in found.weights) for k in ("dead", "faint"))
    lines = []
    if dead or faint:
        channels = sum(row.channels for row in found.weights)
        lines.append(
            f"{dead} dead channels and {faint} faint ones (no value past 1e-5) of {channels}"
        )
        for row in sorted(found.weights, key=_idle, reverse=True)[:3]:
            if n := _idle(row):
                lines.append(f"{n} of {row.channels} in {safe(row.tensor, 50)} ({row.op})")
    for row in sorted(found.weights, key=lambda r: -r.zeros)[:3]:
        if row.zeros > HOLLOW:
            lines.append(f"{share(row.zeros, 1)} zeros in {safe(row.tensor, 50)} ({row.op})")
    if lines:
        body = Text("\n".join(lines))
        yield from _section("Weights", body, Text("--weights has them all", "dim"))


def _idle(row: WeightRow) -> int:
    return len(row.dead) + len(row.faint)


def _long_ops(found: Inspection, view: View) -> Iterator[RenderableType]:
    if not view.ops:
        return
    rows = found.select(view.op, view.name)
    if not rows:
        yield from _section("Ops one by one", Text(f"None of {len(found.ops)} fits."))
        return
    title = f"Ops one by one: {len(rows)} of {len(found.ops)}"
    yield from _section(title, tables.op_rows(found, rows))


def _long_tensors(found: Inspection, view: View) -> Iterator[RenderableType]:
    if view.tensors:
        rows = found.select_tensors(view.op, view.name)
        title = f"Tensors: {len(rows)} of {len(found.tensors)}"
        yield from _section(title, tables.tensor_rows(found, rows) if rows else Text("None fits."))


def _long_weights(found: Inspection, view: View) -> Iterator[RenderableType]:
    if not view.weights:
        return
    rows = found.select_weights(view.op, view.name)
    title = f"Weights: {len(rows)} of {len(found.weights)}"
    if rows or view.filtered:
        yield from _section(title, tables.weight_rows(rows) if rows else Text("None fits."))
    if len(rows) == 1:
        most = max(view.top, 64)
        body = tables.channel_rows(rows[0], most)
        title = f"Its channels, along axis {rows[0].axis}"
        yield from _section(title, body, *_more(rows[0].channels - most, "--top or --json"))
