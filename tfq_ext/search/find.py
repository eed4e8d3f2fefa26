"""tfq_ext.find_recipe: how many bits each layer gets, under budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfq_ext.errors import DataError
from tfq_ext.recipe import Recipe
from tfq_ext.repair.watch import Watch
from tfq_ext.samples import Preprocess, progress
from tfq_ext.search.choices import check_choices
from tfq_ext.search.costs import CostTable, measure_costs
from tfq_ext.search.found import Found, LayerWidth, Point
from tfq_ext.search.goal import Goal
from tfq_ext.search.greedy import greedy
from tfq_ext.search.meter import decibel
from tfq_ext.search.mixed import solve
from tfq_ext.search.pose import pose
from tfq_ext.search.problem import Task
from tfq_ext.search.rounds import Rounds, Tried
from tfq_ext.search.study import MEASURED_ON, Study, open_study

POINTS = 7
ROUNDS = 5


def find_recipe(
    model: object,
    data: object,
    *,
    max_size: Any = None,
    max_latency: Any = None,
    min_sqnr: Any = None,
    max_drop: Any = None,
    choices: Sequence[str] | None = None,
    costs: CostTable | str | Path | None = None,
    points: int = POINTS,
    rounds: int = ROUNDS,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    evaluation: object = None,
    labels: Any = None,
    task: str | None = None,
    output: str | None = None,
    label_offset: int = 0,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    measure_on: int | None = MEASURED_ON,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    checkpoint: Path | None = None,
    verbose: bool = False,
    show_progress: bool | None = None,
) -> Found:
    """Choose the bits of every layer by integer programming, and check the file that they make.

    Each width of each layer is measured alone; noise powers add; the solver finds the least
    noise within the budgets, or the least bytes within a bound on the loss; the file is made and
    measured, and where the forecast was wrong the budget is tightened and the solver asked again.

    Args:
        max_size, max_latency, min_sqnr, max_drop: budgets, numbers (bytes, ms, dB, a share) or
            texts ("1.2MB", "5ms", "25dB", "0.5%"); at least one. `max_drop` needs labels.
        choices: of "w4", "w8", "a16", "float"; None: w4, w8 and float, with `max_latency` also
            a16 (16-bit activations are slow on CPUs, which only a latency budget sees).
        costs: milliseconds by layer and width; None: measured here if `max_latency` is given.
        points: budgets between the least and the most bytes whose files make the curve.
        rounds: files that may be finished.
        model, data and the rest: as `sensitivity` takes them.

    Returns:
        Found: `.recipe`, `.save(path)`, `.plot(path)`; printing it shows widths and the curve.

    Raises:
        RecipeError: a budget or choice that makes no sense.
        DataError: no choice is within the budgets; the sentence names the nearest.
    """
    goal = Goal(max_size, max_latency, min_sqnr, max_drop)
    names = check_choices(choices or _usual(goal))
    table = CostTable.load(costs) if isinstance(costs, str | Path) else costs
    judged: dict[str, Any] = {"evaluation": evaluation, "labels": labels, "task": task}
    judged |= {"output": output, "label_offset": label_offset, "measure_on": measure_on}
    taken: dict[str, Any] = {"preprocess": preprocess, "limit": limit, "checkpoint": checkpoint}
    shape: dict[str, Any] = {"signatures": signatures, "batch": batch}
    shape |= {"custom_objects": custom_objects, "verbose": verbose}
    run: dict[str, Any] = {"threads": threads, "show_progress": show_progress}
    bits = (8, 4) if "w4" in names else (8,)
    study = open_study(model, data, recipe=recipe, bits=bits, **judged, **taken, **shape, **run)
    if goal.max_drop is not None and study.meter.main is None:
        raise DataError("max_drop is measured on labelled samples: give evaluation= and labels=.")
    watch = partial(progress, enabled=show_progress)
    effort = {"points": points, "rounds": rounds}
    return search(study, goal, names, table=table, limit=limit, watch=watch, **effort)


def _usual(goal: Goal) -> tuple[str, ...]:
    timed = goal.max_latency is not None
    return ("w4", "w8", "a16", "float") if timed else ("w4", "w8", "float")


def search(
    study: Study,
    goal: Goal,
    names: Sequence[str],
    *,
    table: CostTable | None,
    points: int,
    rounds: int,
    limit: int | None,
    watch: Watch,
) -> Found:
    """Everything after the study is open."""
    if table is None and goal.max_latency is not None:
        table = _timed(study, names, watch)
    problem = pose(study, names, table, watch)
    loop = Rounds(study, problem, goal, table, limit, max(rounds, 1), watch)
    end = loop.run()
    curve = tuple(_curve(loop, end, points, watch))
    by_hand = greedy(problem, _task(loop, end))
    return Found(
        recipe=end.recipe,
        goal=goal,
        layers=tuple(_layers(loop, end)),
        forecast=end.forecast,
        measured=end.worth,
        base=loop.base(),
        greedy=None if by_hand is None else loop.forecast(by_hand),
        points=curve,
        rounds=len(loop.tried),
        samples=study.meter.count,
        float_metrics=study.meter.float.metrics,
        main=study.meter.main,
        costs=table,
    )


def _timed(study: Study, names: Sequence[str], watch: Watch) -> CostTable:
    """Times in the notebook, so that a run that goes on decides as it would have."""
    key = f"costs {','.join(sorted(names))}"
    row = study.notebook.get(
        key, lambda: measure_costs(study.materials, names, watch=watch).to_dict()
    )
    return CostTable(row["fixed"], row["rows"])


def _task(loop: Rounds, end: Tried) -> Task:
    """What the last round asked of the solver, to ask greedy the same."""
    limits = {name: max(loop.problem.cost(name, end.choice), 0.0) for name in loop.goal.limits}
    if loop.goal.bounds_loss:
        return Task(loop.goal.limits, noise=loop.problem.noise(end.choice))
    return Task(limits)


def _layers(loop: Rounds, end: Tried) -> Iterator[LayerWidth]:
    widths = loop.widths(end.choice)
    for unit in loop.study.materials.units:
        width = widths[unit.name]
        losses: dict[int, float] = {}
        for item in (i for i in loop.problem.items if i.name == unit.name and unit.weight):
            for option in item.options:
                bits = next(w.weights for w in unit.widths if w.name == option.name)
                if bits:
                    losses[bits] = loop.study.only_weights(unit, bits).sqnr_db
        loss, four = losses.get(width.weights), losses.get(4)
        yield LayerWidth(unit.name, unit.op, width.name, unit.elements, loss, four)


def _curve(loop: Rounds, end: Tried, points: int, watch: Watch) -> Iterator[Point]:
    """Uniform widths, budgets in between, and what was found; by size, each choice once."""
    problem, chosen = loop.problem, dict[tuple[int, ...], str]()
    for label, bits in (("w8 throughout", 8), ("w4 throughout", 4)):
        uniform = loop.study.materials.uniform(bits, 8)
        index = [
            next((k for k, o in enumerate(i.options) if o.name == uniform[i.name].name), None)
            for i in problem.items
        ]
        if None not in index:
            chosen[tuple(k for k in index if k is not None)] = label
    chosen[end.choice] = "found"
    low = problem.least("bytes")
    high = max(problem.cost("bytes", c) for c in chosen)
    for k in range(points):
        budget = low + (high - low) * k / max(points - 1, 1)
        choice = solve(problem, Task({"bytes": budget}))
        if choice is not None:
            chosen.setdefault(choice, "")
    ordered = sorted(chosen, key=lambda c: (problem.cost("bytes", c), c))
    for choice in watch(ordered, label="curve", total=len(ordered)):
        yield _point(loop, choice, chosen[choice])


def _point(loop: Rounds, choice: tuple[int, ...], label: str) -> Point:
    widths = loop.widths(choice)
    by_hand = greedy(loop.problem, Task({"bytes": loop.problem.cost("bytes", choice)}))
    count = Counter(widths[u.name].name for u in loop.study.materials.units if u.weight)
    return Point(
        label,
        loop.forecast(choice),
        loop.study.file(widths).sqnr_db,
        None if by_hand is None else decibel(loop.problem.noise(by_hand)),
        dict(sorted(count.items())),
    )
