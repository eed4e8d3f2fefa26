"""What every part of the check works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tfq_ext.tflite.arithmetic import HYBRID, INTEGER, arithmetic
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.runner import Arrays
from tfq_ext.validation.sandbox import Limits


@dataclass(frozen=True)
class Task:
    """One file with its inputs and how to run it.

    Args:
        content, model: the file, and the same parsed.
        inputs: samples of one signature.
        limits: of each child process.
        signature: which one; None: that of the first subgraph.
        seed: of whatever is drawn.
        env: variables of the GPU's children.
        announce: told what is being done.
    """

    content: bytes
    model: Model
    inputs: tuple[Arrays, ...]
    limits: Limits
    signature: str | None = None
    seed: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[str], None] | None = None

    @property
    def graph(self) -> Graph:
        """The subgraph that runs."""
        return self.model.graph_of(self.signature)

    @property
    def kind(self) -> str:
        """ "integer" if an op computes in integers, else "hybrid" if one is, else "float"."""
        found = {arithmetic(graph, op) for graph, _, op, _ in self.model.walk()}
        return INTEGER if INTEGER in found else HYBRID if HYBRID in found else "float"

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        if self.announce is not None:
            self.announce(text)
