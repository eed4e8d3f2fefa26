"""Per-node data that Google's Model Explorer lays over the graph of the .tflite.

One JSON file a metric: output tensor's name -> value, with a colour gradient. Open the .tflite in
Model Explorer, then load the files as custom node data.

Source: `GraphNodeData` in ai-edge-model-explorer's node_data_builder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tfq_ext.report.html.rows import profile_of
from tfq_ext.report.machine import dumps
from tfq_ext.validation.verdict import NotChecked, Validation

LESS_IS_GOOD = ("#0072b2", "#f7f7f7", "#d55e00")  # from the least value to the greatest
MORE_IS_GOOD = LESS_IS_GOOD[::-1]
_LAYERS = {  # file -> (title, field of LayerRow, colours)
    "own_sqnr_db": ("own SQNR, dB", "own_sqnr_db", MORE_IS_GOOD),
    "sqnr_db": ("SQNR so far, dB", "sqnr_db", MORE_IS_GOOD),
    "max_error_lsb": ("largest error, LSB", "max_error_lsb", LESS_IS_GOOD),
}


def model_explorer(v: Validation) -> dict[str, str]:
    """File name -> JSON text, one a metric that was measured."""
    return {
        f"{file}.json": dumps(_node_data(title, colours, values)) + "\n"
        for file, title, colours, values in _metrics(v)
        if values
    }


def _node_data(title: str, colours: tuple[str, ...], values: dict[str, float]) -> dict[str, Any]:
    return {
        "name": title,
        "results": {tensor: {"value": value} for tensor, value in values.items()},
        "gradient": [
            {"stop": k / (len(colours) - 1), "bgColor": colour} for k, colour in enumerate(colours)
        ],
    }


def _metrics(v: Validation) -> Iterator[tuple[str, str, tuple[str, ...], dict[str, float]]]:
    if not isinstance(v.comparison, NotChecked):
        for file, (title, field, colours) in _LAYERS.items():
            found = {row.tensor: getattr(row, field) for row in v.comparison.rows}
            yield file, title, colours, {t: x for t, x in found.items() if _finite(x)}
    profile = profile_of(v)
    if profile is not None and profile.available:
        times = {op.tensor: op.ms for op in profile.ops if op.tensor and _finite(op.ms)}
        yield "time_ms", "time, ms", LESS_IS_GOOD, times


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
