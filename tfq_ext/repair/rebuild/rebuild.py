"""The hook of the walk: before a layer runs on the prefix, round its weight and match its bias."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.recipe import Recipe
from tfq_ext.repair.layerwise import Walk
from tfq_ext.repair.rebuild.matching import correctable, match
from tfq_ext.repair.rebuild.moments import Wanted, layer_data, pooled_source, readable
from tfq_ext.repair.weights import Layer, WeightChoice, choose_weight
from tfq_ext.rounding import LayerData, parse_rounder
from tfq_ext.rounding.kept import Kept
from tfq_ext.spec import Range
from tfq_ext.tflite.read import Graph

Choose = Callable[[Layer, LayerData], WeightChoice]


@dataclass
class Rebuilt:
    """What the walks chose.

    Args:
        weights: constant -> codes.
        biases: constant -> corrected values, float32[C].
    """

    weights: dict[str, WeightChoice] = field(default_factory=dict)
    biases: dict[str, np.ndarray] = field(default_factory=dict)


def wants_rebuild(recipe: Recipe, rows: Sequence[Layer]) -> bool:
    """Whether some weight is rounded on its layer's inputs, or biases are corrected."""
    if not recipe.needs_data:
        return False
    return recipe.bias == "match" or any(_on_data(layer) for layer in rows)


def _on_data(layer: Layer) -> bool:
    return layer.choice.weight_scale == "output" or parse_rounder(layer.choice.rounding).on_data


def rebuilder(
    graph: Graph,
    rows: Sequence[Layer],
    ranges: Mapping[str, Range],
    recipe: Recipe,
    into: Rebuilt,
    trained: Container[str] = (),
    kept: Kept | None = None,
) -> Rebuilder | None:
    """For one subgraph; None where it has no layers to rebuild.

    Args:
        graph: of the pivot.
        rows: from `layers`.
        ranges: observed, for the floor under the scales of near-dead channels.
        recipe: seed, bias.
        into: where choices go.
        trained: constants whose codes are prescribed.
        kept: codes of an earlier run that was interrupted.
    """
    index = {id(op): k for k, op in enumerate(graph.ops)}
    mine = {
        index[id(layer.op)]: layer
        for layer in rows
        if layer.graph is graph and not layer.choice.keep_float and layer.weight not in trained
    }
    if not mine:
        return None
    half = {name: r.scaled(0.5) for name, r in ranges.items()}  # ranges may be clipped later
    learns = any(layer.choice.rounding.startswith("adaround") for layer in mine.values())
    return Rebuilder(
        mine,
        lambda layer, data: choose_weight(layer, half, recipe, data, kept),
        wanted=Wanted(patches=learns, seed=recipe.seed),
        correct=recipe.bias == "match",
        into=into,
    )


class Rebuilder:
    """Called by the walk between the two runs of each op.

    Args:
        layers: op index -> layer, for the layers of one subgraph whose weights are to be chosen.
        choose: rounds one weight, given its layer's data.
        wanted: how much data a layer gets.
        correct: match biases.
        into: where choices go; a weight that is there already (shared with an earlier op) stays.
    """

    def __init__(
        self,
        layers: Mapping[int, Layer],
        choose: Choose,
        *,
        wanted: Wanted,
        correct: bool,
        into: Rebuilt,
    ) -> None:
        self._layers = {k: layer for k, layer in layers.items() if readable(layer)}
        self._choose, self._wanted, self._correct = choose, wanted, correct
        self.rebuilt = into

    @property
    def kept(self) -> set[int]:
        """Tensors that the walk must keep until a dense layer behind a MEAN has been rounded."""
        sources = (pooled_source(layer) for layer in self._layers.values())
        return {t for t in sources if t is not None}

    def __call__(self, walk: Walk, k: int) -> bool:
        """Round op `k`'s weight on what reaches it, then match its bias, which runs the op."""
        layer = self._layers.get(k)
        if layer is None:
            return False
        found = self.rebuilt.weights
        if layer.weight not in found:
            found[layer.weight] = self._choose(layer, layer_data(layer, k, walk, self._wanted))
        codes = found[layer.weight].codes
        walk.change(k, int(layer.op.inputs[layer.fact.weight]), codes.params.decode(codes.codes))
        if not (self._correct and correctable(layer)):
            return False
        assert layer.fact.bias is not None
        name = layer.graph.name(int(layer.op.inputs[layer.fact.bias]))
        self.rebuilt.biases[name] = match(layer, k, walk)
        return True
