"""The table of passes and its one way to apply them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tfq_ext._table import Table
from tfq_ext.tflite.passes.islands import (
    div_to_mul,
    neg_to_mul,
    square_to_mul,
    zeros_like_to_mul,
)
from tfq_ext.tflite.passes.powers import add_n_to_add, pow_to_mul
from tfq_ext.tflite.passes.relu6 import relu6_to_relu
from tfq_ext.tflite.passes.unread import drop_unread
from tfq_ext.tflite.passes.untie import untie
from tfq_ext.tflite.passes.wide import (
    hard_swish_to_mul,
    prelu_to_relu,
    squared_difference_to_mul,
)
from tfq_ext.tflite.read import Model


@dataclass(frozen=True)
class Pass:
    """One rewriting of the float flatbuffer.

    Args:
        apply: edits the model in place; returns the names of the tensors it touched.
        exact: True when the float outputs stay within 1e-5 relative (law in tests/contracts).
        doc: one line.
        wide: worth it with 16-bit activations only.
    """

    apply: Callable[[Model], list[str]]
    exact: bool
    doc: str
    wide: bool = False


PASSES: Table[Pass] = Table(
    "pass",
    {
        "drop_unread": Pass(drop_unread, True, "an op whose results nobody reads is taken out"),
        "neg_to_mul": Pass(neg_to_mul, True, "NEG has no int8 kernel: multiply by -1"),
        "div_to_mul": Pass(div_to_mul, True, "DIV by a constant: multiply by its reciprocal"),
        "square_to_mul": Pass(square_to_mul, True, "SQUARE and POW 2: multiply by itself"),
        "pow_to_mul": Pass(pow_to_mul, True, "POW 3, 1/2, -1/2: MUL, SQRT, RSQRT"),
        "add_n_to_add": Pass(add_n_to_add, True, "ADD_N has no int8 kernel: a chain of ADD"),
        "zeros_like_to_mul": Pass(zeros_like_to_mul, True, "ZEROS_LIKE: multiply by 0"),
        "untie": Pass(untie, True, "a weight read in different roles becomes one constant a role"),
        "squared_difference_to_mul": Pass(
            squared_difference_to_mul, True, "SQUARED_DIFFERENCE has no int16 kernel", wide=True
        ),
        "hard_swish_to_mul": Pass(
            hard_swish_to_mul, True, "HARD_SWISH has no int16 kernel", wide=True
        ),
        "prelu_to_relu": Pass(prelu_to_relu, True, "PRELU has no int16 kernel", wide=True),
        "relu6_to_relu": Pass(relu6_to_relu, False, "drop the cap of ReLU6"),
    },
)


def exact(*, bits: int = 8) -> tuple[str, ...]:
    """Names of the passes that change nothing but the choice of ops.

    Args:
        bits: of the activations; with 16, those for ops that lack a 16-bit kernel too.
    """
    return tuple(n for n, p in PASSES.items() if p.exact and (bits == 16 or not p.wide))


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
