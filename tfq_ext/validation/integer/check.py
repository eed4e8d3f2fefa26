"""`check_integers`: LiteRT's kernels against the integer reference, op by op."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import Preprocess, Samples, open_samples
from tfq_ext.tflite.arithmetic import QUANTIZED
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Graph, Model, describe, read_bytes
from tfq_ext.tflite.run import KERNEL_SETS, input_tensors
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.integer.rules import DISAGREES, NEAR, OVERFLOW
from tfq_ext.validation.integer.session import Part, Parts
from tfq_ext.validation.integer.values import IntegerReport, OpCheck
from tfq_ext.validation.sandbox import Child, Limits, ModelDied, died_finding

Arrays = Mapping[str, np.ndarray]
SESSION = "tfq_ext.validation.integer.session:Session"
RANDOM_NOTE = "No samples were given: the inputs were random, over the whole range of each."
NOISE = 3.0  # standard deviation of a float input whose range the file does not tell


def check_integers(
    model: str | os.PathLike[str] | bytes,
    data: Any = None,
    *,
    kernels: Sequence[str] = ("reference", "xnnpack"),
    limit: int = 4,
    seed: int = 0,
    preprocess: Preprocess | str | None = None,
    limits: Limits | None = None,
) -> IntegerReport:
    """Record every op of a .tflite on LiteRT's kernels and compute it anew in integers.

    Each op gets the inputs that LiteRT recorded for it, so that an error shows where it is made.
    Every kernel set runs in a child process of its own.

    Args:
        model: path or bytes of any .tflite; its first subgraph is checked.
        data: anything that `open_samples` takes; None: random inputs over their whole range.
        kernels: of "reference", "builtin", "xnnpack".
        limit: samples to use; seed: of the random inputs.
        preprocess: from 8-bit pixels to what the model takes.
        limits: of each child.

    Raises:
        ModelError: the file cannot be read, or runs on none of the kernel sets.
        DataError: data that do not fit the model.
    """
    if limit < 1:
        raise DataError(f"limit must be 1 or more, got {limit}.")
    chosen = list(dict.fromkeys(kernels))
    for name in chosen:
        _ = KERNEL_SETS[name]
    if not chosen:
        raise DataError(f"Name at least one kernel set of {', '.join(KERNEL_SETS)}.")
    content = read_bytes(model)
    parsed = Model.parse(content, source=describe(model))
    with ExitStack() as stack:
        runs = {n: Run(stack.enter_context(Child(limits)), content, n) for n in chosen}
        samples = 0
        for inputs in _inputs(parsed, data, limit, seed, preprocess):
            samples += 1
            for run in runs.values():
                run.add(inputs)
            if all(run.error is not None for run in runs.values()):
                break
        parts = {name: run.finish() for name, run in runs.items()}
    return _report(parsed, parts, runs, samples, random=data is None)


class Run:
    """One kernel set in its child; what ends it is kept, so that the others go on."""

    def __init__(self, child: Child, content: bytes, kernels: str):
        self.error: ModelError | None = None
        self.samples = 0
        self._session: Any = None
        try:
            self._session = child.make(SESSION, content, kernels)
        except ModelError as error:
            self.error = error

    def add(self, inputs: Arrays) -> None:
        """One sample of reals."""
        if self.error is None:
            try:
                self._session.call("add", dict(inputs))
                self.samples += 1
            except ModelError as error:
                self.error = error

    def finish(self) -> Parts | None:
        """What was found, None if the process is no more or no sample ran."""
        if not self.samples or isinstance(self.error, ModelDied):
            return None
        found: Parts = self._session.call("finish")
        return found


def _inputs(
    model: Model, data: Any, limit: int, seed: int, preprocess: Preprocess | str | None
) -> Iterator[Arrays]:
    """At most `limit` samples of the first subgraph, in reals."""
    if data is None:
        yield from _random(model, limit, seed)
        return
    key = model.primary or ""
    own = isinstance(data, Samples)
    samples = data if own else open_samples(data, real_specs(model), preprocess=preprocess)
    try:
        count = 0
        for sample in samples:
            if sample.signature in ("", key):
                yield sample.inputs
                count += 1
            if count == limit:
                break
        if not count:
            raise DataError(f"None of the samples is for the signature {key!r}.")
    finally:
        if not own:
            samples.close()


def _random(model: Model, limit: int, seed: int) -> Iterator[Arrays]:
    graph = model.graphs[0]
    names = input_tensors(model, model.primary)
    for k in range(limit):
        rng = np.random.default_rng([seed, k])
        yield {name: _values(graph, tensor, rng) for name, tensor in names.items()}


def _values(graph: Graph, tensor: int, rng: np.random.Generator) -> np.ndarray:
    """Reals of every code of the input's grid, or of the grid that QUANTIZE brings it to."""
    shape = tuple(max(n, 1) for n in graph.shape(tensor))
    dtype = graph.dtype(tensor)
    read_by = [graph.ops[k] for k in graph.consumers.get(tensor, ())]
    quantized = [int(op.outputs[0]) for op in read_by if graph.code(op) == "QUANTIZE"]
    source = tensor if dtype in QUANTIZED else (quantized or [tensor])[0]
    q = graph.tensors[source].quantization
    if graph.dtype(source) in QUANTIZED and q is not None and q.scale is not None and len(q.scale):
        ends = np.iinfo(graph.dtype(source))
        zero = int(q.zeroPoint[0]) if q.zeroPoint is not None and len(q.zeroPoint) else 0
        codes = rng.integers(ends.min, ends.max, shape, endpoint=True)
        return ((codes - zero) * np.float32(q.scale[0])).astype(np.float32)
    if dtype.startswith("float"):
        return rng.normal(0.0, NOISE, shape).astype(dtype)
    if dtype == "string":
        raise DataError("The model takes strings, which have no random values: give data.")
    return np.zeros(shape, dtype)


def _report(
    model: Model,
    parts: Mapping[str, Parts | None],
    runs: Mapping[str, Run],
    samples: int,
    *,
    random: bool,
) -> IntegerReport:
    done = {name: part for name, part in parts.items() if part is not None}
    errors = {name: run.error for name, run in runs.items() if run.error is not None}
    if not done:
        raise next(iter(errors.values()))
    graph = model.graphs[0]
    rows, skipped = [], []
    for k in range(len(graph.ops)):
        found = {name: part.found[k] for name, part in done.items() if k in part.found}
        if found:
            rows.append(_row(graph, k, found))
        reasons = {n: part.skipped[k] for n, part in done.items() if k in part.skipped}
        skipped += [(*_where(graph, k), why) for why in _said(reasons, found)]
    elsewhere = [
        (*_where(other, k), "in a subgraph that is not run directly")
        for other in model.graphs[1:]
        for k in range(len(other.ops))
    ]
    notes = [f"{n} kernels did not run: {' '.join(str(e).split())}" for n, e in errors.items()]
    return IntegerReport(
        tuple(rows),
        (*skipped, *elsewhere),
        (*_findings(rows), *(died_finding(e) for e in errors.values() if isinstance(e, ModelDied))),
        sum(row.values for row in rows),
        samples,
        tuple(done),
        (*notes, *([RANDOM_NOTE] if random else [])),
    )


def _where(graph: Graph, k: int) -> tuple[str, str]:
    op = graph.ops[k]
    made = [int(t) for t in op.outputs if t >= 0] if op.outputs is not None else []
    return graph.code(op), graph.name(made[0]) if made else ""


def _said(reasons: Mapping[str, str], found: Mapping[str, Part]) -> list[str]:
    """One reason for all kernel sets, or each with its name."""
    if not found and len(set(reasons.values())) == 1:
        return [next(iter(reasons.values()))]
    return [f"{name}: {why}" for name, why in reasons.items()]


def _row(graph: Graph, k: int, found: Mapping[str, Part]) -> OpCheck:
    first = next(iter(found.values()))
    sums = [part.accumulator for part in found.values() if part.accumulator is not None]
    return OpCheck(
        k,
        graph.index,
        *_where(graph, k),
        values=sum(part.values for part in found.values()),
        differing={name: part.differing for name, part in found.items()},
        max_lsb={name: part.max_lsb for name, part in found.items()},
        arithmetic={name: part.arithmetic for name, part in found.items()},
        delegated=found["xnnpack"].delegated if "xnnpack" in found else None,
        multipliers=first.multipliers,
        accumulator=max(sums, key=lambda a: a.largest) if sums else None,
    )


def _findings(rows: Iterable[OpCheck]) -> Iterator[Finding]:
    for row in rows:
        place: dict[str, Any] = {
            "op": row.op,
            "tensor": row.tensor,
            "subgraph": row.subgraph,
            "op_index": row.index,
        }
        for name, count in row.differing.items():
            if count:
                yield DISAGREES.at(
                    f"{row.op}: {count} of {row.values} codes differ from the integer reference "
                    f"on the {name} kernels, by at most {row.max_lsb[name]} LSB.",
                    **place,
                )
        sums = row.accumulator
        if sums is None or sums.bound_bits <= sums.width:
            continue
        if sums.bits > sums.width:
            yield OVERFLOW.at(
                f"{row.op}: a sum of {sums.largest} needs {sums.bits} bits of {sums.width}.",
                **place,
            )
        else:
            yield NEAR.at(
                f"{row.op}: sums up to {sums.bound} are possible ({sums.bound_bits} bits of "
                f"{sums.width}); the largest seen needs {sums.bits}.",
                **place,
            )
