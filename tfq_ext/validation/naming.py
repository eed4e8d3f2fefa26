"""What to call files that are looked at side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import cast

Source = bytes | str | os.PathLike[str]


def named(models: Mapping[str, Source] | Sequence[Source] | Source) -> dict[str, Source]:
    """Files by name; without names as on disk, numbered where two are alike."""
    if isinstance(models, Mapping):
        return dict(models)
    one = isinstance(models, bytes | bytearray | str | os.PathLike)
    sources = [models] if one else models
    found: dict[str, Source] = {}
    for source in cast(Sequence[Source], sources):
        base = "model" if isinstance(source, bytes | bytearray) else os.path.basename(str(source))
        name, k = base, 2
        while name in found:
            name, k = f"{base} ({k})", k + 1
        found[name] = source
    return found
