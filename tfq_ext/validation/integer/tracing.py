"""How one output code of a layer comes about, step by step, for people."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.numerics.fixedpoint import quantize_multiplier
from tfq_ext.tflite.read import Graph, Model, describe, read_bytes
from tfq_ext.validation.integer import linear
from tfq_ext.validation.integer.call import Array, Call, Unsupported, fused_range
from tfq_ext.validation.integer.record import Recorder, read_call
from tfq_ext.validation.integer.table import KERNELS

TRACED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
SHOWN = 8  # products that __str__ writes out


@dataclass(frozen=True)
class Trace:
    """One output value of one layer.

    Args:
        op, tensor, position: which value.
        x: input codes that it sees, in the order of the kernel; the zero point where it is padding.
        w: the weight codes, less their zero point.
        x_zero, y_zero: zero points.
        bias: code.
        accumulator: sum (x - x_zero) w + bias.
        real: M = s_x s_w / s_y.
        m0, shift: its fixed-point form, M0 / 2^31 2^shift.
        rounding: of numerics.fixedpoint.
        limits: codes that the fused activation leaves.
        code: the output code. scale: of the output.
        recorded: what LiteRT's reference kernel made of it.
    """

    op: str
    tensor: str
    position: tuple[int, ...]
    x: tuple[int, ...]
    w: tuple[int, ...]
    x_zero: int
    bias: int
    accumulator: int
    real: float
    m0: int
    shift: int
    y_zero: int
    rounding: str
    limits: tuple[int, int]
    code: int
    scale: float
    recorded: int

    @property
    def exact(self) -> float:
        """M times the accumulator, before any rounding."""
        return self.accumulator * self.real

    def __str__(self) -> str:
        pairs = list(zip(self.x, self.w, strict=True))
        products = [f"({x} - {self.x_zero}) * {w}" for x, w in pairs[:SHOWN]]
        more = f" + ... {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        total = self.accumulator - self.bias
        scaled = self.code - self.y_zero
        low, high = self.limits
        return "\n".join(
            [
                f"{self.op} {self.tensor!r}, value {list(self.position)}",
                f"  sum of {len(pairs)} products (x - z_x) w",
                f"    {' + '.join(products).replace('- -', '+ ')}{more}",
                f"    = {total}",
                f"  + bias {self.bias} = {self.accumulator} "
                f"({abs(self.accumulator).bit_length() + 1} bits)",
                f"  * M = {self.real:.9g} = {self.m0} / 2^31 * 2^{self.shift}",
                f"    = {self.exact:.6f}, rounded ({self.rounding})",
                f"  + z_y {self.y_zero}, clipped to [{low}, {high}]",
                f"  = code {self.code}, the real {scaled * self.scale:.6g} "
                f"= {self.scale:.6g} * ({self.code} - {self.y_zero})".replace("- -", "+ "),
                f"  LiteRT's reference kernel: {self.recorded}",
            ]
        )


def trace(
    model: str | os.PathLike[str] | bytes,
    op_index: int,
    position: Sequence[int],
    inputs: Mapping[str, np.ndarray],
) -> Trace:
    """Take one output value of a layer apart. Runs the model in this process.

    Args:
        model: path or bytes of a .tflite that you trust.
        op_index: of the first subgraph; one of TRACED.
        position: of the value in the op's output.
        inputs: one sample of reals by input name.

    Raises:
        ModelError: no such op, or one that is not traced.
        DataError: no such value.
    """
    content = read_bytes(model)
    parsed = Model.parse(content, source=describe(model))
    graph = parsed.graphs[0]
    if not 0 <= op_index < len(graph.ops) or graph.code(graph.ops[op_index]) not in TRACED:
        raise ModelError(
            f"Op {op_index} cannot be traced; these can: {_traceable(graph) or 'none'}."
        )
    read = Recorder(parsed, content, "reference").invoke(dict(inputs))
    call, recorded = read_call(graph, graph.ops[op_index], read)
    place = tuple(int(p) for p in position)
    if len(place) != len(call.y.shape) or any(
        not 0 <= p < n for p, n in zip(place, call.y.shape, strict=True)
    ):
        raise DataError(f"Position {list(place)} is not in an output of shape {call.y.shape}.")
    try:
        return _trace(graph, op_index, call, place, int(recorded[0][place]))
    except Unsupported as why:
        raise ModelError(f"Op {op_index} cannot be traced: {why}.") from None


def _traceable(graph: Graph) -> str:
    found = [f"{k} {graph.code(op)}" for k, op in enumerate(graph.ops) if graph.code(op) in TRACED]
    return ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")


def _trace(graph: Graph, op_index: int, call: Call, place: tuple[int, ...], recorded: int) -> Trace:
    kernel = KERNELS[call.code]
    call = replace(call, rounding=kernel.reference)
    assert kernel.layer is not None
    layer = kernel.layer(call)
    x, w = _operands(call, place)
    channel = place[-1]
    reals = np.broadcast_to(layer.reals, layer.accumulators.shape[-1:])
    m0, shift = quantize_multiplier(float(reals[channel]))
    zero = call.grid(0).z
    return Trace(
        call.code,
        graph.name(int(graph.ops[op_index].outputs[0])),
        place,
        tuple(int(v) + zero for v in x),
        tuple(int(v) for v in w),
        zero,
        int(layer.bias[channel]),
        int(layer.accumulators[place]),
        float(reals[channel]),
        m0,
        shift,
        call.y.z,
        kernel.reference,
        fused_range(call),
        int(linear.rescale(call, layer)[place]),
        float(call.y.s),
        recorded,
    )


def _operands(call: Call, place: tuple[int, ...]) -> tuple[Array, Array]:
    """(x - z_x, w) of every product in one output value, padding as zeros."""
    x, w = call.centred(0), linear.weights(call, 1)
    if call.code == "FULLY_CONNECTED":
        row = int(np.ravel_multi_index(place[:-1], call.y.shape[:-1])) if place[:-1] else 0
        return x.reshape(-1, w.shape[1])[row], w[place[-1]]
    n, row, column, channel = place
    windows = [part[n, row, column] for _, part in linear.taps(call, x, w.shape[1:3])]
    if call.code == "DEPTHWISE_CONV_2D":
        source = channel // (w.shape[3] // x.shape[3])
        return np.array([v[source] for v in windows]), w[0, :, :, channel].reshape(-1)
    depth = w.shape[3]
    group = channel // (w.shape[0] // (x.shape[3] // depth))
    part = slice(group * depth, (group + 1) * depth)
    return np.concatenate([v[part] for v in windows]), w[channel].reshape(-1)
