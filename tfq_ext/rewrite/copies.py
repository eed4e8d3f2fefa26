"""Copies of layers and models that share nothing with the original: weights, names, settings."""

from __future__ import annotations

import copy
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.rewrite.graph import Node, is_functional, read_flow, replay

keras = need("keras", why="Copying a Keras model")


class Copies:
    """Copies each operation once, however often it is called; a shared layer stays shared.

    Args:
        settings: what is different in every layer's config, for example its dtype.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._names: set[str] = set()

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the copy of the node's operation, as `replay` wants it."""
        return self.of(node.operation, args, kwargs)

    def of(
        self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], scope: str = ""
    ) -> Any:
        """Call the copy of an operation; the first call gives it the original's weights.

        Args:
            operation: a layer or operation of the original.
            args, kwargs: on the new model's tensors.
            scope: name of the model that it was in, for a name that is taken already.
        """
        new = self._made.get(id(operation))
        if new is not None:
            return new(*args, **kwargs)
        new = renamed(operation, self.free_name(operation.name, scope), **self.settings)
        self.hold(operation, new)
        outputs = new(*args, **kwargs)
        if not isinstance(operation, keras.Model):  # copied with its weights
            give_weights(new, operation)
        return outputs

    def inside(self) -> Copies:
        """For a nested model: shared layers stay shared across both, names are its own."""
        child = Copies(**self.settings)
        child._made, child._kept = self._made, self._kept
        return child

    def hold(self, operation: Any, new: Any) -> Any:
        """Remember what stands for an operation."""
        self._made[id(operation)] = new
        self._kept.append(operation)
        return new

    def made(self, operation: Any) -> Any | None:
        """What stands for an operation already."""
        return self._made.get(id(operation))

    def free_name(self, wanted: str, scope: str = "") -> str:
        """The name; where another layer of the copy has it, with the scope or a number."""
        if scope and wanted in self._names:
            wanted = f"{scope}_{wanted}"
        name, k = wanted, 1
        while name in self._names:
            name, k = f"{wanted}_{k}", k + 1
        self._names.add(name)
        return name


def renamed(operation: Any, name: str, **settings: Any) -> Any:
    """A copy of a layer by its config, without its weights; of an operation, a fresh one.

    Raises:
        ModelError: a layer of the user's own without get_config.
    """
    if not isinstance(operation, keras.layers.Layer):
        new = copy.copy(operation)
        new._inbound_nodes, new._outbound_nodes = [], []
        new.name = name
        return new
    if type(operation) is keras.layers.Lambda:  # Keras refuses to make one from its config
        return _same_function(operation, name)
    try:
        if isinstance(operation, keras.Model):
            return copy_model(operation, name=name)
        return _from_config(operation, {**settings, "name": name})
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ModelError(
            f"Layer {operation.name!r} ({type(operation).__name__}) cannot be copied: {error} "
            "Give it a get_config() that returns all arguments of its constructor."
        ) from None


def _from_config(layer: Any, settings: dict[str, Any]) -> Any:
    """The layer by its config; an activation that no config can hold (a lambda) is carried over."""
    function = getattr(layer, "activation", None)
    try:
        return type(layer).from_config(layer.get_config() | settings)
    except (TypeError, ValueError):
        if not callable(function) or isinstance(function, keras.layers.Layer):
            raise
    try:
        layer.activation = keras.activations.linear
        new = type(layer).from_config(layer.get_config() | settings)
    finally:
        layer.activation = function
    new.activation = function
    return new


def _same_function(layer: Any, name: str) -> Any:
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=dict(layer.arguments),
        name=name,
        dtype=layer.dtype_policy,
    )


def give_weights(new: Any, old: Any) -> None:
    """Assign the old layer's values, where there are any."""
    weights = getattr(old, "weights", None)
    if weights:
        new.set_weights([keras.ops.convert_to_numpy(w.value) for w in weights])
        for layer in new._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # it computes with copies of its weights


def copy_model(model: Any, *, name: str | None = None) -> Any:
    """A model that computes the same and shares nothing; not compiled.

    Functional and sequential models become functional ones, nested models stay nested. A subclassed
    model is copied by its get_config.

    Raises:
        ModelError: a subclassed model or layer that cannot be copied.
    """
    if is_functional(model):
        return replay(read_flow(model), Copies(), name=name)
    if not model.built:
        raise ModelError(
            f"Model {model.name!r} has no weights yet: give it its input shape, "
            "model.build((None, ...)), and train it."
        )
    try:
        new = type(model).from_config(model.get_config())
        shapes = getattr(model, "_build_shapes_dict", None)
        new.build_from_config(model.get_build_config() or {"shapes_dict": shapes})
        give_weights(new, model)
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"Model {model.name!r} ({type(model).__name__}) cannot be copied: {error} Give it a "
            "get_config(), or write it with the functional API."
        ) from None
    return new
