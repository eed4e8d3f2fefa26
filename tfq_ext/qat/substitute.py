"""Call a layer with other values for some of its variables, on any backend, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfq_ext._optional import need

keras = need("keras", why="Quantization-aware training")


def call_with(layer: Any, values: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """layer(*args, **kwargs) as if the named variables had these values.

    Args:
        layer: a built Keras layer.
        values: attribute name of a variable -> tensor of the variable's shape. Gradients flow
            through it; the variable itself is not read.

    What the layer assigns to its other variables meanwhile (seeds) is assigned for real afterwards.
    """
    replaced = {id(getattr(layer, name)): name for name in values}
    others = [v for v in layer.variables if id(v) not in replaced]
    # An outer scope (the JAX trainer's) holds the others' values: read them while it is in force.
    known = [(v, v.value) for v in others]
    mapping = [*known, *((getattr(layer, name), value) for name, value in values.items())]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        result = layer(*args, **kwargs)
    for variable, value in known:
        updated = scope.get_current_value(variable)
        if updated is not value and not variable.trainable:
            variable.assign(updated)
    return result
