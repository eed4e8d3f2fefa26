"""The [lint] table: what is taken, and what each mistake is told."""

from __future__ import annotations

import pytest

from tfq_ext.errors import RecipeError
from tfq_ext.validation.lint import RULES
from tfq_ext.validation.lint.config import LintConfig, load, parse


def parsed(*entries, **table):
    return parse({"suppress": list(entries), **table}, RULES, "tfq.toml [lint]")


def found(rule="float-op", **where):
    return RULES[rule].at("Something.", **where)


@pytest.mark.parametrize(
    ("entry", "where", "silent"),
    [
        ({}, {}, True),
        ({}, {"tensor": "a/b", "op": "SIN"}, True),
        ({"tensor": "a/*"}, {"tensor": "a/b"}, True),
        ({"tensor": "a/*"}, {"tensor": "A/b"}, False),
        ({"tensor": "a/*"}, {"tensor": ""}, False),
        ({"op": "SI?"}, {"op": "SIN"}, True),
        ({"op": "SIN"}, {"op": "COS"}, False),
        ({"op": "SIN", "tensor": "x"}, {"op": "SIN", "tensor": "y"}, False),
    ],
)
def test_globs(entry, where, silent):
    config = parsed({"id": "float-op", "reason": "because", **entry})
    (judged,) = config.applied([found(**where)])
    assert judged.suppressed == ("because" if silent else "")
    assert bool(config.idle([found(**where)])) != silent


def test_another_rule_is_not_silenced_and_the_first_reason_wins():
    config = parsed({"id": "float-op", "reason": "one"}, {"id": "float-op", "reason": "two"})
    judged = config.applied([found(), found("hybrid-op")])
    assert [f.suppressed for f in judged] == ["one", ""]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"id": "float-ops", "reason": "x"}, "Did you mean 'float-op'"),
        ({"id": "float-op"}, "no reason"),
        ({"id": "float-op", "reason": "  "}, "reason is a text"),
        ({"id": "float-op", "reason": 3}, "reason is a text"),
        ({"reason": "x"}, "id is missing"),
        ({"id": "float-op", "reason": "x", "tensors": "y"}, "Did you mean 'tensor'"),
        ("float-op", "write { id"),
    ],
)
def test_mistakes_in_entries(entry, told):
    with pytest.raises(RecipeError, match=told):
        parsed(entry)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[lnt]\n", "Did you mean 'lint'"),
        ("lint = 3\n", "lint is a table"),
        ("[lint]\nsupress = []\n", "Did you mean 'suppress'"),
        ("[lint]\nsuppress = 3\n", "list of tables"),
        ("[lint]\ntarget = 2.14\n", "target is a text"),
        ("[lint\n", "not valid TOML"),
        ("\xff", "not valid TOML"),
    ],
)
def test_mistakes_in_files(content, told, tmp_path):
    path = tmp_path / "tfq.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RecipeError, match=told):
        load(path, RULES)


def test_a_file_that_is_not_there_and_one_without_lint(tmp_path):
    with pytest.raises(RecipeError, match="Cannot read"):
        load(tmp_path / "none.toml", RULES)
    (tmp_path / "tfq.toml").write_text("[gates]\nsize = '4MB'\n")
    assert load(tmp_path / "tfq.toml", RULES) == LintConfig() == load(None, RULES)


def test_a_whole_file(tmp_path):
    path = tmp_path / "tfq.toml"
    path.write_text(
        '[lint]\ntarget = "2.14.0"\nsuppress = [\n'
        '  { id = "no-metadata", reason = "known" },\n'
        '  { id = "float-op", op = "SIN", tensor = "x*", reason = "on purpose" },\n]\n'
    )
    config = load(path, RULES)
    assert config.target == "2.14.0"
    assert [str(e) for e in config.suppress] == [
        "no-metadata",
        "float-op, tensor 'x*', op 'SIN'",
    ]
