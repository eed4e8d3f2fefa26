"""Bounds that a file must meet, measured values beside them, and verdicts.

bounds (text to number) --> table (what is measured) --> judge (pass, fail, cannot tell)
"""

from tfq_ext.validation.gate.config import Config, load_config
from tfq_ext.validation.gate.judge import judge, parse_gates
from tfq_ext.validation.gate.result import FAIL, PASS, UNDECIDED, GateResult
from tfq_ext.validation.gate.table import GATES, Gate, find_gate

__all__ = [
    "FAIL",
    "GATES",
    "PASS",
    "UNDECIDED",
    "Config",
    "Gate",
    "GateResult",
    "find_gate",
    "judge",
    "load_config",
    "parse_gates",
]
