"""The walk that every rewriting makes: each call of a model, and of the models nested in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tfq_ext._optional import need
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.graph import Call, Flow, is_functional, read_flow, replay

keras = need("keras", why="Rewriting a Keras model")

# (calls of one model, its path with a slash behind it or "", copies) -> interpreter of the calls
Visit = Callable[[Flow, str, Copies], Call]


class Rewritten(NamedTuple):
    """The new model, not compiled, and what was done to it; `print(report)` reads well."""

    model: Any
    report: Any


def rewrite(model: Any, visit: Visit) -> Any:
    """A functional copy of a model in which `visit` decides how each call is made.

    Args:
        model: functional; nested functional models stay nested and are visited too, once each.
        visit: called once for each model.
    """
    return _rewritten(model, visit, "", Copies(), str(model.name))


def _rewritten(model: Any, visit: Visit, path: str, copies: Copies, name: str) -> Any:
    flow = read_flow(model)
    own = visit(flow, path, copies)

    def call(node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inner = node.operation
        if not is_nested(inner):
            return own(node, args, kwargs)
        new = copies.made(inner)
        if new is None:
            free = copies.free_name(str(inner.name))
            new = _rewritten(inner, visit, f"{path}{inner.name}/", copies.inside(), free)
            copies.hold(inner, new)
        return new(*args, **kwargs)

    return replay(flow, call, name=name)


def is_nested(operation: Any) -> bool:
    """Whether a call is that of a model whose own calls are known."""
    return isinstance(operation, keras.Model) and is_functional(operation)


def flows(model: Any) -> list[tuple[str, Flow]]:
    """(path, calls) of a model and of every model nested in it, each once, outermost first."""
    found: dict[int, tuple[str, Flow]] = {}

    def collect(inner: Any, path: str) -> None:
        if id(inner) in found:
            return
        flow = read_flow(inner)
        found[id(inner)] = (path, flow)
        for node in flow.nodes:
            if is_nested(node.operation):
                collect(node.operation, f"{path}{node.operation.name}/")

    collect(model, "")
    return list(found.values())
