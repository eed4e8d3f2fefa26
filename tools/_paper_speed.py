"""Size and time: what 8 bits bring on this CPU, and why a file may be smaller and slower."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import _figures as figures
import numpy as np
from _paper import Cells, Claim, Found, Grid, Lab, Picture, Published, Row
from _paper_sim import FLOAT

from tfq_ext import quantize
from tfq_ext._optional import need
from tfq_ext.emit.to_float import to_float
from tfq_ext.validation.inspection import inspect
from tfq_ext.validation.latency import BenchReport, bench
from tfq_ext.validation.lint import lint

FORMS = ("fp16", "dynamic", "int8-minmax")
KERNELS = ("xnnpack", "builtin")  # the default, and what runs where XNNPACK was not built in
IDLE = "no-metadata"  # a remark of lint that is about no number and no time
LRN = "LOCAL_RESPONSE_NORMALIZATION"
NORMS, PLAIN = "GoogLeNet with LRN", "GoogLeNet without LRN"
SMALLER = 0.3  # of float's bytes, int8 is at most
SMALL = 0.51  # of float's bytes: float16 and less
SEED = 0
CAUSES = ("slow-float-islands", "slow-bridges", "slow-outside-xnnpack")  # any of them names LRN


@dataclass(frozen=True)
class Timing:
    """What is timed, and how often.

    Args:
        side, width: of the GoogLeNets.
        runs, seconds: of each file; whichever ends first.
    """

    side: int
    width: float
    runs: int
    seconds: float


QUICK, FULL = Timing(96, 0.5, 10, 4.0), Timing(224, 1.0, 30, 20.0)


def run(lab: Lab, published: Published) -> Found:
    """Both GoogLeNets, and every large network of the lab."""
    timing = QUICK if lab.quick else FULL
    forms = ("int8-minmax",) if lab.quick else FORMS
    rows: dict[str, Row] = {}
    for name, norms in ((NORMS, True), (PLAIN, False)):
        key = f"{name}, {timing.side} pixels x {timing.width:g}"
        work = partial(_googlenet, timing, norms, forms)
        rows[name] = lab.known("bench", key, work)
    for network in (n for n in lab.networks.values() if n.large):
        work = partial(_network, network, timing, forms)
        rows[network.name] = lab.known("bench", network.id, work)
    grids = (_times(published), *(_table(name, row) for name, row in rows.items()))
    why = tuple(_why(name, row) for name, row in rows.items())
    caption = (
        f"{NORMS}, {timing.side} pixels: where the time of one run goes, by kind of op; ms. LRN "
        "stays float: the integer file saves nothing there and pays for two conversions each."
    )
    picture = Picture("ops", caption, partial(_draw, rows), (7.2, 3.8))
    return Found((*grids, *why), tuple(_claims(rows)), (picture,), (rows[NORMS]["machine"],))


def _googlenet(timing: Timing, norms: bool, forms: tuple[str, ...]) -> Row:
    from _paper_googlenet import googlenet

    need("keras", why="a GoogLeNet").utils.set_random_seed(SEED)
    model = googlenet(timing.side, width=timing.width, norms=norms)
    noise = np.random.default_rng(SEED).normal(size=(8, timing.side, timing.side, 3))
    pivot = to_float(model).model.to_bytes()
    return _timed(pivot, [row[None] for row in noise.astype(np.float32)], forms, timing)


def _network(network: Any, timing: Timing, forms: tuple[str, ...]) -> Row:
    content = network.pivot.model.to_bytes()
    samples = [next(iter(inputs.values()))[:1] for inputs, _ in islice(network.judges(), 8)]
    return _timed(content, samples, forms, timing)


def _timed(pivot: bytes, samples: list[np.ndarray], forms: tuple[str, ...], timing: Timing) -> Row:
    data: Callable[[], Iterator[list[np.ndarray]]] = lambda: ([x] for x in samples)  # noqa: E731
    files = {FLOAT: pivot}
    for form in forms:
        needed = data if form.startswith("int") else None
        files[form] = quantize(pivot, needed, recipe=form, show_progress=False).content
    report = bench(files, baseline=FLOAT, kernels=KERNELS, runs=timing.runs, seconds=timing.seconds)
    where = report.machine
    busy = "" if where.busy is None else f", {100 * where.busy:.0f} % of them busy with other work"
    return {
        "machine": f"Times: one thread, {where.cores} cores{busy}; files took turns.",
        "files": {name: _facts(name, content, report) for name, content in files.items()},
    }


def _facts(name: str, content: bytes, report: BenchReport) -> Row:
    """Size, time, and what inspect, lint and bench say of one file."""
    row, other = (next(r for r in report.rows if (r.name, r.kernels) == (name, k)) for k in KERNELS)
    profile, seen = report.profiles[name], inspect(content)
    by_op: dict[str, float] = defaultdict(float)
    for op in profile.ops:
        by_op[op.op] += op.ms
    land = [island for island in seen.islands if island.causes]
    return {
        "bytes": len(content),
        "ms": row.median_ms,
        "ratio": row.ratio,
        "interval": list(row.ratio_interval),
        "builtin": [other.median_ms, other.ratio, *other.ratio_interval],
        "by_op": {op: round(ms, 4) for op, ms in by_op.items()},
        "xnnpack": profile.xnnpack_share,
        "partitions": len(profile.partitions),
        "islands": [list(island.codes) for island in land],
        "causes": sorted({cause for island in land for cause in island.causes}),
        "bridges": Counter(b.kind for b in seen.bridges if b.kind != "unpack"),
        "reasons": [[f.rule.id, f.message] for f in report.reasons if _about(f, name, report)],
        "lint": Counter(f.rule.id for f in lint(content).findings if f.rule.id != IDLE),
    }


def _about(finding: Any, name: str, report: BenchReport) -> bool:
    """Whether a reason is about this file: its message begins with the name."""
    return bool(finding.message.startswith(f"{name}:"))


def _times(published: Published) -> Grid:
    rows = tuple(
        (n, *(f"{v:g}" for v in values if v is not None)) for n, values in published.rows.items()
    )
    return Grid("Published", ("network", *published.columns), rows)


def _table(name: str, row: Row) -> Grid:
    header: Cells = ("file", "MB", "of float's", "ms", "time / float's (95 %)", "in XNNPACK, %")
    header += ("builtin kernels: ms", "time / float's (95 %)")
    header += ("float islands", "QUANTIZE and DEQUANTIZE")
    base = row["files"][FLOAT]["bytes"]
    cells = []
    for form, facts in row["files"].items():
        ratio = _ratio(form, facts["ratio"], *facts["interval"])
        slow, *others = facts["builtin"]
        cells.append(
            (
                *(form, f"{facts['bytes'] / 1e6:.2f}", f"{facts['bytes'] / base:.2f}"),
                *(f"{facts['ms']:.2f}", ratio, f"{100 * facts['xnnpack']:.0f}"),
                *(f"{slow:.2f}", _ratio(form, *others)),
                *(f"{len(facts['islands'])}", f"{sum(facts['bridges'].values())}"),
            )
        )
    return Grid(f"{name}: bytes and time of one run", header, tuple(cells))


def _ratio(form: str, ratio: float, lo: float, hi: float) -> str:
    return "1" if form == FLOAT else f"{ratio:.2f} ({lo:.2f} .. {hi:.2f})"


def _why(name: str, row: Row) -> Grid:
    rows = []
    for form, facts in row["files"].items():
        told = [("tfq bench", f"{id}: {text}") for id, text in facts["reasons"]]
        told += [("tfq inspect", f"stays float: {cause}") for cause in facts["causes"]]
        told += [("tfq lint", f"{id}, {count} times") for id, count in facts["lint"].items()]
        rows += [(form, tool, text.replace("|", "/")) for tool, text in told]
    return Grid(f"{name}: what the tools say", ("file", "tool", "finding"), tuple(rows))


def _faster(rows: Mapping[str, Row]) -> Iterator[Claim]:
    for name, row in rows.items():
        a, b = row["files"][FLOAT], row["files"]["int8-minmax"]
        share = b["bytes"] / a["bytes"]
        must = a["bytes"] > 1e6  # channels of small networks have more scales than weights
        text = f"{name}: int8 has at most {SMALLER} of float's bytes"
        yield Claim(text, f"{share:.2f}", share <= SMALLER, must)
        lo, hi = b["interval"]
        text = f"{name}: int8 is faster than float on this CPU"
        yield Claim(
            text, f"{b['ratio']:.2f} of its time ({lo:.2f} .. {hi:.2f})", hi < 1, must=False
        )
        _, ratio, lo, hi = b["builtin"]
        text = f"{name}: int8 is faster than float with LiteRT's builtin kernels, too"
        yield Claim(text, f"{ratio:.2f} of its time ({lo:.2f} .. {hi:.2f})", hi < 1, must=False)


def _slower(rows: Mapping[str, Row]) -> Iterator[str]:
    """Files of at most half the bytes whose time is over float's, and the rule that says why."""
    for name, row in rows.items():
        base = row["files"][FLOAT]["bytes"]
        for form, facts in row["files"].items():
            if facts["bytes"] <= SMALL * base and facts["interval"][0] > 1:
                why = dict.fromkeys(id for id, _ in facts["reasons"] if id != "time-now")
                yield f"{name}, {form}: {facts['ratio']:.2f} of its time ({', '.join(why)})"


def _claims(rows: Mapping[str, Row]) -> Iterator[Claim]:
    yield from _faster(rows)
    slower = list(_slower(rows))
    text = "a file may be smaller and slower: half of float's bytes or less, and more time"
    yield Claim(text, "; ".join(slower) or "none here", bool(slower), must=False)
    with_lrn, without = (rows[name]["files"]["int8-minmax"] for name in (NORMS, PLAIN))
    islands = [codes for codes in with_lrn["islands"] if LRN in codes]
    yield Claim(
        "LRN has no integer kernel: each stays float, between DEQUANTIZE and QUANTIZE",
        f"{len(islands)} islands of {LRN} and {_inside(with_lrn)} conversions inside; without LRN "
        f"{len(without['islands'])} and {_inside(without)}",
        len(islands) == 2 and not without["islands"],
    )
    named = [id for id, _ in with_lrn["reasons"] if id in CAUSES]
    yield Claim(
        "`tfq bench` names the cause of the time in the file with LRN",
        ", ".join(dict.fromkeys(named)) or "none",
        bool(named),
    )
    apart = with_lrn["ratio"] - without["ratio"]
    yield Claim(
        "int8 gains less with LRN than without",
        f"{with_lrn['ratio']:.2f} of float's time, without LRN {without['ratio']:.2f}",
        apart > 0,
        must=False,
    )


def _inside(facts: Row) -> int:
    return int(facts["bridges"].get("inside", 0))


DRAWN = (FLOAT, "dynamic", "int8-minmax")
TOP = 6  # kinds of op with a colour of their own


def _draw(rows: Mapping[str, Row], figure: Any) -> None:
    both = {n: {k: f for k, f in rows[n]["files"].items() if k in DRAWN} for n in (NORMS, PLAIN)}
    total: Counter[str] = Counter()
    for facts in (facts for files in both.values() for facts in files.values()):
        total.update(facts["by_op"])
    wanted = [op for op, _ in total.most_common(TOP)]
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, files) in zip(axes, both.items(), strict=True):
        bottom = np.zeros(len(files))
        for k, op in enumerate([*wanted, "other"]):
            tall = np.array([_part(facts, op, wanted) for facts in files.values()])
            look = figures.LOOKS[k]
            style = {"color": look.color, "hatch": look.hatch, "edgecolor": "white"}
            axis.bar(list(files), tall, 0.6, bottom=bottom, label=op, linewidth=0.4, **style)
            bottom += tall
        axis.set(title=name, ylabel="ms, one run, one thread" if axis is axes[0] else "")
        axis.grid(visible=False, axis="x")
    figures.shared_legend(figure, axes[0], 4)


def _part(facts: Row, op: str, wanted: list[str]) -> float:
    if op != "other":
        return float(facts["by_op"].get(op, 0.0))
    return float(sum(ms for name, ms in facts["by_op"].items() if name not in wanted))
