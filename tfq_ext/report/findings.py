"""What an account says that somebody should act on: values, and one sentence each."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from tfq_ext.emit.result import Note
from tfq_ext.repair.ranges import RangeChoice
from tfq_ext.report import words
from tfq_ext.result import Account, Result, WeightRow
from tfq_ext.rounding import Learning
from tfq_ext.spec import Range

_LEADING = re.compile(r"(?:(\d+) )?(.*)", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
RUINED = 8.0  # a shared range this many times as wide as an input's own: 3 of its 8 bits are lost
REMEDIES = (
    "scale the inputs alike in the model (normalise boxes to 0..1 before they meet)",
    "take them out as separate outputs instead of joining them",
    "keep that op float: a rule with its tensor name and keep_float = true",
)
NOT_MEASURED = (
    "No data: ranges come from BatchNormalization statistics, and nothing was measured. "
    "`tfq validate` with a few hundred labelled samples tells what it costs."
)
VARIANTS = {"minmax": "min-max", "auto": "auto", "polished": "after polishing"}


@dataclass(frozen=True)
class Ruined:
    """A tensor that must share a grid far wider than its own range.

    Args:
        tensor: the narrow one, with its observed range `own`.
        shared: range of the grid.
        widest: the source that makes it wide.
        joined: op codes that force them together.
        ratio: width of the shared range over that of its own.
    """

    tensor: str
    own: Range
    shared: Range
    widest: str
    joined: tuple[str, ...]
    ratio: float

    @property
    def bits(self) -> float:
        """Bits of resolution lost."""
        return math.log2(self.ratio)

    def __str__(self) -> str:
        return (
            f"{' and '.join(self.joined)} gives {words.short(self.tensor)} the range "
            f"{words.interval(self.shared)} of {words.short(self.widest)}; its own is "
            f"{words.interval(self.own)}: {self.ratio:.0f} times too wide, "
            f"{self.bits:.1f} bits lost"
        )


def ruined_inputs(ranges: tuple[RangeChoice, ...]) -> list[Ruined]:
    """Inputs of concat-like ops that lose over 3 bits to a neighbour, the worst first."""
    rows = []
    for choice in ranges:
        if not choice.joined or choice.spread <= RUINED:
            continue
        widest = max(choice.sources, key=lambda name: choice.sources[name].width)
        for tensor, own in choice.sources.items():
            ratio = choice.range.width / own.width if own.width > 0 else 1.0
            if ratio > RUINED:
                codes = tuple(dict.fromkeys(choice.joined))
                rows.append(Ruined(tensor, own, choice.range, widest, codes, ratio))
    return sorted(rows, key=lambda row: -row.ratio)


def noisiest(ranges: tuple[RangeChoice, ...], n: int = 5) -> list[tuple[RangeChoice, float]]:
    """The ranges that cost most, with their signal-to-noise ratio (dB) at the consumers."""
    judged = [(row, words.decibel(min(row.noise.values()))) for row in ranges if row.noise]
    return sorted(judged, key=lambda pair: pair[1])[:n]


def weakest(weights: tuple[WeightRow, ...], n: int = 3) -> list[WeightRow]:
    """The weights that rounding hurt most."""
    return sorted(weights, key=lambda row: row.sqnr_db)[:n]


def gathered(weights: Iterable[WeightRow]) -> list[str]:
    """The notes of all weights, equal ones told once: "22 near-dead channels: ... (10 weights)"."""
    totals: dict[str, tuple[int, list[str]]] = {}
    for row in weights:
        for note in row.notes:
            number, rest = _LEADING.fullmatch(note).groups()  # type: ignore[union-attr]
            total, tensors = totals.get(rest, (0, []))
            totals[rest] = (total + int(number or 0), [*tensors, row.tensor])
    return [
        f"{f'{total} ' if total else ''}{rest} "
        f"({words.short(tensors[0])}{f' and {len(tensors) - 1} more' if tensors[1:] else ''})."
        for rest, (total, tensors) in totals.items()
    ]


def alike(notes: Iterable[Note]) -> list[str]:
    """Notes as lines; those that differ in tensor and numbers alone are one, with their count."""
    kinds: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        kinds.setdefault((note.op, _NUMBER.sub("#", note.reason)), []).append(note)
    return [_note(first, len(others)) for first, *others in kinds.values()]


def _note(note: Note, others: int) -> str:
    where = f"{note.op} {words.short(note.tensor)}" if note.tensor else note.op
    more = f" (and {others} more notes like this, in --json)" if others else ""
    return f"{where}: {note.reason}{more}"


def integer_share(account: Account) -> str:
    """One sentence on the ops that stayed float."""
    total = sum(n for op, n in account.ops.items() if op not in ("QUANTIZE", "DEQUANTIZE"))
    stayed = len(account.float_ops)
    if not stayed:
        return f"All {total} ops are integer."
    return f"{stayed} of {total} ops stayed float."


def recipe_line(result: Result) -> str:
    """What was asked for, or trained, in one line."""
    recipe, account = result.recipe, result.account
    if any(row.calibrator == "trained" for row in account.ranges):
        widths = " and ".join(map(str, sorted({row.bits for row in account.weights})))
        return f"{widths}-bit weights and activation ranges as trained"
    if recipe.mode == "fp16":
        return "float16 weights, float arithmetic"
    grid = recipe.weights
    per = "per channel" if grid.per_channel else "per tensor"
    parts = [f"{_widths(account, grid.bits)} {per}, {grid.rounding}"]
    if recipe.needs_ranges:
        parts.append(f"{recipe.activations.bits}-bit activations, {recipe.calibrator} ranges")
    else:
        parts.append("float activations" if recipe.mode == "weight_only" else "ranges at run time")
    return "; ".join(parts)


def _widths(account: Account, bits: int) -> str:
    """Bits of the weights; how many have which, where rules or kernels made a difference."""
    count = sorted(Counter(row.bits for row in account.weights).items())
    if len(count) < 2:
        return f"{count[0][0] if count else bits}-bit weights"
    return f"{' and '.join(f'{n} weights in {width} bits' for width, n in count)},"


def sample_line(result: Result) -> str | None:
    """How many samples did what, or that there were none to choose ranges by."""
    p, recipe = result.provenance, result.recipe
    if not p.samples:
        trained = any(row.calibrator == "trained" for row in result.account.ranges)
        return NOT_MEASURED if recipe.is_unseen and not trained else None
    held = f", {p.held_back} of them held back to judge the candidates" if p.held_back else ""
    return f"{words.count(p.samples, 'sample')} observed for the ranges{held}."


def variant_line(tried: Mapping[str, float]) -> str | None:
    """Output SQNR on the held-back samples, by way of choosing ranges."""
    if not tried:
        return None
    rows = [f"{VARIANTS.get(name, name)} {words.db(value)}" for name, value in tried.items()]
    return (
        f"Output SQNR on held-back samples: {', '.join(rows)}. The last one is the file's; these "
        "samples helped to choose it, so expect less on new ones."
    )


def learned_line(account: Account) -> str | None:
    """What AdaRound left of the error, and how sure it was of its codes."""
    rows = [(row, row.learned) for row in account.weights if row.learned is not None]
    if not rows:
        return None
    row, worst = max(rows, key=lambda pair: pair[1].unsettled)
    left = median(one.after / one.before if one.before > 0 else 1.0 for _, one in rows)
    return (
        f"Rounding of {words.count(len(rows), 'weight')} learned: output error {left:.0%} of "
        f"nearest rounding's in the median; at most {worst.unsettled:.1%} unsettled "
        f"({words.short(row.tensor)}) after {worst.steps} steps."
    )


def least_settled(weights: tuple[WeightRow, ...]) -> list[tuple[WeightRow, Learning]]:
    """Weights whose rounding was learned, those in front that were least sure of it."""
    rows = [(row, row.learned) for row in weights if row.learned is not None]
    return sorted(rows, key=lambda pair: -pair[1].unsettled)


def release_line(account: Account) -> str | None:
    """What ReLU6 -> ReLU changed in the float model."""
    if not account.released:
        return None
    worst = max(account.released, key=lambda row: row.share)
    changed = sum(row.share > 0 for row in account.released)
    return (
        f"ReLU6 became ReLU: {changed} of {words.count(len(account.released), 'tensor')} pass 6; "
        f"most of all {words.short(worst.tensor)}, {worst.share:.2%} of its values. "
        "The float model that all is measured against is the one without the caps."
    )
