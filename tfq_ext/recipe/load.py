"""From what a user hands over (name, file, table) to a checked Recipe."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tfq_ext.errors import RecipeError
from tfq_ext.recipe import text
from tfq_ext.recipe.model import Recipe
from tfq_ext.recipe.presets import PRESETS


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """The recipe that `source` names, holds or is.

    Args:
        source: a preset's name, the path of a .toml or .json file, a table of fields, or a
            Recipe. A table or file may say `base`: a preset, or a file relative to its own
            folder. It then changes only what it states; inside `weights` and `activations`
            field by field, and its rules come after the base's, so that they win.

    Raises:
        RecipeError: unknown name, unreadable file, unknown field, wrong value, contradiction.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return _build(_with_base(dict(source), Path(), ()), where="")
    if not isinstance(source, (str, Path)):
        raise RecipeError(
            f"A recipe is a preset's name, a file, a table or a Recipe; got {source!r}."
        )
    if isinstance(source, str) and source in PRESETS:
        return PRESETS[source].recipe
    path = _as_path(source)
    return _build(_with_base(text.read(path), path.parent, (path.resolve(),)), f"{path}: ")


def _as_path(source: str | Path) -> Path:
    """The file that `source` means; a plain word that is no preset is a misspelt preset."""
    path = Path(source)
    if isinstance(source, Path) or path.suffix.lower() in text.SUFFIXES or path.is_file():
        return path
    close = get_close_matches(source, PRESETS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise RecipeError(
        f"No recipe named {source!r}.{hint} Known: {', '.join(PRESETS)}; or give the path of a "
        f"{' or '.join(text.SUFFIXES)} file."
    )


def _with_base(table: dict[str, Any], folder: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The table laid over its base, and that over its own base, and so on."""
    base = table.pop("base", None)
    if base is None:
        return table
    if isinstance(base, Recipe):
        return _laid_over(base.to_dict(), table)
    if not isinstance(base, (str, Path)):
        raise RecipeError(f"base: got {base!r}; allowed: a preset's name or a recipe file.")
    if isinstance(base, str) and base in PRESETS:
        return _laid_over(PRESETS[base].recipe.to_dict(), table)
    path = (folder / _as_path(base)).resolve()
    if path in seen:
        raise RecipeError(f"base: {path.name} is based on itself.")
    return _laid_over(_with_base(text.read(path), path.parent, (*seen, path)), table)


def _laid_over(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in table.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = {**below, **value}
        elif name == "rules" and isinstance(below, list) and isinstance(value, (list, tuple)):
            merged[name] = [*below, *value]
        else:
            merged[name] = value
    return merged


def _build(table: Mapping[str, Any], where: str) -> Recipe:
    """Recipe(**table); field names that are no text are unknown fields too."""
    try:
        return Recipe(**{str(name): value for name, value in table.items()})
    except RecipeError as error:
        raise RecipeError("\n".join(f"{where}{line}" for line in str(error).splitlines())) from None
