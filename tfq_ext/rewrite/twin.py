"""A functional model that computes what a subclassed model or layer computes, named as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.rewrite.copies import copy_model, give_weights, renamed
from tfq_ext.rewrite.flat import follow, sublayers

keras = need("keras", why="Tracing a Keras model")


def functional_twin(model: Any) -> Any:
    """The functional form of a subclassed model: copies of its layers, with names and weights.

    Of branches on `training` it has the one that None takes.

    Raises:
        ModelError: not built, not copyable, of several arguments, or with a `call` that needs real
            tensors.
    """
    copy = copy_model(model)
    errors = []
    for dtype in ("float32", "int32"):  # Keras remembers the shapes that built a model, no dtype
        try:
            return follow(copy, _call_named_as(copy, model), (symbolic_inputs(model, dtype),), {})
        except ModelError as error:
            errors.append(error)
    raise errors[0]


def layer_twin(layer: Any, args: Any, kwargs: Any) -> Any:
    """The same of a user's own layer, called with these symbolic arguments.

    Raises:
        ModelError: it cannot be copied, or its `call` needs real tensors or weights of its own.
    """
    copy = renamed(layer, layer.name)
    trial = _fresh((args, kwargs))
    copy(*trial[0], **trial[1])
    give_weights(copy, layer)
    return follow(copy, _call_named_as(copy, layer), args, kwargs)


def _fresh(arguments: Any) -> Any:
    return keras.tree.map_structure(
        lambda t: (
            keras.Input(batch_shape=t.shape, dtype=t.dtype)
            if isinstance(t, keras.KerasTensor)
            else t
        ),
        arguments,
    )


def _call_named_as(copy: Any, original: Any) -> Callable[..., Any]:
    """`copy.call` after which inner layers have the original's names, and no two the same."""
    ours, theirs = sublayers(copy), sublayers(original)
    if len(ours) == len(theirs):
        for new, old in zip(ours, theirs, strict=True):
            new.name = old.name

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = copy.call(*args, **kwargs)
        _name_apart(outputs)
        return outputs

    return call


def _name_apart(outputs: Any) -> None:
    """Number the names that two operations on the way to the outputs share."""
    names: dict[str, Any] = {}
    stack, seen = [t._keras_history for t in keras.tree.flatten(outputs)], set()
    while stack:
        operation, node_index = stack.pop()[:2]
        if (id(operation), node_index) in seen:
            continue
        seen.add((id(operation), node_index))
        name, k = str(operation.name), 1
        while names.setdefault(operation.name, operation) is not operation:
            operation.name, k = f"{name}_{k}", k + 1
        node = operation._inbound_nodes[node_index]
        stack.extend(t._keras_history for t in node.input_tensors)


def symbolic_inputs(model: Any, dtype: str) -> Any:
    """Inputs of the shapes that built a model, with a free batch.

    Raises:
        ModelError: the model takes several arguments, or was never called.
    """
    shape = dict(model.get_build_config() or {}).get("input_shape")
    if shape is None:
        raise ModelError(
            f"The inputs of {model.name!r} ({type(model).__name__}) are not known: let call() take "
            "one argument (a tensor, or a list or dict of tensors) and call the model once."
        )
    return _inputs_of(shape, dtype)


def _inputs_of(shape: Any, dtype: str) -> Any:
    if isinstance(shape, dict):
        return {name: _inputs_of(s, dtype) for name, s in shape.items()}
    if shape and isinstance(shape[0], list | tuple):
        return [_inputs_of(s, dtype) for s in shape]
    return keras.Input(batch_shape=(None, *shape[1:]), dtype=dtype)
