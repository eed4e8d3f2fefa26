"""Look at every tensor of a file with fp16's eyes; lives in a child process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import Keeper, input_tensors
from tfq_ext.validation.delegates.fp16.chain import add_up, growth_bound, half
from tfq_ext.validation.delegates.fp16.values import MAX, NORMAL, ZERO, TensorRisk
from tfq_ext.validation.delegates.fp16.windows import ADDERS
from tfq_ext.validation.delegates.reals import constant_real, is_real, port_of, real

CAST = 5e-3  # a constant whose rounding to fp16 costs more is worth a row
_DATA = {"TRANSPOSE_CONV": 2}  # input position of the activation, where it is not 0


class _Tally:
    """What fp16 would do to one tensor, summed over samples."""

    def __init__(self) -> None:
        self.values = self.nonzero = self.over = self.small = self.vanishing = 0
        self.max_abs = self.noise = self.signal = 0.0

    def add(self, x: np.ndarray) -> None:
        x = np.where(np.isfinite(x), x, np.float32(0))
        size = np.abs(x)
        self.values += x.size
        self.max_abs = max(self.max_abs, float(size.max(initial=0.0)))
        self.nonzero += int(np.count_nonzero(size))
        self.over += int((size > MAX).sum())
        self.small += int(((size < NORMAL) & (size > 0)).sum())
        self.vanishing += int(((size <= ZERO) & (size > 0)).sum())
        kept = np.where(size > MAX, np.float32(0), x).astype(np.float64)
        self.noise += float(np.square(half(kept) - kept).sum())
        self.signal += float(np.square(kept).sum())

    def row(self, index: int, op: str, tensor: str, **more: Any) -> TensorRisk:
        return TensorRisk(
            index,
            op,
            tensor,
            self.max_abs,
            self.over / max(self.values, 1),
            self.small / max(self.nonzero, 1),
            self.vanishing / max(self.nonzero, 1),
            (self.noise / self.signal) ** 0.5 if self.signal else 0.0,
            self.values,
            **more,
        )


class Scan:
    """The tensors of one signature.

    Args:
        model: bytes of a .tflite.
        signature: which one; None: the first subgraph.
        threads: LiteRT threads.
        seed: which output positions are emulated.
    """

    def __init__(
        self, model: bytes, *, signature: str | None = None, threads: int = 1, seed: int = 0
    ):
        parsed = Model.parse(model)
        self._keeper = Keeper(parsed, signature=signature, threads=threads, content=model)
        self._graph = self._keeper.graph
        self._names = input_tensors(parsed, self._keeper.signature)
        self._rng = np.random.default_rng(seed)
        self._tallies: dict[int, _Tally] = {}
        self._emulated: dict[int, tuple[float | None, float, str]] = {}

    def look(self, inputs: Mapping[str, np.ndarray]) -> None:
        """One sample: reals by input name."""
        read = self._keeper.invoke(self._codes(inputs))
        emulate = not self._emulated
        for k, op in enumerate(self._graph.ops):
            for t in map(int, op.outputs):
                if t >= 0 and constant_real(self._graph, t) is None:
                    self._see(t, read)
            if emulate and self._graph.code(op) in ADDERS:
                self._emulated[k] = self._emulate(op, read)

    def rows(self) -> list[TensorRisk]:
        """The riskiest first."""
        rows = []
        for t, tally in self._tallies.items():
            k = self._graph.producer.get(t, -1)
            op = self._graph.ops[k]
            code = self._graph.code(op)
            length = ADDERS[code].length(self._graph, op) if code in ADDERS else 0
            error, over, why = self._emulated.get(k, (None, 0.0, ""))
            rows.append(
                tally.row(
                    k,
                    code,
                    self._graph.name(t),
                    length=length,
                    bound=growth_bound(length),
                    emulated_error=error,
                    emulated_over=over,
                    why_not=why,
                )
            )
        rows += self._constants()
        return sorted(rows, key=lambda row: -row.severity)

    def _codes(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if len(inputs) == 1 and len(self._names) == 1:
            inputs = {next(iter(self._names)): next(iter(inputs.values()))}
        coded = {}
        for name, t in self._names.items():
            dtype = np.dtype(self._graph.dtype(t))
            coded[name] = port_of(self._graph, t, name, dtype).encode(inputs[name])
        return coded

    def _see(self, tensor: int, read: Callable[[int], np.ndarray]) -> None:
        values = self._value(tensor, read)
        if values is not None and values.size:
            self._tallies.setdefault(tensor, _Tally()).add(values)

    def _value(self, tensor: int, read: Callable[[int], np.ndarray]) -> np.ndarray | None:
        if not is_real(self._graph, tensor):  # reading a resource crashes LiteRT
            return None
        try:
            return real(self._graph, tensor, np.asarray(read(tensor)))
        except (ValueError, RuntimeError):  # LiteRT gave it no memory: nobody reads it
            return None

    def _emulate(
        self, op: Any, read: Callable[[int], np.ndarray]
    ) -> tuple[float | None, float, str]:
        """(error, share of infinite sums, why not)."""
        graph, code = self._graph, self._graph.code(op)
        cut = ADDERS[code].cut
        if cut is None:
            return None, 0.0, f"{code} is not emulated"
        weight = constant_real(graph, int(op.inputs[1]))
        bias = constant_real(graph, int(op.inputs[2])) if len(op.inputs) > 2 else None
        if weight is None:
            return None, 0.0, "its weight is computed"
        x = self._value(int(op.inputs[_DATA.get(code, 0)]), read)
        if x is None:
            x = constant_real(graph, int(op.inputs[0]))
        if x is None or not x.size:
            return None, 0.0, "its input has no values"
        try:
            # What passes 65504 in the input is that tensor's fault, and told there.
            case = cut(op.builtinOptions, np.clip(x, -MAX, MAX), weight, self._rng)
            got, exact = add_up(case.x, case.w, bias, case.activation)
        except (ValueError, KeyError, AttributeError):
            return None, 0.0, "grouped, or of a form that is not emulated"
        return _gap(got, exact)

    def _constants(self) -> list[TensorRisk]:
        """Constants that overflow or vanish in fp16."""
        rows = []
        used = dict.fromkeys(int(t) for op in self._graph.ops for t in op.inputs if t >= 0)
        for t in used:
            values = constant_real(self._graph, t)
            if values is None or not values.size:
                continue
            tally = _Tally()
            tally.add(values)
            row = tally.row(-1, "CONST", self._graph.name(t))
            if row.over or row.cast_error > CAST:
                rows.append(row)
        return rows


def _gap(got: np.ndarray, exact: np.ndarray) -> tuple[float, float, str]:
    usable = np.isfinite(exact)
    over = float((~np.isfinite(got) & usable).sum() / max(usable.sum(), 1))
    if over:
        return float("inf"), over, ""
    exact = np.where(usable, exact, 0.0)
    signal = float(np.square(exact).sum())
    noise = float(np.square(np.where(usable, got, 0.0) - exact).sum())
    if signal == 0:
        return (0.0 if noise == 0 else float("inf")), 0.0, ""
    return (noise / signal) ** 0.5, 0.0, ""
