"""numba.njit that keeps what it compiled on disk, where there is a place to keep it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def njit(*signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As `numba.njit`, with a cache.

    A container may have neither a package folder nor a home that can be written; numba refuses to
    cache there, and compiling anew costs each process seconds. NUMBA_CACHE_DIR gives it a place.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(*signature, cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return numba.njit(*signature, **options)(function)

    return compiled
