"""`auto`, last look: trunks and the few noisiest grids, tried on the finished file itself.

Emitting takes a tenth of a second, so the question "which range gives the better output?" can be
put to the real kernels. Min-max everywhere competes as a whole: `auto` is never worse than that on
the held-back samples.

Grids that are added up are also narrowed and widened together: what one of them lets pass the next
clips, so that none gains alone. In the last trunk of MobileNetV2 (7 x 7 x 160, heavy tails) 0.3
times the 99.99th percentiles gave 23.9 dB instead of 21.3, and no single grid over 22.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tfq_ext.emit.emitters import emit, emitter_for
from tfq_ext.emit.plan import Plan
from tfq_ext.repair.climbing import Search, summed
from tfq_ext.repair.ranges import RangeChoice, by_name
from tfq_ext.repair.reference import Reference
from tfq_ext.repair.watch import Watch, unwatched
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import Range
from tfq_ext.tflite.read import Model

GRIDS = 12  # the noisiest; on MobileNetV2 the next 18 gained 0.06 dB more
MAX_TRIES = 120
JUDGES = 60  # samples
BYTES_TRIED = 1.7e9  # tries x model size: 120 for MobileNetV2, 16 for ResNet-50


@dataclass(frozen=True)
class Polished:
    """The plan with the better ranges.

    Args:
        plan, ranges: as they came, with some ranges replaced.
        tried: variant -> output SQNR on the held-back samples, dB.
    """

    plan: Plan
    ranges: tuple[RangeChoice, ...]
    tried: Mapping[str, float]


def polish(
    pivot: Model,
    plan: Plan,
    ranges: Sequence[RangeChoice],
    held_back: Sequence[Sample],
    *,
    more: Sequence[Sample] = (),
    repaired: Model | None = None,
    threads: int = 2,
    watch: Watch = unwatched,
) -> Polished:
    """Try other ranges for the noisiest grids on emitted files.

    Args:
        pivot, plan, ranges: what was chosen so far.
        held_back: samples that judge, and on which `tried` is reported.
        more: calibration samples that judge too; the few ranges that are tried here hardly adapt
            to them, and 40 more gained 0.3 dB on new images (MobileNetV2).
        repaired: what is emitted, where it is not the pivot (corrected biases).
        threads: for LiteRT.
        watch: wraps the list of grids that are tried, for a progress bar.

    The number of tries depends on the model's size only, so that equal inputs give equal bytes.
    """
    score = Score(pivot, plan, [*held_back, *more][:JUDGES], threads, repaired=repaired)
    open_rows = [k for k, row in enumerate(ranges) if row.noise]
    rows = list(ranges)
    minmax = [replace(r, range=r.widest, calibrator="minmax") if r.noise else r for r in ranges]
    best, first = score(by_name(rows)), score(by_name(minmax))
    if first > best:
        best, rows = first, list(minmax)
    search = Search(score, rows, best, int(min(MAX_TRIES, BYTES_TRIED / max(score.size, 1))))
    outputs = {graph.name(t) for graph in pivot.graphs for t in graph.outputs}
    open_rows = [k for k in open_rows if not outputs & set(rows[k].tensors)]  # logits are settled
    groups = summed(pivot, rows, open_rows)
    for group in watch(groups, label="trying on the file, trunks", total=len(groups)):
        search.together(group)
    order = sorted(open_rows, key=lambda k: -min(ranges[k].noise.values()))[:GRIDS]
    for k in watch(order, label="trying on the file", total=len(order)):
        search.alone(k)
    rows = search.rows
    report = Score(pivot, plan, held_back, threads, repaired=repaired)
    variants = {"minmax": minmax, "auto": ranges, "polished": rows}
    tried = {name: report(by_name(variant)) for name, variant in variants.items()}
    if tried["polished"] < tried["minmax"]:
        rows, tried["polished"] = list(minmax), tried["minmax"]
    return Polished(replace(plan, ranges=by_name(rows)), tuple(rows), tried)


class Score:
    """Output SQNR (dB) of the file that a set of ranges gives, against the float model.

    Args:
        pivot: the float model.
        plan: everything but the ranges.
        samples: on which outputs are compared.
        threads: for LiteRT.
        repaired: what is emitted, where it is not the pivot itself.
    """

    def __init__(
        self,
        pivot: Model,
        plan: Plan,
        samples: Sequence[Sample],
        threads: int,
        *,
        repaired: Model | None = None,
    ):
        self._emitted = repaired or pivot
        # XNNPACK runs no 4-bit kernels: the same codes stored as int8 are judged 20 times faster.
        weights = {name: replace(w, stored="int8") for name, w in plan.weights.items()}
        self._plan = replace(plan, weights=weights, input_type="float32", output_type="float32")
        self._reference = Reference(pivot.to_bytes(), samples, threads=threads)
        self.size = self._reference.size

    def __call__(self, ranges: Mapping[str, Range]) -> float:
        """Emit with these ranges by tensor name and run; mean over the outputs, dB."""
        plan = replace(self._plan, ranges=ranges)
        return self._reference.sqnr(emit(emitter_for("static", plan), self._emitted, plan).content)
