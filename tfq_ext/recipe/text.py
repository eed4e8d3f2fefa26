"""Recipes as text: TOML and JSON, read and written, and a digest that ignores layout."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfq_ext.errors import RecipeError

_READERS: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}
SUFFIXES = tuple(_READERS)


def read(path: Path) -> dict[str, Any]:
    """The table in a .toml or .json file.

    Raises:
        RecipeError: no such file, another kind of file, or text that does not parse.
    """
    check_suffix(path)
    try:
        table = _READERS[path.suffix.lower()](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}.") from None
    except ValueError as error:  # of tomllib, json and utf-8 alike; they name line and column
        raise RecipeError(f"{path}: is no valid {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(table, dict):
        raise RecipeError(f"{path}: holds {type(table).__name__}; a recipe is a table of fields.")
    return table


def check_suffix(path: Path) -> None:
    """Raises RecipeError for a file of another kind than .toml and .json."""
    if path.suffix.lower() not in _READERS:
        raise RecipeError(f"{path}: a recipe file ends in {' or '.join(SUFFIXES)}.")


def to_json(table: Mapping[str, Any]) -> str:
    """Indented JSON, fields in the order of the model."""
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML: plain values first, then tables, then arrays of tables (as TOML requires).

    Empty lists are left out: `rules = []` would forbid whoever edits the file to add [[rules]].
    """
    table = {name: value for name, value in table.items() if value != []}
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and not _is_tables(v)}
    blocks = ["".join(_lines(plain))]
    for name, value in table.items():
        if isinstance(value, dict):
            blocks.append(f"[{name}]\n" + "".join(_lines(value)))
        elif _is_tables(value):
            blocks += [f"[[{name}]]\n" + "".join(_lines(entry)) for entry in value]
    return "\n".join(block for block in blocks if block)


def digest(table: Mapping[str, Any]) -> str:
    """sha256 over the table's canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], dict)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}\n" for name, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's scalars are TOML's, but for one control character that JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
