"""A recipe with a budget, finished: widths first, then the file that they make."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from tfq_ext.emit.result import Note
from tfq_ext.errors import DataError
from tfq_ext.pipeline import finish
from tfq_ext.recipe import Recipe, Search
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.result import Result
from tfq_ext.samples import progress
from tfq_ext.search.found import Worth
from tfq_ext.search.goal import Goal
from tfq_ext.search.materials import check, in_bits
from tfq_ext.search.pose import pose
from tfq_ext.search.rounds import Rounds
from tfq_ext.search.study import judges_of, plainly, study_of
from tfq_ext.validation.gate.bounds import UNITS

ROUNDS = 5
KEPT = "8 bits stay everywhere"


def settled(
    calibrated: Calibrated,
    recipe: Recipe,
    *,
    threads: int = 2,
    show_progress: bool | None = None,
) -> Result:
    """Search the widths within the recipe's budgets, and give back the file that was measured.

    Args:
        calibrated: from `calibrate`, with samples.
        recipe: with `search`.
        threads, show_progress: as for `finish`.

    Returns:
        Result: its recipe has the widths as rules and no search; `finish` makes the same bytes of
        it. A note in the account tells what was chosen. Where nothing keeps to `max_loss`, the
        file has 8 bits throughout, and the note says why.

    Raises:
        RecipeError: there is nothing to choose.
        DataError: no choice is within `max_size`; the sentence names the nearest.
    """
    wanted, search = plainly(recipe), recipe.search
    assert search is not None
    check(calibrated, wanted)
    study = study_of(
        calibrated,
        wanted,
        judges_of(calibrated),
        bits=(8, 4) if "w4" in search.choices else (8,),
        notebook=_notebook(calibrated),
        threads=threads,
        show_progress=show_progress,
    )
    content = study.materials.base.content
    base = Worth(len(content), study.noted("8 bits throughout", lambda: content).sqnr_db)
    plain = partial(finish, calibrated, in_bits(wanted, 8), threads=threads)
    if search.max_loss is not None and not math.isfinite(base.sqnr_db):
        why = f"their outputs have {base.sqnr_db} dB"
        return _with_note(plain(show_progress=show_progress), f"{KEPT}: {why}")
    watch = partial(progress, enabled=show_progress)
    problem = pose(study, search.choices, None, watch)
    loop = Rounds(study, problem, _goal(search, base), None, None, ROUNDS, watch)
    try:
        end = loop.run()
    except DataError as error:
        if search.max_size is not None:
            raise
        return _with_note(plain(show_progress=show_progress), f"{KEPT}: {error}")
    return _with_note(loop.result(end.recipe), _told(loop, end.choice, end.worth, base))


def _goal(search: Search, base: Worth) -> Goal:
    """The relative budgets as absolute ones."""
    size, level = None, None
    if search.max_size is not None:
        size = int(search.max_size * base.size)
    if search.max_loss is not None:
        level = base.sqnr_db - search.max_loss
        level = level if search.enough is None else min(level, search.enough)
    return Goal(max_size=size, min_sqnr=level)


def _notebook(calibrated: Calibrated) -> Path | None:
    """Beside the codes that an interrupted run goes on from."""
    kept = calibrated.kept
    return kept and kept.with_name(f"{kept.name}.jsonl")


def _told(loop: Rounds, choice: tuple[int, ...], worth: Worth, base: Worth) -> str:
    """How many layers have which width, and what that is worth."""
    widths = loop.widths(choice)
    units = [unit for unit in loop.study.materials.units if unit.weight]
    count = Counter(widths[unit.name].name for unit in units)
    layers = ", ".join(f"{n} {name}" for name, n in count.most_common())
    show = UNITS["bytes"].show
    return (
        f"layers with weights: {layers}; {show(worth.size)} at {worth.sqnr_db:.1f} dB, 8 bits "
        f"throughout {show(base.size)} at {base.sqnr_db:.1f} dB, on {loop.study.meter.count} "
        "samples; each layer's width is a rule of the recipe"
    )


def _with_note(result: Result, sentence: str) -> Result:
    notes = (Note("search", "", sentence), *result.account.notes)
    return replace(result, account=replace(result.account, notes=notes))
