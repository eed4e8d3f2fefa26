"""The float model with chosen weights and tensors rounded, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.emit.simulate import insert
from tfq_ext.repair.layerwise import with_codes
from tfq_ext.spec import QParams
from tfq_ext.tflite.read import Model


def probe(pivot: Model, weights: Mapping[str, WeightCodes], grids: Mapping[str, QParams]) -> bytes:
    """A float file in which only these are rounded.

    Args:
        pivot: float model, not changed.
        weights: constant -> codes; the constant becomes the reals that they stand for (exact).
        grids: activation tensor -> grid, 8 or 16 bits, by a FAKE_QUANT op.

    Source: Krishnamoorthi 1806.08342, section 2.4 (simulated quantization).
    """
    model = with_codes(pivot, weights)
    for graph in model.graphs:
        for name, grid in grids.items():
            if name in graph.by_name:
                insert(graph, graph.by_name[name], grid)
    return model.to_bytes()
