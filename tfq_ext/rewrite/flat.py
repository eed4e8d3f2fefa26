"""Open what holds layers inside: nested models, subclassed models, layers made of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.rewrite.copies import Copies, copy_model, give_weights, renamed
from tfq_ext.rewrite.graph import Flow, Node, is_functional, read_flow, replay, splice

keras = need("keras", why="Rewriting a Keras model")

Note = Callable[[str, str], None]


def flat(model: Any, *, like: Any = None, note: Note | None = None) -> Any:
    """A functional copy of the model in which no call has layers inside.

    Args:
        model: functional, sequential, nested, or subclassed with a `call` that consists of layers
            and `keras.ops` on tensors.
        like: one batch of input arrays, where a subclassed model does not tell its inputs' types.
        note: called with (layer name, why) for each layer that could not be opened.

    Raises:
        ModelError: a subclassed model whose call cannot be followed.
    """
    if not is_functional(model):
        model = traced(copy_model(model), like)
    return replay(read_flow(model), _Opener(note or (lambda name, why: None)))


@dataclass
class _Opener:
    """Calls copies; of what holds layers, the layers inside, however often it is called."""

    note: Note
    copies: Copies = field(default_factory=Copies)
    flows: dict[int, Flow | None] = field(default_factory=dict)
    scope: str = ""

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = node.operation
        flow = self._inside(operation, args, kwargs) if holds_layers(operation) else None
        if flow is None:
            return self.copies.of(operation, args, kwargs, self.scope)
        outer, self.scope = self.scope, operation.name
        given = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        outputs = splice(flow, given, self)
        self.scope = outer
        return outputs

    def _inside(self, operation: Any, args: Any, kwargs: Any) -> Flow | None:
        if id(operation) not in self.flows:
            try:
                self.flows[id(operation)] = read_flow(_opened(operation, args, kwargs))
            except ModelError as error:
                self.flows[id(operation)] = None
                self.note(operation.name, f"its layers stay closed: {error}")
        return self.flows[id(operation)]


def holds_layers(operation: Any) -> bool:
    """Whether an operation is a model, or a user's own layer made of layers."""
    if isinstance(operation, keras.Model):
        return True
    own = not type(operation).__module__.startswith(("keras.", "tfq_ext."))
    return own and isinstance(operation, keras.layers.Layer) and bool(sublayers(operation))


def sublayers(layer: Any) -> list[Any]:
    """The layers that a layer holds, at any depth."""
    return [x for x in layer._flatten_layers(include_self=False) if x is not layer]


def _opened(operation: Any, args: Any, kwargs: Any) -> Any:
    """A functional model of what an operation does with these arguments."""
    if is_functional(operation):
        return operation
    if isinstance(operation, keras.Model):
        new = copy_model(operation)
    else:
        new = renamed(operation, operation.name)
        new(*_fresh(args), **_fresh(kwargs))
        give_weights(new, operation)
    return follow(new, new.call, args, kwargs)


def _fresh(arguments: Any) -> Any:
    """The arguments with new symbolic tensors, so that a trial call leaves no trace."""
    return keras.tree.map_structure(
        lambda t: (
            keras.Input(batch_shape=t.shape, dtype=t.dtype)
            if isinstance(t, keras.KerasTensor)
            else t
        ),
        arguments,
    )


def follow(layer: Any, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The functional model of one `call` of a layer, made on symbolic tensors.

    Raises:
        ModelError: the call needs real values, or uses weights that belong to no inner layer.
    """
    args, kwargs = _fresh((tuple(args), dict(kwargs)))
    given = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
    what = f"{layer.name!r} ({type(layer).__name__})"
    try:
        inputs = given if len(given) > 1 else given[0]
        found = keras.Model(inputs, call(*args, **kwargs), name=layer.name)
    except Exception as error:  # whatever a stranger's call() does with symbolic tensors
        raise ModelError(
            f"{what} cannot be followed layer by layer: {_first_line(error)} Its call() must work "
            "on symbolic tensors: use layers and keras.ops, not numpy or tf functions."
        ) from None
    held = {id(w) for w in found.weights}
    lost = [str(w.path) for w in layer.weights if id(w) not in held]
    if lost:
        raise ModelError(
            f"{what} uses the weight {lost[0]!r} outside of any layer; move it into a layer of "
            "its own."
        )
    return found


def traced(model: Any, like: Any = None) -> Any:
    """The functional model that a subclassed model's `call` describes; shares its layers.

    Raises:
        ModelError: as `follow`, or its inputs are unknown.
    """
    return follow(model, model.call, (_inputs_of(model, like),), {})


def _inputs_of(model: Any, like: Any) -> Any:
    if like is not None:
        return keras.tree.map_structure(
            lambda a: keras.Input(batch_shape=(None, *np.shape(a)[1:]), dtype=str(a.dtype)), like
        )
    config = model.get_build_config() or {}
    shape = config.get("input_shape") or next(iter(config.get("shapes_dict", {}).values()), None)
    if shape is None:
        raise ModelError(
            f"Model {model.name!r} does not tell the shape of its input: call it once on a batch."
        )
    return keras.tree.map_shape_structure(lambda s: keras.Input(batch_shape=(None, *s[1:])), shape)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
