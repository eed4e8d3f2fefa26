"""What a search found: the recipe, what it is worth, and the curve that it lies on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfq_ext.recipe import Recipe
from tfq_ext.search.costs import CostTable
from tfq_ext.search.goal import Goal


@dataclass(frozen=True)
class Worth:
    """Size, speed and loss of one file.

    Args:
        size: bytes.
        sqnr_db: of the outputs, dB.
        ms: of one run; None where latency was not asked for.
        drop: of the task's main metric against the float model; None without labels.
        metrics: of the task.
        kl, agreement: as in `SensitivityRow`.
    """

    size: float
    sqnr_db: float
    ms: float | None = None
    drop: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    kl: float | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class Point:
    """One choice on the curve.

    Args:
        label: "w8 throughout", "found", or "" for a budget in between.
        forecast: by the additive model.
        sqnr_db: measured on a file of these widths.
        greedy_db: forecast of the greedy choice within the same budget; None where there is none.
        widths: how many layers with weights have which width.
    """

    label: str
    forecast: Worth
    sqnr_db: float
    greedy_db: float | None
    widths: Mapping[str, int]


@dataclass(frozen=True)
class LayerWidth:
    """What one layer got.

    Args:
        layer, op: output tensor and code.
        width: "w8", "w4", "a16", "w4a16", "float", "a8".
        elements: weight values, 0 without.
        loss_db: SQNR of the outputs with this layer's weights alone in that width; None without.
        w4_db: the same in 4 bits; None where 4 bits were not looked at.
    """

    layer: str
    op: str
    width: str
    elements: int
    loss_db: float | None
    w4_db: float | None


@dataclass(frozen=True)
class Found:
    """The end of a search.

    Args:
        recipe: `tfq quantize --recipe` makes the measured file of it, bit for bit.
        goal: the budgets.
        layers: in execution order.
        forecast: by the additive model.
        measured: on the file that the recipe makes.
        base: the file with 8 bits throughout.
        greedy: forecast of the greedy choice for the same task; None where it finds none.
        points: the curve, by size.
        rounds: files that were finished and measured.
        samples: how many measured.
        float_metrics: the task's metrics of the float model.
        main: the metric that `drop` is about; None without labels.
        costs: the times that were used; None where latency was not asked for.
    """

    recipe: Recipe
    goal: Goal
    layers: tuple[LayerWidth, ...]
    forecast: Worth
    measured: Worth
    base: Worth
    greedy: Worth | None
    points: tuple[Point, ...]
    rounds: int
    samples: int
    float_metrics: Mapping[str, float]
    main: str | None = None
    costs: CostTable | None = None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recipe, as `Recipe.save` does."""
        return self.recipe.save(path)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the curve: a .png, .svg or .pdf.

        Raises:
            OutputError: it cannot be written.
        """
        from tfq_ext.report.search_text import plot_found

        return plot_found(self, path)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {name: _plain(value) for name, value in fields.items() if name != "recipe"}
        return {"recipe": self.recipe.to_dict(), **plain}

    def to_json(self) -> str:
        """The same as text; null stands for infinite levels."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.search_text import found_text

        return found_text(self)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return value
