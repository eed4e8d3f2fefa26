"""ReLU6 that is an attribute: the activation of a layer, of a cell, of a layer within a wrapper."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from tfq_ext._optional import need
from tfq_ext.rewrite.forms import CAP, is_relu6

keras = need("keras", why="Looking for ReLU6")


@dataclass(frozen=True)
class Slot:
    """One place in a layer that holds a ReLU6.

    Args:
        owner: the layer or cell, perhaps deep inside.
        attribute: "activation", "max_value", ...
        path: from the outer layer: "" for itself, "/cell" below.
    """

    owner: Any
    attribute: str
    path: str

    @property
    def form(self) -> str:
        """How it is written."""
        return "ReLU(max_value=6)" if self.attribute == "max_value" else f"{self.attribute}=relu6"

    def put(self, function: Callable[[Any], Any]) -> None:
        """Let another function of one tensor stand there."""
        if self.attribute == "max_value":
            self.owner.max_value = None
            if function is not keras.activations.relu:
                self.owner.call = function
        else:
            setattr(self.owner, self.attribute, function)


def slots(layer: Any) -> list[Slot]:
    """Every ReLU6 that a layer and what it is made of hold as attributes."""
    return [
        Slot(part, name, path)
        for path, part in parts(layer)
        for name, value in list(vars(part).items())
        if _holds(part, name, value)
    ]


def parts(layer: Any) -> Iterator[tuple[str, Any]]:
    """A layer and all layers that it holds in attributes, lists and dicts, each once."""
    seen, stack = {id(layer)}, [("", layer)]
    while stack:
        path, part = stack.pop(0)
        yield path, part
        for inner in _held(list(vars(part).values())):
            if id(inner) not in seen:
                seen.add(id(inner))
                stack.append((f"{path}/{inner.name}", inner))


def _held(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, keras.layers.Layer):
            yield value
        elif isinstance(value, list | tuple):
            yield from _held(list(value))
        elif isinstance(value, dict):
            yield from _held(list(value.values()))


def _holds(part: Any, name: str, value: Any) -> bool:
    if name == "max_value" and type(part) is keras.layers.ReLU:
        return value == CAP and not part.negative_slope and not part.threshold
    named = "act" in name.lower() or getattr(value, "__name__", "") == "relu6"
    return named and not inspect.ismethod(value) and is_relu6(value)


def is_own(layer: Any) -> bool:
    """Whether a layer's class is Keras' or ours, so that its call holds no surprises."""
    return type(layer).__module__.partition(".")[0] in ("keras", "tfq_ext")


def speaks_of_relu6(layer: Any) -> bool:
    """Whether the code of a user's layer, or of a layer in it, names relu6."""
    return any(
        "relu6" in _names(method.__code__)
        for _, part in parts(layer)
        if not is_own(part)
        for method in vars(type(part)).values()
        if hasattr(method, "__code__")
    )


def lambda_names_relu6(layer: Any) -> bool:
    """The same of the function of a Lambda layer."""
    code = getattr(getattr(layer, "function", None), "__code__", None)
    return code is not None and "relu6" in _names(code)


def _names(code: CodeType) -> set[str]:
    nested = (c for c in code.co_consts if isinstance(c, CodeType))
    return {*code.co_names, *code.co_freevars}.union(*(_names(c) for c in nested))
