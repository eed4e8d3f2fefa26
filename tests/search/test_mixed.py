"""Integer programming against brute force and greedy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.search.greedy import greedy
from tfq_ext.search.mixed import solve
from tfq_ext.search.problem import Bond, Item, Option, Problem, Task

WIDTHS = [("w4", 2, 0.5), ("w8", 2, 1.0), ("a16", 1, 1.05), ("float", 0, 4.0)]


def problem(seed, items=4, bonds=3, magnitude=1.0):
    """Noise over six orders of magnitude, as layers have it; float has none."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(items):
        base, size = 10 ** rng.uniform(-6, -1) * magnitude, float(rng.integers(100, 5000))
        noise = {"w4": base, "w8": base / 256, "a16": base / 256, "float": 0.0}
        kept = [w for w in WIDTHS if rng.random() < 0.85] or WIDTHS
        options = tuple(
            Option(n, noise[n], level, {"bytes": size * share, "ms": rng.uniform(0.1, 2)})
            for n, level, share in kept
        )
        made.append(Item(f"layer {i}", options))
    bonded = []
    for _ in range(bonds):
        narrow = 10 ** rng.uniform(-6, -1) * magnitude
        members = rng.choice(items, size=min(items, int(rng.integers(1, 4))), replace=False)
        bonded.append(Bond(tuple(map(int, members)), (0.0, narrow / 1e4, narrow)))
    return Problem(tuple(made), tuple(bonded), {"bytes": 1000.0, "ms": 0.5})


def choices(p):
    return product(*(range(len(item.options)) for item in p.items))


def brute(p, task):
    inside = [c for c in choices(p) if task.holds(p, c)]
    return min((task.value(p, c) for c in inside), default=None)


def tasks(p, share):
    sizes = sorted(p.cost("bytes", c) for c in choices(p))
    noises = sorted(p.noise(c) for c in choices(p))
    times = sorted(p.cost("ms", c) for c in choices(p))
    size, noise = (x[int(share * (len(x) - 1))] for x in (sizes, noises))
    ms = times[int(max(share, 0.3) * (len(times) - 1))]
    return [
        Task({"bytes": size}),
        Task({"ms": ms}),
        Task({"bytes": size, "ms": ms}),
        Task({}, noise=noise),
        Task({"ms": ms}, noise=noise),
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_it_is_as_good_as_brute_force_and_no_worse_than_greedy(seed, share):
    p = problem(seed)
    for task in tasks(p, share):
        found, best, by_hand = solve(p, task), brute(p, task), greedy(p, task)
        if best is None:
            assert found is None
            assert by_hand is None
            continue
        assert found is not None
        assert task.holds(p, found)
        assert task.value(p, found) == pytest.approx(best, rel=1e-6)
        if by_hand is not None:
            assert task.holds(p, by_hand)
            assert task.value(p, found) <= task.value(p, by_hand) * (1 + 1e-6)


@pytest.mark.parametrize("magnitude", [1e-8, 1e4])
def test_the_scale_of_the_noise_does_not_matter(magnitude):
    p = problem(3, magnitude=magnitude)
    for task in tasks(p, 0.3):
        assert task.value(p, solve(p, task)) == pytest.approx(brute(p, task), rel=1e-6)


def test_greedy_can_be_beaten():
    """Two small layers together fit better than the one that greedy takes first."""
    wins = 0
    for seed in range(30):
        p = problem(seed, items=8, bonds=4)
        task = Task({"bytes": p.least("bytes") * 1.4})
        mine, other = solve(p, task), greedy(p, task)
        if other is not None:
            wins += task.value(p, mine) < task.value(p, other) * 0.99
    assert wins > 0


def test_a_wide_tensor_needs_wide_ops_on_both_sides():
    def item(name):
        costs = ({"bytes": 1.0}, {"bytes": 2.0})
        return Item(name, (Option("a8", 0.0, 2, costs[0]), Option("a16", 0.0, 1, costs[1])))

    p = Problem((item("writes"), item("reads")), (Bond((0, 1), (0.0, 1e-9, 1e-3)),), {})
    assert p.noise((1, 0)) == p.noise((0, 0)) == 1e-3
    assert (
        solve(p, Task({"bytes": 3.0})) == (0, 0) or p.noise(solve(p, Task({"bytes": 3.0}))) == 1e-3
    )
    assert solve(p, Task({"bytes": 4.0})) == (1, 1)
    assert solve(p, Task({}, noise=1e-6)) == (1, 1)
    assert solve(p, Task({}, noise=1e-2)) == (0, 0)


def test_nothing_is_smaller_than_the_smallest():
    p = problem(0)
    assert p.least("bytes") == min(p.cost("bytes", c) for c in choices(p))
    assert solve(p, Task({"bytes": p.least("bytes")})) is not None
    assert solve(p, Task({"bytes": p.least("bytes") * 0.999})) is None


def test_noise_that_falls_with_fewer_bits_is_refused():
    with pytest.raises(SpecError, match="never falls"):
        Bond((0,), (0.0, 2e-3, 1e-3))


def test_a_hundred_layers_are_quick():
    p = problem(1, items=100, bonds=100)
    middle = p.least("bytes") * 1.6
    found = solve(p, Task({"bytes": middle}))
    by_hand = greedy(p, Task({"bytes": middle}))
    assert p.noise(found) <= p.noise(by_hand) * (1 + 1e-6)
