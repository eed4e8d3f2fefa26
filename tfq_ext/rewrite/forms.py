"""How a ReLU6 may be written: calls that are one, functions that are one, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.rewrite.graph import Flow, Node, Ref

keras = need("keras", why="Looking for ReLU6")

CAP = 6.0
ALONE = ("Relu", "ReLU", "Maximum", "Activation")  # that max(x, 0) is a call of its own
# both knees, a hair either side of them, and far out
PROBE = np.array([-40, -3, -1e-3, 0, 1e-3, 1, 2.5, 3, 5.999, 6, 6.001, 7, 12, 1e4], np.float32)


def is_relu6(function: Any, shape: tuple[int | None, ...] = (2, 14)) -> bool:
    """Whether a function gives `min(max(x, 0), 6)`, bit for bit, on the probe.

    This finds `keras.activations.relu6`, `tf.nn.relu6` and whatever the user wrote himself.

    Args:
        function: of one tensor; a layer is none.
        shape: of the probe; an open axis is 3 long.
    """
    if not callable(function) or isinstance(function, keras.layers.Layer | type):
        return False
    x = np.resize(PROBE, [3 if n is None else n for n in shape])
    if x.size < PROBE.size:
        x = np.resize(PROBE, (-(-PROBE.size // max(x.size, 1)) * len(x), *x.shape[1:]))
    try:
        y = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x)))
    except Exception:  # a function of another kind; whatever it raises, it is no ReLU6
        return False
    return y.shape == x.shape and bool(np.array_equal(y, np.clip(x, 0, CAP)))


def constant(x: Any) -> float | None:
    """The number in an argument that is one number, else None."""
    if isinstance(x, Ref) or x is None or isinstance(x, str):
        return None
    try:
        values = np.asarray(x, np.float64)
    except (TypeError, ValueError):
        return None
    return float(values.reshape(-1)[0]) if values.size == 1 else None


def operand(node: Node, number: float) -> Ref | None:
    """The tensor of a call of two arguments whose other one is this number (to 1e-3 of it)."""
    args = (*node.args, *node.kwargs.values())
    if len(args) != 2:
        return None
    for x, other in (args, args[::-1]):
        value = constant(other)
        if isinstance(x, Ref) and value is not None and np.isclose(value, number, rtol=1e-3):
            return x
    return None


def _layer(node: Node, flow: Flow) -> Ref | None:
    act = node.operation
    plain = type(act) is keras.layers.ReLU and not act.negative_slope and not act.threshold
    return node.inputs[0] if plain and act.max_value == CAP else None


def _activation(node: Node, flow: Flow) -> Ref | None:
    return node.inputs[0] if is_relu6(getattr(node.operation, "activation", None)) else None


def _lambda(node: Node, flow: Flow) -> Ref | None:
    if len(node.inputs) != 1 or not isinstance(node.operation, keras.layers.Lambda):
        return None
    x = node.inputs[0]
    function = partial(node.operation.function, **node.operation.arguments)
    return x if x.shape == node.output.shape and is_relu6(function, x.shape) else None


def _operation(node: Node, flow: Flow) -> Ref | None:
    return None if isinstance(node.operation, keras.layers.Layer) else node.inputs[0]


def _clip(node: Node, flow: Flow) -> Ref | None:
    bounds = [constant(getattr(node.operation, name, None)) for name in ("x_min", "x_max")]
    return node.inputs[0] if bounds == [0, CAP] else None


def _minimum(node: Node, flow: Flow) -> Ref | None:
    x = operand(node, CAP)
    if x is None:
        return None
    before, after = flow.producer.get(x), flow.only_reader(node.output)
    if any(other is not None and rectifies(other) for other in (before, after)):
        return x
    return None


def rectifies(node: Node) -> bool:
    """Whether a call is max(x, 0), perhaps after something else: a layer with that activation."""
    if node.kind in ("Relu", "ReLU"):
        return getattr(node.operation, "max_value", None) is None and not getattr(
            node.operation, "negative_slope", 0.0
        )
    if node.kind == "Maximum":
        return operand(node, 0.0) is not None
    return getattr(node.operation, "activation", None) is keras.activations.relu


# class of the operation -> (the tensor that a call caps at 6, or None; how it is written)
FORMS: dict[str, tuple[Callable[[Node, Flow], Ref | None], str]] = {
    "ReLU": (_layer, "ReLU(max_value=6)"),
    "Activation": (_activation, "Activation(relu6)"),
    "Lambda": (_lambda, "Lambda that computes relu6"),
    "Relu6": (_operation, "keras.ops.relu6"),
    "ReLU6": (_operation, "keras.ops.relu6"),
    "Clip": (_clip, "keras.ops.clip(x, 0, 6)"),
    "Minimum": (_minimum, "keras.ops.minimum(relu(x), 6)"),
}


def hard_context(node: Node, flow: Flow, *, alone: bool = True) -> str:
    """Why a ReLU6 belongs to a hard-sigmoid or hard-swish written out: relu6(x + 3) * x / 6.

    Args:
        node: the call that caps.
        flow: where it stands.
        alone: it is a call of its own, not the activation of a layer: what it reads counts too.

    Returns:
        A reason in words; "" if it stands for itself.
    """
    if alone and _offset(node, flow):
        return "it reads x + 3: part of a hard-sigmoid or hard-swish"
    if any(_sixth(reader) for reader in _readers(node, flow)):
        return "what reads it divides by 6: part of a hard-sigmoid or hard-swish"
    return ""


def _readers(node: Node, flow: Flow) -> list[Node]:
    """What reads a call's output, also through max(x, 0) and products with another tensor.

    Not through the product with the gate of a hard-swish: there the call is the x that is gated.
    """
    near = flow.consumers.get(node.output, [])
    through = [n for n in near if rectifies(n) or (_is_product(n) and not _gated(n, node, flow))]
    return near + [far for n in through for far in flow.consumers.get(n.output, [])]


def _is_product(node: Node) -> bool:
    return node.kind == "Multiply" and len(node.inputs) == 2


def _gated(product: Node, node: Node, flow: Flow) -> bool:
    """Whether the other factor of a product is a ReLU6 of x + 3."""
    others = [flow.producer.get(ref) for ref in product.inputs if ref not in node.results]
    return any(
        other.kind in FORMS
        and FORMS[other.kind][0](other, flow) is not None
        and _offset(other, flow)
        for other in others
        if other is not None
    )


def _offset(node: Node, flow: Flow) -> bool:
    """Whether a ReLU6, or the max(x, 0) before it, reads x + 3."""
    before = [flow.producer.get(ref) for ref in node.inputs]
    knees = [b for b in before if b is not None and b.kind in ALONE and rectifies(b)]
    before += [flow.producer.get(ref) for knee in knees for ref in knee.inputs]
    return any(b is not None and _adds_three(b) for b in before)


def _adds_three(node: Node) -> bool:
    if node.kind == "Rescaling":
        return bool(constant(node.operation.offset) == 3)
    wanted = {"Add": 3.0, "Subtract": -3.0}.get(node.kind)
    return wanted is not None and operand(node, wanted) is not None


def _sixth(node: Node) -> bool:
    if node.kind == "Rescaling":
        value = constant(node.operation.scale)
        return value is not None and bool(np.isclose(value, 1 / CAP, rtol=1e-3))
    wanted = {"Multiply": 1 / CAP, "TrueDivide": CAP, "Divide": CAP}.get(node.kind)
    return wanted is not None and operand(node, wanted) is not None
