"""Weights to codes: the grid of a weight, and a table of rounders onto it."""

from tfq_ext.rounding.better import better_than_nearest
from tfq_ext.rounding.grid import SCALES, weight_params
from tfq_ext.rounding.job import Job, Learning
from tfq_ext.rounding.layer_data import LayerData, Patches, apply_rows, squared_error
from tfq_ext.rounding.nearest import nearest
from tfq_ext.rounding.rows import from_rows, to_rows
from tfq_ext.rounding.table import ROUNDERS, Rounder, parse_rounder

__all__ = [
    "ROUNDERS",
    "SCALES",
    "Job",
    "LayerData",
    "Learning",
    "Patches",
    "Rounder",
    "apply_rows",
    "better_than_nearest",
    "from_rows",
    "nearest",
    "parse_rounder",
    "squared_error",
    "to_rows",
    "weight_params",
]
