"""Lint: a table of rules about .tflite files, and what they find."""

from tfq_ext.validation.lint.config import LintConfig, Suppression
from tfq_ext.validation.lint.report import LintReport
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.run import known_rules, lint
from tfq_ext.validation.lint.subject import Subject
from tfq_ext.validation.lint.table import CHAPTERS, LINT_RULES, RULES

__all__ = [
    "CHAPTERS",
    "LINT_RULES",
    "RULES",
    "LintConfig",
    "LintReport",
    "LintRule",
    "Subject",
    "Suppression",
    "known_rules",
    "lint",
]
