"""Values to bytes and back, without pickle: a JSON tree beside raw blobs for arrays and bytes.

JSON's own types stand for themselves; everything else is an object with one key, the tag of a
codec. Only classes of tfq_ext are ever made from a name, and only frozen dataclasses, named
tuples and enums: a damaged child can send wrong values, never code.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import numpy as np

Blob = memoryview
PACKAGE = "tfq_ext."
_PLAIN = (type(None), bool, int, float, str)


class WireError(ValueError):
    """A value that cannot go over the wire, or bytes that are no value."""


def encode(value: Any) -> tuple[bytes, list[Blob]]:
    """JSON text, and the blobs that it refers to by number (views, not copies, of arrays)."""
    blobs: list[Blob] = []
    return json.dumps(_down(value, blobs)).encode("ascii"), blobs


def decode(text: bytes, blobs: list[np.ndarray]) -> Any:
    """The value; arrays are views of `blobs` (uint8[n], each owned by nobody else).

    Raises:
        WireError: these are not the bytes of a value.
    """
    try:
        return _up(json.loads(text), blobs)
    except WireError:
        raise
    except Exception as error:  # a damaged child sends anything
        raise WireError(f"{type(error).__name__}: {error}") from None


def named(path: str) -> Any:
    """What "tfq_ext.module:name" or "tfq_ext.module:Class.name" stands for.

    Raises:
        WireError: no such thing, or not of this package.
    """
    module, _, names = path.partition(":")
    if not module.startswith(PACKAGE) or not names:
        raise WireError(f"{path!r} is not 'tfq_ext.module:name'.")
    try:
        found: Any = sys.modules.get(module) or import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise WireError(f"{path!r} does not exist: {error}") from None
    if not str(getattr(found, "__module__", "")).startswith(PACKAGE):
        raise WireError(f"{path!r} is not of tfq_ext.")
    return found


def path_of(cls: type) -> str:
    """The inverse of `named`."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _down(value: Any, blobs: list[Blob]) -> Any:
    if type(value) in _PLAIN:
        return value
    if type(value) is list:
        return [_down(item, blobs) for item in value]
    for tag, codec in _CODECS.items():
        if codec.takes(value):
            return {tag: codec.down(value, blobs)}
    raise WireError(f"A {type(value).__name__} cannot go to or from a child process.")


def _up(tree: Any, blobs: list[np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_up(item, blobs) for item in tree]
    if isinstance(tree, dict):
        ((tag, content),) = tree.items()
        return _CODECS[tag].up(content, blobs)
    return tree


@dataclasses.dataclass(frozen=True)
class _Codec:
    """How one kind of value becomes JSON (`down`), and back (`up`)."""

    takes: Callable[[Any], bool]
    down: Callable[[Any, list[Blob]], Any]
    up: Callable[[Any, list[np.ndarray]], Any]


def _items(make: Callable[[list[Any]], Any], *kinds: type) -> _Codec:
    return _Codec(
        lambda value: type(value) in kinds,
        lambda value, blobs: [_down(item, blobs) for item in value],
        lambda content, blobs: make([_up(item, blobs) for item in content]),
    )


def _bytes_down(value: Any, blobs: list[Blob]) -> int:
    blobs.append(memoryview(value).cast("B"))
    return len(blobs) - 1


def _array_down(value: np.ndarray, blobs: list[Blob]) -> list[Any]:
    if value.dtype.hasobject:  # LiteRT's string tensors
        return [None, "O", list(value.shape), [_down(x, blobs) for x in value.ravel().tolist()]]
    flat = np.asarray(value, order="C").reshape(-1)
    blobs.append(flat.view(np.uint8).data)
    return [len(blobs) - 1, _dtype_down(value.dtype), list(value.shape)]


def _array_up(content: list[Any], blobs: list[np.ndarray]) -> np.ndarray:
    if content[1] == "O":
        strings = np.empty(len(content[3]), object)
        strings[:] = [_up(item, blobs) for item in content[3]]
        return strings.reshape(content[2])
    return blobs[content[0]].view(_dtype_up(content[1])).reshape(content[2])


def _dtype_down(dtype: np.dtype[Any], blobs: object = None) -> str:
    if dtype.hasobject:
        return "O"
    if dtype.kind == "V":  # bfloat16, structured
        raise WireError(f"Arrays of {dtype} cannot go to or from a child process.")
    return dtype.str


def _dtype_up(text: str, blobs: object = None) -> np.dtype[Any]:
    return np.dtype(text)


def _pairs_up(content: list[Any], blobs: list[np.ndarray]) -> dict[Any, Any]:
    return {_up(key, blobs): _up(value, blobs) for key, value in content}


def _data_down(value: Any, blobs: list[Blob]) -> list[Any]:
    fields = {f.name: _down(getattr(value, f.name), blobs) for f in dataclasses.fields(value)}
    return [path_of(type(value)), fields]


def _data_up(content: list[Any], blobs: list[np.ndarray]) -> Any:
    cls = named(content[0])
    if not _is_frozen(cls):
        raise WireError(f"{content[0]} is not a frozen dataclass.")
    values = {name: _up(item, blobs) for name, item in content[1].items()}
    late = [f.name for f in dataclasses.fields(cls) if not f.init]
    rest = {name: values.pop(name) for name in late}
    made = cls(**values)
    for name, item in rest.items():
        object.__setattr__(made, name, item)
    return made


def _is_frozen(cls: object) -> bool:
    ours = isinstance(cls, type) and cls.__module__.startswith(PACKAGE)
    parameters = getattr(cls, "__dataclass_params__", None)
    return ours and parameters is not None and bool(parameters.frozen)


def _is_named_tuple(cls: object) -> bool:
    ours = isinstance(cls, type) and cls.__module__.startswith(PACKAGE)
    return ours and isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def _tuple_up(content: list[Any], blobs: list[np.ndarray]) -> Any:
    cls = named(content[0])
    if not _is_named_tuple(cls):
        raise WireError(f"{content[0]} is not a named tuple.")
    return cls(*[_up(item, blobs) for item in content[1]])


def _enum_up(content: list[Any], blobs: object) -> Any:
    cls = named(content[0])
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
        raise WireError(f"{content[0]} is not an enum.")
    return cls[content[1]]


# tag -> codec. The first that takes a value wins, so frequent kinds come first.
_CODECS: dict[str, _Codec] = {
    "array": _Codec(lambda v: isinstance(v, np.ndarray), _array_down, _array_up),
    "tuple": _items(tuple, tuple),
    "dict": _Codec(
        lambda v: isinstance(v, dict | MappingProxyType),
        lambda v, blobs: [[_down(k, blobs), _down(x, blobs)] for k, x in v.items()],
        _pairs_up,
    ),
    "bytes": _Codec(
        lambda v: isinstance(v, bytes | bytearray | memoryview),
        _bytes_down,
        lambda content, blobs: blobs[content].tobytes(),
    ),
    "scalar": _Codec(
        lambda v: isinstance(v, np.generic),
        lambda v, blobs: _array_down(np.asarray(v), blobs),
        lambda content, blobs: _array_up(content, blobs)[()],
    ),
    "data": _Codec(lambda v: _is_frozen(type(v)), _data_down, _data_up),
    "named": _Codec(
        lambda v: _is_named_tuple(type(v)),
        lambda v, blobs: [path_of(type(v)), [_down(item, blobs) for item in v]],
        _tuple_up,
    ),
    "enum": _Codec(
        lambda v: isinstance(v, enum.Enum) and type(v).__module__.startswith(PACKAGE),
        lambda v, blobs: [path_of(type(v)), v.name],
        _enum_up,
    ),
    "dtype": _Codec(lambda v: isinstance(v, np.dtype), _dtype_down, _dtype_up),
    "path": _Codec(
        lambda v: isinstance(v, PurePath), lambda v, blobs: str(v), lambda c, blobs: Path(c)
    ),
    "set": _items(set, set),
    "frozenset": _items(frozenset, frozenset),
    "fraction": _Codec(
        lambda v: isinstance(v, Fraction),
        lambda v, blobs: [v.numerator, v.denominator],
        lambda content, blobs: Fraction(*content),
    ),
}
