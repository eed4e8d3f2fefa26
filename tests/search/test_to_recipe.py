"""Widths as rules: exactly the named ops, whatever their names look like."""

from __future__ import annotations

import pytest
from small_nets import residual

from tfq_ext.recipe import Recipe, Rule, load_recipe
from tfq_ext.recipe.match import matches_tensor
from tfq_ext.repair.planning import op_choices
from tfq_ext.search.to_recipe import pattern, to_recipe
from tfq_ext.search.units import FLOAT, Unit, Width

NAMES = ("a", "branch", "sum", "deep", "mean", "logits")
WEIGHTED = {"a", "branch", "deep", "logits"}


def renamed(names):
    model = residual()
    graph = model.graphs[0]
    for old, new in names.items():
        graph.tensors[graph.by_name[old]].name = new.encode()
        graph.changed()
    return model


def units(names):
    none = frozenset[int]()
    for old in NAMES:
        name = names.get(old, old)
        weight = f"w of {name}" if old in WEIGHTED else ""
        base = Width(8 if weight else 0, 8)
        yield Unit(name, "", (name,), weight, "", 1, 1, none, none, (base, FLOAT))


def chosen(names, widths, recipe="int8"):
    model, made = renamed(names), tuple(units(names))
    choice = {u.name: widths.get(u.name, u.base) for u in made}
    found = to_recipe(model, load_recipe(recipe), made, choice)
    return found, op_choices(model, load_recipe(found.to_dict())).ops


@pytest.mark.parametrize("width", [Width(4, 8), Width(8, 16), Width(4, 16), FLOAT])
@pytest.mark.parametrize(
    "names",
    [
        {},
        {"a": "x", "deep": "y;x;z"},  # a rule for x covers a part of y;x;z
        {"a": "re:.*", "branch": "*", "deep": "[ab]?", "logits": "a]!;*"},
    ],
)
def test_the_named_op_and_no_other(names, width):
    base = op_choices(renamed(names), load_recipe("int8")).ops
    for old in WEIGHTED:
        name = names.get(old, old)
        _, ops = chosen(names, {name: width})
        for other, choice in ops.items():
            got = (choice.keep_float, choice.weight_bits, choice.activation_bits)
            plain = (False, base[other].weight_bits, 8)
            if other != name:
                assert got == plain
            elif width == FLOAT:
                assert choice.keep_float
            else:
                assert got == (False, width.weights, width.activations)
                assert choice.weight_scale == ("mse" if width.weights == 4 else "max")


def test_rules_of_the_start_are_undone_where_the_choice_differs():
    start = Recipe(rules=(Rule(op="*", keep_float=True), Rule(op="CONV_2D", weight_bits=4)))
    recipe, ops = chosen({}, {"deep": FLOAT}, start)
    assert recipe.rules[:2] == start.rules
    assert {name for name, choice in ops.items() if choice.keep_float} == {"deep"}
    assert {c.weight_bits for n, c in ops.items() if n in WEIGHTED} == {8}


def test_what_does_not_differ_needs_no_rule():
    recipe, _ = chosen({}, {})
    assert recipe == load_recipe("int8")


@pytest.mark.parametrize("name", ["a", "a;b", "*", "?", "[x]", "re:a", "re:", "a[!b]*;re:c", "!"])
def test_a_pattern_covers_its_own_name(name):
    assert matches_tensor(pattern(name), name)
    assert not matches_tensor(pattern(name), name + "x")
    assert not matches_tensor(pattern(name), "b")
