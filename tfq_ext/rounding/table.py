"""The table of rounders; the contract tests cover every entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import RecipeError
from tfq_ext.rounding.a2q import a2q, a2q_grid, accumulator_bits
from tfq_ext.rounding.adaround import learned_codes, patch_error
from tfq_ext.rounding.gpfq import gpfq, hard, soft, sparse_gpfq, stochastic_gpfq
from tfq_ext.rounding.gptq import RIDGE, gptq
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.layer_data import LayerData, squared_error
from tfq_ext.rounding.nearest import nearest
from tfq_ext.rounding.shared import shared
from tfq_ext.rounding.ternary import by_channel, by_group, ternary_codes, ternary_grid
from tfq_ext.spec import QParams


@dataclass(frozen=True)
class Rounder:
    """Chooses the codes of one weight.

    Args:
        round: Job -> int8[C, n] codes in `params.spec`.
        needs_data: False if it can work from the weight alone.
        doc: one line for `tfq recipes`.
        argument: default of the number in `name:number`; None: it takes none.
        grid: of a job on the recipe's grid, the grid of the same spec that the rounder wants
            (ternary); None: the recipe's.
        bits: its codes need no more than these, whatever the recipe says; None: the recipe's.
        note: (job, codes) -> words for the account on what came out; "" for none.
        trades: what it buys with output error ("zeros", "distinct values"); "": nothing.
        takes_data: works from the weight alone, but better with data.
        error: (weight, what the codes stand for, data) -> float64[C], the output error that it
            lowers: before the activation on all positions, or after it on patches.

    Laws (tests/contracts): codes lie in the grid; a fixed seed gives fixed bytes; permuting the
    output channels permutes the codes; no channel's `error` on the data is worse than
    nearest rounding's, and weights on the grid stay there (unless the rounder has its own grid,
    or trades error for something).
    """

    round: Callable[[Job], np.ndarray]
    needs_data: bool
    doc: str
    argument: float | None = None
    grid: Callable[[Job], QParams] | None = None
    bits: int | None = None
    note: Callable[[Job, np.ndarray], str] | None = None
    trades: str = ""
    takes_data: bool = False
    error: Callable[[np.ndarray, np.ndarray, LayerData], np.ndarray] = squared_error

    @property
    def on_data(self) -> bool:
        """Whether the layer's inputs are worth collecting."""
        return self.needs_data or self.takes_data


def data_of(job: Job) -> LayerData:
    """What the job knows of its layer's inputs; the caller keeps `Rounder.needs_data`."""
    assert job.data is not None
    return job.data


def _argument(job: Job) -> float:
    assert job.argument is not None
    return job.argument


def _sparse(job: Job) -> tuple[np.ndarray, QParams, LayerData, float]:
    return job.weight, job.params, data_of(job), _argument(job)


def share_of_zeros(job: Job, codes: np.ndarray) -> str:
    """For the account: how sparse the weight is, and would be by nearest rounding."""
    zero = np.asarray(job.params.zero_point).reshape(-1, 1)
    found, plain = (np.mean(c == zero) for c in (codes, nearest(job.weight, job.params)))
    return f"{found:.0%} zeros (nearest: {plain:.0%})"


def ternary_zeros(job: Job, codes: np.ndarray) -> str:
    """For the account: how many weights are left out."""
    return f"ternary, {np.mean(job.whole(codes) == 0):.0%} zeros"


def ternary_groups(job: Job, codes: np.ndarray) -> str:
    """The same, and that LiteRT's kernels know nothing of groups."""
    return (
        f"{ternary_zeros(job, codes)}; group scales are whole steps of the channel's: LiteRT's "
        "kernels have no scale of a group, and multiply each weight"
    )


def _ternary_groups(doc: str, two_sided: bool = False) -> Rounder:
    def grid(job: Job) -> QParams:
        return ternary_grid(job, by_group(job, two_sided=two_sided), job.params.spec.qmax)

    return Rounder(
        lambda job: ternary_codes(job, by_group(job, two_sided=two_sided)),
        needs_data=False,
        doc=doc,
        argument=4,
        grid=grid,
        note=ternary_groups,
        trades="ternary codes",
        takes_data=True,
    )


ROUNDERS: Table[Rounder] = Table(
    "rounder",
    {
        "nearest": Rounder(
            lambda job: nearest(job.weight, job.params),
            needs_data=False,
            doc="each weight to its nearest code",
        ),
        "gptq": Rounder(
            lambda job: gptq(job.weight, job.params, data_of(job), ridge=_argument(job)),
            needs_data=True,
            doc="errors paid back by inputs to come; a number: ridge of a target on the prefix",
            argument=RIDGE,
        ),
        "adaround": Rounder(
            learned_codes,
            needs_data=True,
            doc="up or down learned on the layer's output, activation included, in so many steps",
            argument=1000,
            error=patch_error,
        ),
        "gpfq": Rounder(
            lambda job: gpfq(job.weight, job.params, data_of(job)),
            needs_data=True,
            doc="each code takes up the error that the inputs before it left",
        ),
        "sgpfq": Rounder(
            lambda job: stochastic_gpfq(job.weight, job.params, data_of(job), job.seed),
            needs_data=True,
            doc="gpfq, rounding up or down by chance",
        ),
        "gpfq_soft": Rounder(
            lambda job: sparse_gpfq(*_sparse(job), shrink=soft),
            needs_data=True,
            doc="gpfq for zeros: weights shrink by this many steps first (L1)",
            argument=0.25,
            note=share_of_zeros,
            trades="zeros",
        ),
        "gpfq_hard": Rounder(
            lambda job: sparse_gpfq(*_sparse(job), shrink=hard),
            needs_data=True,
            doc="gpfq for zeros: what lies within this many steps of 0 becomes 0 (L0)",
            argument=1.0,
            note=share_of_zeros,
            trades="zeros",
        ),
        "twn": Rounder(
            lambda job: ternary_codes(job, by_channel(job)),
            needs_data=False,
            doc="ternary: -1, 0, 1 times a scale a channel, stored in 4 bits",
            grid=lambda job: ternary_grid(job, by_channel(job), steps=1),
            bits=2,
            note=ternary_zeros,
            trades="ternary codes",
            takes_data=True,
        ),
        "fgq": _ternary_groups("ternary in groups of this many input channels (0: all of them)"),
        "fgq_two": _ternary_groups("fgq, negative weights with a scale of their own", True),
        "shared": Rounder(
            shared,
            needs_data=False,
            doc="at most this many distinct codes in a tensor, so that the file zips well",
            argument=16,
            note=lambda job, codes: f"{np.unique(codes).size} distinct codes",
            trades="distinct values",
            takes_data=True,
        ),
        "a2q": Rounder(
            a2q,
            needs_data=False,
            doc="codes that cannot overflow an accumulator of this many bits",
            argument=16,
            grid=a2q_grid,
            note=lambda job, codes: f"at most {accumulator_bits(job, codes)} accumulator bits",
            trades="accumulator bits",
            takes_data=True,
        ),
    },
)


def parse_rounder(text: str) -> Rounder:
    """The entry that a recipe's text names, its argument set: "gptq", "gpfq_soft:0.1".

    Raises:
        UnknownName: no such rounder.
        RecipeError: a number for a rounder that takes none, or no number.
    """
    name, _, number = text.partition(":")
    rounder = ROUNDERS[name]
    if not number:
        return rounder
    if rounder.argument is None:
        raise RecipeError(f"rounding: got {text!r}, but {name!r} takes no number.")
    try:
        return replace(rounder, argument=float(number))
    except ValueError:
        raise RecipeError(f"rounding: got {text!r}, but {number!r} is no number.") from None
