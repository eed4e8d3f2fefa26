"""The laws of every lint rule, over the table itself."""

from __future__ import annotations

import hashlib

import pytest
from lint_examples import EXAMPLES

from tfq_ext.errors import UnknownName
from tfq_ext.validation.finding import SEVERITIES
from tfq_ext.validation.lint import CHAPTERS, LINT_RULES, RULES
from tfq_ext.validation.lint.config import LintConfig
from tfq_ext.validation.lint.run import judge

every_rule = pytest.mark.parametrize("name", LINT_RULES)
every_example = pytest.mark.parametrize("name", EXAMPLES)
# First words of remedies: imperatives.
IMPERATIVES = {
    "Calibrate", "Change", "Choose", "Compare", "Convert", "Correct", "Equalize", "Fix",
    "Fold",
    "Give", "Keep", "Let", "Look", "Prune",
    "Put", "Quantize", "Register", "Remove",
    "Rename", "Replace", "Rewrite", "Scale", "Ship", "Split", "Store", "Take",
    "Use", "Widen", "Write",
}  # fmt: skip


def test_every_rule_has_an_example_and_every_example_a_rule():
    assert set(EXAMPLES) == set(LINT_RULES)


def test_chapters_hold_every_rule_once():
    ids = [entry.rule.id for chapter in CHAPTERS.values() for entry in chapter]
    assert ids == list(LINT_RULES) == list(RULES)
    assert len(ids) == len(set(ids))


@every_rule
def test_words(name):
    rule = LINT_RULES[name].rule
    assert rule.id == name
    assert rule.severity in SEVERITIES
    for sentence in (rule.what, rule.why, rule.remedy):
        assert sentence.endswith(".")
        assert sentence[0].isupper()
        assert "  " not in sentence
        assert "\n" not in sentence
    assert rule.remedy.split()[0] in IMPERATIVES
    assert rule.source
    assert len(rule.what) <= 100


@every_example
def test_the_bad_file_is_found(name):
    subject = EXAMPLES[name][0]()
    assert not LINT_RULES[name].missing(subject)
    found = list(LINT_RULES[name].check(subject))
    assert found
    for finding in found:
        assert finding.rule is LINT_RULES[name].rule
        assert finding.message.endswith(".")
        assert "  " not in finding.message
        assert finding.subgraph < len(subject.model.graphs)
        if finding.op_index is not None:
            graph = subject.model.graphs[finding.subgraph]
            assert graph.code(graph.ops[finding.op_index]) == finding.op


@every_example
def test_the_near_miss_is_not(name):
    subject = EXAMPLES[name][1]()
    assert not LINT_RULES[name].missing(subject)
    assert list(LINT_RULES[name].check(subject)) == []


@every_example
def test_checks_leave_the_file_as_it_is_and_repeat_themselves(name):
    subject = EXAMPLES[name][0]()
    before = hashlib.sha256(subject.model.to_bytes()).hexdigest()
    first = judge(subject, LintConfig())
    assert judge(subject, LintConfig()).findings == first.findings
    assert hashlib.sha256(subject.model.to_bytes()).hexdigest() == before
    assert {*first.checked, *first.skipped} == set(LINT_RULES)
    grades = [SEVERITIES.index(f.severity) for f in first.findings]
    assert grades == sorted(grades, reverse=True)


def test_a_rule_that_lacks_something_says_what():
    plain = EXAMPLES["hybrid-op"][1]()
    report = judge(plain, LintConfig())
    assert "--data" in report.skipped["saturating"]
    assert "--target" in report.skipped["newer-than-target"]
    with_data = EXAMPLES["saturating"][1]()
    assert "--reference" in judge(with_data, LintConfig()).skipped["range-unlike-float"]


def test_the_committed_page_is_what_the_tables_say():
    import lint_docs

    assert lint_docs.PAGE.read_text(encoding="utf-8") == lint_docs.page(), (
        "docs/reference/lint_rules.md is out of date: run python tools/lint_docs.py"
    )


def test_an_unknown_rule_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'shared-grid'"):
        _ = LINT_RULES["shared-grids"]
