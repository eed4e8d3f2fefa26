"""The table of passes and its one way to apply them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tfq_ext._table import Table
from tfq_ext.tflite.passes.islands import div_to_mul, neg_to_mul, square_to_mul
from tfq_ext.tflite.passes.relu6 import relu6_to_relu
from tfq_ext.tflite.passes.untie import untie
from tfq_ext.tflite.read import Model


@dataclass(frozen=True)
class Pass:
    """One rewriting of the float flatbuffer.

    Args:
        apply: edits the model in place; returns the names of the tensors it touched.
        exact: True when the float outputs stay within 1e-5 relative (law in tests/contracts).
        doc: one line.
    """

    apply: Callable[[Model], list[str]]
    exact: bool
    doc: str


PASSES: Table[Pass] = Table(
    "pass",
    {
        "neg_to_mul": Pass(neg_to_mul, True, "NEG has no int8 kernel: multiply by -1"),
        "div_to_mul": Pass(div_to_mul, True, "DIV by a constant: multiply by its reciprocal"),
        "square_to_mul": Pass(square_to_mul, True, "SQUARE and POW 2: multiply by itself"),
        "untie": Pass(untie, True, "a weight read in different roles becomes one constant a role"),
        "relu6_to_relu": Pass(relu6_to_relu, False, "drop the cap of ReLU6"),
    },
)


def apply(model: Model, names: Iterable[str]) -> tuple[Model, dict[str, list[str]]]:
    """A rewritten copy of the model, and pass name -> tensors touched (passes that did nothing
    are absent)."""
    result = model.copy()
    done: dict[str, list[str]] = {}
    for name in names:
        touched = PASSES[name].apply(result)
        if touched:
            done[name] = touched
    return result, done
