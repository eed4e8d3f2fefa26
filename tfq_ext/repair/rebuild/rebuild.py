"""The hook of the walk: before each layer runs, round its weight and match its bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.repair.layerwise import Walk
from tfq_ext.repair.rebuild.matching import correctable, match
from tfq_ext.repair.rebuild.moments import Wanted, layer_data, pooled_source, readable
from tfq_ext.repair.weights import Layer, WeightChoice
from tfq_ext.rounding import LayerData

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


class Rebuilder:
    """Called by the walk before each op.

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

    def __call__(self, walk: Walk, k: int) -> None:
        """Round op `k`'s weight on what reaches it, then match its bias."""
        layer = self._layers.get(k)
        if layer is None:
            return
        found = self.rebuilt.weights
        if layer.weight not in found:
            found[layer.weight] = self._choose(layer, layer_data(layer, k, walk, self._wanted))
        codes = found[layer.weight].codes
        walk.change(k, int(layer.op.inputs[layer.fact.weight]), codes.params.decode(codes.codes))
        if self._correct and correctable(layer):
            assert layer.fact.bias is not None
            name = layer.graph.name(int(layer.op.inputs[layer.fact.bias]))
            self.rebuilt.biases[name] = match(layer, k, walk)
