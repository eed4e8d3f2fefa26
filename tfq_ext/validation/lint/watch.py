"""Value statistics of a file's tensors over samples: one pass, constant memory, in a child."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import Samples, progress
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import Keeper, input_tensors
from tfq_ext.validation.lint.observed import Observed
from tfq_ext.validation.sandbox import Child, Limits, Remote

WATCHED = frozenset({"float32", "int8", "uint8", "int16"})
Places = dict[tuple[int, int], Observed]


def collect(
    content: bytes,
    samples: Samples,
    *,
    key: str | None = None,
    reference: bytes | None = None,
    limits: Limits | None = None,
    show_progress: bool = False,
) -> tuple[Places, dict[str, Observed], int]:
    """Run a file, and a float one beside it, on samples; each in a process of its own.

    Args:
        content: the .tflite under examination.
        samples: reals; quantized inputs are encoded here.
        key: of the first subgraph's signature; samples for others are left out.
        reference: a float .tflite with the same inputs.
        limits: of each child.

    Returns:
        (subgraph, tensor) -> what was seen; name -> the same for the reference; sample count.
    """
    count = 0
    with ExitStack() as stack:
        mine = stack.enter_context(Child(limits))
        watch = mine.make("tfq_ext.validation.lint.watch:Watch", content=content)
        beside = None
        if reference is not None:
            beside = _reference(stack.enter_context(Child(limits)), reference)
        shown = None if show_progress else False  # None: on a terminal
        for sample in progress(samples, label="running", enabled=shown):
            if key is not None and sample.signature not in ("", key):
                continue
            inputs = {name: np.asarray(x) for name, x in sample.inputs.items()}
            watch.call("add", inputs)
            if beside is not None:
                _beside(beside, "add", inputs)
            count += 1
        named = {} if beside is None else _beside(beside, "named")
        return watch.call("found"), named, count


def _reference(child: Child, content: bytes) -> Remote:
    try:
        return child.make("tfq_ext.validation.lint.watch:Watch", content=content)
    except ModelError as error:
        raise DataError(f"The reference could not be run. {error}") from None


def _beside(remote: Remote, method: str, *arguments: Any) -> Any:
    """A call of the reference: its faults are no findings about the file under examination."""
    try:
        return remote.call(method, *arguments)
    except ModelError as error:
        raise DataError(f"The reference could not be run. {error}") from None


class Watch:
    """An interpreter with every tensor kept, and running statistics of each.

    Args:
        content: bytes of any .tflite; its first subgraph is run.
        threads: LiteRT threads.
    """

    def __init__(self, content: bytes, threads: int = 2):
        self._model = Model.parse(content)
        self._graph = self._model.graphs[0]
        self._keeper = Keeper(self._model, threads=threads, content=content)
        self._feeds = input_tensors(self._model, self._model.primary)
        for name, tensor in self._feeds.items():
            if self._graph.dtype(tensor) == "string":
                raise DataError(
                    f"Input {name!r} takes text; rules about values are judged on models of "
                    "numbers only. Leave the samples out (--data)."
                )
        self._watched = _watched(self._graph)
        self._sums = {t: _Sum() for t in [*self._feeds.values(), *self._watched]}

    def add(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Run one sample: reals by input name (any name where there is one input)."""
        graph = self._graph
        if len(inputs) == 1 and len(self._feeds) == 1:
            inputs = {next(iter(self._feeds)): next(iter(inputs.values()))}
        if missing := [name for name in self._feeds if name not in inputs]:
            raise DataError(
                f"The samples have {', '.join(inputs) or 'no input'}; the file also takes "
                f"{', '.join(missing)}."
            )
        codes = {}
        for name, tensor in self._feeds.items():
            encoded, outside = _encode(graph, tensor, np.asarray(inputs[name]))
            codes[graph.name(tensor)] = encoded
            self._sums[tensor].add(encoded, outside)
        read = self._keeper.invoke(codes)
        for tensor in self._watched:
            try:
                values = read(tensor)
            except (ValueError, RuntimeError):  # results that nobody reads have no memory
                continue
            self._sums[tensor].add(values)

    def found(self) -> Places:
        """(subgraph, tensor) -> what was seen."""
        return {(0, t): s.frozen() for t, s in self._sums.items() if s.counts[0]}

    def named(self) -> dict[str, Observed]:
        """The same by tensor name, of names that stand for one tensor only."""
        names = Counter(self._graph.name(t) for t in range(len(self._graph.tensors)))
        seen = {self._graph.name(t): s for (_, t), s in self.found().items()}
        return {name: s for name, s in seen.items() if name and names[name] == 1}


class _Sum:
    """Running extremes and counts of one tensor."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.counts = np.zeros(4, np.int64)  # values, at the low end, at the high end, outside

    def add(self, x: np.ndarray, outside: int = 0) -> None:
        """Count an array; NaN and infinities are left out."""
        if x.dtype.kind == "f":
            finite = np.isfinite(x)
            x = x if finite.all() else x[finite]
        if x.size == 0:
            return
        low, high = x.min(), x.max()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        self.counts += (x.size, 0, 0, outside)
        if x.dtype.kind in "iu":
            ends = np.iinfo(x.dtype)
            if low == ends.min:
                self.counts[1] += np.count_nonzero(x == ends.min)
            if high == ends.max:
                self.counts[2] += np.count_nonzero(x == ends.max)

    def frozen(self) -> Observed:
        """The figures so far."""
        n = max(int(self.counts[0]), 1)
        at_low, at_high, outside = (float(c) / n for c in self.counts[1:])
        return Observed(self.low, self.high, at_low, at_high, outside, int(self.counts[0]))


def _watched(graph: Graph) -> list[int]:
    """Computed tensors of numeric types that some op or the caller reads."""
    made = dict.fromkeys(int(t) for op in graph.ops for t in op.outputs if t >= 0)
    read = [t for t in made if t in graph.consumers or t in graph.outputs]
    return [t for t in read if graph.dtype(t) in WATCHED]


def _encode(graph: Graph, tensor: int, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Reals to the input's codes, and how many lie beyond its grid (by more than half a code)."""
    dtype = graph.dtype(tensor)
    q = graph.tensors[tensor].quantization
    quantized = dtype in ("int8", "uint8", "int16") and q is not None and q.scale is not None
    if not quantized or not len(q.scale) or x.dtype.kind != "f":
        return x.astype(dtype, copy=False), 0
    ends = np.iinfo(dtype)
    codes = np.round(x / np.float32(q.scale[0])) + int(q.zeroPoint[0])
    outside = int(np.count_nonzero((codes < ends.min) | (codes > ends.max)))
    return np.clip(codes, ends.min, ends.max).astype(dtype), outside
