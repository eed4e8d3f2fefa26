"""Short names for people: fused tensors of a .tflite carry the names of all that was fused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from tfq_ext.tflite.read import Model, text

# Last parts of a name that say which TensorFlow op it was, not which layer.
GENERIC = re.compile(
    r"(add|addv2|batchnorm|biasadd|concat|concatv2|conv2d|convolution|depthwise|elu|fusedbatchnorm"
    r"v3|identity|matmul|max|maxpool|mean|mul|pad|relu|relu6|reshape|sigmoid|softmax|sub|transpose"
    r")(_\d+)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"_\d+$")
_PORT = re.compile(r":\d+$")


def short_names(model: Model) -> dict[str, str]:
    """Full tensor name -> the shortest form that no other tensor has.

    Inputs and outputs take their names in the signature: "image (input)".
    """
    names = [g.name(t) for g in model.graphs for t in range(len(g.tensors)) if _computed(g, t)]
    return _distinct(names) | _ports(model)


def _computed(graph: object, tensor: int) -> bool:
    return not graph.is_constant(tensor)  # type: ignore[attr-defined]


def _distinct(names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    root = _common_root(names)
    found: dict[str, str] = {}
    for shorten in _FORMS:
        forms = {name: shorten(_first(name, root)) for name in names}
        counts = Counter(forms.values())
        for name, form in forms.items():
            if counts[form] == 1 and form and name not in found:
                found[name] = form
    return {name: found.get(name, name) for name in names}


def _first(name: str, root: str) -> list[str]:
    """Path of the first of the fused names, without the model's own name in front."""
    parts = _PORT.sub("", name.split(";", 1)[0]).split("/")
    return parts[1:] if len(parts) > 1 and parts[0] == root else parts


def _common_root(names: list[str]) -> str:
    """The first part that at least half of the names with parts begin with."""
    roots = Counter(name.split("/", 1)[0] for name in names if "/" in name)
    root, count = roots.most_common(1)[0] if roots else ("", 0)
    return root if count * 2 >= sum(roots.values()) else ""


def _layer(parts: list[str]) -> list[str]:
    kept = list(parts)
    while len(kept) > 1 and GENERIC.fullmatch(kept[-1]):
        kept.pop()
    return kept


_FORMS: tuple[Callable[[list[str]], str], ...] = (
    lambda parts: _NUMBER.sub("", "/".join(_layer(parts))),
    lambda parts: "/".join(_layer(parts)),
    lambda parts: "/".join(parts),
)


def _ports(model: Model) -> dict[str, str]:
    found = {}
    for key, signature in model.signatures.items():
        graph = model.graph_of(key)
        for entries, kind in ((signature.outputs, "output"), (signature.inputs, "input")):
            for entry in entries or ():
                found[graph.name(int(entry.tensorIndex))] = f"{text(entry.name)} ({kind})"
    return found
