"""What people read in a terminal."""

from __future__ import annotations

from tfq_ext.result import Result


def summary(result: Result) -> str:
    """A few lines: size, integer coverage, what was read back, what to look at."""
    a = result.account
    ratio = a.bytes_after / max(a.bytes_before, 1)
    lines = [
        f"{result.recipe.mode} .tflite, {a.bytes_after / 1e6:.2f} MB "
        f"({ratio:.0%} of the float file's {a.bytes_before / 1e6:.2f} MB)",
        a.read_back,
    ]
    return "\n".join(lines)
