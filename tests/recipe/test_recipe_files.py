"""Reading and writing recipes: files, bases, round trips of anything that can be said."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfq_ext.errors import RecipeError
from tfq_ext.recipe import Recipe, Rule, load_recipe
from tfq_ext.recipe.text import to_toml


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name.strip() and not name.startswith("re:")
)
rules = st.one_of(
    st.builds(Rule, tensor=names, keep_float=st.just(True)),
    st.builds(
        Rule,
        op=st.sampled_from(["CONV_2D", "*", "re:(ADD|MUL)"]),
        weight_bits=st.sampled_from([8, 4, 2]),
        activation_bits=st.sampled_from([None, 8, 16]),
    ),
    st.builds(
        Rule,
        tensor=names,
        position=st.sampled_from([None, "last"]),
        range=st.tuples(st.floats(-1e9, -1e-9), st.floats(0, 1e30)),
    ),
)
recipes = st.builds(
    Recipe,
    activations=st.sampled_from(["int8", "int16"]),
    calibrator=st.sampled_from(["auto", "percentile:99.99"]),
    output_calibrator=st.sampled_from([None, "float", "mse"]),
    hold_back=st.floats(0, 0.5),
    limit=st.none() | st.integers(1, 10**12),
    rules=st.lists(rules, max_size=4),
)


@given(recipes)
def test_both_texts_say_everything(recipe):
    assert load_recipe(tomllib.loads(recipe.to_toml())) == recipe
    assert load_recipe(json.loads(recipe.to_json())) == recipe


def test_toml_is_written_for_people():
    recipe = Recipe(rules=[{"tensor": 'a"b', "range": [0, 6]}, {"op": "ADD", "keep_float": True}])
    text = recipe.to_toml()
    assert 'activations = "int8"\n' in text
    assert '[[rules]]\ntensor = "a\\"b"\nrange = [0.0, 6.0]\n' in text
    assert text.index("hold_back") < text.index("[weights]") < text.index("[[rules]]")


def test_a_written_preset_takes_rules_at_its_end(tmp_path):
    text = load_recipe("int8").to_toml() + '\n[[rules]]\nop = "ADD"\nkeep_float = true\n'
    assert len(load_recipe(write(tmp_path / "r.toml", text)).rules) == 1


def test_control_characters_are_escaped():
    assert tomllib.loads(to_toml({"name": "a\x7f\n\t\u2028é😀"})) == {"name": "a\x7f\n\t\u2028é😀"}


def test_base_changes_only_what_is_said(tmp_path):
    path = write(
        tmp_path / "mine.toml",
        'base = "int4-nearest"\ncalibrator = "mse"\n[weights]\nper_channel = false\n',
    )
    recipe = load_recipe(path)
    assert recipe.weights.model_dump() == {
        "bits": 4,
        "per_channel": False,
        "symmetric": True,
        "scale": "mse",
        "rounding": "nearest",
    }
    assert recipe.calibrator == "mse"


def test_base_may_be_a_file_beside_and_rules_add_up(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "base.toml", 'seed = 5\n[[rules]]\nop = "ADD"\nkeep_float = true\n')
    child = write(
        tmp_path / "sub" / "child.json",
        json.dumps({"base": "../base.toml", "rules": [{"op": "*", "weight_bits": 4}]}),
    )
    recipe = load_recipe(child)
    assert (recipe.seed, [rule.op for rule in recipe.rules]) == (5, ["ADD", "*"])
    assert load_recipe({"base": child, "seed": 6}).seed == 6
    assert load_recipe({"base": recipe}) == recipe


def test_base_with_a_named_grid_can_change_its_kind():
    assert load_recipe({"base": "int8", "activations": {"bits": 16}}).activations.name == "int16"
    sim = {"mode": "simulate", "activations": {"bits": 4, "symmetric": True}}
    merged = load_recipe({"base": Recipe(**sim), "activations": {"bits": 6}})
    assert (merged.activations.bits, merged.activations.symmetric) == (6, True)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "mode = ", "is no valid TOML"),
        ("a.json", '{"mode": ', "is no valid JSON"),
        ("a.json", "[1]", "holds list"),
        ("a.yaml", "mode: int8", r"ends in \.toml or \.json"),
        ("a.toml", 'base = "a.toml"', "based on itself"),
        ("a.toml", 'base = "int9"', "Did you mean 'int8'"),
        ("a.toml", "base = 3", "base: got 3"),
        ("a.toml", 'mode = "x"\nseed = -1', r"a\.toml: mode: got 'x'.*\n.*a\.toml: seed: got -1"),
    ],
)
def test_bad_files(tmp_path, name, text, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe(write(tmp_path / name, text))


def test_a_file_that_is_not_utf8_or_not_there(tmp_path):
    (tmp_path / "a.toml").write_bytes(b'mode = "\xff"')
    with pytest.raises(RecipeError, match="is no valid TOML"):
        load_recipe(tmp_path / "a.toml")
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(str(tmp_path / "b.toml"))


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_saved_recipe_is_read_back(suffix, tmp_path):
    recipe = load_recipe("mixed").changed(rules=[{"tensor": "a", "weight_bits": 4}])
    assert recipe.save(tmp_path / f"r{suffix}") == tmp_path / f"r{suffix}"
    assert load_recipe(tmp_path / f"r{suffix}") == recipe
    with pytest.raises(RecipeError, match=r"r\.yaml: a recipe file ends in \.toml or \.json"):
        recipe.save(tmp_path / "r.yaml")
    assert not (tmp_path / "r.yaml").exists()


def test_a_misspelt_name_lists_the_presets():
    with pytest.raises(RecipeError, match=r"No recipe named 'int_4'\. Did you mean 'int4'\?"):
        load_recipe("int_4")
    with pytest.raises(RecipeError, match="got 5"):
        load_recipe(5)
