"""Every rule of every check, in one table: what can be listed, explained and suppressed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module

from tfq_ext._table import Table
from tfq_ext.validation.finding import Finding, Rule

# Modules that have a table RULES of their own.
_SOURCES = (
    "lint",
    "sandbox",
    "trial",
    "job",
    "comparison",
    "integer",
    "latency",
    "delegates",
)


def catalogue() -> Table[Rule]:
    """Rule id -> rule, the lint rules first.

    Raises:
        UnknownName: two checks have a rule of one id.
    """
    table: Table[Rule] = Table("rule")
    for source in _SOURCES:
        module = import_module(f"tfq_ext.validation.{source}")
        for name, rule in module.RULES.items():
            table.add(name, rule)
    return table


def suppress(
    findings: Iterable[Finding], config: str | os.PathLike[str] | None
) -> tuple[Finding, ...]:
    """The findings of every check, those that a config file silences marked with its reason."""
    from tfq_ext.validation.lint.config import load

    if config is None:
        return tuple(findings)
    return load(config, catalogue()).applied(findings)
