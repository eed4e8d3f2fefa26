"""Resolution: which rule decides what, and which decided nothing."""

import pytest

from tfq_ext.recipe import OpChoice, Recipe, TensorChoice
from tfq_ext.recipe.match import matches_op, matches_tensor
from tfq_ext.spec import Range

FIRST, LAST = frozenset({"first"}), frozenset({"last"})


def recipe(*rules, **fields):
    return Recipe(rules=list(rules), **fields)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("model/conv/Relu6", "model/conv/Relu6", True),
        ("model/conv", "model/conv/Relu6", False),  # end to end, not a prefix
        ("*/conv/*", "model/conv/Relu6", True),
        ("*/Conv/*", "model/conv/Relu6", False),  # case matters
        ("*/conv?/*", "model/conv1/Relu6", True),
        ("a;b", "a;b", True),
        ("b", "a;b", True),  # one part of a fused name
        ("b", "ab", False),
        ("re:.*conv_[0-9]+", "m/conv_12", True),
        ("re:conv", "m/conv_12", False),
        ("re:.*a", "x/a;y/b", True),
        ("[ab]x", "bx", True),
    ],
)
def test_tensor_patterns(pattern, name, covered):
    assert matches_tensor(pattern, name) is covered


@pytest.mark.parametrize(
    ("pattern", "code", "covered"),
    [
        ("CONV_2D", "CONV_2D", True),
        ("CONV_2D", "DEPTHWISE_CONV_2D", False),
        ("*CONV_2D", "DEPTHWISE_CONV_2D", True),
        ("re:ADD|MUL", "MUL", True),
        ("re:ADD|MUL", "MULX", False),
    ],
)
def test_op_patterns(pattern, code, covered):
    assert matches_op(pattern, code) is covered


def test_without_rules_the_recipe_speaks():
    r = recipe(weights={"bits": 4, "scale": "mse", "per_channel": False}, activations="int16")
    assert r.for_op("CONV_2D", "y") == OpChoice(False, 4, 16, False, "mse", "nearest")
    assert r.for_tensor("y", "CONV_2D") == TensorChoice("auto", None)


def test_later_rules_win_field_by_field():
    r = recipe(
        {"op": "CONV_2D", "weight_bits": 4, "weight_scale": "mse"},
        {"tensor": "head/*", "weight_bits": 8},
        {"op": "*", "rounding": "adaround:300"},
    )
    both = r.for_op("CONV_2D", "head/y")
    assert (both.weight_bits, both.weight_scale, both.rounding) == (8, "mse", "adaround:300")
    assert both.rules == {0, 1, 2}
    assert r.for_op("CONV_2D", "body/y").weight_bits == 4
    assert r.for_op("ADD", "body/y").rules == {2}


def test_all_conditions_of_a_rule_must_hold():
    r = recipe({"op": "CONV_2D", "tensor": "stem*", "position": "first", "weight_bits": 4})
    assert r.for_op("CONV_2D", "stem", FIRST).weight_bits == 4
    for code, name, position in (
        ("CONV_2D", "stem", LAST),
        ("CONV_2D", "body", FIRST),
        ("ADD", "stem", FIRST),
    ):
        assert r.for_op(code, name, position).weight_bits == 8


def test_an_only_layer_is_first_and_last():
    r = recipe({"position": "first", "weight_bits": 4}, {"position": "last", "weight_bits": 2})
    assert r.for_op("CONV_2D", "y", FIRST | LAST).weight_bits == 2


def test_false_undoes_an_earlier_true():
    r = recipe({"op": "*", "keep_float": True}, {"op": "CONV_2D", "keep_float": False})
    assert r.for_op("ADD", "y").keep_float
    assert not r.for_op("CONV_2D", "y").keep_float


def test_calibrator_and_range_replace_each_other():
    r = recipe(
        {"tensor": "x", "range": [-1, 1]},
        {"tensor": "x*", "calibrator": "mse"},
        {"tensor": "xy", "range": [0, 6]},
    )
    assert r.for_tensor("x") == TensorChoice("mse", None, frozenset({0, 1}))
    assert r.for_tensor("xy") == TensorChoice("mse", Range(0, 6), frozenset({1, 2}))


def test_tensor_rules_see_the_producer_and_its_position():
    r = recipe({"op": "ADD", "calibrator": "kl"}, {"position": "last", "calibrator": "minmax"})
    assert r.for_tensor("y", "ADD").calibrator == "kl"
    assert r.for_tensor("input").calibrator == "auto"
    assert r.for_tensor("y", "ADD", LAST).calibrator == "minmax"


def test_outputs_have_their_own_calibrator_until_a_rule_speaks():
    r = recipe({"tensor": "logits_b", "calibrator": "kl"}, output_calibrator="mse")
    assert r.for_tensor("logits_a", "FULLY_CONNECTED", is_output=True).calibrator == "mse"
    assert r.for_tensor("logits_b", "FULLY_CONNECTED", is_output=True).calibrator == "kl"
    assert r.for_tensor("logits_a", "FULLY_CONNECTED").calibrator == "auto"


def test_rules_that_did_nothing_are_named():
    r = recipe(
        {"op": "CONV_2D", "weight_bits": 4},
        {"op": "CONV2D", "tensor": "a*", "keep_float": True},
        {"op": "CONV_2D", "calibrator": "mse"},
    )
    used = r.for_op("CONV_2D", "y").rules
    assert used == {0}  # the third sets nothing for ops: matching one is not being of use
    assert r.unused(used) == (
        "rules[1] (op = 'CONV2D', tensor = 'a*') matched nothing in this model.",
        "rules[2] (op = 'CONV_2D') matched nothing in this model.",
    )
    assert len(r.unused(used | r.for_tensor("y", "CONV_2D").rules)) == 1
    assert r.unused([0, 1, 2]) == ()
