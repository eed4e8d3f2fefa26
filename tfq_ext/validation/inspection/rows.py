"""The rows of an inspection: ops, tensors, weights, islands, and what else lies in a file."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OpRow:
    """One op as it stands in the file.

    Args:
        index, subgraph: where; execution order.
        code: "CONV_2D", "CUSTOM:name", "FLEX:name".
        version: of the op, as the file states it.
        tensor: name of its first output, "" where it has none.
        arithmetic: one of `tflite.arithmetic.KINDS`.
        reason: why it does not compute in integers; "" where it does, or has nothing to compute.
        inputs, outputs: types of the operands, "" for one that is left out.
        weight_bits: width of its weights as stored (packed INT4: 4), 0 without weights.
        macs: multiply-accumulates of one run, open dimensions as 1; 0 for ops that are not made of
            them (elementwise, pooling, layout); None where the file does not tell.
        parameters: constants it computes with (weights, biases, tables), in elements.
        shape: of the first output, -1 where open.
        reads, makes: tensor indices of the operands, -1 for one that is left out.
    """

    index: int
    subgraph: int
    code: str
    version: int
    tensor: str
    arithmetic: str
    reason: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weight_bits: int
    macs: int | None
    parameters: int
    shape: Shape
    reads: tuple[int, ...]
    makes: tuple[int, ...]

    @property
    def types(self) -> str:
        """What goes in, and out where that differs: "float32 x int8", "int8 -> uint8".

        Shapes, axes and biases are left out.
        """
        wide = ("int32", "int64")
        read = list(dict.fromkeys(d for d in self.inputs if d and d not in wide))
        made = list(dict.fromkeys(d for d in self.outputs if d))
        before, after = " x ".join(read), ", ".join(made)
        return before or after if made in ([], read[:1]) or not read else f"{before} -> {after}"


@dataclass(frozen=True)
class TensorRow:
    """One tensor.

    Args:
        index, subgraph: where.
        name: text, never trusted.
        dtype, shape: -1 where a dimension is open.
        kind: "input", "output", "constant", "variable" (state), or "activation".
        stored: bytes in the file, 0 unless constant.
        buffer: number of the buffer that holds them, 0 for none.
        scale, zero_point: of the first channel; None without a grid.
        scales: number of scales, 0 without a grid, 1 per tensor.
        axis: of the scales, None per tensor.
        range: reals that the codes of the first channel reach; None without a grid.
        maker: index of the op that writes it, None for inputs and constants.
        readers: number of ops that read it.
    """

    index: int
    subgraph: int
    name: str
    dtype: str
    shape: Shape
    kind: str
    stored: int
    buffer: int
    scale: float | None
    zero_point: int | None
    scales: int
    axis: int | None
    range: tuple[float, float] | None
    maker: int | None
    readers: int


@dataclass(frozen=True)
class WeightRow:
    """One weight, in reals (its scale applied).

    Args:
        subgraph, op_index, op, tensor, dtype, shape: the stored constant and its first reader.
        axis: of the channels: where the op has them, else where the scales run.
        scales: number of scales, 0 for float weights.
        low, high: smallest and largest value of each channel.
        dead: channels whose every value is zero.
        faint: further channels with no value past 1e-5: next to nothing, and 8-bit biases
            of such channels overflow.
        zeros: share of values that are exactly zero.
        ends: share of codes at either end of the type, 0 for float weights.
    """

    subgraph: int
    op_index: int
    op: str
    tensor: str
    dtype: str
    shape: Shape
    axis: int
    scales: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    dead: tuple[int, ...]
    faint: tuple[int, ...]
    zeros: float
    ends: float

    @property
    def channels(self) -> int:
        """How many there are along the axis."""
        return len(self.low)

    @property
    def spread(self) -> float:
        """Largest over smallest channel, by largest magnitude, dead and faint ones left out."""
        skip = {*self.dead, *self.faint}
        tops = [
            max(-a, b)
            for k, (a, b) in enumerate(zip(self.low, self.high, strict=True))
            if k not in skip
        ]
        return max(tops) / min(tops) if tops and min(tops) > 0 else 1.0


@dataclass(frozen=True)
class Bridge:
    """A QUANTIZE or DEQUANTIZE.

    Args:
        index, subgraph, code, tensor: the op and its output.
        kind: "unpack" (a constant is widened), "border" (at the model's input or output),
            "requantize" (integers to integers), or "inside" (between float and integer ops).
        removable: why it could go; "" if it has work to do.
    """

    index: int
    subgraph: int
    code: str
    tensor: str
    kind: str
    removable: str = ""


@dataclass(frozen=True)
class Island:
    """Neighbouring ops that compute in floats inside a file that has integer ops.

    Args:
        subgraph: index.
        members: op indices, in execution order.
        first, last: of these, code and output's name.
        codes: op codes, each once, in order.
        entered, left: DEQUANTIZE ops before it, QUANTIZE ops behind it.
        causes: sentences: the ops in it that cannot be integer; empty when all could.
        macs: of its members, where known.
    """

    subgraph: int
    members: tuple[int, ...]
    first: str
    last: str
    codes: tuple[str, ...]
    entered: int
    left: int
    causes: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class GraphRow:
    """One subgraph.

    Args:
        index, name: "" where it has none.
        role: "entry" (callers start here) or "body" (of a loop, branch, or initialiser).
        ops, tensors: how many.
        inputs, outputs: tensor indices.
        macs: of one run, where known.
        open_tensors: tensors with a dimension that is open until the shapes are fed.
        peak_bytes: largest sum of activations alive at one op: no memory plan needs less; None
            where a shape is open or not recorded.
        peak_op: index of that op.
    """

    index: int
    name: str
    role: str
    ops: int
    tensors: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    open_tensors: int
    peak_bytes: int | None
    peak_op: int | None


@dataclass(frozen=True)
class Signature:
    """A named way in: (name for callers, tensor index) of each input and output."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SharedBuffer:
    """Bytes that several tensors use; counted once in the file's parts."""

    buffer: int
    size: int
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class SparseRow:
    """A constant stored without its zeros.

    Args:
        tensor, dtype, shape: as it is used.
        stored, dense: values in the file, and values after DENSIFY.
        block: shape of the blocks that are kept whole, () for single values.
    """

    subgraph: int
    tensor: str
    dtype: str
    shape: Shape
    stored: int
    dense: int
    block: Shape


@dataclass(frozen=True)
class MetadataRow:
    """A named entry: bytes, and what it says where its form is known."""

    name: str
    size: int
    text: str = ""


@dataclass(frozen=True)
class AssociatedFile:
    """A file that is packed behind the model (labels, vocabularies): name, bytes unpacked."""

    name: str
    size: int
    stored: int


@dataclass(frozen=True)
class Coverage:
    """How much of the computation is integer. Bridges, indices and control flow are not in it.

    Args:
        ops, macs: arithmetic kind -> number of ops, and multiply-accumulates.
        unknown_macs: ops of which the file does not tell.
    """

    ops: dict[str, int]
    macs: dict[str, int]
    unknown_macs: int = 0

    @property
    def share_ops(self) -> float | None:
        """Integer ops of all that compute; None where nothing does."""
        return _share(self.ops)

    @property
    def share_macs(self) -> float | None:
        """Multiply-accumulates in integer ops; None where there are none."""
        return _share(self.macs)


def _share(table: dict[str, int]) -> float | None:
    total = sum(table.get(kind, 0) for kind in ("integer", "hybrid", "float", "custom"))
    return table.get("integer", 0) / total if total else None
