"""Files of a network, judged together: simulated grids as the whitepaper's, and our recipes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from _paper import Lab, Row
from _paper_networks import Network

from tfq_ext.emit.emitters import emit
from tfq_ext.pipeline import calibrate, finish
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.choosing import choose
from tfq_ext.repair.planning import op_choices
from tfq_ext.tflite.zipped import zipped_size
from tfq_ext.validation.accuracy import Accuracy, evaluate
from tfq_ext.validation.inspection import inspect
from tfq_ext.validation.inspection.sizes import METADATA, REST, SCALES

FLOAT = "float"
THREADS = 2
SIMULATED = "sim, "  # begins the names of such files in the log


@dataclass(frozen=True)
class Scheme:
    """Which grids are simulated: the whitepaper's, ranges by min and max, nothing repaired.

    Args:
        bits: of the weights; None: they stay float.
        symmetric, per_channel: grid of the weights.
        activations: bits of the activations, asymmetric, per tensor; None: they stay float.
    """

    bits: int | None = 8
    symmetric: bool = True
    per_channel: bool = True
    activations: int | None = None

    @property
    def name(self) -> str:
        """In the log."""
        a = "float" if self.activations is None else f"a{self.activations}"
        if self.bits is None:
            return f"{SIMULATED}activations alone, {a}"
        grid = f"{'' if self.symmetric else 'a'}symmetric"
        return (
            f"{SIMULATED}w{self.bits} {grid} by {'channel' if self.per_channel else 'layer'}, {a}"
        )

    def recipe(self) -> Recipe:
        """Both kinds of grid; `simulated` takes out what stays float."""
        weights = {"symmetric": self.symmetric, "per_channel": self.per_channel}
        return load_recipe(
            {
                "mode": "simulate",
                "calibrator": "minmax",
                "output_calibrator": "minmax",
                "bias": "keep",
                "weights": {"bits": self.bits or 8, **weights},
                "activations": {"bits": self.activations or 8, "symmetric": False},
            }
        )


def simulated(network: Network, scheme: Scheme) -> bytes:
    """A float file that computes on the reals which the scheme's grids leave."""
    recipe = scheme.recipe()
    seen = _seen(network)
    draft = choose(seen, recipe, op_choices(seen.pivot.model, recipe), THREADS, False)
    plan = draft.plan
    if scheme.bits is None:
        plan = replace(plan, weights={})
    if scheme.activations is None:
        plan = replace(plan, ranges={})
    return emit("simulate", draft.model, plan, activation=recipe.activations.spec).content


def _seen(network: Network) -> Any:
    """Statistics of the calibration samples, observed once."""
    made = network.__dict__
    if "_seen" not in made:
        data = network.calibration
        made["_seen"] = calibrate(network.pivot, data, Scheme().recipe(), show_progress=False)
    return made["_seen"]


def by_recipe(network: Network, recipe: str | Mapping[str, Any]) -> bytes:
    """The file that `tfq quantize --recipe` makes."""
    wanted = load_recipe(recipe)
    data = network.calibration if wanted.needs_data else None
    seen = calibrate(network.pivot, data, wanted, show_progress=False)
    return finish(seen, wanted, show_progress=False).content


def schemes(network: Network, wanted: Mapping[str, Scheme]) -> dict[str, Callable[[], bytes]]:
    """Name in the log -> what makes the file."""
    return {scheme.name: partial(simulated, network, scheme) for scheme in wanted.values()}


def recipes(network: Network, names: Mapping[str, Any]) -> dict[str, Callable[[], bytes]]:
    """Name in the log -> what makes the file."""
    return {name: partial(by_recipe, network, recipe) for name, recipe in names.items()}


def judged(lab: Lab, network: Network, files: Mapping[str, Callable[[], bytes]]) -> dict[str, Row]:
    """What each file is worth on the network's images; "float" is always among them.

    Files that the log has are not made again; the others are judged in one pass.
    """
    wanted = {FLOAT: lambda: network.pivot.model.to_bytes(), **files}
    known = lab.log.rows("file")
    missing = [name for name in wanted if f"{network.id}: {name}" not in known]
    if missing:
        start = time.perf_counter()
        contents = {name: wanted[name]() for name in dict.fromkeys((FLOAT, *missing))}
        making = time.perf_counter() - start
        found = evaluate(contents, network.judges(), reference=FLOAT, threads=THREADS)
        each = (time.perf_counter() - start) / len(missing)
        lab.tell(f"{network.name}: {len(missing)} files made in {making:.1f} s, judged")
        for name in missing:
            row = _row(found[name], contents[name], simulated=name.startswith(SIMULATED))
            lab.write("file", f"{network.id}: {name}", row, each)
    known = lab.log.rows("file")
    return {name: known[f"{network.id}: {name}"] for name in wanted}


def _row(found: Accuracy, content: bytes, *, simulated: bool) -> Row:
    """For the log; what a simulation weighs tells nothing."""
    drop, found_in = found.drop, inspect(content, weights=False).parts
    return {
        "n": found.n,
        "top1": found.top1,
        "top1_interval": found.top1_interval,
        "drop": drop and [drop.drop, drop.lo, drop.hi],
        "agreement": found.agreement,
        "sqnr_db": found.sqnr_db if math.isfinite(found.sqnr_db) else None,
        "bytes": len(content),
        "constants": len(content) - sum(found_in.get(part, 0) for part in (REST, SCALES, METADATA)),
        "zipped": None if simulated else zipped_size(content),
    }


def level(row: Row) -> float:
    """SQNR in dB, to compare; infinite where nothing differs."""
    return math.inf if row["sqnr_db"] is None else float(row["sqnr_db"])
