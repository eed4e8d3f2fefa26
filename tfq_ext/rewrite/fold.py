"""Fold BatchNormalization into the layer before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.numerics.fold import fold_bias, fold_kernel, norm_map
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.graph import Flow, Node
from tfq_ext.rewrite.inside import is_own, parts
from tfq_ext.rewrite.linear import channel_axis, is_plain, linear_of, with_bias
from tfq_ext.rewrite.opening import opened
from tfq_ext.rewrite.rows import Done, Kept, count, kept_table, paragraphs, table
from tfq_ext.rewrite.walk import Rewritten, flows, is_nested, rewrite

keras = need("keras", why="Folding BatchNormalization")


@dataclass(frozen=True)
class FoldReport:
    """What `fold_batch_norm` did.

    Args:
        folded: path of each layer that took one in.
        kept: path of each BatchNormalization that stays, and why.
    """

    folded: tuple[Done, ...]
    kept: tuple[Kept, ...]

    def __str__(self) -> str:
        first = f"BatchNormalization folded into {count(len(self.folded), 'layer')}."
        rows = [(row.path, row.what) for row in self.folded]
        return paragraphs(first, table(("layer", "took in"), rows), kept_table(self.kept))


def fold_batch_norm(model: Any) -> Rewritten:
    r"""Take every BatchNormalization into the linear layer before it; the model given stays as is.

    \( W' = \gamma W / \sigma, \quad b' = \beta + \gamma (b - \mu) / \sigma \)

    Exact to rounding in inference. Conv, depthwise, separable, transposed conv, dense and
    EinsumDense; a layer without a bias gets one. A BatchNormalization that cannot be folded stays,
    with a reason in the report.

    Args:
        model: Keras 3 model, or the path of a `.keras` file.

    Returns:
        (model, report): a new functional model, not compiled.

    Raises:
        ModelError: no Keras 3 model, or one that cannot be copied.

    Source: Krishnamoorthi 1806.08342, equations 20 and 21.
    """
    original, closed = opened(model, holds_norm)
    fold = Fold(used_in(original))
    new = rewrite(original, fold.visit)
    kept = (*fold.kept.values(), *closed)
    return Rewritten(new, FoldReport(tuple(fold.done.values()), kept))


def holds_norm(layer: Any) -> bool:
    """Whether a layer has a BatchNormalization inside."""
    return any(is_norm(part) for _, part in parts(layer))


def used_in(model: Any) -> dict[int, int]:
    """id of each operation -> how many of the models (outer and nested) call it."""
    uses: dict[int, int] = {}
    for _, flow in flows(model):
        for operation in {id(node.operation) for node in flow.nodes}:
            uses[operation] = uses.get(operation, 0) + 1
    return uses


@dataclass
class Fold:
    """Folds on the way through a model; `visit` is what `rewrite` wants.

    Args:
        uses: how many models call each operation.
        done, kept: rows, filled on the way.
    """

    uses: dict[int, int]
    done: dict[str, Done] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)

    def visit(self, flow: Flow, path: str, copies: Copies) -> Any:
        """The interpreter of one model's calls."""
        norms = {id(n.operation): n.operation for n in flow.nodes if is_norm(n.operation)}
        folds: dict[int, Any] = {}
        for norm in norms.values():
            where = f"{path}{norm.name}"
            if reason := obstacle(flow, norm, self.uses):
                self.kept.setdefault(where, Kept(where, reason))
                continue
            layer = flow.producer[flow.calls_of(norm)[0].inputs[0]].operation
            folds[id(layer)] = norm
            name = f"{path}{layer.name}"
            self.done.setdefault(name, Done(name, str(norm.name)))
        self._wrapped(flow, path)
        return _Calls(flow, copies, folds)

    def _wrapped(self, flow: Flow, path: str) -> None:
        """Rows for those inside Keras' wrappers."""
        for layer in {id(n.operation): n.operation for n in flow.nodes}.values():
            if is_nested(layer) or not isinstance(layer, keras.layers.Layer) or not is_own(layer):
                continue
            for inner, part in parts(layer):
                if is_norm(part) and part is not layer:
                    where = f"{path}{layer.name}{inner}"
                    self.kept[where] = Kept(where, f"it stands inside a {type(layer).__name__}")


@dataclass
class _Calls:
    flow: Flow
    copies: Copies
    folds: dict[int, Any]  # id of a linear layer -> the BatchNormalization that it takes in

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = node.operation
        if operation in self.folds.values():
            return args[0] if args else next(iter(kwargs.values()))
        norm = self.folds.get(id(operation))
        if norm is None or self.copies.made(operation) is not None:
            return self.copies(node, args, kwargs)
        config = with_bias(operation.get_config(), operation)
        name = self.copies.free_name(operation.name)
        new = type(operation).from_config({**config, "name": name})
        self.copies.hold(operation, new)
        outputs = new(*args, **kwargs)
        give_folded(new, operation, norm)
        return outputs


def give_folded(new: Any, layer: Any, norm: Any) -> None:
    """Assign the weights of a layer with a BatchNormalization folded in.

    Args:
        new: built copy of the layer, with a bias.
        layer, norm: the originals.
    """
    row = linear_of(layer)
    assert row is not None
    a, d = map_of(norm)
    kernel = values(getattr(layer, row.kernel))
    getattr(new, row.kernel).assign(fold_kernel(kernel, a, row.outputs))
    if row.first != row.kernel:
        getattr(new, row.first).assign(values(getattr(layer, row.first)))
    new.bias.assign(fold_bias(None if layer.bias is None else values(layer.bias), a, d))


def map_of(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """(factor, offset) of a BatchNormalization in inference, float64[C] each."""
    return norm_map(
        values(norm.moving_mean),
        values(norm.moving_variance),
        float(norm.epsilon),
        None if norm.gamma is None else values(norm.gamma),
        None if norm.beta is None else values(norm.beta),
    )


def values(variable: Any) -> np.ndarray:
    """A Keras variable as numpy."""
    return np.asarray(keras.ops.convert_to_numpy(variable.value))


def is_norm(operation: Any) -> bool:
    """Whether a layer is Keras' BatchNormalization itself."""
    return type(operation) is keras.layers.BatchNormalization


def obstacle(flow: Flow, norm: Any, uses: dict[int, int]) -> str:
    """Why a BatchNormalization cannot go into the layer before it; "" if it can."""
    calls = flow.calls_of(norm)
    before = [flow.producer.get(call.inputs[0]) for call in calls]
    if any(node is None for node in before):
        return "it reads the model's input"
    layer = before[0].operation  # type: ignore[union-attr]
    row = linear_of(layer)
    if row is None:
        return f"it follows {layer.name} ({type(layer).__name__}), no layer that can take it in"
    if any(node.operation is not layer for node in before):  # type: ignore[union-attr]
        return "it is shared between different layers"
    if len(flow.calls_of(layer)) != len(calls):
        return f"{layer.name} is shared and also used without it"
    if uses.get(id(layer), 1) > 1 or uses.get(id(norm), 1) > 1:
        return f"{layer.name} or it is also used inside another model"
    if any(flow.only_reader(node.output) is None for node in before):  # type: ignore[union-attr]
        return f"what {layer.name} gives is read elsewhere too"
    return _unfit(calls, norm, layer)


def _unfit(calls: list[Node], norm: Any, layer: Any) -> str:
    """The rest of `obstacle`: about the two layers themselves."""
    rank = len(calls[0].inputs[0].shape)
    axis = int(norm.axis) % rank
    if axis != channel_axis(layer, rank):
        return f"it normalizes axis {axis}, and {layer.name} has its channels on another"
    if any(call.kwargs.get("training") for call in calls) or any(True in c.args for c in calls):
        return "it is called with training=True: it normalizes by the batch in inference too"
    if any(call.kwargs.get("mask") is not None for call in calls):
        return "it is called with a mask"
    return is_plain(layer)
