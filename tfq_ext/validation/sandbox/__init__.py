"""Models that we did not make run in a child process with limits on memory and time.

Light to import: neither LiteRT nor the flatbuffer schema, for every child imports it too.
"""

from tfq_ext.tflite.stage import stage
from tfq_ext.validation.sandbox.limits import ChildError, Limits, ModelDied
from tfq_ext.validation.sandbox.parent import Child, Remote
from tfq_ext.validation.sandbox.rules import RULES, died_finding
from tfq_ext.validation.sandbox.runner import SafeRunner

__all__ = [
    "RULES",
    "Child",
    "ChildError",
    "Limits",
    "ModelDied",
    "Remote",
    "SafeRunner",
    "died_finding",
    "stage",
]
