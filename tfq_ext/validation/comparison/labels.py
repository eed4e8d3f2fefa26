"""Short names for people: fused tensors of a .tflite carry the names of all that was fused."""

from __future__ import annotations

import re
from collections import Counter

# The part of a fused name that says which layer it was, by op code.
_LAYER = {
    "CONV_2D": re.compile(r"conv(2d|olution)?(_\d+)?$", re.IGNORECASE),
    "DEPTHWISE_CONV_2D": re.compile(r"depthwise(_\d+)?$", re.IGNORECASE),
    "FULLY_CONNECTED": re.compile(r"matmul(_\d+)?$", re.IGNORECASE),
    "TRANSPOSE_CONV": re.compile(r"conv2d_?transpose(_\d+)?$", re.IGNORECASE),
}
# Last parts that say which TensorFlow op it was, not which layer.
_GENERIC = re.compile(
    r"(add|addv2|add_1|batchnorm|biasadd|concat|concatv2|conv2d|convolution|depthwise|identity|"
    r"fusedbatchnormv3|matmul|maxpool|mean|mul|mul_1|pad|relu|relu6|reshape|sigmoid|softmax|sub)"
    r"(_\d+)?$",
    re.IGNORECASE,
)
_TYPE = re.compile(r"/(int8|int16|float32)$")  # our own emitter's, where one tensor has two types
LONGEST = 48  # characters


def labels(names: dict[str, str]) -> dict[str, str]:
    """Tensor name -> a short one that no other has, printable characters only.

    Args:
        names: tensor name -> code of the op that makes it.
    """
    roots = Counter(n.split("/", 1)[0] for n in names if "/" in n)
    root, count = roots.most_common(1)[0] if roots else ("", 0)
    root = root if count * 2 >= sum(roots.values()) else ""
    forms = [{n: form(_part(n, op, root)) for n, op in names.items()} for form in (_layer, _whole)]
    counts = [Counter(form.values()) for form in forms]
    found = {}
    for n in names:
        fitting = (f[n] for f, c in zip(forms, counts, strict=True) if f[n] and c[f[n]] == 1)
        found[n] = printable(next(fitting, n))
    return found


def printable(name: str) -> str:
    """One line of printable characters, cut in the middle where it is long."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    if len(clean) <= LONGEST:
        return clean
    tail = LONGEST // 2 - 2
    return f"{clean[: LONGEST - tail - 3]}...{clean[-tail:]}"


def _part(name: str, op: str, root: str) -> list[str]:
    parts = [part for part in _TYPE.sub("", name).split(";") if part]
    pattern = _LAYER.get(op)
    named = [part for part in parts if pattern is not None and pattern.search(part)]
    path = (named or parts or [name])[0].split("/")
    return path[1:] if len(path) > 1 and path[0] == root else path


def _layer(parts: list[str]) -> str:
    kept = list(parts)
    while len(kept) > 1 and _GENERIC.fullmatch(kept[-1]):
        kept.pop()
    return "/".join(kept)


def _whole(parts: list[str]) -> str:
    return "/".join(parts)
