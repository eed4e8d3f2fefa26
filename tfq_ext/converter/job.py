"""What one `convert()` does: a recipe to follow, or the plain converter's work and why."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfq_ext.converter.modes import REFUSED, Asked, Mode, mode_of, unfollowed
from tfq_ext.converter.recipes import build
from tfq_ext.errors import RecipeError, TfqWarning
from tfq_ext.recipe import Recipe
from tfq_ext.result import Result


@dataclass(frozen=True)
class Own:
    """The attributes that tf.lite.TFLiteConverter does not have, as the user set them."""

    calibrator: str | None = None
    rounding: str | None = None
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None
    strict: bool | None = None


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Args:
        mode: what TensorFlow's attributes ask for.
        recipe: how; None: the plain converter does it.
        why: it does, for the warning; "" where TensorFlow's file is what was asked for.
        integers_only: ops that stay float are worth a warning.
    """

    mode: Mode
    recipe: Recipe | None = None
    why: str = ""
    integers_only: bool = False

    @property
    def file(self) -> str:
        """Name of what comes out, a key of `metadata.OPTIMIZATION` where it is quantized."""
        if self.recipe is None:
            return self.mode.name
        if self.recipe.mode == "static":
            return "int16x8" if self.recipe.activations.name == "int16" else "int8"
        return self.recipe.mode


def job_of(settings: Any, own: Own) -> Job:
    """The job that a plain converter's attributes and our own ones describe.

    Raises:
        RecipeError: they contradict each other.
    """
    try:
        asked = Asked.of(settings)
    except (TypeError, AttributeError):  # the plain converter knows how to complain
        return Job(REFUSED)
    mode = mode_of(asked)
    extras = ", ".join(unfollowed(settings, mode.name))
    if own.recipe is not None:
        if extras:
            warn(f"Not followed, for recipe decides: {extras}.")
        return Job(mode, _recipe(own.recipe, settings, asked, own, own.strict))
    if mode.recipe is None:
        _refuse_unread(mode, own)
        return Job(mode, why=mode.why)
    if extras:
        return Job(mode, why=f"tfq_ext does not follow {extras}")
    only = not asked.allows_float and own.strict is None
    # TensorFlow raises for an op without a 16x8 kernel, and is silent for one without int8.
    strict = True if only and mode.name == "int16x8" else own.strict
    recipe = _recipe(mode.recipe, settings, asked, own, strict)
    return Job(mode, recipe, integers_only=only and mode.name == "int8")


def _recipe(base: Any, settings: Any, asked: Asked, own: Own, strict: bool | None) -> Recipe:
    return build(
        base, settings, asked, calibrator=own.calibrator, rounding=own.rounding, strict=strict
    )


def _refuse_unread(mode: Mode, own: Own) -> None:
    """Our attributes without any quantization: who writes them expects something."""
    stated = [name for name in ("calibrator", "rounding") if getattr(own, name) is not None]
    if stated and mode.name == "float":
        raise RecipeError(
            f"{' and '.join(stated)} set, but nothing is to be quantized. Set optimizations = "
            "[tf.lite.Optimize.DEFAULT] (and representative_dataset), or recipe."
        )


def warn_of_float_ops(result: Result) -> None:
    """Name the ops that stayed float although only integer ops were asked for."""
    rows = result.account.float_ops
    if rows:
        listed = "; ".join(f"{row.op} {row.tensor!r}: {row.reason}" for row in rows[:5])
        warn(
            f"TFLITE_BUILTINS_INT8 alone is asked for, but {len(rows)} op(s) stay float. {listed}. "
            "strict = True makes it an error, strict = False accepts it."
        )


def warn(text: str) -> None:
    """A TfqWarning that points at the user's line."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("tfq_ext."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, TfqWarning, stacklevel=level)
