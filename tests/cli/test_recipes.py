"""`tfq recipes`: the table as people see it, and TOML that comes back as the same recipe."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfq_ext.cli import main
from tfq_ext.recipe import PRESETS, load_recipe

GOLDEN = Path(__file__).parent / "golden"


def run(*arguments, **more):
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, ["recipes", *arguments], **more)


def test_the_table_as_people_see_it():
    lines = [line.rstrip() for line in run().stdout.splitlines()]
    assert lines == (GOLDEN / "recipes.txt").read_text().splitlines()


@pytest.mark.parametrize("name", PRESETS)
def test_toml_on_stdout_is_the_recipe(name, tmp_path):
    result = run(name)
    assert result.exit_code == 0
    path = tmp_path / "my.toml"
    path.write_text(result.stdout)
    assert load_recipe(path) == PRESETS[name].recipe


def test_json_of_all_and_of_one():
    rows = json.loads(run("--json").stdout)
    assert [row["name"] for row in rows] == list(PRESETS)
    assert load_recipe(json.loads(run("int4", "--json").stdout)) == PRESETS["int4"].recipe


def test_a_misspelt_name():
    result = run("int9")
    assert result.exit_code == 2
    assert "Did you mean 'int8'?" in result.stderr
