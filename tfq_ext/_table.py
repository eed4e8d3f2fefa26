"""A table from names to entries; a miss says what would have worked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

from tfq_ext.errors import UnknownName

T = TypeVar("T")


class Table(Mapping[str, T], Generic[T]):
    """Named entries of one kind (`kind` is the noun in its error messages)."""

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None):
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UnknownName(self._miss(name)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Table({self.kind!r}: {', '.join(self._entries)})"

    def add(self, name: str, entry: T) -> T:
        """Put a new entry under `name`; a name that is taken is an error."""
        if name in self._entries:
            raise UnknownName(f"There already is a {self.kind} named {name!r}.")
        self._entries[name] = entry
        return entry

    def _miss(self, name: object) -> str:
        close = get_close_matches(str(name), self._entries, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"No {self.kind} named {name!r}.{hint} Known: {', '.join(self._entries)}."
