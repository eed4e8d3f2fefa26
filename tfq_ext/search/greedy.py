"""The same choice step by step: what people do by hand, and what integer programming must beat."""

from __future__ import annotations

from collections.abc import Iterator

from tfq_ext.search.problem import Problem, Task

Step = tuple[float, float, int, int]  # noise gained, cost saved, item, option


def greedy(problem: Problem, task: Task) -> tuple[int, ...] | None:
    """From the least noise downwards: the step that saves most for its noise comes next.

    With a limit on costs, until they fit; with a limit on noise, as long as that holds. None
    where that ends outside the limits.
    """
    choice = [_quietest(problem, i) for i in range(len(problem.items))]
    if task.noise is None:
        return _until_it_fits(problem, task, choice)
    for name in [*task.limits, task.minimize]:
        while step := _best(_steps(problem, choice, name, task.noise - problem.noise(choice))):
            choice[step[2]] = step[3]
            if name != task.minimize and problem.cost(name, choice) <= task.limits[name]:
                break
    return tuple(choice) if task.holds(problem, choice) else None


def _until_it_fits(problem: Problem, task: Task, choice: list[int]) -> tuple[int, ...] | None:
    for name, most in task.limits.items():
        while problem.cost(name, choice) > most:
            step = _best(_steps(problem, choice, name, float("inf")))
            if step is None:
                return None
            choice[step[2]] = step[3]
    return tuple(choice) if task.holds(problem, choice) else None


def _quietest(problem: Problem, i: int) -> int:
    """Option with the least noise of its own, then the widest activations."""
    options = problem.items[i].options
    return min(range(len(options)), key=lambda j: (options[j].noise, options[j].level, j))


def _steps(problem: Problem, choice: list[int], name: str, room: float) -> Iterator[Step]:
    """Every change of one item that saves some of the cost and adds no more noise than `room`."""
    for i, item in enumerate(problem.items):
        old = choice[i]
        before = item.options[old].noise + _bonds(problem, i, choice)
        for j, option in enumerate(item.options):
            saved = item.options[old].costs[name] - option.costs[name]
            if saved <= 0:
                continue
            choice[i] = j
            gained = option.noise + _bonds(problem, i, choice) - before
            choice[i] = old
            if gained <= room:
                yield gained, saved, i, j


def _bonds(problem: Problem, i: int, choice: list[int]) -> float:
    return sum(problem.bond_noise(k, choice) for k in problem.touching[i])


def _best(steps: Iterator[Step]) -> Step | None:
    return min(steps, key=lambda s: (s[0] / s[1], s[2], s[3]), default=None)
