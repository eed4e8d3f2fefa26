"""One line of the journal: one quantizer at one step."""

from __future__ import annotations

from dataclasses import dataclass, fields

NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """Numbers of one quantizer; nan where there is none.

    Args:
        step: optimizer steps done.
        epoch: from 0.
        name: the quantizer's, "conv1/kernel" or "relu1_range".
        kind: "weight" or "activation".
        bits: width of the codes.
        enabled, frozen: 1 or 0, the quantizer's attributes.
        low, high: real units. An activation's range; a weight's smallest and largest value.
        scale_low, scale_high: smallest and largest scale of its channels, real units per LSB.
        sqnr_db: signal to quantization noise ratio, dB. A weight: float against rounded. An
            activation: the network without quantizers against the one with all of them.
        changed: share of codes that are others than at the line before.
        turned: share of codes that changed in the direction opposite to their last change.
    """

    step: int
    epoch: int
    name: str
    kind: str
    bits: int
    enabled: int
    frozen: int
    low: float = NAN
    high: float = NAN
    scale_low: float = NAN
    scale_high: float = NAN
    sqnr_db: float = NAN
    changed: float = NAN
    turned: float = NAN


COLUMNS = tuple(field.name for field in fields(Row))
WORDS = ("name", "kind")
WHOLE = ("step", "epoch", "bits", "enabled", "frozen")
NUMBERS = tuple(name for name in COLUMNS if name not in (*WORDS, *WHOLE))
