"""Look at what layers are called with while a model runs eagerly; its graph stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tfq_ext._optional import need

keras = need("keras", why="Watching the layers of a Keras model")

See = Callable[[tuple[Any, ...], dict[str, Any]], None]


class Enough(BaseException):
    """Ends a run whose rest nobody needs; no Exception, so that Keras does not dress it up."""


@contextmanager
def watched(sees: Mapping[Any, See]) -> Iterator[None]:
    """Within the block, each layer's call first shows its arguments.

    Args:
        sees: layer -> what to show (args, kwargs) to.
    """
    before = {id(layer): vars(layer).get("call") for layer in sees}

    def spy(layer: Any, see: See) -> Callable[..., Any]:
        call = layer.call

        def shown(*args: Any, **kwargs: Any) -> Any:
            see(args, kwargs)
            return call(*args, **kwargs)

        return shown

    for layer, see in sees.items():
        layer.call = spy(layer, see)
    try:
        yield
    finally:
        for layer in sees:
            del layer.call
            if before[id(layer)] is not None:
                layer.call = before[id(layer)]
