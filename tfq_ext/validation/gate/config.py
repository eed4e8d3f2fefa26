"""A project's settings in a TOML file: gates, and what `tfq validate` is given each time.

    [gates]
    top1_drop = "0.5%"
    size = "4MB"
    lint = "error"

    [validate]
    reference = "model.keras"
    data = "images/"
    preprocess = "scale=1/127.5,mean=1"

`[lint]` in the same file belongs to the lint rules.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tfq_ext.errors import RecipeError
from tfq_ext.validation.gate.judge import parse_gates

SETTINGS: dict[str, tuple[type, ...]] = {
    "reference": (str,),
    "data": (str,),
    "labels": (str, bool),
    "preprocess": (str,),
    "task": (str,),
    "metric": (str,),
    "output": (str,),
    "signature": (str,),
    "limit": (int,),
    "seed": (int,),
    "threads": (int,),
    "workers": (int,),
    "runs": (int,),
    "gpu": (bool,),
    "bit_exact": (bool,),
    "target": (str,),
    "stop_early": (bool,),
    "label_offset": (int,),
    "ignore_label": (int,),
}
PATHS = ("reference", "data", "labels")  # relative to the file that names them
TABLES = ("gates", "validate", "lint")


@dataclass(frozen=True)
class Config:
    """What a file says.

    Args:
        gates: name -> bound as written; checked, but not yet numbers.
        settings: keyword arguments of `validate`.
        path: of the file, None where there is none.
    """

    gates: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None


def load_config(path: str | os.PathLike[str] | None) -> Config:
    """Read and check a TOML file; None gives an empty Config.

    Raises:
        RecipeError: no such file, no TOML, an unknown table or field, a bound that means nothing.
    """
    if path is None:
        return Config()
    file = Path(path)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read {file}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} is not valid TOML: {error}.") from None
    _known(f"{file}", "table", table, TABLES)
    gates, settings = (_table(file, table, name) for name in ("gates", "validate"))
    try:
        parse_gates(gates)
    except (RecipeError, KeyError) as error:
        raise RecipeError(f"{file}: {error}") from None
    _known(f"{file} [validate]", "setting", settings, SETTINGS)
    return Config(gates, {k: _setting(file, k, v) for k, v in settings.items()}, file)


def _table(file: Path, table: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise RecipeError(f"{file}: {name} is a table; write [{name}] and its fields below.")
    return found


def _setting(file: Path, key: str, value: Any) -> Any:
    kinds = SETTINGS[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise RecipeError(f"{file} [validate]: {key} takes {wanted}, got {value!r}.")
    if key in PATHS and isinstance(value, str) and (file.parent / value).exists():
        return str(file.parent / value)
    return value


def _known(where: str, noun: str, table: Mapping[str, Any], known: Any) -> None:
    for name in table:
        if name not in known:
            close = get_close_matches(name, list(known), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise RecipeError(
                f"{where}: no {noun} named {name!r}.{hint} Known: {', '.join(known)}."
            )
