"""Tables and figures of the whitepaper that need training: what is read, and what is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from _paper import Cells, Claim, Found, Grid, Lab, Published, Row, beside, percent, settled
from _paper_tune import WAYS, tuned
from _qat_plan import FLOAT, METHODS, Run, Settings
from _qat_queue import Job
from _qat_results import Results

Drop = tuple[float, float, float]
EXACT = 0.99  # of the answers: a file rounds each accumulator as Keras does, but for ties
CLOSE = 0.02  # of top-1, between 8-bit training and float: 1500 images tell no less apart


@dataclass(frozen=True)
class Outcome:
    """What one way of training gave on one network.

    Args:
        network: as tables call it.
        method: of METHODS or WAYS.
        accuracy: top-1 in Keras, a share; the mean over seeds.
        lost: (drop, lo, hi) against float that was fine-tuned as long; None for float.
        how: steps, where.
        row: of the log, with what else there is.
        seeds: over how many the accuracy is a mean.
    """

    network: str
    method: str
    accuracy: float
    lost: Drop | None
    how: str
    row: Row
    seeds: int = 1

    @property
    def drop(self) -> str:
        """Points lost with their paired 95 % interval."""
        if self.lost is None:
            return ""
        drop, lo, hi = (100 * value for value in self.lost)
        return f"{drop:+.2f} ({lo:+.2f} .. {hi:+.2f})"


@cache
def _results(folder: Path, data: Path) -> Results:
    with np.load(data, allow_pickle=False) as archive:
        labels = np.asarray(archive["y_test"]).ravel()
    return Results(Job(data, folder, Settings()), labels)


def bench_results(lab: Lab) -> Results | None:
    """The folder of bench_qat, if it was given with its images."""
    return None if lab.qat is None or lab.cifar is None else _results(lab.qat, lab.cifar)


def read(lab: Lab, method: str) -> Iterator[Outcome]:
    """From the folder of bench_qat."""
    results = bench_results(lab)
    if results is None or method not in METHODS:
        return
    for base in results.bases():
        group = results.group(base, method)
        reference = group and results.baseline(base, group.seeds)
        if group is None or reference is None:
            continue
        found = None if method == FLOAT else results.against(group, reference)
        lost = None if found is None else (found.drop, found.lo, found.hi)
        ids = [f"{title_id(base)}-s{seed}.{method}" for seed in group.seeds]
        row = results.runs[ids[0]]
        steps = int(row["every"]) * len(row["trace"])
        how = f"{steps} steps of {row.get('batch', '?')}, {row['backend']}"
        files = [results.files[i]["agreement"] for i in ids if i in results.files]
        same = {"as_keras": float(np.mean(files))} if files else {}
        yield Outcome(
            title(base), method, group.accuracy, lost, how, {**row, **same}, len(group.seeds)
        )


def title_id(base: Run) -> str:
    """The id of a run without seed and method."""
    return f"{base.net}-{base.width:g}-{base.relu}"


def title(base: Run) -> str:
    """What a network of bench_qat is called here."""
    relu = ", ReLU" if base.relu == "relu" else ""
    name = {"mobilenet": f"MobileNetV2 x {base.width:g}", "resnet20": "ResNet-20"}
    return f"{name.get(base.net, base.net)}{relu}, CIFAR-10"


def made(lab: Lab, method: str) -> Iterator[Outcome]:
    """Trained here, on every ground that has this way."""
    for ground in lab.grounds.values():
        row = tuned(lab, ground, method)
        if row is not None:
            lost = row["drop"] and tuple(row["drop"])
            how = f"{ground.steps} steps of 64, this CPU"
            yield Outcome(ground.network.name, method, row["accuracy"], lost, how, row)


def outcomes(lab: Lab, method: str) -> dict[str, Outcome]:
    """By network and how it was trained: those that were read, and those made here."""
    found = [*read(lab, method), *made(lab, method)]
    return {f"{one.network} ({one.how})": one for one in found}


def column(lab: Lab, network: str, method: str) -> str:
    """Top-1 of a network for a cell: longer training first; "" if nobody trained it."""
    for one in (*read(lab, method), *made(lab, method)):
        if one.network == network:
            return (
                f"{percent(one.accuracy)} (lost {one.drop})" if one.lost else percent(one.accuracy)
            )
    return ""


def line_up(lab: Lab, methods: tuple[str, ...]) -> list[tuple[str, list[Outcome | None]]]:
    """Networks that have all of these methods, or the first and any other."""
    found = {method: outcomes(lab, method) for method in methods}
    keys = dict.fromkeys(key for one in found.values() for key in one)
    lines = [(key, [found[m].get(key) for m in methods]) for key in keys]
    return [(key, row) for key, row in lines if sum(one is not None for one in row) > 1]


def cell(one: Outcome | None) -> str:
    if one is None:
        return ""
    seeds = f"{one.seeds} seed{'s' if one.seeds > 1 else ''}"
    return f"{percent(one.accuracy)}, {seeds}" + (f"; lost {one.drop}" if one.lost else "")


def table_4(lab: Lab, published: Published) -> Found:
    """8-bit training, by layer and by channel."""
    methods = (FLOAT, "w8-tensor", "w8")
    lines = line_up(lab, methods)
    ours: list[Cells] = [(f"{key}", *map(cell, row), _litert(row[-1])) for key, row in lines]
    grid = beside(published, ours, TOP_1, ["same class in LiteRT, %"])
    return Found((grid,), tuple(_claims_4(lines)), notes=(LOST,))


TOP_1 = "Top-1, %, in Keras; lost: points against float that was fine-tuned as long, paired 95 %"
LOST = (
    "Steps are of so many images. The float column of ours is the float network after as many "
    "steps, so that further training itself is no gain of quantization."
)


def _litert(one: Outcome | None) -> str:
    share = one.row.get("as_keras") if one else None
    return percent(share, 2)


def _claims_4(lines: list[tuple[str, list[Outcome | None]]]) -> Iterator[Claim]:
    for key, (_, tensor, channel) in lines:
        if channel is None or channel.lost is None:
            continue
        yield Claim(
            f"{key}: 8-bit training by channel comes within {percent(CLOSE, 0)} points of float "
            "(or its interval reaches there)",
            f"lost {channel.drop} points",
            channel.lost[1] <= CLOSE,
            settled(key),
        )
        if (share := channel.row.get("as_keras")) is not None:
            text = f"{key}: the exported file answers as Keras ({percent(EXACT, 0)} % of images)"
            yield Claim(text, f"{percent(share, 2)} %", share >= EXACT)
        if tensor is not None:
            apart = channel.accuracy - tensor.accuracy
            yield Claim(
                f"{key}: trained, one scale a layer is within {percent(CLOSE, 0)} points of one a "
                "channel",
                f"{100 * apart:+.2f} points",
                apart <= CLOSE,
                must=False,
            )


def rounding(lab: Lab, published: Published) -> Found:
    """Deterministic against stochastic rounding in training, both evaluated to nearest."""
    lines = line_up(lab, (FLOAT, "w4-max", "w4-stochastic"))
    header = ("network", "float, fine-tuned", "deterministic", "stochastic")
    grid = Grid(TOP_1, header, tuple((key, *map(cell, row)) for key, row in lines))
    claims = []
    for key, (_, one, other) in lines:
        if one and other:
            gain = one.accuracy - other.accuracy
            text = f"{key}: deterministic rounding trains no worse than stochastic (slack 1 point)"
            claims.append(Claim(text, f"{100 * gain:+.2f} points", gain >= -0.01, must=False))
    return Found((grid,), tuple(claims))


def average(lab: Lab, published: Published) -> Found:
    """Trained weights against their moving average."""
    rows, claims = [], []
    for key, one in outcomes(lab, "w4-average").items():
        plain, mean = one.row["weights"], one.row["average"]
        decay = WAYS["w4-average"].average
        rows.append((key, f"{decay}", percent(plain, 2), percent(mean, 2), _kept(plain, mean)))
        text = f"{key}: the average of the weights is no better than the weights (slack 1 point)"
        claims.append(
            Claim(text, f"{100 * (mean - plain):+.2f} points", mean <= plain + 0.01, False)
        )
    header = ("network", "decay a step", "weights", "average", "kept by `Schedule(average=...)`")
    grid = Grid("Top-1, % in Keras, 4-bit weights", header, tuple(rows))
    return Found((grid,), tuple(claims))


def _kept(weights: float, mean: float) -> str:
    return "average" if mean > weights else "weights"
