"""Do the indices of a parsed .tflite point to something, and can its shapes exist?

After this no accessor of `Model` and `Graph` runs out of a list, and subgraphs call each other
without end nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfq_ext.errors import ModelError

MOST_VALUES = 2**40  # of one tensor; one byte each would be a tebibyte
MOST_RANK = 32
MOST_DEPTH = 64  # subgraphs that call subgraphs

# lists that a file may leave out and that every reader walks
_LISTS = {
    "tree": ("operatorCodes",),
    "graph": ("tensors", "operators", "inputs", "outputs"),
    "op": ("inputs", "outputs"),
}
_CALLS = (  # attributes of op options that name subgraphs
    "thenSubgraphIndex",
    "elseSubgraphIndex",
    "condSubgraphIndex",
    "bodySubgraphIndex",
    "subgraph",
    "initSubgraphIndex",
    "comparatorSubgraphIndex",
    "updateComputationSubgraphIndex",
    "decompositionSubgraphIndex",
)
_CASES = "branchSubgraphIndices"


def guard_tree(tree: Any, source: str = "model") -> None:
    """Check a ModelT, and put empty lists where the file left them out.

    Raises:
        ModelError: names the subgraph and the op or tensor.
    """
    _fill(tree, "tree")
    calls: list[set[int]] = []
    for g, graph in enumerate(tree.subgraphs):
        where = f"{source} is damaged: subgraph {g}"
        _fill(graph, "graph")
        _check_ends(graph, where)
        for t, tensor in enumerate(graph.tensors):
            _check_tensor(tensor, len(tree.buffers), f"{where}, tensor {t}")
        called: set[int] = set()
        for k, op in enumerate(graph.operators):
            _fill(op, "op")
            called |= _check_op(op, tree, len(graph.tensors), f"{where}, op {k}")
        calls.append(called)
    _check_depth(calls, source)
    _check_signatures(tree, source)
    for entry in tree.metadata or ():
        _in_range("metadata", "buffers", (entry.buffer,), len(tree.buffers), source)


def _fill(thing: Any, kind: str) -> None:
    for name in _LISTS[kind]:
        if getattr(thing, name) is None:
            setattr(thing, name, [])


def _in_range(
    who: str, whom: str, indices: Sequence[int], count: int, where: str, least: int = 0
) -> None:
    for i in indices:
        if not least <= i < count:
            raise ModelError(
                f"{where}: {who} point to {whom} {i}, but there are {count}. Export it again."
            )


def _check_ends(graph: Any, where: str) -> None:
    for who in ("inputs", "outputs"):
        _in_range(who, "tensor", getattr(graph, who), len(graph.tensors), where)


def _check_tensor(tensor: Any, buffers: int, where: str) -> None:
    _in_range("values", "buffer", (tensor.buffer,), buffers, where)
    for dims in (tensor.shape, tensor.shapeSignature):
        if dims is None:
            continue
        if len(dims) > MOST_RANK:
            raise ModelError(f"{where} has {len(dims)} dimensions; TFLite has at most {MOST_RANK}.")
        if any(d < -1 for d in dims) or prod(max(d, 1) for d in dims) > MOST_VALUES:
            raise ModelError(
                f"{where} has the impossible shape {[int(d) for d in dims]} (dimensions from -1, "
                f"at most {MOST_VALUES} values in all). Export it again."
            )


def _check_op(op: Any, tree: Any, tensors: int, where: str) -> set[int]:
    """Subgraphs that the op calls."""
    _in_range("it", "op code", (op.opcodeIndex,), len(tree.operatorCodes), where)
    _in_range("inputs", "tensor", op.inputs, tensors, where, least=-1)
    _in_range("outputs", "tensor", op.outputs, tensors, where, least=-1)
    if op.intermediates is not None:
        _in_range("intermediates", "tensor", op.intermediates, tensors, where, least=-1)
    called = set(_called(op))
    _in_range("options", "subgraph", sorted(called), len(tree.subgraphs), where)
    return called


def _called(op: Any) -> Iterator[int]:
    for options in (op.builtinOptions, op.builtinOptions2):
        if options is None or type(options) in _SCALARS:
            continue
        for name in _CALLS:
            if (index := getattr(options, name, None)) is not None:
                yield int(index)
        yield from (int(i) for i in getattr(options, _CASES, None) or ())


def _plain_options() -> frozenset[type]:
    """Option classes that name no subgraph, most of all ops: a set is quicker than ten getattr."""
    unions = (schema.BuiltinOptions, schema.BuiltinOptions2)
    names = {name for union in unions for name in vars(union) if not name.startswith("_")}
    classes = [getattr(schema, f"{name}T", None) for name in names]
    calls = {*_CALLS, _CASES}
    return frozenset(c for c in classes if c is not None and not calls & set(vars(c())))


_SCALARS = _plain_options()


def _check_depth(calls: list[set[int]], source: str) -> None:
    """No subgraph may call itself, directly or through others: LiteRT runs out of its stack."""
    depth = [0] * len(calls)
    for _ in range(MOST_DEPTH + 1):
        deeper = [max((depth[c] + 1 for c in called), default=0) for called in calls]
        if deeper == depth:
            return
        depth = deeper
    worst = max(range(len(depth)), key=depth.__getitem__)
    raise ModelError(
        f"{source} is damaged: subgraph {worst} calls itself, or subgraphs are nested more than "
        f"{MOST_DEPTH} deep. Export it again."
    )


def _check_signatures(tree: Any, source: str) -> None:
    for k, entry in enumerate(tree.signatureDefs or ()):
        where = f"{source} is damaged: signature {k}"
        _in_range("it", "subgraph", (entry.subgraphIndex,), len(tree.subgraphs), where)
        tensors = len(tree.subgraphs[entry.subgraphIndex].tensors)
        for ports in (entry.inputs, entry.outputs):
            _in_range("names", "tensor", [p.tensorIndex for p in ports or ()], tensors, where)
