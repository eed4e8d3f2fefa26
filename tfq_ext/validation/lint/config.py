"""What a project says about lint in its TOML file: the target, and findings that do not count.

    [lint]
    target = "2.14.0"
    suppress = [
      { id = "no-metadata", reason = "the app knows the preprocessing" },
      { id = "float-op", op = "ARG_MAX", reason = "runs on the CPU on purpose" },
      { id = "saturating", tensor = "block_1/*", reason = "measured: no loss" },
    ]

`[gates]` and `[validate]` in the same file belong to `tfq validate`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tfq_ext.errors import RecipeError
from tfq_ext.validation.finding import Finding, Rule

TABLES = ("lint", "gates", "validate")
FIELDS = ("suppress", "target")
KEYS = ("id", "reason", "tensor", "op")


@dataclass(frozen=True)
class Suppression:
    """Findings of one rule that do not count, and why.

    Args:
        id: of the rule.
        reason: shown beside each finding that it silences.
        tensor, op: globs that the finding's tensor name and op code must match.
    """

    id: str
    reason: str
    tensor: str = "*"
    op: str = "*"

    def fits(self, finding: Finding) -> bool:
        """Whether it silences a finding."""
        return (
            self.id == finding.rule.id
            and fnmatchcase(finding.tensor, self.tensor)
            and fnmatchcase(finding.op, self.op)
        )

    def __str__(self) -> str:
        globs = (("tensor", self.tensor), ("op", self.op))
        return self.id + "".join(f", {key} {glob!r}" for key, glob in globs if glob != "*")


@dataclass(frozen=True)
class LintConfig:
    """The [lint] table of a file.

    Args:
        suppress: in the file's order; the first that fits a finding silences it.
        target: runtime version as written, "" for none.
    """

    suppress: tuple[Suppression, ...] = ()
    target: str = ""

    def applied(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings, those that do not count marked with the reason."""
        return tuple(self._marked(finding) for finding in findings)

    def _marked(self, finding: Finding) -> Finding:
        for entry in self.suppress:
            if entry.fits(finding):
                return replace(finding, suppressed=entry.reason)
        return finding

    def idle(self, findings: Iterable[Finding]) -> tuple[str, ...]:
        """Suppressions that fit no finding: they may be dropped from the file."""
        found = list(findings)
        return tuple(str(e) for e in self.suppress if not any(e.fits(f) for f in found))


def load(path: str | os.PathLike[str] | None, known: Mapping[str, Rule]) -> LintConfig:
    """Read the [lint] table of a TOML file; None gives an empty one.

    Args:
        path: the file.
        known: the rules that can be suppressed, by id.

    Raises:
        RecipeError: no such file, no TOML, an unknown field or rule, a missing reason.
    """
    if path is None:
        return LintConfig()
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read {file}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} is not valid TOML: {error}.") from None
    _only(content, TABLES, f"{file}: no table")
    table = content.get("lint", {})
    if not isinstance(table, dict):
        raise RecipeError(f"{file}: lint is a table ([lint]), got {table!r}.")
    return parse(table, known, f"{file} [lint]")


def parse(table: Mapping[str, Any], known: Mapping[str, Rule], where: str) -> LintConfig:
    """A [lint] table as values; `where` begins the messages."""
    _only(table, FIELDS, f"{where}: no field")
    target = table.get("target", "")
    if not isinstance(target, str):
        raise RecipeError(f'{where}: target is a text like "2.14.0", got {target!r}.')
    entries = table.get("suppress", [])
    if not isinstance(entries, list):
        raise RecipeError(f"{where}: suppress is a list of tables, got {entries!r}.")
    made = (_suppression(e, known, f"{where} suppress[{k}]") for k, e in enumerate(entries))
    return LintConfig(tuple(made), target)


def _suppression(entry: Any, known: Mapping[str, Rule], where: str) -> Suppression:
    if not isinstance(entry, dict):
        raise RecipeError(f'{where}: write {{ id = "...", reason = "..." }}, got {entry!r}.')
    _only(entry, KEYS, f"{where}: no key")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise RecipeError(f"{where}: {key} is a text, got {value!r}.")
    if "id" not in entry:
        raise RecipeError(f"{where}: the rule's id is missing; `tfq lint --rules` lists them.")
    if entry["id"] not in known:
        hint = _hint(entry["id"], known)
        raise RecipeError(
            f"{where}: no rule {entry['id']!r}.{hint} `tfq lint --rules` lists all {len(known)}."
        )
    if "reason" not in entry:
        raise RecipeError(
            f"{where}: {entry['id']} has no reason. Say why it does not matter here: "
            'reason = "...".'
        )
    return Suppression(**entry)


def _only(given: Mapping[str, Any], allowed: Iterable[str], message: str) -> None:
    names = tuple(allowed)
    for name in given:
        if name not in names:
            raise RecipeError(f"{message} {name!r}.{_hint(name, names)} Known: {', '.join(names)}.")


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
