"""A file in a second that tells which of two models will be easier to quantize."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfq_ext.emit.emitters import emit
from tfq_ext.emit.plan import Plan
from tfq_ext.recipe import Recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.ranges import by_name, choose_ranges

CLOSE = 0.25  # dB; what is nearer than that to the best is worth a real file


def sketch(calibrated: Calibrated, recipe: Recipe) -> bytes:
    """The float model with its activations rounded, on ranges from their distributions alone.

    Good weight rounding costs 8 bits little (30 dB and more), so activations tell which model is
    better. A recipe's own ranges are respected.
    """
    assert calibrated.stats is not None
    model = calibrated.pivot.model
    quick = recipe.changed(calibrator="percentile:99.99", output_calibrator="mse")
    rows, _ = choose_ranges(model, calibrated.stats, quick, fixed=calibrated.fixed)
    plan = Plan(ranges=by_name(rows))
    return emit("simulate", model, plan, activation=recipe.activations.spec).content


def promising(
    ways: Mapping[str, Calibrated], recipe: Recipe, judge: Callable[[bytes], float]
) -> list[str]:
    """Names of the ways that a file is worth making of, the best first.

    Args:
        ways: the same model in several forms.
        recipe: of the file; its rules and its activations count.
        judge: of a file's bytes, dB.
    """
    scores = {name: judge(sketch(way, recipe)) for name, way in ways.items()}
    order = sorted(scores, key=lambda name: -scores[name])
    return [name for name in order if scores[name] >= scores[order[0]] - CLOSE]
