"""Calibrators: from one tensor's statistics to the range its integers cover."""

from __future__ import annotations

from tfq_ext._table import Table
from tfq_ext.calibrate.choosers import analytic, entropy, extremes, grid, similarity
from tfq_ext.calibrate.choosers.entry import (
    BoundChooser,
    Chooser,
    Distribution,
    Parameter,
    bind,
)
from tfq_ext.calibrate.choosers.logits import choose_logits, cross_entropy, logit_candidates
from tfq_ext.errors import RecipeError

__all__ = [
    "AUTO",
    "AUTO_CANDIDATES",
    "BoundChooser",
    "CHOOSERS",
    "CHOOSER_NAMES",
    "Chooser",
    "Distribution",
    "choose_logits",
    "cross_entropy",
    "logit_candidates",
    "parse",
]

CHOOSERS: Table[Chooser] = Table(
    "calibrator",
    {
        "minmax": Chooser(extremes.minmax, "everything observed"),
        "ema": Chooser(
            extremes.ema,
            "moving average of each sample's min and max",
            Parameter("decay", 0.99, 0.0, 0.9999, closed=True),
            order_dependent=True,
        ),
        "percentile": Chooser(
            extremes.percentile,
            "all but the outermost 100 - p percent at each end",
            Parameter("p", 99.99, 50.0, 100.0),
        ),
        "mse": Chooser(grid.mse, "least mean squared error", criterion=grid.mse_error),
        "lp": Chooser(
            grid.lp,
            "least mean |error|^p",
            Parameter("p", 2.4, 1.0, 6.0, closed=True),
            criterion=grid.lp_error,
        ),
        "kl": Chooser(entropy.kl, "TensorRT's entropy rule", criterion=entropy.kl_divergence_of),
        "aciq": Chooser(analytic.aciq, "best clip for a fitted Gauss or Laplace"),
        "octav": Chooser(
            analytic.octav, "MSE-optimal clip by Newton's iteration", criterion=analytic.octav_error
        ),
        "cosine": Chooser(
            similarity.cosine, "least angle to the float", criterion=similarity.cosine_distance
        ),
    },
)

AUTO = "auto"  # compares candidates at the outputs of a tensor's consumers, so it needs the graph
CHOOSER_NAMES: tuple[str, ...] = (*CHOOSERS, AUTO)

# What auto tries; minmax comes first so that it wins ties. ema is out, as its order dependence
# would become auto's. percentile 99.9 is in only because auto measures: applied to every tensor of
# MobileNetV2 it left 70.5 % agreement with float, where 99.99 left 95.4 %.
AUTO_CANDIDATES: tuple[str, ...] = (
    "minmax",
    "percentile:99.999",
    "percentile:99.99",
    "percentile:99.9",
    "lp:2.4",
    "mse",
    "octav",
    "kl",
)


def parse(text: str) -> BoundChooser:
    """The calibrator that "name" or "name:number" spells, for example "percentile:99.99".

    Raises:
        UnknownName: no such calibrator; the message lists those that are.
        RecipeError: a wrong number, or "auto", which needs the model's graph.
    """
    name, colon, argument = text.strip().partition(":")
    if name == AUTO:
        raise RecipeError(
            "Calibrator 'auto' compares its candidates in the model's graph, so it cannot choose "
            f"from one tensor's statistics. Use it in quantize(), or one of: {', '.join(CHOOSERS)}."
        )
    if name not in CHOOSERS:
        Table("calibrator", dict.fromkeys((*CHOOSERS, AUTO)))[name]  # raises, with "auto" listed
    return bind(name, CHOOSERS[name], argument if colon else None)
