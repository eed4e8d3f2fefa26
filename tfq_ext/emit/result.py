"""What every emitter returns: the file and a row for each thing that was not done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """Why something stayed as it was.

    Args:
        op: flatbuffer name of the op ("CONV_2D"), or "constant", "input", "output".
        tensor: the op's first output, or the constant's or border tensor's name in the pivot.
        reason: a phrase that completes "... because".
    """

    op: str
    tensor: str
    reason: str


@dataclass(frozen=True)
class Emitted:
    """A finished .tflite and the account of what it does not do.

    Args:
        content: the bytes of the file.
        notes: ops left float and other departures from the plan, in graph order.
    """

    content: bytes
    notes: tuple[Note, ...] = ()
