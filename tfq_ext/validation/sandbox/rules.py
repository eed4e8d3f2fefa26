"""What it means for a file when LiteRT does not survive it."""

from __future__ import annotations

from tfq_ext._table import Table
from tfq_ext.errors import TfqError
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.sandbox.limits import ModelDied

_SOURCE = "own measurement: the file was run in LiteRT, in a process of its own"

RULES: Table[Rule] = Table(
    "rule",
    {
        rule.id: rule
        for rule in (
            Rule(
                "runtime-died",
                "error",
                "LiteRT crashes on this file.",
                "The app that loads it crashes too, and a crash on damaged input is a way in.",
                "Export the model again; if it still crashes, bisect it to one op and report it.",
                _SOURCE,
            ),
            Rule(
                "runtime-hang",
                "error",
                "LiteRT does not come back from this file.",
                "A loop without an end, or a model far too slow, freezes the app that runs it.",
                "Look at the conditions of WHILE ops; raise the time limit if it is only slow.",
                _SOURCE,
            ),
            Rule(
                "runtime-memory",
                "error",
                "LiteRT runs out of memory on this file.",
                "A phone has less memory than this machine, and ends apps that take too much.",
                "Look for absurd shapes; raise the memory limit if the model needs that much.",
                _SOURCE,
            ),
            Rule(
                "runtime-refused",
                "error",
                "LiteRT refuses to load or run this file.",
                "The same runtime on a phone refuses it too.",
                "Follow what LiteRT says: a custom op, an op version, a shape that does not fit.",
                _SOURCE,
            ),
        )
    },
)

_BY_KIND = {"hang": "runtime-hang", "memory": "runtime-memory"}


def died_finding(error: TfqError) -> Finding:
    """The finding for a model that LiteRT did not survive (ModelDied) or refused (others)."""
    if not isinstance(error, ModelDied):
        return RULES["runtime-refused"].at(str(error))
    return RULES[_BY_KIND.get(error.kind, "runtime-died")].at(str(error))
