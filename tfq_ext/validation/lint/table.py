"""All lint rules, in the order in which reports and docs list them."""

from __future__ import annotations

from tfq_ext._table import Table
from tfq_ext.validation.finding import Rule
from tfq_ext.validation.lint import (
    arithmetic_rules,
    bias_rules,
    constant_rules,
    file_rules,
    fusion_rules,
    grid_rules,
    range_rules,
    value_rules,
    weight_rules,
)
from tfq_ext.validation.lint.rule import LintRule

# Heading in the docs -> the rules of one module.
CHAPTERS: dict[str, tuple[LintRule, ...]] = {
    "Scales and zero points": grid_rules.TABLE,
    "Weights": weight_rules.TABLE,
    "Biases": bias_rules.TABLE,
    "Ranges, judged from the file": range_rules.TABLE,
    "Ranges, judged with data": value_rules.TABLE,
    "Arithmetic": arithmetic_rules.TABLE,
    "What should be folded": fusion_rules.TABLE,
    "Constants": constant_rules.TABLE,
    "The file as a whole": file_rules.TABLE,
}
LINT_RULES: Table[LintRule] = Table("lint rule")
for _chapter in CHAPTERS.values():
    for _entry in _chapter:
        LINT_RULES.add(_entry.rule.id, _entry)

RULES: Table[Rule] = Table("rule", {name: entry.rule for name, entry in LINT_RULES.items()})
