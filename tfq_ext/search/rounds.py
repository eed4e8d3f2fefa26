"""Solve, make the file, measure it, and tighten where the forecast was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tfq_ext.errors import DataError
from tfq_ext.pipeline import finish
from tfq_ext.recipe import Recipe
from tfq_ext.repair.watch import Watch, unwatched
from tfq_ext.result import Result
from tfq_ext.search.costs import CostTable
from tfq_ext.search.found import Worth
from tfq_ext.search.goal import Goal
from tfq_ext.search.materials import Choice
from tfq_ext.search.meter import decibel, power
from tfq_ext.search.mixed import solve
from tfq_ext.search.problem import Problem, Task
from tfq_ext.search.study import Study, as_row, reading_of
from tfq_ext.search.to_recipe import to_recipe
from tfq_ext.validation.gate.bounds import UNITS
from tfq_ext.validation.latency import measure_latency

RUNS = 30  # timed runs of a file
NEAR = 1.05  # noise within 0.2 dB of its limit is near enough
STRIDE = 8.0  # the most that a limit on noise moves in one round


@dataclass(frozen=True)
class Tried:
    """One finished file.

    Args:
        choice: option index of every item.
        recipe: that makes it.
        worth: measured.
        forecast: by the additive model.
    """

    choice: tuple[int, ...]
    recipe: Recipe
    worth: Worth
    forecast: Worth


@dataclass
class Rounds:
    """The loop around the solver.

    Args:
        study, problem, goal: see there.
        table: milliseconds, if latency counts.
        limit: number of samples that the caller gave.
        most: files that may be finished.
        watch: shows the files.
        finished: those of this run, by the digest of their recipe.
    """

    study: Study
    problem: Problem
    goal: Goal
    table: CostTable | None
    limit: int | None
    most: int
    watch: Watch = unwatched
    tried: list[Tried] = field(default_factory=list)
    finished: dict[str, Result] = field(default_factory=dict)

    def run(self) -> Tried:
        """The best file within the goal.

        Raises:
            DataError: there is none; the sentence names the nearest.
        """
        self._check_room()
        return self._by_loss() if self.goal.bounds_loss else self._by_cost()

    def _check_room(self) -> None:
        words = {"bytes": ("file", "bytes", "smallest"), "ms": ("run", "ms", "fastest")}
        for name, most in self.goal.limits.items():
            least = self.problem.least(name)
            noun, unit, what = words[name]
            if least > most:
                show = UNITS[unit].show
                raise DataError(
                    f"No {noun} fits {show(most)}: with these choices the {what} possible has "
                    f"about {show(least)}."
                )

    def _by_cost(self) -> Tried:
        """Least noise within the limits on costs."""
        limits = dict(self.goal.limits)
        for _ in self.watch(range(self.most), label="files", total=self.most):
            choice = solve(self.problem, Task(limits))
            if choice is None:
                break
            now = self._try(choice)
            over = dict(self._over(now.worth))
            if not over:
                return now
            for name, factor in over.items():
                forecast = self.problem.cost(name, choice)
                limits[name] = min(limits[name], forecast) * factor
        return self._smallest()

    def _over(self, worth: Worth) -> Iterator[tuple[str, float]]:
        """(cost, factor to tighten by) of the limits that a file is over."""
        for name, most in self.goal.limits.items():
            has = worth.size if name == "bytes" else worth.ms
            if has is not None and has > most:
                yield name, most / has * 0.999

    def _smallest(self) -> Tried:
        """The last resort: least of the limited cost, whatever the noise."""
        name, most = next(iter(self.goal.limits.items()))
        choice = solve(self.problem, Task({}, noise=math.inf, minimize=name))
        assert choice is not None
        last = self._try(choice)
        if not dict(self._over(last.worth)) and not self._lossy(last.worth):
            return last
        show = UNITS["bytes" if name == "bytes" else "ms"].show
        has = min((t.worth.size if name == "bytes" else t.worth.ms or math.inf) for t in self.tried)
        raise DataError(
            f"No choice met {self.goal}: of {len(self.tried)} files measured the least was "
            f"{show(has)}. Allow {show(max(has, most))}, or more widths (choices)."
        )

    def _lossy(self, worth: Worth) -> bool:
        """Whether a file is over the limit on loss."""
        goal = self.goal
        if goal.min_sqnr is not None and worth.sqnr_db < goal.min_sqnr:
            return True
        return goal.max_drop is not None and (worth.drop or 0.0) > goal.max_drop

    def _by_loss(self) -> Tried:
        """Least bytes within the limit on loss: the limit on noise moves until both meet."""
        quiet = solve(self.problem, Task(self.goal.limits))
        assert quiet is not None
        small = solve(self.problem, Task(self.goal.limits, noise=math.inf))
        assert small is not None
        low, high = self.problem.noise(quiet), self.problem.noise(small)
        bound = power(self.goal.min_sqnr) if self.goal.min_sqnr is not None else high
        best: Tried | None = None
        for _ in self.watch(range(self.most), label="files", total=self.most):
            bound = min(max(bound, low), high)
            choice = solve(self.problem, Task(self.goal.limits, noise=bound))
            if choice is None or any(t.choice == choice for t in self.tried):
                break
            now = self._try(choice)
            good = not self._lossy(now.worth) and not dict(self._over(now.worth))
            if good and (best is None or now.worth.size < best.worth.size):
                best = now
            low, high = (bound, high) if good else (low, bound)
            bound = self._next(now.worth, bound, low, high)
            if good and high <= low * NEAR:
                break
        return best if best is not None else self._quietest(quiet)

    def _next(self, worth: Worth, bound: float, low: float, high: float) -> float:
        """By the ratio of wanted to measured noise; for other metrics halfway, in dB."""
        if self.goal.min_sqnr is None:
            return math.sqrt(max(low, 1e-30) * max(high, 1e-30))
        ratio = power(self.goal.min_sqnr) / max(power(worth.sqnr_db), 1e-30)
        step = bound * min(max(ratio, 1 / STRIDE), STRIDE)
        return min(max(step, low), high)

    def _quietest(self, choice: tuple[int, ...]) -> Tried:
        """The file with the least noise of all, if that is good enough."""
        last = next((t for t in self.tried if t.choice == choice), None) or self._try(choice)
        if not self._lossy(last.worth) and not dict(self._over(last.worth)):
            return last
        nearest = max(self.tried, key=lambda t: t.worth.sqnr_db).worth
        reached = f"{nearest.sqnr_db:.1f} dB"
        if self.goal.max_drop is not None and nearest.drop is not None:
            reached = f"a drop of {100 * nearest.drop:.2f} points"
        raise DataError(
            f"No choice met {self.goal}: the best of {len(self.tried)} files measured has "
            f"{reached}. Allow more widths (choices), or give the recipe a better rounder."
        )

    def _try(self, choice: tuple[int, ...]) -> Tried:
        widths = self.widths(choice)
        study = self.study
        recipe = to_recipe(
            study.materials.pivot, study.recipe, study.materials.units, widths, limit=self.limit
        )
        found = Tried(choice, recipe, self.measured(recipe), self.forecast(choice))
        self.tried.append(found)
        return found

    def widths(self, choice: tuple[int, ...]) -> Choice:
        """Unit name -> width."""
        names = self.problem.names(choice)
        found = {}
        for unit in self.study.materials.units:
            width = unit.width(names[unit.name])
            assert width is not None
            found[unit.name] = width
        return found

    def forecast(self, choice: tuple[int, ...]) -> Worth:
        """What the additive model says."""
        ms = self.problem.cost("ms", choice) if self.table is not None else None
        size = self.problem.cost("bytes", choice)
        return Worth(size, decibel(self.problem.noise(choice)), ms)

    def measured(self, recipe: Recipe) -> Worth:
        """Of the file that `quantize` makes of this recipe."""
        return self._worth(f"recipe {recipe.digest()}", lambda: self.result(recipe).content)

    def result(self, recipe: Recipe) -> Result:
        """What `quantize` makes of this recipe; made once a run."""
        key, study = recipe.digest(), self.study
        if key not in self.finished:
            self.finished[key] = finish(
                study.calibrated, recipe, threads=study.threads, show_progress=False
            )
        return self.finished[key]

    def base(self) -> Worth:
        """Of the file with 8 bits throughout."""
        return self._worth("base", lambda: self.study.materials.base.content)

    @property
    def _timed(self) -> bool:
        """Whether this machine's times count."""
        return self.table is not None and self.table.measured_here

    def _worth(self, key: str, make: Callable[[], bytes]) -> Worth:
        key = f"{key}, timed" if self._timed else key
        row = self.study.notebook.get(key, lambda: self._measure(make()))
        reading = reading_of(row["reading"])
        drop = None if self.study.meter.main is None else self.study.meter.drop(reading)
        worth = Worth(row["size"], reading.sqnr_db, row["ms"], drop, dict(reading.metrics))
        return replace(worth, kl=reading.kl, agreement=reading.agreement)

    def _measure(self, content: bytes) -> Mapping[str, object]:
        ms = None
        if self._timed:
            ms = measure_latency({"file": content}, runs=RUNS)["file"].median_ms
        return {"size": len(content), "reading": as_row(self.study.meter(content)), "ms": ms}
