"""What the files say before anything runs: inputs as reals, outputs, free batches, final ops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import InputSpec
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Graph, Model, text
from tfq_ext.tflite.run import is_stateful

# Ops between the last real one and the output that change no order of values.
_PASSED = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"})


@dataclass(frozen=True)
class OutputFact:
    """One output as the file states it.

    Args:
        name: in the signature, else the tensor's.
        shape: -1 where dynamic.
        dtype: what the file stores.
        final: the op that makes the values, looked for behind QUANTIZE, RESHAPE and the like.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    final: str


def specs_of(model: Model, signature: str | None = None) -> list[InputSpec]:
    """The inputs of the one signature that is run, as reals (see `tflite.inputs.real_specs`)."""
    key = model.key_of(signature)
    return [spec for spec in real_specs(model) if spec.signature in ("", key)]


def shared_specs(candidate: Sequence[InputSpec], reference: Sequence[InputSpec]) -> list[InputSpec]:
    """The candidate's inputs with the batch that both take: a `Runner` cuts larger ones.

    Raises:
        DataError: two fixed batches of which neither divides the other.
    """
    theirs = max((spec.batch for spec in reference), default=1)
    made = []
    for spec in candidate:
        if spec.shape and theirs > 1 and spec.shape[0] != theirs:
            mine = spec.batch
            if max(mine, theirs) % min(mine, theirs):
                raise DataError(
                    f"The candidate takes batches of {mine}, the reference of {theirs}. Convert "
                    "one of them with a batch of 1 or a free one."
                )
            spec = replace(spec, shape=(max(mine, theirs), *spec.shape[1:]))
        made.append(spec)
    return made


def takes_any_batch(model: Model, specs: Iterable[InputSpec]) -> bool:
    """Whether rows may be stacked as one sees fit: every first axis is free, nothing is kept."""
    return all(s.shape and s.shape[0] < 0 for s in specs) and not is_stateful(model)


def output_facts(model: Model, signature: str | None = None) -> tuple[OutputFact, ...]:
    """The outputs in the file's order."""
    key = model.key_of(signature)
    graph = model.graph_of(key)
    return tuple(
        OutputFact(name, graph.shape(t), graph.dtype(t), _final(graph, t))
        for name, t in _ends(model, key, inputs=False)
    )


def pick(facts: Sequence[OutputFact], wanted: str | None) -> OutputFact:
    """The output to judge: the one asked for, else the first.

    Raises:
        DataError: no such output.
    """
    known = {fact.name: fact for fact in facts}
    if not facts:
        raise ModelError("The model has no output.")
    if wanted is not None and wanted not in known:
        raise DataError(f"No output named {wanted!r}; the model has {', '.join(known)}.")
    return facts[0] if wanted is None else known[wanted]


def like(facts: Sequence[OutputFact], mine: Sequence[OutputFact], chosen: OutputFact) -> OutputFact:
    """The reference's output that stands for the candidate's: by name, else by position."""
    named = next((fact for fact in facts if fact.name == chosen.name), None)
    position = mine.index(chosen)
    if named is None and len(facts) > 1 and len(facts) != len(mine):
        raise DataError(
            f"The reference has no output named {chosen.name!r}, and {len(facts)} outputs "
            f"({', '.join(fact.name for fact in facts)}) instead of {len(mine)}."
        )
    return named or facts[0 if len(facts) == 1 else position]


def feeds(names: Mapping[str, tuple[int, ...]], ports: Mapping[str, tuple[int, ...]]) -> list[str]:
    """For each of a runner's ports the input that it gets: by name, by plain name, by position.

    Args:
        names: the samples' inputs with their shapes.
        ports: the runner's, likewise; -1 where free.
    """
    if len(names) != len(ports):
        raise DataError(
            f"The samples have {len(names)} inputs ({', '.join(names)}), the model takes "
            f"{len(ports)} ({', '.join(ports)})."
        )
    plain = {_plain(name): name for name in names}
    if all(port in names for port in ports):
        return list(ports)
    if len(plain) == len(names) and all(_plain(port) in plain for port in ports):
        return [plain[_plain(port)] for port in ports]
    return list(names)


def _plain(name: str) -> str:
    return name.removeprefix("serving_default_").partition(":")[0]


def _ends(model: Model, key: str | None, *, inputs: bool) -> list[tuple[str, int]]:
    """(name, tensor) of a signature's inputs or outputs, named as `Runner` names them."""
    if key is not None:
        entry = model.signatures[key]
        maps = (entry.inputs if inputs else entry.outputs) or ()
        return [(text(m.name), int(m.tensorIndex)) for m in maps]
    graph, made = model.graphs[0], dict[str, int]()
    for t in graph.inputs if inputs else graph.outputs:
        name = graph.name(t)
        made[f"{name}#{t}" if not name or name in made else name] = int(t)
    return list(made.items())


def _final(graph: Graph, tensor: int) -> str:
    for _ in range(len(graph.ops) + 1):  # a damaged file may go round in circles
        k = graph.producer.get(tensor)
        if k is None:
            return ""
        code = graph.code(graph.ops[k])
        if code not in _PASSED:
            return code
        tensor = int(graph.ops[k].inputs[0])
    return ""
