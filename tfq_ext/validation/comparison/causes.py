"""Why a layer loses, from a table: what shows it, how to say it, what helps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tfq_ext._table import Table
from tfq_ext.tflite.facts import FIXED_OUTPUT, SAME_GRID
from tfq_ext.validation.comparison.values import (
    BIAS,
    CLIPPING,
    INPUT_GRID,
    LOST,
    OUTPUT_GRID,
    SHIFT,
    WEIGHTS,
    LayerRow,
    Part,
)

OWN_DB = 25.0  # an op that adds more noise than this is bad; int8 ops of good files have 30 to 45
FAR_DB = 20.0  # gathered noise from which on a layer is bad, whoever is to blame
EXPLAINS = 0.3  # share of the own noise from which on a part is called a cause
MOSTLY = 0.5  # share of the own noise that comes in by its inputs from which on it is a victim
NOTABLE_DB = 32.0  # a layer that is better than this is not named, however quiet the others are
LOUDEST = 0.25  # share of all layers' own noise from which on a layer is named though not bad
NOTABLE_LSB = 0.5  # mean shift of a channel that is worth a word
FEW_BITS = 1.0  # bits wasted that are worth a word
SPREAD = 8.0  # widest over narrowest channel that one scale for all does not fit
CONSTANT = 6.0  # bits wasted at which next to nothing is left of 8


@dataclass(frozen=True)
class Cause:
    """One way to lose accuracy.

    Args:
        weight: how much of the own noise it explains in a row, 0 where it does not apply.
        sentence: a clause about the row, with numbers and units.
        remedy: what to do, an imperative with the recipe field to set.
        settings: for `tfq quantize --set`, or a recipe's name behind "recipe="; "" without.
        symptom: other causes, where there are any, are named first.
    """

    weight: Callable[[LayerRow], float]
    sentence: Callable[[LayerRow], str]
    remedy: str
    settings: str = ""
    symptom: bool = False


def _clipping(row: LayerRow) -> str:
    low, high = row.clipped_low, row.clipped_high
    both = min(low, high) > 0.2 * max(low, high)
    where = "beyond both ends of" if both else "above" if high >= low else "below"
    assert row.grid is not None
    return (
        f"clipping: {_percent(low + high)} of the values lie {where} "
        f"its grid [{row.grid[0]:.3g}, {row.grid[1]:.3g}], the reference's reach "
        f"[{row.range[0]:.3g}, {row.range[1]:.3g}]"
    )


def _wide(row: LayerRow) -> str:
    assert row.grid is not None
    assert row.scale is not None
    needed = f"[{min(row.range[0], 0):.3g}, {max(row.range[1], 0):.3g}]"
    if row.wasted_bits >= CONSTANT:
        return (
            f"one code is {row.scale:.3g} wide while the values of these samples lie in {needed}: "
            f"{row.wasted_bits:.1f} bits wasted, next to nothing is left"
        )
    return (
        f"too wide a range: the grid covers [{row.grid[0]:.3g}, {row.grid[1]:.3g}], these "
        f"samples need {needed}: {row.wasted_bits:.1f} bits wasted"
    )


def _shared(row: LayerRow) -> str:
    op = row.op if row.op in SAME_GRID else row.joined_by
    return f"{_wide(row)}, because {op} gives all its tensors one grid"


def _fixed(row: LayerRow) -> str:
    return (
        f"{row.op} has the prescribed step {row.scale:.3g}, and the values, up to "
        f"{max(map(abs, row.range)):.3g}, are small against it"
    )


def _shift(row: LayerRow) -> str:
    s = row.own_shift
    assert s is not None
    size = f"{s.lsb:+.1f} LSB" if s.lsb is not None else f"{s.real:+.3g}"
    return f"mean shift: channel {s.channel} is off by {size} on average"


def _bias(row: LayerRow) -> str:
    if row.bias_lsb is None:
        return "bias: it differs from the reference's"
    lsb, channel = row.bias_lsb
    return f"bias: that of channel {channel} differs from the reference's by {lsb:+.1f} LSB"


def _few_bits(row: LayerRow) -> str:
    return f"{row.weight_bits}-bit weights: {_weight_level(row)}"


def _per_tensor(row: LayerRow) -> str:
    return (
        f"per-tensor weights: one scale for all channels, which differ {row.weight_spread:.0f}x "
        f"in width: {_weight_level(row)}, {row.weight_lost:.0%} of the channels are lost"
    )


def _weights(row: LayerRow) -> str:
    return f"weight error: {_weight_level(row)}"


def _weight_level(row: LayerRow) -> str:
    level = row.weight_sqnr_db
    return "the reference's weights at " + ("no loss" if level is None else f"{level:.1f} dB")


def _input(row: LayerRow) -> str:
    part = max((p for p in row.parts if p.name == INPUT_GRID), key=lambda p: p.share)
    return f"input grid: {part.share:.0%} of its noise is its input {part.label!r} being rounded"


def _hybrid(row: LayerRow) -> str:
    return "hybrid kernel: its activations are rounded to 8 bits at run time, per row or tensor"


def _accumulator(row: LayerRow) -> str:
    if row.dtype == "int16":
        return "16-bit activations with 32-bit sums: a sum can overflow"
    return (
        f"accumulator: a bias code comes within {row.bias_headroom or 0:.1f} bits of the end of "
        "int32, so it was cut off or sums overflow"
    )


def _kernel(row: LayerRow) -> str:
    return "neither grids nor weights explain it: the kernel computes something else"


def _grid_rounding(row: LayerRow) -> str:
    step = row.scale or 1.0
    return (
        "rounding: rare large values stretch the range, so that typical ones get "
        f"{row.rms / step:.1f} steps of {step:.3g}"
    )


def _by_part(name: str) -> Callable[[LayerRow], float]:
    return lambda row: row.part(name)


def _if(test: Callable[[LayerRow], bool], weight: Callable[[LayerRow], float]) -> Callable:
    return lambda row: weight(row) if test(row) else 0.0


def _is_wide(row: LayerRow) -> bool:
    return row.wasted_bits >= FEW_BITS and row.op not in FIXED_OUTPUT


def _is_shared(row: LayerRow) -> bool:
    return _is_wide(row) and (row.op in SAME_GRID or bool(row.joined_by))


def _is_per_tensor(row: LayerRow) -> bool:
    return row.weight_scales == 1 and (row.weight_spread or 1) >= SPREAD


def _is_tight(row: LayerRow) -> bool:
    return row.bias_headroom is not None and row.bias_headroom < 1


def _is_shifted(row: LayerRow) -> bool:
    shift = row.own_shift
    return shift is not None and (shift.lsb is None or abs(shift.lsb) >= NOTABLE_LSB)


def _is_few(row: LayerRow) -> bool:
    return row.weight_bits is not None and row.weight_bits <= 4


def _rounding_only(row: LayerRow) -> float:
    return max(0.0, row.part(OUTPUT_GRID) - row.part(CLIPPING))


def _unexplained(row: LayerRow) -> float:
    """What none of the parts explains; 0 where nothing was taken apart."""
    if not row.parts:
        return 0.0
    return max(0.0, 1 - max(p.share for p in row.parts) / EXPLAINS)


# The order breaks ties; the heaviest speaks first.
CAUSES: Table[Cause] = Table(
    "cause",
    {
        "clipping": Cause(
            _by_part(CLIPPING),
            _clipping,
            "Calibrate on samples that reach these values, or choose the range by error.",
            "calibrator=auto",
        ),
        "bias": Cause(
            _by_part(BIAS),
            _bias,
            "Restore the reference's bias, or correct it by the mean shift of this layer.",
        ),
        "accumulator": Cause(
            _if(_is_tight, lambda row: max(row.part(SHIFT), _unexplained(row), row.part(BIAS))),
            _accumulator,
            "Widen the weight scales of near-dead channels so that their bias fits 30 bits (as "
            "`tfq quantize` does); with 16-bit activations store 64-bit biases.",
            "recipe=int8",
        ),
        "mean-shift": Cause(
            _if(_is_shifted, _by_part(SHIFT)),
            _shift,
            "Correct the bias of this layer by the mean shift.",
            symptom=True,
        ),
        "per-tensor": Cause(
            _if(_is_per_tensor, lambda row: max(row.part(WEIGHTS), row.weight_lost)),
            _per_tensor,
            "Give every output channel a scale of its own.",
            "weights.per_channel=true",
        ),
        "four-bits": Cause(
            _if(lambda r: _is_few(r) and not _is_per_tensor(r), _by_part(WEIGHTS)),
            _few_bits,
            "Give this layer 8-bit weights by a rule (weight_bits = 8).",
            "recipe=int8",
        ),
        "weights": Cause(
            _if(lambda r: not _is_few(r) and not _is_per_tensor(r), _by_part(WEIGHTS)),
            _weights,
            "Choose the weights' scales by squared error, or look whether the weights are those "
            "of the reference.",
            "weights.scale=mse",
        ),
        "shared-grid": Cause(
            _if(_is_shared, _rounding_only),
            _shared,
            'Bring the branches to one scale before they meet (equalize = "on" does where it can), '
            "or give that op 16 bits or float by a rule.",
            "equalize=on",
        ),
        "wide": Cause(
            _if(lambda r: _is_wide(r) and not _is_shared(r), _rounding_only),
            _wide,
            "Choose the range by error instead of by the extremes.",
            "calibrator=auto",
        ),
        "fixed-grid": Cause(
            _if(lambda r: r.op in FIXED_OUTPUT, _rounding_only),
            _fixed,
            "End the network before this op and compute it in float, or keep it float by a rule.",
        ),
        "rounding": Cause(
            _if(lambda r: not _is_wide(r) and r.op not in FIXED_OUTPUT, _rounding_only),
            _grid_rounding,
            "Clip rare large values where that pays (calibrator auto), or give the op 16 bits.",
            "calibrator=auto",
        ),
        "input-grid": Cause(
            _by_part(INPUT_GRID),
            _input,
            "Look at the layer that makes this input; its grid is what to change.",
        ),
        "hybrid": Cause(
            _if(lambda r: r.arithmetic == "hybrid", _unexplained),
            _hybrid,
            "Quantize the activations too, with samples.",
            "recipe=int8",
        ),
        "kernel": Cause(
            _if(lambda r: r.arithmetic == "integer" and not _is_tight(r), _unexplained),
            _kernel,
            "Run `tfq validate --bit-exact`, which holds this op against an integer reference.",
        ),
    },
)
VICTIM = "victim"


def judged(rows: Sequence[LayerRow]) -> tuple[LayerRow, ...]:
    """The rows with shares of the loss, causes and verdicts."""
    powers = [_power(row) for row in rows]
    total = math.fsum(powers)
    shares = [p / total if total > 0 else 0.0 for p in powers]
    return tuple(_judged(replace(row, loss=s)) for row, s in zip(rows, shares, strict=True))


def _power(row: LayerRow) -> float:
    """Own noise over signal, the part that came in by its input grids taken off.

    That part is counted where the grid belongs: at the layer that makes the input.
    """
    own = row.own_sqnr_db
    if own is None or own == math.inf:
        return 0.0
    power = 10 ** (-max(own, -100.0) / 10)
    return power * max(0.0, 1 - min(1.0, _inputs_share(row)))


def _inputs_share(row: LayerRow) -> float:
    return sum(p.share for p in row.parts if p.name == INPUT_GRID)


def is_bad(row: LayerRow) -> bool:
    """Whether a layer deserves a verdict."""
    return is_culprit(row) or row.sqnr_db < FAR_DB


def is_culprit(row: LayerRow) -> bool:
    """Whether a layer is bad on exact inputs."""
    own = row.own_sqnr_db
    if own is None:
        return False
    loud = row.loss >= LOUDEST and own < NOTABLE_DB
    return own < OWN_DB or loud or row.weight_lost >= LOST


def _judged(row: LayerRow) -> LayerRow:
    if not is_bad(row):
        return row
    own = row.own_sqnr_db
    if own is None:
        text = f"{row.sqnr_db:.1f} dB with all errors before it; alone: {row.own_reason}"
        return replace(row, verdict=text)
    if not is_culprit(row):
        text = f"victim: {_db(own)} on exact inputs, {_db(row.sqnr_db)} with the errors before it"
        return replace(row, verdict=text, causes=(VICTIM,))
    found = [(cause.weight(row), name) for name, cause in CAUSES.items()]
    found.sort(key=lambda p: (CAUSES[p[1]].symptom, -p[0]))
    named = [name for w, name in found if w >= EXPLAINS]
    if not named:
        best = max(found, key=lambda p: p[0])
        named = [best[1]] if best[0] > 0 else []
    if named and named[0] == "input-grid" and row.part(INPUT_GRID) >= MOSTLY:
        named = [*named, VICTIM]
    clauses = [CAUSES[name].sentence(row) for name in named if name != VICTIM]
    return replace(
        row,
        verdict="; ".join(clauses) or f"{_db(own)} on exact inputs, for no cause that is known",
        causes=tuple(named),
        remedies=tuple(CAUSES[name].remedy for name in named if name != VICTIM),
    )


def _db(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.2%}" if share >= 1e-4 else "under 0.01%"


__all__ = ["CAUSES", "VICTIM", "Cause", "Part", "is_bad", "judged"]
