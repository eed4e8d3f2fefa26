"""From findings to sentences: the headline, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfq_ext.repair.audit.values import EXACT, PLACEHOLDERS, Audit, SharedGrid, Step
from tfq_ext.repair.audit.waterfall import ACTIVATIONS, RANGES, SHARED, WEIGHTS

WORTH_DB = 0.1  # less is within what another choice of samples changes


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Args:
        text: a sentence.
        command: what to type; "" where there is nothing to type.
    """

    text: str
    command: str = ""


@dataclass(frozen=True)
class StepText:
    """How a step of the waterfall is called, and what helps against it.

    Args:
        label: noun phrase.
        remedy: sentence, given the audit.
    """

    label: str
    remedy: Callable[[Audit], Advice]


def headline(audit: Audit) -> str:
    """What was found, in one sentence."""
    return {"converter": _converter, "file": _file}[audit.subject](audit)


def _converter(audit: Audit) -> str:
    wide, total = audit.wide, len(audit.tensors)
    if not wide:
        return f"{audit.who} records all {total} ranges right, to 0.1 %."
    worst = wide[0]
    return (
        f"{audit.who} records {len(wide)} of {total} ranges too wide, by up to "
        f"{worst.ratio:.1f}x ({worst.bits_lost:.1f} bit)."
    )


def _file(audit: Audit) -> str:
    wide, total, clips = audit.wide, len(audit.tensors), audit.clipping
    if not total:
        return f"{audit.who}: no grid of this file could be matched with the float model."
    parts = [f"{audit.who}: all {total} grids fit the observed ranges to 10 %"]
    if wide:
        parts = [
            f"{audit.who}: {len(wide)} of {total} grids are wider than the data need, by up to "
            f"{wide[0].ratio:.1f}x ({wide[0].bits_lost:.1f} bit)"
        ]
    if clips:
        most = max(row.outside for row in clips)
        verb = "clips" if len(clips) == 1 else "clip"
        parts.append(f"{len(clips)} {verb} more than 0.1 % of the values (up to {most:.1%})")
    return "; ".join(parts) + "."


def scores(audit: Audit) -> str:
    """What it costs, in one sentence; "" when nothing was measured."""
    first, *others = audit.variants or (None,)
    if first is None:
        return ""
    named = {"converter": "its ranges", "file": "this file"}[audit.subject]
    rest = [f"{v.sqnr_db:.1f} with {v.name}" for v in others if v is not None]
    return f"Output SQNR: {', '.join([f'{first.sqnr_db:.1f} dB with {named}', *rest])}."


def next_steps(audit: Audit) -> list[Advice]:
    """The command that helps most, then what helps against the loudest noise."""
    rows = [_quantize(audit)]
    loudest = audit.waterfall.dominant if audit.waterfall else None
    if loudest is not None and loudest.name != RANGES:
        rows.append(STEPS[loudest.name].remedy(audit))
    if audit.shared and (loudest is None or loudest.name != SHARED):
        rows.append(_shared(audit))
    if audit.file is not None and audit.file.float_ops:
        row = audit.file.float_ops[0]
        count = len(audit.file.float_ops)
        rows.append(Advice(f"{count} ops are float, first {row.op}: {row.reason}."))
    return [row for row in rows if row.text]


def _quantize(audit: Audit) -> Advice:
    best = max(audit.variants, key=lambda v: v.sqnr_db, default=None)
    first = audit.variants[0] if audit.variants else None
    if best is None or first is None or best is first:
        return Advice("")
    gain = best.sqnr_db - first.sqnr_db
    if not gain >= WORTH_DB:
        return Advice("")
    if best.name == EXACT and len(audit.variants) == 2:  # --fast
        return Advice(
            f"Quantize on true ranges: {gain:+.1f} dB with exact min/max already. What the "
            "default calibrator gives was not tried.",
            command(audit),
        )
    return Advice(
        f"Quantize with {best.name}: {gain:+.1f} dB on samples that no range has seen.",
        command(audit, "int8-minmax" if best.name == EXACT else "int8"),
    )


def command(audit: Audit, recipe: str = "int8", scale: str = "") -> str:
    """`tfq quantize` as it would be typed, or the call where objects were given, not paths.

    Args:
        audit: with model, data and preprocessing.
        recipe: name of the recipe.
        scale: how weight scales are chosen; "" as the recipe says.
    """
    if PLACEHOLDERS & {audit.model, audit.data}:
        return _call(audit, recipe, scale)
    target = f"{Path(audit.model).stem or 'model'}.int8.tflite"
    parts = ["tfq", "quantize", audit.model, "--data", audit.data]
    parts += ["--preprocess", audit.preprocess] if audit.preprocess else []
    parts += ["--recipe", recipe] if recipe != "int8" else []
    parts += ["--set", f"weights.scale={scale}"] if scale else []
    return " ".join(shlex.quote(part) for part in [*parts, "-o", target])


def _call(audit: Audit, recipe: str, scale: str) -> str:
    model, data = (
        name.lower() if name in PLACEHOLDERS else repr(name) for name in (audit.model, audit.data)
    )
    options = [f"preprocess={audit.preprocess!r}"] if audit.preprocess else []
    if scale:
        options.append(f"recipe={ {'base': recipe, 'weights': {'scale': scale}} }")
    elif recipe != "int8":
        options.append(f"recipe={recipe!r}")
    return f"tfq_ext.quantize({', '.join([model, data, *options])})"


def dominant_sentence(audit: Audit) -> str:
    """Which noise is the loudest, with its share."""
    fall = audit.waterfall
    loudest = fall.dominant if fall else None
    if fall is None or loudest is None:
        return ""
    share = loudest.power / sum(max(step.power, 0.0) for step in fall.steps)
    return f"{_capital(step_label(audit, loudest))}: {share:.0%} of the noise."


def step_label(audit: Audit, step: Step) -> str:
    """The step's name; that of wrong ranges names their author."""
    if step.name == RANGES and audit.subject == "converter":
        return "ranges recorded wrongly"
    return STEPS[step.name].label


def _weights(audit: Audit) -> Advice:
    single = audit.file.per_tensor if audit.file else ()
    if single:
        return Advice(
            f"{len(single)} weights have one scale for all channels ({_list(single)}): give every "
            "channel its own, which is the default here.",
        )
    return Advice(
        "Most of the noise is rounded weights: try scales chosen by squared error.",
        command(audit, scale="mse"),
    )


def _activations(audit: Audit) -> Advice:
    return Advice(
        "Most of the noise is rounded activations: `auto` answers with ranges that clip where it "
        "pays; the recipe int16x8 removes nearly all of it, at the price of speed."
    )


def _shared(audit: Audit) -> Advice:
    named = ", ".join(_shared_name(row) for row in audit.shared[:3])
    return Advice(
        f"Shared grids: {named}. Bring the branches to one scale before they meet (ReLU6 or a "
        "normalisation on the wide one), or give that op 16 bits or float by a recipe rule."
    )


def _shared_name(row: SharedGrid) -> str:
    return f"{', '.join(row.ops)} gives {row.label} a grid {row.ratio:.1f}x its range"


def _list(names: tuple[str, ...], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


STEPS: dict[str, StepText] = {
    WEIGHTS: StepText("weights rounded", _weights),
    ACTIVATIONS: StepText("activations rounded", _activations),
    SHARED: StepText("grids shared by several tensors", _shared),
    RANGES: StepText("ranges of the file", _quantize),
}
