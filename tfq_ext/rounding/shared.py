"""Few distinct codes in a tensor, so that the file compresses (Deep Compression's weight sharing).

A file in a zip, an APK or on the wire is deflated: 16 values cost it about 4 bits a weight, at the
speed of 8-bit kernels. The scales stay; what is shared are codes.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.numerics.sharing import best_values, to_values
from tfq_ext.rounding.fitted import Alphabet, fitted
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.quadratic import Chooser, Quadratic


def shared(job: Job) -> np.ndarray:
    """int8[C, n] of at most `job.argument` distinct codes, the best there are.

    An error counts by its real size, and with data by the power of the input that it meets; which
    weight takes which value is then fitted to the layer's output.

    Raises:
        SpecError: the argument is no whole number of at least 2.
    """
    count = 16.0 if job.argument is None else job.argument
    if count != int(count) or count < 2:
        raise SpecError(f"A weight shares a whole number of values, 2 or more, got {count}.")
    spec, steps = job.params.spec, job.steps + job.zero
    power = job.power * job.scale**2
    values = best_values(steps.ravel(), power.ravel(), spec.qmin, spec.qmax, int(count))
    return job.codes(fitted(job, to_values(steps, values) - job.zero, _among(job, values)))


def _among(job: Job, values: np.ndarray) -> Alphabet:
    """The nearest of the shared codes, in whichever channel."""

    def alphabet(problem: Quadratic, _: np.ndarray | None) -> Chooser:
        zero = np.broadcast_to(job.zero, (len(job.weight), 1)).reshape(len(problem.order), -1)
        return lambda t, steps: to_values(steps + zero, values) - zero

    return alphabet
