r"""Whether each integer layer of a .tflite fits an accumulator of P bits, for every input.

LiteRT adds :math:`(q_w - z_w)(q_x - z_x)` in 32 bits (64 behind 16-bit activations), and the bias.
Hardware with narrower sums, or a kernel that adds in 16 bits, needs to know how far they can go.

Source: Colbert et al. 2308.13504 (A2Q), equation 8 and section 3. METHODS.md 10.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.numerics.accumulator_bound import Inputs, data_type_bits, extremes, needed_bits
from tfq_ext.rounding import to_rows
from tfq_ext.tflite.facts import WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph, Model

_WIDTHS = {"int2": 2, "int4": 4, "int8": 8, "uint8": 8, "int16": 16}  # bits of a code
_SIGNED = ("int8", "int16")


@dataclass(frozen=True)
class AccumulatorRow:
    """What one integer layer adds up.

    Args:
        op, tensor, weight: op code, names of its first output and of its weight.
        subgraph, index: where.
        fan_in: products in a sum; TRANSPOSE_CONV's sums have fewer with strides.
        weight_bits, input_bits: of the codes.
        lo, hi: least and largest input, the zero point taken off.
        by_type: bits that suffice whatever the weights are (A2Q's equation 8).
        needed: bits of the smallest accumulator that no input overflows, in any order of adding.
        with_bias: the same with the bias added.
        channels: of the output.
        over: the channels that need more than `bits`.
        bits: P, what was asked.
    """

    op: str
    tensor: str
    weight: str
    subgraph: int
    index: int
    fan_in: int
    weight_bits: int
    input_bits: int
    lo: int
    hi: int
    by_type: int
    needed: int
    with_bias: int
    channels: int
    over: tuple[int, ...]
    bits: int

    @property
    def fits(self) -> bool:
        """Whether no input overflows P bits in any channel."""
        return not self.over


def accumulators(
    source: str | os.PathLike[str] | bytes, bits: int = 32
) -> tuple[AccumulatorRow, ...]:
    """A row for every layer with integer weights and activations, in execution order.

    Args:
        source: path or bytes of a .tflite.
        bits: P, of a signed accumulator; 2..64.

    Raises:
        ModelError: no .tflite.
        SpecError: P out of range.
    """
    if not 2 <= bits <= 64:
        raise SpecError(f"An accumulator has 2 to 64 bits, got {bits}.")
    rows = []
    for graph, k, op, code in Model.load(source).walk():
        fact = WEIGHTS.get(code)
        if fact is not None and (row := _row(graph, k, op, fact, bits)) is not None:
            rows.append(row)
    return tuple(rows)


@dataclass(frozen=True, eq=False)
class _Sums:
    """The integers of one layer.

    Args:
        codes: int64[n, C], zero point taken off; then uint8 spans 9 signed bits.
        bias: int64[C].
        weight_bits, weight_signed, input_bits: of the codes.
        inputs: zero point taken off.
    """

    codes: np.ndarray
    bias: np.ndarray
    weight_bits: int
    weight_signed: bool
    input_bits: int
    inputs: Inputs

    @property
    def by_type(self) -> int:
        signed = -self.inputs.lo > self.inputs.hi  # zero point 0
        width = self.weight_bits + (not self.weight_signed)
        return data_type_bits(len(self.codes), self.input_bits, width, signed=signed)

    @property
    def with_bias(self) -> int:
        """Bits that hold every partial sum, the bias first or last."""
        lo, hi = extremes(self.codes, self.inputs)
        sums = (lo, hi, lo + self.bias, hi + self.bias, np.broadcast_to(self.bias, lo.shape))
        worst = np.max(np.abs(np.stack(sums)), initial=0)
        return int(worst).bit_length() + 1


def _row(graph: Graph, k: int, op: Any, fact: WeightFact, bits: int) -> AccumulatorRow | None:
    """None for a layer that does not multiply constant integers with integers."""
    sums = _sums(graph, op, fact)
    if sums is None:
        return None
    needed = needed_bits(sums.codes, sums.inputs)
    return AccumulatorRow(
        op=graph.code(op),
        tensor=graph.name(int(op.outputs[0])),
        weight=graph.name(int(op.inputs[fact.weight])),
        subgraph=graph.index,
        index=k,
        fan_in=len(sums.codes),
        weight_bits=sums.weight_bits,
        input_bits=sums.input_bits,
        lo=sums.inputs.lo,
        hi=sums.inputs.hi,
        by_type=sums.by_type,
        needed=int(needed.max(initial=1)),
        with_bias=sums.with_bias,
        channels=len(needed),
        over=tuple(int(c) for c in np.flatnonzero(needed > bits)),
        bits=bits,
    )


def _sums(graph: Graph, op: Any, fact: WeightFact) -> _Sums | None:
    given = [] if op.inputs is None else [int(t) for t in op.inputs]
    if len(given) <= max(fact.weight, fact.data) or min(given[fact.weight], given[fact.data]) < 0:
        return None
    weight, data = given[fact.weight], given[fact.data]
    codes, kind, read = graph.constant(weight), graph.dtype(weight), graph.dtype(data)
    if codes is None or codes.ndim <= fact.axis or kind not in _WIDTHS or read not in _WIDTHS:
        return None
    rows = to_rows(codes.astype(np.int64), fact.axis)
    zeros = _zero_points(graph, weight)
    rows = rows - (zeros[:, None] if len(zeros) == len(rows) else zeros[0])
    bottom = -(2 ** (_WIDTHS[read] - 1)) if read in _SIGNED else 0
    lo = bottom - int(_zero_points(graph, data)[0])
    inputs = Inputs(min(lo, 0), max(lo + 2 ** _WIDTHS[read] - 1, 0))
    bias = _bias(graph, given, fact, len(rows))
    return _Sums(rows.T, bias, _WIDTHS[kind], kind != "uint8", _WIDTHS[read], inputs)


def _bias(graph: Graph, given: list[int], fact: WeightFact, channels: int) -> np.ndarray:
    """int64[C]; 0 where the layer has none, or computes it."""
    place = len(given) if fact.bias is None else fact.bias
    bias = graph.constant(given[place]) if place < len(given) else None
    if bias is None or bias.shape != (channels,):
        return np.zeros(channels, np.int64)
    return bias.astype(np.int64)


def _zero_points(graph: Graph, tensor: int) -> np.ndarray:
    """int64[1] or int64[C]; 0 where the file states none."""
    grid = graph.tensors[tensor].quantization
    found = None if grid is None else grid.zeroPoint
    return np.atleast_1d(0 if found is None or not len(found) else found).astype(np.int64)
