"""Freezing of oscillating weights in a model: looks at the codes, puts frozen weights back."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.schedule.oscillation import Freeze, Pins
from tfq_ext.qat.schedule.plan import cosine
from tfq_ext.qat.schedule.weights import Weight, weights_of

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


class Freezer:
    """Pins of every quantized weight, looked after from the host.

    Frozen weights are put back to the middle of their bin at each look; until the next one an
    optimizer would have to move them by half a step of the grid to change their code.

    Args:
        settings: thresholds and how often.
    """

    def __init__(self, settings: Freeze):
        self.settings = settings
        self.pins: dict[str, tuple[int, Pins]] = {}
        self.left: set[str] = set()  # weights that have no middle of a bin

    def look(self, model: Any, progress: float) -> None:
        """Look at all codes once.

        Args:
            model: a QAT model or a Distiller, its variables in sync.
            progress: share of the run that is over; decides the threshold.
        """
        threshold = cosine(self.settings.start, self.settings.end, progress)
        for weight in weights_of(model):
            if weight.quantizer.enabled and weight.name not in self.left:
                self._look(weight, threshold)

    def _look(self, weight: Weight, threshold: float) -> None:
        real = weight.read()
        codes, bits = weight.quantizer.codes(real), weight.quantizer.bits
        was, pins = self.pins.get(weight.name, (bits, None))
        if pins is None or was != bits:  # another grid: what was frozen there means nothing here
            self.pins[weight.name] = bits, Pins.start(codes)
            if not weight.keeps_grid():
                self.left.add(weight.name)
                del self.pins[weight.name]
            return
        pins = pins.look(codes, self.settings.momentum, threshold)
        self.pins[weight.name] = bits, pins
        if pins.frozen.any():
            put_back(weight, real, pins)

    @property
    def shares(self) -> dict[str, float]:
        """Weight's name -> share of its codes that are frozen."""
        return {name: float(pins.frozen.mean()) for name, (_, pins) in self.pins.items()}


def put_back(weight: Weight, real: np.ndarray, pins: Pins) -> None:
    r"""Set frozen weights to the middle of their bin, \( q s / gain \).

    Args:
        weight: its variable is assigned.
        real: float32[...] as it meets the quantizer.
        pins: which are frozen and where.
    """
    gain = np.broadcast_to(ops.convert_to_numpy(weight.gain()), real.shape)
    where = pins.frozen & (gain != 0)
    value = np.array(ops.convert_to_numpy(weight.variable), np.float32)
    middle = weight.middles(pins.integers, real)
    value[where] = middle[where] / gain[where]
    weight.variable.assign(value)
