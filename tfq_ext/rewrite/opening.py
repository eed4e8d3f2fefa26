"""What the user gives, as functional models all the way down as far as Keras allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.graph import Flow, Node, is_functional
from tfq_ext.rewrite.inside import is_own
from tfq_ext.rewrite.rows import Kept
from tfq_ext.rewrite.twin import functional_twin, layer_twin
from tfq_ext.rewrite.walk import flows, is_nested, rewrite

keras = need("keras", why="Rewriting a Keras model")


def opened(model: Any, wants: Callable[[Any], bool]) -> tuple[Any, tuple[Kept, ...]]:
    """The functional form of what the user gave: a Keras 3 model or the path of a file of one.

    Args:
        model: as the user gave it.
        wants: whether a layer of the user's own class, made of layers, holds what is looked for;
            such a layer becomes the nested functional model of its calls.

    Returns:
        (model, rows about the layers that stay closed).

    Raises:
        ModelError: no Keras 3 model, no such file, or a subclassed model that cannot be traced.
    """
    if isinstance(model, str | Path):
        if not Path(model).exists():
            raise ModelError(f"There is no file {model}; give a Keras model or a .keras file.")
        try:
            model = keras.models.load_model(model, compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise ModelError(f"{model} cannot be loaded as a Keras model: {error}") from None
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"A {type(model).__module__.partition('.')[0]} {type(model).__name__} came; rewriting "
            "takes a Keras 3 model (keras.Model) or the path of a .keras file."
        )
    return _layers_opened(model if is_functional(model) else functional_twin(model), wants)


def _layers_opened(model: Any, wants: Callable[[Any], bool]) -> tuple[Any, tuple[Kept, ...]]:
    if not any(_closed(n.operation, wants) for _, flow in flows(model) for n in flow.nodes):
        return model, ()
    opener = _Opener(wants)
    return rewrite(model, opener.visit), tuple(opener.kept.values())


def _closed(operation: Any, wants: Callable[[Any], bool]) -> bool:
    """Whether a call is that of a user's own layer or model that is to be opened."""
    layer = isinstance(operation, keras.layers.Layer) and not is_own(operation)
    return layer and not is_nested(operation) and wants(operation)


@dataclass
class _Opener:
    wants: Callable[[Any], bool]
    kept: dict[str, Kept] = field(default_factory=dict)

    def visit(self, flow: Flow, path: str, copies: Copies) -> Any:
        twins: dict[int, Any] = {}

        def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            layer, where = node.operation, f"{path}{node.operation.name}"
            if not _closed(layer, self.wants) or where in self.kept:
                return copies(node, args, kwargs)
            if id(layer) not in twins:
                try:
                    twins[id(layer)] = self._twin(layer, where, args, kwargs)
                except ModelError as error:
                    self.kept[where] = Kept(where, f"a layer of your own class: {error}")
                    return copies(node, args, kwargs)
                twins[id(layer)].name = copies.free_name(layer.name)
            given = keras.tree.flatten((args, kwargs))
            tensors = [t for t in given if isinstance(t, keras.KerasTensor)]
            return twins[id(layer)](tensors if len(tensors) > 1 else tensors[0])

        return call

    def _twin(self, layer: Any, where: str, args: Any, kwargs: Any) -> Any:
        twin, kept = _layers_opened(layer_twin(layer, args, kwargs), self.wants)
        for row in kept:
            self.kept[f"{where}/{row.path}"] = Kept(f"{where}/{row.path}", row.reason)
        return twin
