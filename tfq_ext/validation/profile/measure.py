"""`profile_model`: a file in a child process, under LiteRT's profiler."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.validation.profile.breaks import accelerator_breaks, constant_ops, xnnpack_breaks
from tfq_ext.validation.profile.capi import Unavailable
from tfq_ext.validation.profile.mapping import Mapped, Sorted, align, sort_events
from tfq_ext.validation.profile.partition import Partition, partitions, taken
from tfq_ext.validation.profile.rows import (
    BUILTIN,
    FOLDED,
    FUSED,
    UNKNOWN,
    XNNPACK,
    OpTime,
    Profile,
)
from tfq_ext.validation.profile.session import Event
from tfq_ext.validation.sandbox import Child, Limits
from tfq_ext.validation.seat.disk import on_disk

SEAT = "tfq_ext.validation.seat.seat:Seat"
RECORD = "tfq_ext.validation.profile.session:record"
RUNS = 20
LONG_MS = 200.0  # of one run: then fewer are recorded
SORRY = "per-op times not available: {}"


def profile_model(
    model: bytes | str | os.PathLike[str],
    *,
    inputs: Mapping[str, np.ndarray] | None = None,
    kernels: str = "xnnpack",
    threads: int = 1,
    signature: str | None = None,
    runs: int = RUNS,
    seed: int = 0,
    limits: Limits | None = None,
    library: str | None = None,
) -> Profile:
    """What each op of a file takes, and where it ran.

    Args:
        model: path or bytes.
        inputs: one sample of reals by input name; None: noise.
        kernels, threads, signature: how to run it, as in `bench`.
        runs: recorded runs, over whose middle half the times are averaged.
        seed: of the noise.
        limits: of the child process.
        library: path of LiteRT's C library; None: the wheel's.

    Returns:
        A profile without times, saying why, where the library or a function of it is missing,
        refuses, or crashes.
    """
    with on_disk({"model": model}) as paths:
        path = paths["model"]
        graph = Model.load(path).graph_of(signature)
        way: dict[str, Any] = {"kernels": kernels, "threads": threads, "signature": signature}
        nodes: Nodes | None = None
        with Child(limits) as child:
            try:
                seat = child.make(SEAT, str(path), inputs=inputs and dict(inputs), seed=seed, **way)
                codes, nodes = seat.call("codes"), seat.call("delegates")
                few = min(runs, 3) if float(seat.call("turn")) > LONG_MS else runs
                seat.drop()
                events: list[Event] = child.call(
                    RECORD, str(path), dict(codes), runs=few, library=library, **way
                )
            except (ModelError, Unavailable) as error:
                return _without(graph, nodes, str(error), way)
    return build(graph, events, nodes, way)


Nodes = list[tuple[list[int], list[int]]]


def _without(graph: Graph, nodes: Nodes | None, why: str, way: Mapping[str, Any]) -> Profile:
    """What is known from the delegates' nodes alone."""
    known = nodes is not None
    inside = taken(graph, nodes or [])
    skip = constant_ops(graph)
    rows = tuple(
        _row(graph, k, 0.0, 0.0, _where(k, inside, skip) if known else UNKNOWN)
        for k in range(len(graph.ops))
    )
    parts = partitions(graph, inside, skip) if known else ()
    return Profile(
        *(
            False,
            SORRY.format(" ".join(why.split()).rstrip(".")),
            rows,
            parts,
            _breaks(graph, parts),
        ),
        *(float("nan"), 0.0),
        threads=way["threads"],
        kernels=way["kernels"],
    )


def build(
    graph: Graph, events: list[Event], nodes: Nodes | None, way: Mapping[str, Any]
) -> Profile:
    """A profile from what was recorded.

    Args:
        nodes: delegate nodes as the interpreter lists them; None if it does not (another
            subgraph than the first): then every op without an event of its own is XNNPACK's.
    """
    seen = sort_events(events, graph)
    skip = constant_ops(graph) - set(seen.builtin)
    inside = set(range(len(graph.ops))) - set(seen.builtin) - skip
    if nodes is not None and not seen.groups:
        inside &= taken(graph, nodes)
    parts = partitions(graph, inside, skip)
    mapped = _mapped(graph, parts, seen)
    times = {**mapped.us, **seen.builtin}
    total, lost = sum(times.values()), sum(e.us for e in mapped.unmapped)
    rows = tuple(
        _row(
            *(graph, k, times.get(k, 0.0) / 1e3),
            times.get(k, 0.0) / total if total else 0.0,
            FUSED if k in inside and not mapped.kernels.get(k) else _where(k, inside, skip),
            mapped.kernels.get(k, ""),
        )
        for k in range(len(graph.ops))
    )
    return Profile(
        available=True,
        why_not="",
        ops=rows,
        partitions=parts,
        breaks=_breaks(graph, parts),
        total_ms=seen.total_us / 1e3,
        covered_share=min((total + lost) / seen.total_us, 1.0) if seen.total_us else 0.0,
        unmapped_ms=lost / 1e3,
        threads=way["threads"],
        kernels=way["kernels"],
    )


def _mapped(graph: Graph, parts: tuple[Partition, ...], seen: Sorted) -> Mapped:
    """Partition by partition where they tally, all in one otherwise."""
    mine = [part.ops for part in parts if part.where == XNNPACK]
    groups = seen.of_entry(len(mine))
    if len(mine) != len(groups):
        mine = [tuple(k for ops in mine for k in ops)]
        groups = [[e for group in groups for e in group]]
    found = [align(graph, ops, group) for ops, group in zip(mine, groups, strict=True)]
    return Mapped(
        {k: us for one in found for k, us in one.us.items()},
        {k: text for one in found for k, text in one.kernels.items()},
        [e for one in found for e in one.unmapped],
    )


def _where(k: int, inside: set[int], skip: set[int]) -> str:
    return FOLDED if k in skip else XNNPACK if k in inside else BUILTIN


def _row(graph: Graph, k: int, ms: float, share: float, where: str, kernel: str = "") -> OpTime:
    op = graph.ops[k]
    tensor = next((graph.name(int(t)) for t in op.outputs if t >= 0), "")
    return OpTime(k, graph.index, graph.code(op), tensor, ms, share, where, kernel)


def _breaks(graph: Graph, parts: tuple[Partition, ...]) -> tuple[Any, ...]:
    outside = {k for part in parts if part.where != XNNPACK for k in part.ops}
    split = xnnpack_breaks(graph, outside) if len(parts) > 1 else ()
    return (*split, *accelerator_breaks(graph))


__all__ = ["build", "profile_model"]
