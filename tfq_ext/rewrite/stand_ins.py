"""What takes a ReLU6's place: ReLU, or a ReLU6 that counts what it cuts off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tfq_ext._optional import need
from tfq_ext.rewrite.forms import CAP

keras = need("keras", why="Replacing ReLU6")


class StandIn(Protocol):
    """Makes what stands in a ReLU6's place."""

    def function(self, path: str) -> Callable[[Any], Any]:
        """For a ReLU6 that is an attribute."""

    def layer(self, path: str, name: str) -> Any:
        """For a ReLU6 that is a call."""

    def drops_minimum(self) -> bool:
        """Whether min(relu(x), 6) becomes relu(x), without a call in its place."""


class Uncapped:
    """ReLU."""

    def function(self, path: str) -> Callable[[Any], Any]:
        """keras.activations.relu."""
        return keras.activations.relu

    def layer(self, path: str, name: str) -> Any:
        """A ReLU layer of the old call's name."""
        return keras.layers.ReLU(name=name)

    def drops_minimum(self) -> bool:
        """Yes."""
        return True


@dataclass
class Seen:
    """What one activation met before its cap."""

    values: int = 0
    above: int = 0
    largest: float = -np.inf
    channels: np.ndarray | None = None  # greatest of each channel on the last axis

    def add(self, x: np.ndarray) -> None:
        """Take an array into account."""
        x = np.asarray(x, np.float32)
        self.values += x.size
        self.above += int((x > CAP).sum())
        self.largest = max(self.largest, float(x.max()))
        top = x.reshape(-1, x.shape[-1]).max(axis=0)
        self.channels = top if self.channels is None else np.maximum(self.channels, top)


@dataclass
class Watched:
    """ReLU6 as before, with what was cut off counted by path; runs eagerly only."""

    seen: dict[str, Seen] = field(default_factory=dict)

    def function(self, path: str) -> Callable[[Any], Any]:
        """relu6 that looks first."""
        row = self.seen.setdefault(path, Seen())

        def watched(x: Any) -> Any:
            with suppress(Exception):  # symbolic in a loop of the backend: stays unmeasured
                row.add(keras.ops.convert_to_numpy(x))
            return keras.ops.relu6(x)

        return watched

    def layer(self, path: str, name: str) -> Any:
        """The same as a layer."""
        return keras.layers.Activation(self.function(path), name=name)

    def drops_minimum(self) -> bool:
        """No: it is there that the cap is met."""
        return False
