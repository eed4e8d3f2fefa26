"""What LiteRT and the GPU driver say on stderr: adapter, refused ops, failures."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from tfq_ext.validation.delegates.values import RefusedOp

_ADAPTER = re.compile(r"Selected adapter: (.*?)(?:, adapterType=.*)?$", re.MULTILINE)
_REFUSED = re.compile(
    r"^ERROR: Following operations are not supported by GPU delegate:\n(?P<lines>(?:.*\n)*?)"
    r"(?P<none>No operations|\d+ operations) will run on the GPU, and "
    r"(?:all|the remaining) (?P<cpu>\d+) operations",
    re.MULTILINE,
)
_OP_LINE = re.compile(r"^(?P<op>[A-Z][A-Z0-9_]*|[\w:.-]+): (?P<reason>.*)$")
_BRACKETS = re.compile(r"^(?P<reason>.*?) ?\[(?P<tensor>[^\]]*)\]$")
# absl's log: severity and date, time, thread, file:line] text
_SAID = re.compile(
    r"^(?P<severity>[EF])\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] (?P<text>.*)$", re.MULTILINE
)
_LITERT = re.compile(r"^ERROR: \[[\w.]+:\d+\] (?P<text>.*)$", re.MULTILINE)
# Commands that the driver would not take: the outputs are what was in memory before.
_NOT_EXECUTED = "is invalid due to a previous error"
# The plainest words first.
_NO_ADAPTER = ("No adapters found", "Failed to initialize WebGPU environment")


@dataclass(frozen=True)
class Log:
    """One run's stderr.

    Args:
        adapter: name of the driver, "" if none was taken.
        refused: ops that the delegate names, in its order, each line once.
        on_gpu, on_cpu: ops on either side; None if the delegate did not count them, which it
            does only when it refuses some.
        said: errors of delegate and driver, each once.
        executed: False if the driver refused the commands that it was given.
    """

    adapter: str
    refused: tuple[RefusedOp, ...]
    on_gpu: int | None
    on_cpu: int | None
    said: tuple[str, ...]
    executed: bool

    @property
    def no_adapter(self) -> str:
        """Why there is no adapter, "" if there is one or nothing was said."""
        if self.adapter:
            return ""
        found = (words for words in _NO_ADAPTER if any(words in text for text in self.said))
        return next(found, "")


def read_log(text: str, tensors: Collection[str] = ()) -> Log:
    """Read what a child wrote.

    Args:
        text: its stderr.
        tensors: names in the model, longest match wins: the delegate appends a name to a reason
            without saying where it begins.
    """
    adapter = _ADAPTER.search(text)
    block = _REFUSED.search(text)
    refused: tuple[RefusedOp, ...] = ()
    on_gpu = on_cpu = None
    if block is not None:
        lines = block["lines"].splitlines()
        rows = (_refused(line, tensors) for line in lines)
        refused = tuple(dict.fromkeys(row for row in rows if row is not None))
        on_gpu = 0 if block["none"] == "No operations" else int(block["none"].split()[0])
        on_cpu = int(block["cpu"])
    said = [m["text"].strip() for m in _SAID.finditer(text)]
    said += [m["text"].strip() for m in _LITERT.finditer(text)]
    return Log(
        adapter[1].strip() if adapter else "",
        refused,
        on_gpu,
        on_cpu,
        tuple(dict.fromkeys(said)),
        not any(_NOT_EXECUTED in line for line in said),
    )


def _refused(line: str, tensors: Collection[str]) -> RefusedOp | None:
    match = _OP_LINE.match(line.strip())
    if match is None:
        return None
    op, reason = match["op"], match["reason"].strip()
    if bracketed := _BRACKETS.match(reason):
        return RefusedOp(op, bracketed["tensor"], _sentence(bracketed["reason"]))
    names = [name for name in tensors if name and reason.endswith(f" {name}")]
    tensor = max(names, key=len, default="")
    return RefusedOp(op, tensor, _sentence(reason.removesuffix(f" {tensor}") if tensor else reason))


def _sentence(reason: str) -> str:
    return reason.strip().rstrip(".")
