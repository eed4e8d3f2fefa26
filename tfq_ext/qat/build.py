"""quantize_aware(): a float Keras model becomes one that trains on its integers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import ModelError, RecipeError, SpecError, TfqWarning
from tfq_ext.qat.choices import Wishes, choose, fixed_range
from tfq_ext.qat.conv_bn import MODES, FoldedBatchNorm
from tfq_ext.qat.decompose import decompose
from tfq_ext.qat.grids import Group, Placement, foldable, place
from tfq_ext.qat.kinds import kind_of
from tfq_ext.qat.layers import ChannelScale, Quantized, qat_layers
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS
from tfq_ext.qat.start import start_ranges, start_weights
from tfq_ext.recipe import OpChoice, Recipe, load_recipe
from tfq_ext.rewrite.copies import Copies, give_weights
from tfq_ext.rewrite.flat import flat
from tfq_ext.rewrite.graph import Flow, Node, Ref, is_functional, read_flow, replay

keras = need("keras", why="Quantization-aware training")
FOLDING = (*MODES, "static")


def quantize_aware(
    model: Any,
    data: Any = None,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    weight_bits: int | None = None,
    weights: str | None = None,
    activations: str = "ema",
    batch_norm: str = "corrected",
    calibrator: str | None = None,
    equalize: bool = False,
) -> Any:
    """A copy of a float model that computes as its integer file will; train it, then export it.

    Args:
        model: Keras 3 model, trained: functional, sequential, nested, or subclassed out of layers.
        data: arrays or batches from which activation ranges and learned scales start; 100 to 500
            samples. Without it the first training batch starts them.
        recipe: bits per layer, as for `quantize`: a preset, file, mapping or Recipe. A rule's
            `tensor` is a layer's name.
        weight_bits: 8, 4 or 2 for every weight; short for a recipe.
        weights: entry of WEIGHT_QUANTIZERS; None: "max" at 8 bits, "lsq" below.
        activations: entry of ACTIVATION_QUANTIZERS.
        batch_norm: "corrected" (moving statistics in the weights, batch statistics behind them),
            "naive" (batch statistics in the weights), "static" (folded once, before training).
        calibrator: how ranges start, as for `quantize`; None: the recipe's, "minmax" for "auto".
        equalize: cross-layer equalization first.

    Returns:
        A functional keras.Model, not compiled; its layers keep their names. `qat.report` tells what
        is quantized and what stays float, and why.

    Raises:
        ModelError: the model cannot be copied or followed; the message says what to do.
        RecipeError, SpecError: settings that no integer file has.
        DataError: the data does not fit the model.
    """
    if batch_norm not in FOLDING:
        raise SpecError(f"batch_norm must be one of {', '.join(FOLDING)}; got {batch_norm!r}.")
    wishes = Wishes(_recipe(recipe, weight_bits), weights, activations)
    refuse_quantized(model)
    plain = flat(model, like=None if is_functional(model) else _one_batch(data))
    if equalize or batch_norm == "static":
        plain = _rewritten(plain, equalize)
    flow = read_flow(decompose(plain))
    builder = _Builder(flow, wishes, place(flow, foldable(flow)), choose(flow, wishes.recipe))
    if batch_norm != "static":
        builder.mode = batch_norm
    qat = replay(flow, builder, head=builder.head)
    start_weights(qat)
    if data is not None and not (activations == "ema" and _untrained(model)):
        start_ranges(qat, data, calibrator or _calibrator(wishes.recipe))
    elif activations not in ("ema", "fixed"):
        raise SpecError(f"activations={activations!r} starts from ranges: give data.")
    return qat


def _untrained(model: Any) -> bool:
    """Whether a BatchNormalization has seen nothing yet; its inference then says nothing of
    training, and ranges chosen on it would clip the first batches to nearly nothing."""
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__name__ == "BatchNormalization" and layer.built:
            fresh = np.all(_numpy(layer.moving_variance) == 1)
            if fresh and not np.any(_numpy(layer.moving_mean)):
                warnings.warn(
                    f"{layer.name!r} has never been trained, so the data does not tell which "
                    "ranges training needs: the first batch starts them. From random weights, "
                    "let Schedule(quantize_after=...) wait before it switches quantizers on.",
                    TfqWarning,
                    stacklevel=3,
                )
                return True
    return False


def _recipe(recipe: Any, weight_bits: int | None) -> Recipe:
    found = load_recipe(recipe)
    if found.search is not None:
        raise RecipeError(
            "search chooses widths of finished files, and training has none yet. Let tfq search "
            "write a recipe, and give that one."
        )
    if weight_bits is None:
        return found
    weights = found.weights.model_dump() | {"bits": weight_bits}
    return load_recipe({"base": found, "weights": weights})


def _calibrator(recipe: Recipe) -> str:
    return "minmax" if recipe.calibrator == "auto" else recipe.calibrator


def _one_batch(data: Any) -> Any:
    from tfq_ext.qat.batches import first_batch

    return None if data is None else first_batch(data)


def _rewritten(plain: Any, equalize: bool) -> Any:
    from tfq_ext import rewrite

    return rewrite.equalize(plain).model if equalize else rewrite.fold_batch_norm(plain).model


def refuse_quantized(model: Any) -> None:
    """Raise if the model trains on integers already, or Keras quantized it."""
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"Got {type(model).__name__}, not a Keras 3 model. For tf_keras models see "
            "tfq_ext.qat.tfmot; a .keras file: keras.models.load_model(path)."
        )
    if next(qat_layers(model), None) is not None:
        raise ModelError(f"Model {model.name!r} is quantization-aware already.")
    for layer in model.layers:
        if getattr(layer, "quantization_mode", None):
            raise ModelError(
                f"Layer {layer.name!r} is quantized by Keras ({layer.quantization_mode}). Give the "
                "model from before model.quantize()."
            )


@dataclass
class _Builder:
    """Interprets the float model's calls as calls of quantized layers."""

    flow: Flow
    wishes: Wishes
    placement: Placement
    choices: Mapping[Node, OpChoice]
    mode: str = "corrected"
    copies: Copies = field(default_factory=Copies)
    made: dict[str, Any] = field(default_factory=dict)

    def head(self, ref: Ref, tensor: Any) -> Any:
        """What readers of a model input read."""
        return self._rounded(ref, tensor)

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the float model."""
        args, kwargs = self._on_the_way(node, args, kwargs)
        before = self.placement.folds.get(node)
        if before is not None and not self.choices[before].keep_float:
            outputs = args[0]  # done by the layer before
        else:
            outputs = self._call(node, args, kwargs)
        found = [
            self._rounded(ref, tensor)
            for ref, tensor in zip(node.results, keras.tree.flatten(outputs), strict=False)
        ]
        return found[0] if len(found) == 1 else found

    def _call(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = node.operation
        made: Any = self.copies.made(layer)
        if made is not None:
            return made(*args, **kwargs)
        choice = self.choices[node]
        norm = self.norms.get(node)
        if norm is not None and not choice.keep_float:
            return self._with_norm(node, norm, args[0])
        if self._is_lone_norm(node) and not choice.keep_float:
            return self._lone_norm(node, args[0])
        if kind_of(layer).weights and not choice.keep_float:
            return self._with_weights(node, args[0], choice)
        return self.copies(node, args, kwargs)

    def _on_the_way(self, node: Node, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Inputs that are rounded once more for this reader alone."""

        def rounded(ref: Any, tensor: Any) -> Any:
            spot = self.placement.into.get((node, ref)) if isinstance(ref, Ref) else None
            return tensor if spot is None else self._quantizer(spot[0])(tensor, slot=spot[1])

        if node not in self.detours:
            return args, kwargs
        both = keras.tree.map_structure(rounded, (node.args, dict(node.kwargs)), (args, kwargs))
        return both

    def _rounded(self, ref: Ref, tensor: Any) -> Any:
        spot = self.placement.at.get(ref)
        if spot is None:
            return tensor
        return self._quantizer(spot[0])(tensor, slot=spot[1])

    def _quantizer(self, group: Group) -> Any:
        if group.name not in self.made:
            self.made[group.name] = self._new_quantizer(group)
        return self.made[group.name]

    def _new_quantizer(self, group: Group) -> Any:
        recipe, maker = self.wishes.recipe, group.maker
        choice = self.choices.get(maker) if maker is not None else None
        bits = choice.activation_bits if choice else recipe.activations.bits
        name = self.copies.free_name(group.name)
        fixed = fixed_range(recipe, maker, group.name.removesuffix("_range"))
        ends = (fixed.min, fixed.max) if fixed is not None else group.fixed
        if fixed is None and ends is not None and bits == 16:
            ends = ends[0], ends[1] * (256 / 255) * (32767 / 32768)  # 1/32768 a step
        if ends is not None:
            return ACTIVATION_QUANTIZERS["fixed"](
                min=ends[0], max=ends[1], bits=bits, symmetric=bits == 16, name=name
            )
        return self.wishes.activation_quantizer(name, bits, len(group.sources))

    def _with_weights(self, node: Node, x: Any, choice: OpChoice) -> Any:
        layer = node.operation
        names = [n for n in kind_of(layer).weights if getattr(layer, n, None) is not None]
        penalty = layer.activity_regularizer
        config = layer.get_config()
        config |= {"activity_regularizer": None} if penalty is not None else {}
        inner = type(layer).from_config(config)
        quantizers = {
            n: self.wishes.weight_quantizer(layer, n, choice, f"{layer.name}_{n}") for n in names
        }
        name = self.copies.free_name(layer.name)
        new = Quantized(inner, quantizers, name=name, activity_regularizer=penalty)
        self.copies.hold(layer, new)
        y = new(x)
        give_weights(new.layer, layer)
        return y

    @cached_property
    def norms(self) -> dict[Node, Node]:
        """Layer's call -> the call of the BatchNormalization that folds into it."""
        return {before: norm for norm, before in self.placement.folds.items()}

    @cached_property
    def detours(self) -> set[Node]:
        """Calls that read some input rounded once more."""
        return {node for node, _ in self.placement.into}

    def _with_norm(self, node: Node, norm_node: Node, x: Any) -> Any:
        layer, norm = node.operation, norm_node.operation
        if layer.activity_regularizer is not None:
            warnings.warn(
                f"The activity_regularizer of {layer.name!r} is left out: what it looks at lies "
                f"before {norm.name!r}, which is folded. Put it on a layer behind that one.",
                TfqWarning,
                stacklevel=2,
            )
        off = {"use_bias": False, "bias_axes": None}
        off |= {"bias_regularizer": None, "bias_constraint": None}
        config = layer.get_config()
        config |= {name: value for name, value in off.items() if name in config}
        new = self._folded(node, type(layer).from_config(config), norm, self.choices[node])
        y = new(x)
        new.layer.set_weights([_numpy(layer.kernel)])
        give_weights(new.norm, norm)
        if getattr(layer, "bias", None) is not None:  # the mean swallows it
            new.norm.moving_mean.assign(_numpy(norm.moving_mean) - _numpy(layer.bias))
        return y

    def _folded(self, node: Node, inner: Any, norm: Any, choice: OpChoice) -> Any:
        layer = node.operation
        quantizer = self.wishes.weight_quantizer(inner, "kernel", choice, f"{layer.name}_kernel")
        copied = type(norm).from_config(norm.get_config())
        name = self.copies.free_name(layer.name)
        new = FoldedBatchNorm(inner, copied, quantizer, mode=self.mode, name=name)
        return self.copies.hold(layer, new)

    def _is_lone_norm(self, node: Node) -> bool:
        lone = node.kind == "BatchNormalization" and node not in self.placement.folds
        return lone and node.operation.axis in (
            -1,
            len(node.output.shape) - 1,
        )

    def _lone_norm(self, node: Node, x: Any) -> Any:
        inner = ChannelScale(use_bias=False, trainable=False, name=f"{node.operation.name}_scale")
        choice = replace(self.choices[node], per_channel=True)
        new = self._folded(node, inner, node.operation, choice)
        y = new(x)
        give_weights(new.norm, node.operation)
        return y


def _numpy(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
