"""Weights to codes: the grid of a weight, and a table of rounders onto it."""

from tfq_ext.rounding.grid import SCALES, weight_params
from tfq_ext.rounding.nearest import nearest
from tfq_ext.rounding.table import ROUNDERS, LayerData, Rounder

__all__ = ["ROUNDERS", "SCALES", "LayerData", "Rounder", "nearest", "weight_params"]
