"""What checks say about a file: rules, and what they found."""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext.errors import SpecError

SEVERITIES = ("info", "warning", "error")  # from mild to grave


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a file; entries of tables, never made on the fly.

    Args:
        id: what people write to suppress it: lower case words with hyphens.
        severity: of SEVERITIES. "error": the file gives wrong numbers or will not run;
            "warning": it loses accuracy, speed or reach; "info": worth knowing.
        what: the rule, one sentence without numbers.
        why: why it matters.
        remedy: what to do, an imperative.
        source: specification, issue thread, or own measurement.
    """

    id: str
    severity: str
    what: str
    why: str
    remedy: str
    source: str

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise SpecError(f"Severity is one of {', '.join(SEVERITIES)}, got {self.severity!r}.")
        if not self.id.replace("-", "").isalnum() or self.id != self.id.lower():
            raise SpecError(f"A rule's id is lower case words with hyphens, got {self.id!r}.")

    def at(
        self,
        message: str,
        *,
        op: str = "",
        tensor: str = "",
        subgraph: int = 0,
        op_index: int | None = None,
    ) -> Finding:
        """A finding by this rule; `message` has the numbers of the case."""
        return Finding(self, message, op, tensor, subgraph, op_index)


@dataclass(frozen=True)
class Finding:
    """One case of a rule.

    Args:
        rule: with severity, reason, remedy and source.
        message: one sentence about this case, numbers with units.
        op, tensor: op code and tensor name, "" for the whole file.
        subgraph, op_index: where.
        suppressed: the reason that a config file gave for not counting it, "" if it counts.
    """

    rule: Rule
    message: str
    op: str = ""
    tensor: str = ""
    subgraph: int = 0
    op_index: int | None = None
    suppressed: str = ""

    @property
    def severity(self) -> str:
        """The rule's."""
        return self.rule.severity


def worst(findings: tuple[Finding, ...]) -> str:
    """The gravest severity among those that count; "" when there is none."""
    grades = [SEVERITIES.index(f.severity) for f in findings if not f.suppressed]
    return SEVERITIES[max(grades)] if grades else ""
