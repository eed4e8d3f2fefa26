"""Whether the values that are fed contradict the range that the model was trained on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Convention:
    """A usual way to feed images, and the interval it gives for pixels 0 to 255."""

    name: str
    lo: float
    hi: float


# 0.485/0.229 and 0.225/0.406 are the ImageNet statistics of torchvision; 103.939... Caffe's.
CONVENTIONS = (
    Convention("raw pixels 0..255", 0.0, 255.0),
    Convention("0..1", 0.0, 1.0),
    Convention("-1..1", -1.0, 1.0),
    Convention("ImageNet mean and deviation", -2.118, 2.640),
    Convention("Caffe's mean subtracted", -123.68, 151.061),
)


def range_warning(observed: tuple[float, float], expected: tuple[float, float]) -> str | None:
    """A sentence when `observed` contradicts `expected`, else None.

    Contradicting means: four times as wide or as narrow, more than a quarter of the expected
    width outside on either side, or without negative values where a good part is expected there.

    Args:
        observed: least and greatest value fed.
        expected: least and greatest value that the model's own records speak of.
    """
    lo, hi = observed
    low, high = expected
    width, room = hi - lo, high - low
    if room <= 0 or width < 0:
        return None
    reason = next((text for text, holds in _contradictions(lo, hi, low, high) if holds), None)
    if reason is None:
        return None
    return (
        f"The input holds {lo:.4g}..{hi:.4g}, the model expects {low:.4g}..{high:.4g}: {reason}. "
        f"{_remedy(observed, expected)}"
    )


def _contradictions(lo: float, hi: float, low: float, high: float) -> tuple[tuple[str, bool], ...]:
    width, room = hi - lo, high - low
    return (
        (f"{width / room:.3g} times as wide", width >= 4 * room),
        (
            f"{max(high - hi, lo - low) / room:.0%} of the expected range is outside",
            hi > high + room / 4 or lo < low - room / 4,
        ),
        (f"only {width / room:.2g} of the expected width", width <= room / 4),
        ("no negative values came", lo >= 0 and low < -room / 4),
    )


def _remedy(observed: tuple[float, float], expected: tuple[float, float]) -> str:
    came, wanted = _nearest(*observed), _nearest(*expected)
    if came is None or wanted is None or came == wanted:
        return "Feed the values that the model was trained on (preprocess=...)."
    scale = (wanted.hi - wanted.lo) / (came.hi - came.lo)
    offset = wanted.lo - came.lo * scale
    return (
        f"That looks like {came.name} where {wanted.name} is meant: "
        f"feed x * {scale:.6g} {'-' if offset < 0 else '+'} {abs(offset):.6g}."
    )


def _nearest(lo: float, hi: float) -> Convention | None:
    """The convention whose ends lie closest, within a fifth of its width in total, or None."""
    scored = [((abs(lo - c.lo) + abs(hi - c.hi)) / (c.hi - c.lo), c) for c in CONVENTIONS]
    score, best = min(scored, key=lambda pair: pair[0])
    return best if score <= 0.2 else None
