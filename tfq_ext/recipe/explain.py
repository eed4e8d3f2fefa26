"""Pydantic's errors as sentences: which field, what came, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# Pydantic error type -> what would have been right; {braces} take the error's own context.
_ALLOWED = {
    "literal_error": "{expected}",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "tuple_type": "a list (for rules: tables headed [[rules]])",
    "model_type": "a table of fields",
    "model_attributes_type": "a table of fields",
    "dict_type": "a table of fields",
    "greater_than": "over {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "too_long": "{max_length} values",
}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line per fault, in the order of the fields."""
    return "\n".join(_sentence(fault, model) for fault in error.errors(include_url=False))


def _sentence(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    loc, kind = fault["loc"], fault["type"]
    place = dotted(loc)
    if kind == "extra_forbidden":
        return f"{place}: no such field.{_near(loc, model)}"
    if kind == "missing":
        return f"{place}: missing."
    if kind == "value_error":  # raised by our own validators, which say everything but the place
        return f"{place}: {fault['ctx']['error']}" if place else str(fault["ctx"]["error"])
    if kind in _ALLOWED:
        allowed = _ALLOWED[kind].format(**fault.get("ctx", {}))
        return f"{place}: got {fault['input']!r}; allowed: {allowed}."
    return f"{place}: got {fault['input']!r}. {fault['msg']}."


def dotted(loc: tuple[str | int, ...]) -> str:
    """('rules', 1, 'op') as people write it: rules[1].op."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _near(loc: tuple[str | int, ...], model: type[BaseModel]) -> str:
    known = list(_model_at(loc[:-1], model).model_fields)
    close = get_close_matches(str(loc[-1]), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."


def _model_at(loc: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel]:
    """The model class that the field path leads to (through `tuple[Model, ...]` fields too)."""
    for part in loc:
        if isinstance(part, str):
            kind: Any = model.model_fields[part].annotation
            model = (get_args(kind) or (kind,))[0]
    return model
