"""What the recipe says of every layer, as quantizers to be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfq_ext.errors import RecipeError
from tfq_ext.qat.kinds import channel_axes, kind_of
from tfq_ext.qat.layers import ChannelScale
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS
from tfq_ext.recipe import OpChoice, Recipe
from tfq_ext.rewrite.graph import Flow, Node
from tfq_ext.spec import Range

BY_LARGEST = 8  # bits from which on the grid may follow the largest weight; fewer are learned


@dataclass(frozen=True)
class Wishes:
    """How the quantizers of a model are made.

    Args:
        recipe: bits per op, rules, floats.
        weights, activations: entries of WEIGHT_QUANTIZERS and ACTIVATION_QUANTIZERS; weights=None
            takes "max" at 8 bits and "lsq" below.
    """

    recipe: Recipe
    weights: str | None = None
    activations: str = "ema"

    def __post_init__(self) -> None:
        if not self.recipe.needs_ranges:
            raise RecipeError(
                "Training needs a recipe of mode 'static', or 'simulate' for activations without "
                f"kernels; got {self.recipe.mode!r}. Files with float activations need no "
                "training: tfq.quantize makes them."
            )
        self._refuse_untrained_grids()
        if self.weights is not None:
            WEIGHT_QUANTIZERS[self.weights]
        ACTIVATION_QUANTIZERS[self.activations]

    def _refuse_untrained_grids(self) -> None:
        """Of mode "simulate": grids that no quantizer trains."""
        grid = self.recipe.activations
        if not self.recipe.weights.symmetric:
            raise RecipeError("Weights train on symmetric grids: leave weights.symmetric as it is.")
        if grid.symmetric != (grid.bits == 16):
            raise RecipeError(
                f"Activations of {grid.bits} bits train with symmetric = {grid.bits == 16}."
            )

    def weight_quantizer(self, layer: Any, variable: str, choice: OpChoice, name: str) -> Any:
        """The quantizer of one weight."""
        bits = choice.weight_bits if kind_of(layer).int4 else 8
        kind = self.weights or ("max" if bits >= BY_LARGEST else "lsq")
        if isinstance(layer, ChannelScale):
            kind = "max"  # one weight a channel: exact
        axes = channel_axes(layer, variable) if choice.per_channel else ()
        return WEIGHT_QUANTIZERS[kind](bits=bits, axes=axes or None, name=name)

    def activation_quantizer(self, name: str, bits: int, slots: int) -> Any:
        """The quantizer of one group of tensors."""
        settings: dict[str, Any] = {"bits": bits, "symmetric": bits == 16, "name": name}
        if self.activations == "ema":
            settings["slots"] = slots
        return ACTIVATION_QUANTIZERS[self.activations](**settings)


def choose(flow: Flow, recipe: Recipe) -> Mapping[Node, OpChoice]:
    """What the recipe says of every call; a rule's `tensor` is the layer's name."""
    weighted = [n for n in flow.nodes if "kernel" in kind_of(n.operation).weights]
    at = {}
    if weighted:
        at[weighted[0]] = frozenset({"first"})
        at[weighted[-1]] = at.get(weighted[-1], frozenset()) | {"last"}
    return {
        node: recipe.for_op(
            kind_of(node.operation).op, node.operation.name, at.get(node, frozenset())
        )
        for node in flow.nodes
    }


def fixed_range(recipe: Recipe, node: Node | None, name: str) -> Range | None:
    """The range that a rule fixes for a tensor, by the name of the layer that makes it."""
    code = kind_of(node.operation).op if node is not None else ""
    return recipe.for_tensor(name, code).range
