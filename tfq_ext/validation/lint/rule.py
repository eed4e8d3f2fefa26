"""One entry of the table of lint rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.subject import Subject

VALUES, TARGET, REFERENCE = "data", "a target runtime", "a float reference and data"


@dataclass(frozen=True)
class LintRule:
    """A rule and its check.

    Laws (tests/contracts/test_lint_rules.py): the check yields findings of its own rule only, the
    gravest first; it never raises on a file that `Model.parse` takes; it leaves the file as it is.

    Args:
        rule: what is told about it.
        check: yields findings.
        needs: "" or one of VALUES, TARGET, REFERENCE: without it the rule is skipped, and the
            report says so.
    """

    rule: Rule
    check: Callable[[Subject], Iterator[Finding]]
    needs: str = ""

    def missing(self, subject: Subject) -> str:
        """Why the rule cannot be judged; "" when it can."""
        if self.needs == TARGET and subject.target is None:
            return "needs a target runtime: --target 2.14.0"
        if self.needs in (VALUES, REFERENCE) and subject.values is None:
            return "needs values: --data"
        if self.needs == REFERENCE and subject.reference is None:
            return "needs a float model: --reference FLOAT"
        return ""
