"""Checks for the rules of reasons.py: each looks at a Case and says what it found, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tfq_ext._table import Table
from tfq_ext.tflite.arithmetic import BRIDGE, FLOAT, HYBRID
from tfq_ext.tflite.read import Model
from tfq_ext.validation.finding import SEVERITIES, Finding, Rule
from tfq_ext.validation.latency.case import Case, Side, counted, pairs
from tfq_ext.validation.latency.reasons import RULES
from tfq_ext.validation.latency.rows import BenchReport
from tfq_ext.validation.profile import FOLDED, XNNPACK

LEAST, NOTABLE, LARGE = 0.005, 0.05, 0.2  # shares of the time
SMALL_OP_MS = 0.003
MANY_RUNS = 4
SLOWER = 1.2  # of an op, by the same op of the baseline
GRAIN_MS = 0.005  # of a whole run, below which it cannot be split by op
RESOLVED_MS = 0.005  # the profiler counts whole microseconds
CACHED = 1e6  # bytes of weights that a core's own cache may hold
REUSE = 4  # uses of each weight in one run, below which memory decides
IDLE_THREADS = 0.9  # ratio to one thread
LITTLE_GAIN = 0.7  # ratio to float that an int8 file should be below

Check = Callable[[Case], Iterator[Finding]]


@dataclass(frozen=True)
class Reason:
    """A rule and who looks for it."""

    rule: Rule
    check: Check


def float_islands(case: Case) -> Iterator[Finding]:
    """Float ops in a file that also computes in integers."""
    ops = case.side.of_kind(FLOAT)
    if case.side.quantized and case.matters(ops, NOTABLE):
        text = f"{counted(ops)} in float {case.cost(ops)}."
        yield case.find("slow-float-islands", text)


def bridges(case: Case) -> Iterator[Finding]:
    """QUANTIZE and DEQUANTIZE that run."""
    ops = case.side.of_kind(BRIDGE)
    if case.matters(ops, NOTABLE):
        yield case.find("slow-bridges", f"{counted(ops)} {case.cost(ops)}.")


def hybrid(case: Case) -> Iterator[Finding]:
    """Hybrid ops in LiteRT's own kernels."""
    ops = [op for op in case.side.outside() if case.side.kinds[op.index] == HYBRID]
    if case.matters(ops, NOTABLE):
        text = f"{counted(ops)} with float activations and integer weights {case.cost(ops)}"
        yield case.find("slow-hybrid", f"{text} in LiteRT's own kernels.")


def int4(case: Case) -> Iterator[Finding]:
    """4-bit weights in LiteRT's own kernels."""
    ops = [op for op in case.side.outside() if "int4" in case.side.constants(op)]
    if case.matters(ops, NOTABLE):
        text = f"{counted(ops)} with 4-bit weights {case.cost(ops)} in LiteRT's own kernels."
        yield case.find("slow-int4", text)


def int16(case: Case) -> Iterator[Finding]:
    """16-bit activations in LiteRT's own kernels."""
    ops = [op for op in case.side.outside() if "int16" in case.side.moving(op)]
    if case.matters(ops, NOTABLE):
        text = f"{counted(ops)} with 16-bit activations {case.cost(ops)} in LiteRT's own kernels."
        yield case.find("slow-int16", text)


def dynamic_range(case: Case) -> Iterator[Finding]:
    """Hybrid ops in XNNPACK."""
    ops = [op for op in case.side.of_kind(HYBRID) if op.where == XNNPACK]
    if case.matters(ops, LARGE):
        text = f"{counted(ops)} quantize their activations at every run; they {case.cost(ops)}."
        yield case.find("slow-dynamic-range", text)


def float_arithmetic(case: Case) -> Iterator[Finding]:
    """Everything computes in float, from weights that were unpacked at loading."""
    profile, side = case.side.profile, case.side
    folded = [op for op in profile.ops if op.where == FOLDED] if profile else []
    if folded and not side.quantized and not side.of_kind(HYBRID):
        text = f"{len(folded)} weights are unpacked to float at loading; all ops compute in float."
        yield case.find("slow-float-arithmetic", text)


def outside_xnnpack(case: Case) -> Iterator[Finding]:
    """Ops in LiteRT's own kernels that no other rule speaks of."""
    side, profile = case.side, case.side.profile
    if profile is None or profile.kernels != "xnnpack":
        return
    ops = [
        op
        for op in side.outside()
        if side.kinds[op.index] != HYBRID
        and "int4" not in side.constants(op)
        and "int16" not in side.moving(op)
    ]
    if not case.matters(ops, NOTABLE) or not side.timed:
        return
    worst = max(ops, key=lambda op: op.ms)
    why = {b.index: b.why for b in profile.breaks if b.stops == XNNPACK}
    reason = f" The longest, {worst.ms:.3g} ms: {why[worst.index]}." if worst.index in why else ""
    text = f"{counted(ops)} {case.cost(ops)} outside XNNPACK.{reason}"
    yield case.find("slow-outside-xnnpack", text, worst)


def split_graph(case: Case) -> Iterator[Finding]:
    """Many partitions."""
    profile = case.side.profile
    if profile is None:
        return
    runs = [part for part in profile.partitions if part.where == XNNPACK]
    if len(profile.partitions) < MANY_RUNS or not runs:
        return
    codes = Counter(b.op for b in profile.breaks if b.stops == XNNPACK).most_common(3)
    split = ", ".join(f"{n} {code}" for code, n in codes)
    longest = max(len(part.ops) for part in runs)
    yield case.find(
        "slow-split-graph",
        f"{len(profile.partitions)} runs of ops, {len(runs)} of them in XNNPACK, the longest of "
        f"{longest} ops; split by {split}.",
    )


def slower_ops(case: Case) -> Iterator[Finding]:
    """Ops that the baseline does faster."""
    if case.base is None or not (case.side.timed and case.base.timed):
        return
    total = case.side.ms(case.side.ops)
    worse = [
        (mine, theirs)
        for mine, theirs in pairs(case.side, case.base)
        if mine.ms > theirs.ms * SLOWER and mine.ms - theirs.ms > max(total * LEAST, RESOLVED_MS)
    ]
    if sum(mine.ms - theirs.ms for mine, theirs in worse) < total * NOTABLE or not worse:
        return
    worse.sort(key=lambda pair: pair[1].ms - pair[0].ms)
    lost = sum(mine.ms - theirs.ms for mine, theirs in worse)
    first, before = worse[0]
    verb = "is" if len(worse) == 1 else "are"
    yield case.find(
        "slow-ops",
        f"{len(worse)} of {len(case.side.ops)} ops {verb} slower than in {case.base.name}, by "
        f"{lost:.3g} ms in all; most of all op {first.index} {first.op}: {first.ms:.3g} ms against "
        f"{before.ms:.3g} ms.",
        first,
    )


def tiny_ops(case: Case) -> Iterator[Finding]:
    """A few microseconds an op."""
    running = [op for op in case.side.ops if op.where != "fused"]
    if not running:
        return
    each = case.side.row.median_ms / len(running)
    if each < SMALL_OP_MS:
        text = f"{case.side.row.median_ms:.3g} ms for {len(running)} ops, {each * 1e3:.2g} us each."
        yield case.find("slow-tiny-ops", text)


def memory_bound(case: Case) -> Iterator[Finding]:
    """Dense ops on few rows."""
    side = case.side
    ops = [op for op in side.ops if op.op == "FULLY_CONNECTED" and side.positions(op) < REUSE]
    if side.timed and case.matters(ops, LARGE):
        count = side.weights_of(ops)
        if count < CACHED:
            return
        rate = count / 1e6 / max(side.ms(ops), 1e-6)
        text = f"{counted(ops)} {case.cost(ops)} to read {count / 1e6:.3g} MB: {rate:.3g} GB/s."
        yield case.find("slow-memory-bound", text)


def no_dot_product(case: Case) -> Iterator[Finding]:
    """The CPU, not the file."""
    little = case.base is not None and case.side.row.ratio > LITTLE_GAIN
    if case.machine.dot_product is False and case.side.quantized and little:
        text = f"{case.machine.cpu or 'this CPU'} has no 8-bit dot products."
        yield case.find("slow-no-dot-product", text)


def threads(case: Case) -> Iterator[Finding]:
    """The widest row against the narrowest."""
    rows = [r for r in case.rows if not r.failed and r.kernels == case.side.row.kernels]
    widest = max(rows, key=lambda row: row.threads, default=None)
    if widest is None or widest.threads == case.side.row.threads:
        return
    if widest.thread_ratio > IDLE_THREADS:
        yield case.find(
            "slow-threads",
            f"{widest.threads} threads take {widest.thread_ratio:.2f} x the time of "
            f"{case.side.row.threads} ({widest.median_ms:.3g} ms against "
            f"{case.side.row.median_ms:.3g} ms).",
        )


def time_now(case: Case) -> Iterator[Finding]:
    """The op codes with the largest shares."""
    if not case.side.timed:
        return
    shares: Counter[str] = Counter()
    for op in case.side.ops:
        shares[op.op] += op.share  # type: ignore[assignment]
    shown = ", ".join(f"{code} {share:.0%}" for code, share in shares.most_common(3))
    worst = max(case.side.ops, key=lambda op: op.ms)
    yield case.find(
        "time-now",
        f"{shown}; longest: op {worst.index} {worst.op}, {worst.ms:.3g} ms ({worst.share:.0%}).",
        worst,
    )


_CHECKS: tuple[tuple[str, Check], ...] = (
    ("slow-int16", int16),
    ("slow-int4", int4),
    ("slow-hybrid", hybrid),
    ("slow-float-islands", float_islands),
    ("slow-bridges", bridges),
    ("slow-outside-xnnpack", outside_xnnpack),
    ("slow-dynamic-range", dynamic_range),
    ("slow-float-arithmetic", float_arithmetic),
    ("slow-split-graph", split_graph),
    ("slow-ops", slower_ops),
    ("slow-memory-bound", memory_bound),
    ("slow-tiny-ops", tiny_ops),
    ("slow-no-dot-product", no_dot_product),
    ("slow-threads", threads),
    ("time-now", time_now),
)
REASONS: Table[Reason] = Table("reason", {id: Reason(RULES[id], check) for id, check in _CHECKS})


def explain(
    report: BenchReport, models: Mapping[str, Model], signature: str | None
) -> tuple[Finding, ...]:
    """Why each file but the baseline is not faster, and where its time goes.

    Args:
        models: the parsed files.
        signature: what ran.
    """
    names = [name for name in models if name != report.baseline] or [report.baseline]
    return tuple(f for name in names for f in _of(name, report, models, signature))


def _of(
    name: str, report: BenchReport, models: Mapping[str, Model], signature: str | None
) -> Iterator[Finding]:
    def side(name: str) -> Side:
        graph = models[name].graph_of(signature)
        return Side(name, graph, report.row(name), report.profiles.get(name))

    mine = side(name)
    if mine.row.failed:
        return
    base = None if name == report.baseline else side(report.baseline)
    if base is not None and base.row.failed:
        base = None
    rows = tuple(row for row in report.rows if row.name == name)
    case = Case(mine, base, rows, report.machine)
    if mine.row.median_ms < GRAIN_MS:  # the profiler counts whole microseconds: no op can be told
        yield from tiny_ops(case)
        return
    found = [finding for reason in REASONS.values() for finding in reason.check(case)]
    if case.slow and mine.profile and not any(f.rule.id.startswith("slow") for f in found):
        found.insert(0, case.find("slow-unexplained", f"{mine.row.ratio:.2f} x the baseline."))
    yield from sorted(found, key=lambda f: -SEVERITIES.index(f.severity))
