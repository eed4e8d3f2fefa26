"""Runner's interface on a model that runs in a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfq_ext.validation.sandbox.limits import Limits
from tfq_ext.validation.sandbox.parent import Child

if TYPE_CHECKING:
    from tfq_ext.tflite.runner import Port

Arrays = dict[str, np.ndarray]


class SafeRunner:
    """A .tflite as a function of reals, like `tflite.runner.Runner`, in a process of its own.

    Args:
        model: path or bytes.
        threads: LiteRT threads.
        signature: its key; None: the one of the first subgraph.
        limits: on the child's memory and time; None: the defaults.

    Raises:
        ModelDied: LiteRT crashed, hung, or ran out of memory.
        ModelError, DataError: as Runner.
    """

    def __init__(
        self,
        model: bytes | str | os.PathLike[str],
        *,
        threads: int = 1,
        signature: str | None = None,
        limits: Limits | None = None,
    ):
        self.child = Child(limits)
        given = os.path.abspath(model) if isinstance(model, str | os.PathLike) else model
        try:
            self._remote = self.child.make(
                "tfq_ext.tflite.runner:Runner", given, threads=threads, signature=signature
            )
            self.inputs: dict[str, Port] = self._remote.get("inputs")
            self.outputs: dict[str, Port] = self._remote.get("outputs")
        except BaseException:
            self.child.close()
            raise

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Outputs by name for inputs by name."""
        result: Arrays = self._remote.call("__call__", _arrays(inputs))
        return result

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Encode the inputs and set them."""
        self._remote.call("feed", _arrays(inputs))

    def invoke(self) -> None:
        """Run what was fed."""
        self._remote.call("invoke")

    def read(self) -> Arrays:
        """The outputs of the last invoke, decoded."""
        result: Arrays = self._remote.call("read")
        return result

    def close(self) -> None:
        """End the process. May be called twice."""
        self.child.close()

    def __enter__(self) -> SafeRunner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _arrays(inputs: Mapping[str, np.ndarray]) -> Arrays:
    return {name: np.asarray(x) for name, x in inputs.items()}
