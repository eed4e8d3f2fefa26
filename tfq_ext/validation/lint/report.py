"""What lint found: findings, and what was and was not looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfq_ext.validation.finding import SEVERITIES, Finding, worst


@dataclass(frozen=True)
class LintReport:
    """The findings of one file.

    Args:
        findings: by severity, gravest first, then in the table's order; suppressed ones too.
        checked: ids of the rules that were judged.
        skipped: id -> why a rule could not be judged.
        file: its name, "" for bytes.
        target: the runtime that was asked about, "" for none.
        samples: how many samples were run, 0 without data.
        idle: suppressions in the config file that fit no finding.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    target: str = ""
    samples: int = 0
    idle: tuple[str, ...] = ()

    @property
    def worst(self) -> str:
        """The gravest severity that counts; "" when there is none."""
        return worst(self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Severity -> number of findings that count, gravest first."""
        live = [f.severity for f in self.findings if not f.suppressed]
        return {grade: live.count(grade) for grade in reversed(SEVERITIES)}

    def fails(self, severity: str = "error") -> bool:
        """Whether a finding that counts is at least as grave."""
        grave = SEVERITIES[SEVERITIES.index(severity) :]
        return any(self.counts[grade] for grade in grave)

    def grouped(self) -> dict[str, tuple[Finding, ...]]:
        """rule id -> its findings that count, the worst first; in the order of `findings`."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if not finding.suppressed:
                groups.setdefault(finding.rule.id, []).append(finding)
        return {rule: tuple(found) for rule, found in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "file": self.file,
            "worst": self.worst,
            "counts": self.counts,
            "findings": [_plain(finding) for finding in self.findings],
            "checked": list(self.checked),
            "skipped": dict(self.skipped),
            "target": self.target,
            "samples": self.samples,
            "idle_suppressions": list(self.idle),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.lint_text import to_text

        return to_text(self)


def _plain(finding: Finding) -> dict[str, Any]:
    rule = finding.rule
    return {
        "rule": rule.id,
        "severity": rule.severity,
        "message": finding.message,
        "op": finding.op,
        "tensor": finding.tensor,
        "subgraph": finding.subgraph,
        "op_index": finding.op_index,
        "suppressed": finding.suppressed,
        "what": rule.what,
        "why": rule.why,
        "remedy": rule.remedy,
        "source": rule.source,
    }
