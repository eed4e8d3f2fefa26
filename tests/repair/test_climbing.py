"""Hill climbing over ranges: rows alone and rows that are added up, on scores by hand."""

import pytest
from equalize_nets import trunk
from small_nets import residual

from tfq_ext.repair.climbing import Search, summed
from tfq_ext.repair.ranges import RangeChoice, by_name
from tfq_ext.spec import NO_RANGE, Range


def row(name, high=8.0, *, calibrator="mse", tightest=NO_RANGE, **candidates):
    r = Range(-high, high)
    return RangeChoice((name,), {name: r}, r, calibrator, Range(-8.0, 8.0), 0.0,
                       noise={"mse": 1.0}, candidates=candidates, tightest=tightest)  # fmt: skip


def all_or_nothing(ranges):
    """Better the narrower the widest is: nobody gains alone."""
    return -max(r.max for r in ranges.values())


def search(rows, score=all_or_nothing, budget=100):
    return Search(score, rows, score(by_name(rows)), budget)


def test_rows_that_gain_only_together_are_narrowed_together():
    apart = search([row("x"), row("y"), row("sum")])
    for k in range(3):
        apart.alone(k)
    assert apart.best == -8.0
    joint = search([row("x"), row("y"), row("sum")], budget=5)
    joint.together([0, 1, 2])
    assert joint.best == pytest.approx(-8.0 * 0.75**5)
    assert {r.calibrator for r in joint.rows} == {"mse x 0.238"}


def test_narrowing_stops_where_it_no_longer_helps():
    found = search([row("x"), row("y"), row("sum")], lambda r: -abs(r["x"].max - 4.5))
    found.together([0, 1, 2])
    assert found.rows[1].range.max == 4.5
    assert found.budget == 100 - 4  # two better, one worse, one wider


@pytest.mark.parametrize("limit", [2.0, 7.9])
def test_never_beyond_what_was_observed_nor_inside_what_nobody_judged(limit):
    found = search([row("x", tightest=Range(-limit, limit)), row("y")], lambda r: -r["x"].max)
    found.together([0, 1])
    assert found.rows[0].range.max == limit
    wider = search([row("x", 7.0)], lambda r: r["x"].max)
    wider.together([0])
    assert wider.rows[0].range.max == 8.0


def test_a_name_that_ends_in_a_letter_after_x_is_no_factor():
    found = search([row("x", calibrator="scale of a x b")], budget=1)
    found.together([0])
    assert found.rows[0].calibrator == "scale of a x b x 0.75"


def test_candidates_are_tried_alone_and_ties_change_nothing():
    rows = [row("x", kl=Range(-2.0, 2.0))]
    found = search(rows)
    found.alone(0)
    assert found.rows[0].calibrator == "kl"
    same = search(rows, lambda r: 0.0)
    same.alone(0)
    same.together([0])
    assert same.rows[0] is rows[0]


def test_what_is_added_up_belongs_together():
    model = residual()
    names = ["image", "a", "branch", "sum", "deep", "logits"]
    rows = [row(name) for name in names]
    assert summed(model, rows, range(6)) == [[1, 2, 3]]
    assert summed(model, rows, [0, 1, 2, 4]) == []  # two that are left gain alone
    graph = trunk().graphs[0]
    sums = [op for op in graph.ops if graph.code(op) == "ADD"]
    names = list(
        dict.fromkeys(graph.name(int(t)) for op in sums for t in (*op.inputs, *op.outputs))
    )
    assert len(sums) > 1
    assert summed(trunk(), [row(n) for n in names], range(len(names))) == [list(range(len(names)))]
