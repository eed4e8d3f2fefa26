"""A pivot with what was observed of it: where every choice starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.result import Note
from tfq_ext.emit.to_float import Pivot
from tfq_ext.repair.beliefs.belief import Belief
from tfq_ext.repair.trained import Trained
from tfq_ext.samples import Samples
from tfq_ext.spec import Range


@dataclass(frozen=True)
class Calibrated:
    """A rewritten pivot with its statistics; several recipes may be finished from one.

    Args:
        pivot: float model after the passes.
        rewritten: pass -> tensors that it touched.
        stats: of all samples; None where the recipe needs none.
        judged: of the held-back samples alone.
        samples: those that are not held back.
        held_back: samples that judge `auto`'s candidates.
        fixed: input tensor -> range known from the preprocessing.
        norms: tensor -> what BatchNormalization remembers of it, before the op's activation.
        remarks: what is to be said of statistics that nobody observed.
        kept: folder of rounded weights that an interrupted run goes on from.
        trained: what fake quantization in the model prescribes; None without it.
    """

    pivot: Pivot
    rewritten: Mapping[str, Sequence[str]]
    stats: Stats | None = None
    judged: Stats | None = None
    samples: Samples | None = None
    held_back: Samples | None = None
    fixed: Mapping[str, Range] = field(default_factory=dict)
    trained: Trained | None = None
    kept: Path | None = None
    norms: Mapping[str, Belief] = field(default_factory=dict)
    remarks: tuple[Note, ...] = ()

    @property
    def observed(self) -> Stats | None:
        """The statistics, if samples gave them and not what BatchNormalization remembers."""
        return None if self.samples is None else self.stats
