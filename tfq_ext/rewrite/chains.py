"""Linear layers in a row, with nothing between them that minds a positive factor a channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.rewrite.canonical import kernels_of
from tfq_ext.rewrite.forms import FORMS, PROBE, is_relu6
from tfq_ext.rewrite.graph import Flow, Node
from tfq_ext.rewrite.linear import is_plain
from tfq_ext.rewrite.walk import is_nested

keras = need("keras", why="Equalizing a Keras model")


@dataclass(frozen=True)
class Joint:
    """Two linear layers that may share a factor a channel.

    Args:
        before, after: the calls.
        caps: paths, within the model, of the ReLU6 between them.
    """

    before: Node
    after: Node
    caps: tuple[str, ...]


def joints(flow: Flow, uses: dict[int, int]) -> tuple[list[Joint], dict[str, str]]:
    """Every joint of one model, and layer name -> why it has none behind it.

    Args:
        flow: its calls.
        uses: how many models call each operation.
    """
    found: list[Joint] = []
    alone: dict[str, str] = {}
    for node in flow.nodes:
        if not kernels_of(node.operation):
            if node.kind == "EinsumDense":
                alone[str(node.operation.name)] = "EinsumDense is not equalized"
            continue
        result = _follow(flow, node, uses)
        if isinstance(result, Joint):
            found.append(result)
        else:
            alone[str(node.operation.name)] = result
    return found, alone


def scalable(flow: Flow, uses: dict[int, int]) -> list[Any]:
    """The linear layers whose weights may be scaled."""
    nodes = [n for n in flow.nodes if kernels_of(n.operation)]
    return [node.operation for node in nodes if not _unfit(flow, node, uses)]


def _follow(flow: Flow, start: Node, uses: dict[int, int]) -> Joint | str:
    """The joint behind a linear layer, or why there is none."""
    if reason := _unfit(flow, start, uses) or _activation(start.operation):
        return reason
    caps = [start.operation.name] if is_relu6(start.operation.activation) else []
    node = start
    while True:
        reader = flow.only_reader(node.output)
        if reader is None:
            outer = node.output in flow.results
            n = len(flow.consumers.get(node.output, []))
            return "its result leaves the model" if outer else f"its result is read {n} times"
        if kernels_of(reader.operation):
            reason = _unfit(flow, reader, uses)
            return reason or Joint(start, reader, tuple(caps))
        if _caps(flow, reader):
            caps.append(str(reader.operation.name))
        elif reason := _minds(reader):
            return reason
        node = reader


def _caps(flow: Flow, node: Node) -> bool:
    return node.kind in FORMS and FORMS[node.kind][0](node, flow) is not None


def _minds(node: Node) -> str:
    """Why a call does not let a factor pass; "" if it does."""
    name = str(node.operation.name)
    if is_nested(node.operation):
        return f"{name}, a nested model, reads its result"
    if node.kind in PASSING and PASSING[node.kind](node.operation):
        return ""
    return f"{name} ({node.kind}) reads its result, and minds a factor"


def _unfit(flow: Flow, node: Node, uses: dict[int, int]) -> str:
    """Why a layer's weights cannot be scaled."""
    layer = node.operation
    if len(flow.calls_of(layer)) > 1 or uses.get(id(layer), 1) > 1:
        return f"{layer.name} is shared"
    if getattr(layer, "data_format", None) == "channels_first":
        return f"{layer.name} has its channels first"
    reason = is_plain(layer, activation=True)
    return f"{layer.name}: {reason}" if reason else ""


def _activation(layer: Any) -> str:
    act = layer.activation
    if homogeneous(act) or is_relu6(act):
        return ""
    return f"its activation {getattr(act, '__name__', type(act).__name__)} minds a factor"


def homogeneous(function: Any) -> bool:
    """Whether f(s x) = s f(x) for s > 0, value by value: linear, ReLU, leaky ReLU.

    Tried on the probe with powers of two, for which equality is exact, and value by value.
    """
    if function is None or function is keras.activations.linear:
        return True
    x = PROBE

    def f(values: np.ndarray) -> np.ndarray:
        y = function(keras.ops.convert_to_tensor(values))
        return np.asarray(keras.ops.convert_to_numpy(y))

    try:
        y = f(x)
        same = all(np.array_equal(f(x * s), y * s) for s in map(np.float32, (0.25, 2, 8)))
        return same and all(f(x[k : k + 1]) == y[k] for k in range(len(x)))
    except Exception:  # a function of another kind
        return False


def _leaky(layer: Any) -> bool:
    return layer.max_value is None and not layer.threshold


def _always(layer: Any) -> bool:
    return True


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", None) != "channels_first"


def _interpolates(layer: Any) -> bool:
    return _channels_last(layer) and getattr(layer, "interpolation", "nearest") in (
        "nearest",
        "bilinear",
        "bicubic",
    )


# What commutes with a positive factor a channel, on the last axis, if the test says so.
PASSING: dict[str, Callable[[Any], bool]] = {
    "ReLU": _leaky,
    "LeakyReLU": _always,
    "PReLU": _always,
    "Activation": lambda layer: homogeneous(layer.activation),
    "Relu": _always,
    "LeakyRelu": _always,
    "Identity": _always,
    "Dropout": _always,
    "Flatten": _channels_last,
    **{f"SpatialDropout{d}D": _channels_last for d in (1, 2, 3)},
    **{f"{kind}Pooling{d}D": _channels_last for kind in ("Max", "Average") for d in (1, 2, 3)},
    **{
        f"Global{kind}Pooling{d}D": _channels_last for kind in ("Max", "Average") for d in (1, 2, 3)
    },
    **{f"ZeroPadding{d}D": _channels_last for d in (1, 2, 3)},
    **{f"Cropping{d}D": _channels_last for d in (1, 2, 3)},
    **{f"UpSampling{d}D": _interpolates for d in (1, 2, 3)},
}
