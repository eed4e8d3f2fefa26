"""Numbers and names as people read them."""

from __future__ import annotations

import math

from tfq_ext.spec import Range


def size(count: int) -> str:
    """Bytes in kB or MB (powers of ten), three digits."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def printable(text: str) -> str:
    """Without control characters, which could steer the terminal: names are not ours."""
    return "".join(c if c.isprintable() else "?" for c in text)


def short(name: str, width: int = 44) -> str:
    """A tensor name on one line of at most `width` characters.

    Of a fused name "a;b;c" the first part is shown, without the model's own name in front (it is
    the same everywhere); what is too long ends in "...". Control characters become "?", so that a
    name cannot steer the terminal.
    """
    first, _, _ = name.partition(";")
    clean = printable(first)
    _, _, inner = clean.partition("/")
    if inner and len(clean) > width:
        clean = inner
    if len(clean) > width:
        clean = clean[: width - 3] + "..."
    return clean


def interval(r: Range) -> str:
    """[min, max] with three digits."""
    return f"[{r.min:.3g}, {r.max:.3g}]"


def decibel(ratio: float) -> float:
    """-10 log10 of a relative squared error; inf where there is none."""
    return -10 * math.log10(ratio) if ratio > 0 else math.inf


def db(value: float) -> str:
    """A level with one decimal."""
    return "exact" if math.isinf(value) and value > 0 else f"{value:.1f} dB"


def count(n: int, noun: str) -> str:
    """ "1 op", "3 ops"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
