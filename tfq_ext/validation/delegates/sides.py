"""Run a side in a child process and keep all that came of it: numbers, times, log, death."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.runner import Arrays
from tfq_ext.validation.sandbox import Child, ChildError, Limits, ModelDied

COMPILED = "tfq_ext.validation.delegates.compiled:Compiled"
INTERPRETED = "tfq_ext.validation.delegates.compiled:Interpreted"
# qs8, qu8 and "force fp16" in TfLiteXNNPackDelegateOptions.flags
XNNPACK_FP16 = 0x7
COMPILE_SECONDS = 600.0  # shaders of a MobileNetV2 take 30 s on two idle cores
STEADY = 3  # runs after the first, at least, so that a time can be given


@dataclass(frozen=True)
class Ran:
    """What came of running samples on one side.

    Args:
        outputs: by sample; shorter than the samples when something failed.
        times_ms: of every run; the first one compiles.
        load_ms: creation; 0.0 where it is not told.
        stderr: what LiteRT and the driver wrote.
        failed: LiteRT's error, "" if there was none.
        unfit: whether that error is about what we feed, not about what LiteRT can do.
        died: the process's end, None if it lived.
    """

    outputs: tuple[Arrays, ...]
    times_ms: tuple[float, ...]
    load_ms: float
    stderr: str
    failed: str = ""
    unfit: bool = False
    died: ModelDied | None = None

    @property
    def complete(self) -> bool:
        """Whether all samples went through."""
        return not self.failed and self.died is None

    @property
    def first_ms(self) -> float | None:
        """The first run."""
        return self.times_ms[0] if self.times_ms else None

    @property
    def steady_ms(self) -> float | None:
        """Median of the others; None if there was only one."""
        return median(self.times_ms[1:]) if len(self.times_ms) > 1 else None


def for_gpu(limits: Limits) -> Limits:
    """Time enough to compile shaders; memory as given."""
    if limits.seconds is None:
        return limits
    return replace(limits, seconds=max(limits.seconds, COMPILE_SECONDS))


def run_side(
    target: str,
    content: bytes,
    inputs: Sequence[Mapping[str, np.ndarray]],
    *,
    limits: Limits,
    env: Mapping[str, str] | None = None,
    repeat: bool = True,
    **options: Any,
) -> Ran:
    """Run every sample once, and the last one until there is a steady time.

    Args:
        target: COMPILED or INTERPRETED.
        content: the .tflite.
        inputs: samples.
        limits, env: of the child.
        repeat: False: every sample once and no more.
        **options: of the target's class.
    """
    outputs: list[Arrays] = []
    times: list[float] = []
    load, early, failed, unfit = 0.0, "", "", False
    died: ModelDied | None = None
    child = Child(limits, env=env)
    try:
        side = child.make(target, content, **options)
        load = float(side.get("load_ms")) if target == COMPILED else 0.0
        early = child.stderr  # a driver that complains a lot would push the beginning out
        rest = max(0, STEADY + 1 - len(inputs)) if repeat else 0
        for k, sample in enumerate([*inputs, *[inputs[-1]] * rest]):
            result, ms = side.call("run", dict(sample))
            times.append(float(ms))
            if k < len(inputs):
                outputs.append(result)
    except ModelDied as error:
        died = error
    except (ModelError, DataError, ChildError) as error:
        failed, unfit = str(error), isinstance(error, DataError)
    finally:
        with suppress(OSError):
            child.close()  # joins the listener: all that was written has been read then
    late = died.stderr if died is not None and died.stderr else child.stderr
    stderr = late if late.startswith(early) else f"{early}\n{late}"
    return Ran(tuple(outputs), tuple(times), load, stderr, failed, unfit, died)
