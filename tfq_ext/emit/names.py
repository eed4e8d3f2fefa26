"""Names that come through TensorFlow's quantizer and can be told apart afterwards.

Where a name is taken it writes a number behind it: "conv" becomes "conv1", which may be another
tensor's own name. So every name goes in with an end mark, and comes out as "conv" or "conv#1".
"""

from __future__ import annotations

import re

from tfq_ext.tflite.read import Model

END = "~#"
_NUMBERED = re.compile(re.escape(END) + r"(\d*)")


def mark(model: Model) -> None:
    """Put the end mark behind every tensor's name, in place."""
    for graph in model.graphs:
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"{graph.name(index)}{END}".encode()
        graph.changed()


def unmark(model: Model) -> None:
    """Take the marks off again, in place; a number that was added stays behind "#"."""
    for graph in model.graphs:
        for index, tensor in enumerate(graph.tensors):
            tensor.name = _NUMBERED.sub(_shown, graph.name(index)).encode()
        graph.changed()


def _shown(match: re.Match[str]) -> str:
    return f"#{match[1]}" if match[1] else ""


def unnumbered(name: str) -> str:
    """The name without the number that `unmark` left behind it."""
    return re.sub(r"#\d+$", "", name)
