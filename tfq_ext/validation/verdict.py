"""Everything that is known about one file, and whether it may ship."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfq_ext._files import write_text
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.gate.result import FAIL, UNDECIDED, GateResult

if TYPE_CHECKING:
    from tfq_ext.validation.accuracy import AccuracyReport
    from tfq_ext.validation.comparison import Comparison
    from tfq_ext.validation.delegates import DelegateReport
    from tfq_ext.validation.inspection import Inspection
    from tfq_ext.validation.integer import IntegerReport
    from tfq_ext.validation.latency import BenchReport
    from tfq_ext.validation.lint import LintReport
    from tfq_ext.validation.trial import Trial


@dataclass(frozen=True)
class NotChecked:
    """A part that was not looked at.

    Args:
        reason: what was missing, or what went wrong, and what to do.
        failed: it was tried and went wrong, rather than not asked for.
        findings: what went wrong, with remedies.
    """

    reason: str
    failed: bool = False
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What the numbers are of, and what they were made with.

    Args:
        sha256, reference_sha256: of the files' bytes; "" without a reference.
        reference: how the reference was given.
        sample_sha256: of the first 256 samples as fed; "" without.
        samples: how many.
        seed: of everything random.
        settings: the arguments that were given.
        versions: package -> version.
        machine: one line.
        when: local time, ISO 8601.
        seconds: how long all of it took.
    """

    sha256: str
    reference: str
    reference_sha256: str
    sample_sha256: str
    samples: int
    seed: int
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    machine: str
    when: str
    seconds: float


# What the file and its reference are called where they are timed together.
REFERENCE, CANDIDATE = "reference", "this file"
# Fields of Validation that are checks, in the order in which they run and are shown.
SECTIONS = (
    "inspection",
    "run",
    "lint",
    "accuracy",
    "comparison",
    "latency",
    "integers",
    "delegates",
)


@dataclass(frozen=True)
class Validation:
    """The answer to "may it ship?", and all that it rests on.

    Args:
        name: of the file, as reports call it.
        source: its path, "" for bytes.
        size_bytes, reference_bytes: of the file, and of the reference as a float .tflite (0: none).
        inspection, lint, run, accuracy, comparison, latency, integers, delegates: each check's
            report, or why there is none.
        findings: of all checks.
        gates: one verdict each.
        origin: hashes, versions, machine, settings.
    """

    name: str
    source: str
    size_bytes: int
    reference_bytes: int
    inspection: Inspection
    lint: LintReport | NotChecked
    run: Trial | NotChecked
    accuracy: AccuracyReport | NotChecked
    comparison: Comparison | NotChecked
    latency: BenchReport | NotChecked
    integers: IntegerReport | NotChecked
    delegates: DelegateReport | NotChecked
    findings: tuple[Finding, ...]
    gates: tuple[GateResult, ...]
    origin: Origin

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all gates passed, 1 one failed, 2 none failed but not all could be judged.

        A check that was asked for and went wrong counts as one that could not be judged.
        """
        verdicts = {gate.verdict for gate in self.gates}
        unsure = UNDECIDED in verdicts or bool(self.broken)
        return 1 if FAIL in verdicts else 2 if unsure else 0

    @property
    def broken(self) -> tuple[str, ...]:
        """Sections that were tried and went wrong."""
        parts = ((name, getattr(self, name)) for name in SECTIONS)
        return tuple(name for name, x in parts if isinstance(x, NotChecked) and x.failed)

    def missing(self, section: str) -> str | None:
        """Why a section has no report; None if it has one."""
        found = getattr(self, section)
        return found.reason if isinstance(found, NotChecked) else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; each part's own `to_dict` where it has one."""
        table = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return {"passed": self.passed, "exit_code": self.exit_code, **table}

    def to_json(self) -> str:
        """The same as text; null stands for infinite levels."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def to_markdown(self) -> str:
        """A summary for a pull request."""
        from tfq_ext.report.validation.markdown import markdown

        return markdown(self)

    def to_junit(self) -> str:
        """JUnit XML: one test case a gate."""
        from tfq_ext.report.validation.junit import junit

        return junit(self)

    def to_html(self) -> str:
        """One self-contained page."""
        from tfq_ext.report.html import page

        return page(self)

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        return write_text(path, self.to_html())

    def __str__(self) -> str:
        from tfq_ext.report.validation.text import summary

        return summary(self)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
