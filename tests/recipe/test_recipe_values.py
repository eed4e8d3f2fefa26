"""Recipes as values: presets, defaults, the errors of bad ones."""

import pytest

from tfq_ext.errors import RecipeError, UnknownName
from tfq_ext.recipe import (
    PRESETS,
    ActivationGrid,
    Recipe,
    Rule,
    WeightGrid,
    describe_presets,
    load_recipe,
)
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION

LINEAR_GRID = {"bits": 4, "symmetric": True}


def test_the_default_is_int8():
    recipe = Recipe()
    assert recipe == PRESETS["int8"].recipe == load_recipe("int8")
    assert (recipe.mode, recipe.calibrator, recipe.hold_back) == ("static", "auto", 0.2)
    assert recipe.activations.spec == INT8_ACTIVATION
    assert (recipe.weights.bits, recipe.weights.per_channel, recipe.strict) == (8, True, False)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_its_texts(name, tmp_path):
    recipe = load_recipe(name)
    for suffix, text in ((".toml", recipe.to_toml()), (".json", recipe.to_json())):
        path = tmp_path / f"r{suffix}"
        path.write_text(text, encoding="utf-8")
        assert load_recipe(path) == recipe
        assert load_recipe(str(path)).digest() == recipe.digest()
    assert load_recipe(recipe.to_dict()) == recipe
    assert load_recipe(recipe) is recipe


def test_presets_differ_and_have_a_row_each():
    assert len({preset.recipe.digest() for preset in PRESETS.values()}) == len(PRESETS)
    rows = {row.name: row for row in describe_presets()}
    assert list(rows) == list(PRESETS)
    assert all(
        row.description.endswith(".") and len(row.description) < 100 for row in rows.values()
    )
    assert rows["int4"].weights == "int4 per channel"
    assert rows["int8-per-tensor"].weights == "int8 per tensor"
    assert rows["mixed"].weights == "int4 or int8 or float, per channel"
    assert rows["int16x8"].activations == "int16"
    assert rows["fp16"][2:6] == ("float16", "-", "-", False)
    assert {name for name, row in rows.items() if not row.needs_data} == {
        "data-free",
        "fp16",
        "dynamic",
        "weight_only",
    }
    assert rows["data-free"][2:6] == ("int8 per channel", "int8", "minmax", False)


def test_activation_grids_by_name_and_table():
    assert Recipe(activations="int16").activations.spec == INT16_ACTIVATION
    assert ActivationGrid(bits=16) == ActivationGrid(bits=16, symmetric=True)
    assert ActivationGrid(bits=8).name == "int8"
    assert ActivationGrid(bits=16, symmetric=False).name is None
    four = Recipe(mode="simulate", activations=LINEAR_GRID)
    assert (four.activations.spec.bits, four.activations.spec.symmetric) == (4, True)
    assert load_recipe(four.to_dict()) == four


def test_two_bit_weights_are_stored_as_four():
    assert [WeightGrid(bits=bits).stored_bits for bits in (8, 4, 2)] == [8, 4, 4]


def test_recipes_are_frozen_hashable_and_changed_by_copy():
    recipe = Recipe(rules=[{"op": "CONV_2D", "weight_bits": 4}])
    assert hash(recipe) == hash(load_recipe(recipe.to_dict()))
    with pytest.raises(ValueError, match="frozen"):
        recipe.mode = "fp16"
    other = recipe.changed(seed=3)
    assert (other.seed, other.rules, recipe.seed) == (3, recipe.rules, 0)
    assert other.digest() != recipe.digest()
    with pytest.raises(RecipeError, match="seed"):
        recipe.changed(seed=-1)


def test_digest_ignores_how_it_was_written():
    written = load_recipe({"weights": {"scale": "mse", "bits": 4}, "bias": "keep"})
    assert written.digest() == load_recipe("int4-nearest").digest()
    assert len(written.digest()) == 64


# What came -> parts that the sentence must hold: place, value, what is allowed.
WRONG = [
    ({"mode": "statik"}, ["mode: got 'statik'", "'static', 'dynamic', 'weight_only', 'fp16'"]),
    ({"weigths": {}}, ["weigths: no such field", "Did you mean 'weights'?", "Known: mode,"]),
    ({"weights": {"bits": 3}}, ["weights.bits: got 3", "8, 4 or 2"]),
    ({"weights": {"bits": "8"}}, ["weights.bits: got '8'", "8, 4 or 2"]),
    ({"weights": {"chanel": True}}, ["weights.chanel: no such field", "per_channel"]),
    ({"weights": {"per_channel": 1}}, ["weights.per_channel: got 1", "true or false"]),
    ({"weights": 4}, ["weights: got 4", "a table"]),
    ({"activations": "int4"}, ["activations: got 'int4'", "'int8', 'int16'"]),
    ({"activations": {"bits": 17}}, ["activations.bits: got 17", "16 or less"]),
    ({"calibrator": "percentile:x"}, ["calibrator: got 'percentile:x'", "name:number"]),
    ({"calibrator": "float"}, ["calibrator: got 'float'", "output_calibrator", "keep_float"]),
    ({"calibrator": 99.9}, ["calibrator: got 99.9", "text"]),
    ({"input_type": "int4"}, ["input_type: got 'int4'", "'uint8'"]),
    ({"search": {}}, ["search: no budget", "max_loss (dB) or max_size"]),
    ({"search": {"enough": 30.0}}, ["search: no budget"]),
    ({"search": {"max_size": 0.5, "enough": 30.0}}, ["search: enough softens max_loss"]),
    ({"search": {"max_size": 1.5}}, ["search.max_size: got 1.5", "1.0 or less"]),
    ({"search": {"max_size": 0.0}}, ["search.max_size: got 0.0", "over 0.0"]),
    ({"search": {"max_loss": -1.0}}, ["search.max_loss: got -1.0", "0.0 or more"]),
    ({"search": {"max_loss": float("inf")}}, ["search.max_loss: got inf", "finite"]),
    ({"search": {"max_los": 1.0}}, ["search.max_los: no such field", "'max_loss'"]),
    ({"search": {"max_loss": 1.0, "choices": ["w3"]}}, ["search.choices[0]: got 'w3'", "'a16'"]),
    ({"search": {"max_loss": 1.0, "choices": ["float"]}}, ["search: choices = ['float']", "'w4'"]),
    ({"hold_back": 0.6}, ["hold_back: got 0.6", "0.5 or less"]),
    ({"hold_back": float("nan")}, ["hold_back: got nan"]),
    ({"limit": 0}, ["limit: got 0", "1 or more"]),
    ({"limit": True}, ["limit: got True", "whole number"]),
    ({"strict": "yes"}, ["strict: got 'yes'", "true or false"]),
    ({"rules": {"op": "ADD"}}, ["rules: got {'op': 'ADD'}", "[[rules]]"]),
    ({"rules": ["ADD"]}, ["rules[0]: got 'ADD'", "a table"]),
    ({1: 2}, ["1: no such field"]),
]
WRONG_RULES = [
    ({"postion": "first", "keep_float": True}, ["rules[0].postion", "Did you mean 'position'?"]),
    ({"position": "middle", "keep_float": True}, ["rules[0].position: got 'middle'", "'last'"]),
    ({"keep_float": True}, ["rules[0]: matches nothing", "op, tensor, position"]),
    ({"op": "CONV_2D"}, ["rules[0]: sets nothing", "keep_float, weight_bits"]),
    ({"op": "CONV_2D", "keep_float": True, "weight_bits": 4}, ["rules[0]", "weight_bits"]),
    ({"op": "tfl.conv_2d", "keep_float": True}, ["rules[0].op", "Did you mean 'CONV_2D'?"]),
    ({"op": "conv_2d", "keep_float": True}, ["got 'conv_2d'", "Did you mean 'CONV_2D'?"]),
    ({"op": "", "keep_float": True}, ["rules[0].op: got ''", "empty"]),
    ({"tensor": "re:(", "keep_float": True}, ["rules[0].tensor: got 're:('", "expression"]),
    ({"tensor": "a", "range": [1, 6]}, ["rules[0].range: got [1.0, 6.0]", "write [0.0, 6.0]"]),
    ({"tensor": "a", "range": [2, -2]}, ["rules[0].range", "min < max"]),
    ({"tensor": "a", "range": [0]}, ["rules[0].range[1]: missing"]),
    ({"tensor": "a", "range": [0, 1, 2]}, ["rules[0].range: got [0, 1, 2]", "2 values"]),
    ({"tensor": "a", "range": [0, float("inf")]}, ["rules[0].range[1]: got inf", "finite"]),
    ({"tensor": "a", "range": [0, 1], "calibrator": "mse"}, ["rules[0]: range fixes"]),
    ({"op": "ADD", "activation_bits": 4}, ["rules[0].activation_bits: got 4", "8, 16"]),
]
SEARCH = {"max_loss": 3.0}
CONTRADICTIONS = [
    ({"base": "dynamic", "search": SEARCH}, ["search = {'max_loss': 3.0} has no effect"]),
    ({"base": "int16x8", "search": SEARCH}, ["search chooses widths around 8-bit activations"]),
    ({"base": "mixed", "at_least": "fast"}, ["at_least = 'fast' may swap", "not measured"]),
    ({"base": "mixed", "strict": True}, ["strict = true forbids float", "choices = ['w4', 'w8']"]),
    (
        {"mode": "simulate", "rules": [{"op": "ADD", "activation_bits": 4}]},
        ["rules[0].activation_bits has no effect", "all activations have the width"],
    ),
    (
        {"activations": "int16", "input_type": "uint8"},
        ["input_type: got 'uint8'", "activations = 'int16'", "'float32', 'int16'"],
    ),
    ({"output_type": "int16"}, ["output_type: got 'int16'", "'int8', 'uint8'"]),
    ({"mode": "fp16", "input_type": "uint8"}, ["input_type", "mode = 'fp16': 'float32'"]),
    (
        {"statistics": "norms"},
        ["calibrator = 'auto' compares on samples", "use calibrator = 'minmax'"],
    ),
    ({"base": "data-free", "bias": "match"}, ["bias = 'match' compares", "'analytic'"]),
    ({"base": "data-free", "equalize": "try"}, ["equalize = 'try' compares", "'on' or 'off'"]),
    ({"base": "data-free", "at_least": "fast"}, ["at_least compares on samples", "leave it out"]),
    ({"base": "data-free", "search": {"max_loss": 1.0}}, ["search compares on samples"]),
    (
        {"base": "data-free", "rules": [{"op": "ADD", "calibrator": "auto"}]},
        ["rules[0].calibrator = 'auto' compares on samples"],
    ),
    ({"base": "data-free", "absorb": True}, ["set equalize = 'on'"]),
    ({"absorb": True, "equalize": "on"}, ["absorb = True needs statistics = 'norms'"]),
    ({"mode": "dynamic", "statistics": "norms"}, ["statistics = 'norms' has no effect"]),
    ({"mode": "fp16", "calibrator": "mse"}, ["calibrator = 'mse' has no effect", "'fp16'"]),
    ({"mode": "fp16", "weights": {"bits": 4}}, ["weights = {'bits': 4} has no effect"]),
    ({"mode": "dynamic", "activations": "int16"}, ["activations = 'int16' has no effect"]),
    ({"mode": "weight_only", "strict": True}, ["strict = True has no effect"]),
    ({"weights": {"symmetric": False}}, ["weights.symmetric = False", "mode = 'simulate'"]),
    ({"activations": {"bits": 4}}, ["'bits': 4", "has no kernels", "mode = 'simulate'"]),
    (
        {"output_calibrator": "float", "output_type": "int8"},
        ["output_calibrator = 'float'", "output_type = 'float32'"],
    ),
    (
        {"mode": "dynamic", "rules": [{"tensor": "a", "range": [0, 1]}]},
        ["rules[0].range has no effect"],
    ),
    ({"mode": "fp16", "rules": [{"op": "ADD", "weight_bits": 4}]}, ["rules[0].weight_bits"]),
]


@pytest.mark.parametrize(("table", "parts"), WRONG + CONTRADICTIONS)
def test_a_wrong_recipe_says_where_what_and_what_else(table, parts):
    with pytest.raises(RecipeError) as caught:
        load_recipe(table)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("rule", "parts"), WRONG_RULES)
def test_a_wrong_rule_says_where_what_and_what_else(rule, parts):
    with pytest.raises(RecipeError) as caught:
        load_recipe({"rules": [rule]})
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert len(message.splitlines()) == 1


def test_every_fault_is_told_at_once():
    with pytest.raises(RecipeError) as caught:
        load_recipe({"mode": "x", "weights": {"bits": 5}, "rules": [{"op": "A", "weight_bits": 1}]})
    places = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert places == ["mode", "weights.bits", "rules[0].weight_bits"]


def test_constructors_raise_recipe_errors_too():
    with pytest.raises(RecipeError, match="weight_bits: got 3"):
        Rule(op="CONV_2D", weight_bits=3)
    with pytest.raises(RecipeError, match="mode: got 'x'"):
        Recipe(mode="x")
    with pytest.raises(RecipeError, match="scale: got 'min'"):
        WeightGrid(scale="min")


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "simulate", "activations": LINEAR_GRID, "weights": {"symmetric": False}},
        {"mode": "simulate", "rules": [{"op": "ADD", "keep_float": True}]},
        {"mode": "dynamic", "weights": {"bits": 4, "scale": "mse"}, "limit": 5},
        {"mode": "fp16", "rules": [{"op": "CONV_2D", "keep_float": True}]},
        {"input_type": "uint8", "output_type": "int8"},
        {"output_calibrator": "float"},
        {"calibrator": "percentile:99.99", "hold_back": 0},
        {"rules": [{"op": "CUSTOM:*", "keep_float": True}, {"op": "*", "weight_bits": 2}]},
    ],
)
def test_what_is_allowed(fields):
    recipe = load_recipe(fields)
    assert load_recipe(recipe.to_dict()) == recipe


def test_preset_table_answers_back():
    with pytest.raises(UnknownName, match="Did you mean 'int8'"):
        PRESETS["int9"]
