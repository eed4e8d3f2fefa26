"""Which op makes the GPU's numbers wrong: prefixes of the graph on the GPU, the rest on the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.tflite.read import Graph
from tfq_ext.tflite.runner import Arrays
from tfq_ext.validation.delegates.gap import worst_error
from tfq_ext.validation.delegates.sides import COMPILED, for_gpu, run_side
from tfq_ext.validation.delegates.task import Task
from tfq_ext.validation.delegates.values import BadOp, Bisection, Probe

END, EXCLUDE = "LITERT_GPU_DEBUG_END_NODE", "LITERT_GPU_DEBUG_EXCLUDE_NODES"
GRADUAL = 2.0  # an op that makes the error grow less than so many times is no culprit


@dataclass
class Bench:
    """One sample at one precision, on the GPU but for some ops; runs are remembered.

    Args:
        task: the file, and how to run it.
        inputs, reference: the sample, and XNNPACK's outputs.
        precision: "fp32" or "fp16".
    """

    task: Task
    inputs: Mapping[str, np.ndarray]
    reference: Arrays
    precision: str
    probes: list[Probe] = field(default_factory=list)
    _known: dict[tuple[tuple[str, str], ...], Probe] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """What is cut."""
        return self.task.graph

    def first(self, n: int) -> Probe:
        """Ops 0..n on the GPU."""
        return self._run(f"ops 0 to {n} on the GPU", n, {END: str(n)})

    def only(self, n: int) -> Probe:
        """Op n alone on the GPU."""
        others = [k for k in range(len(self.graph.ops)) if k != n]
        return self._run(f"only op {n} on the GPU", n, {EXCLUDE: _listed(others)})

    def without(self, n: int) -> Probe:
        """Op n alone on the CPU."""
        return self._run(f"all but op {n} on the GPU", n, {EXCLUDE: str(n)})

    def _run(self, what: str, node: int, debug: Mapping[str, str]) -> Probe:
        key = tuple(sorted(debug.items()))
        if key not in self._known:
            self.task.say(f"bisect, run {len(self.probes) + 1}: {what}")
            self._known[key] = self._measure(what, node, debug)
            self.probes.append(self._known[key])
        return self._known[key]

    def _measure(self, what: str, node: int, debug: Mapping[str, str]) -> Probe:
        task = self.task
        ran = run_side(
            COMPILED,
            task.content,
            [self.inputs],
            limits=for_gpu(task.limits),
            env={**task.env, **debug},
            repeat=False,
            accelerator="gpu",
            fp32=self.precision == "fp32",
            signature=task.signature,
        )
        if not ran.complete:
            return Probe(what, node, math.inf, str(ran.died or ran.failed))
        return Probe(what, node, worst_error(self.reference, ran.outputs[0]))


def first_bad_op(bench: Bench, *, limit: float) -> Bisection:
    """The first op with which the model's output is wrong.

    A binary search over prefixes, then two runs that confirm: that op alone on the GPU, and every
    op but that one. It takes log2(ops) + 4 runs, each with shaders to compile.

    Args:
        bench: what is run.
        limit: relative L2 error from which on an output is wrong.
    """
    last, precision = len(bench.graph.ops) - 1, bench.precision
    if last < 0 or bench.first(last).error <= limit:
        text = "With all ops on the GPU this sample is right: nothing to bisect."
        return Bisection(precision, limit, None, text, tuple(bench.probes))
    low, high = -1, last  # first(low) is right (-1: nothing on the GPU), first(high) is wrong
    while high - low > 1:
        middle = (low + high) // 2
        if bench.first(middle).error <= limit:
            low = middle
        else:
            high = middle
    bad = _confirmed(bench, high, bench.first(low).error if low >= 0 else 0.0)
    return Bisection(precision, limit, bad, _verdict(bad, limit), tuple(bench.probes))


def _confirmed(bench: Bench, n: int, before: float) -> BadOp:
    op, found = bench.graph.ops[n], bench.first(n)
    alone = bench.only(n) if len(bench.graph.ops) > 1 else found
    without = bench.without(n) if len(bench.graph.ops) > 1 else None
    return BadOp(
        n,
        bench.graph.code(op),
        bench.graph.name(int(op.outputs[0])) if len(op.outputs) else "",
        before,
        found.error,
        alone.error,
        None if without is None else without.error,
        found.died,
    )


def _verdict(bad: BadOp, limit: float) -> str:
    if bad.died:
        return f"The process dies as soon as op {bad.index}, {bad.op}, is on the GPU."
    cured = bad.without is not None and bad.without <= limit
    if bad.alone is not None and bad.alone > limit:
        more = "" if cured or bad.without is None else " It is not the only one."
        return f"Op {bad.index}, {bad.op}, is wrong on the GPU, even alone.{more}"
    if cured:
        return f"Op {bad.index}, {bad.op}, is wrong on the GPU: without it the model is right."
    if bad.before > 0 and bad.after < GRADUAL * bad.before:
        return (
            f"The error grows from op to op and passes the limit at op {bad.index}, {bad.op}: "
            "no single op is to blame."
        )
    return (
        f"The output goes wrong with op {bad.index}, {bad.op}, on the GPU beside those before it."
    )


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
