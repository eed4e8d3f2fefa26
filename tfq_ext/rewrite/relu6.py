"""ReLU6 -> ReLU, however it is written, with hard-swish and hard-sigmoid left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tfq_ext._optional import need
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.forms import FORMS, hard_context
from tfq_ext.rewrite.graph import Flow, Node, Ref
from tfq_ext.rewrite.inside import is_own, lambda_names_relu6, slots, speaks_of_relu6
from tfq_ext.rewrite.rows import Done, Kept
from tfq_ext.rewrite.stand_ins import StandIn

keras = need("keras", why="Replacing ReLU6")


def holds_relu6(layer: Any) -> bool:
    """Whether a layer of the user's own class has a ReLU6 inside, or its code names one."""
    return bool(slots(layer)) or speaks_of_relu6(layer)


@dataclass
class Swap:
    """Replaces every ReLU6 of a model; `visit` is what `rewrite` wants.

    Args:
        stand_in: what takes its place.
        done, kept: rows, filled on the way.
    """

    stand_in: StandIn
    done: dict[str, Done] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)

    def visit(self, flow: Flow, path: str, copies: Copies) -> Any:
        """The interpreter of one model's calls."""
        return _Calls(self, flow, path, copies)


@dataclass
class _Calls:
    swap: Swap
    flow: Flow
    path: str
    copies: Copies
    placed: dict[int, Any] = field(default_factory=dict)

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        capped = FORMS[node.kind][0](node, self.flow) if node.kind in FORMS else None
        if capped is not None:
            return self._cap(node, capped, args, kwargs)
        made = self.copies.made(node.operation)
        if made is None and isinstance(node.operation, keras.layers.Layer):
            return self._layer(node, args, kwargs)
        return self.copies(node, args, kwargs)

    def _where(self, node: Node) -> str:
        return f"{self.path}{node.operation.name}"

    def _keep(self, path: str, reason: str) -> None:
        self.swap.kept.setdefault(path, Kept(path, reason))

    def _cap(self, node: Node, capped: Ref, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that is a ReLU6."""
        path, operation = self._where(node), node.operation
        if reason := hard_context(node, self.flow):
            self._keep(path, reason)
            return self.copies(node, args, kwargs)
        self.swap.done.setdefault(path, Done(path, FORMS[node.kind][1]))
        flat = keras.tree.flatten((node.args, dict(node.kwargs)))
        x = keras.tree.flatten((args, kwargs))[flat.index(capped)]
        if node.kind == "Minimum" and self.swap.stand_in.drops_minimum():
            return x
        if id(operation) not in self.placed:
            name = self.copies.free_name(operation.name)
            self.placed[id(operation)] = self.swap.stand_in.layer(path, name)
        return self.placed[id(operation)](x)

    def _layer(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The first call of a layer that may hold a ReLU6."""
        layer, path = node.operation, self._where(node)
        if not is_own(layer):
            return self.copies(node, args, kwargs)  # it could not be opened, and a row says so
        if lambda_names_relu6(layer):
            self._keep(path, "a Lambda that names relu6 but computes more: its code is fixed")
        outputs = self.copies(node, args, kwargs)
        found = slots(self.copies.made(layer))
        calls = self.flow.calls_of(layer) if found else []
        reasons = [hard_context(call, self.flow, alone=False) for call in calls]
        for slot in found:
            if any(reasons):
                self._keep(path, next(filter(None, reasons)))
                continue
            slot.put(self.swap.stand_in.function(path + slot.path))
            self.swap.done[path + slot.path] = Done(path + slot.path, slot.form)
        return outputs
