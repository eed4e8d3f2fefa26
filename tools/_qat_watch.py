"""How much the integers of the weights move: from step to step, and from batch to batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tfq_ext._optional import need

keras = need("keras", why="tools/bench_qat.py")
ops = keras.ops
Codes = dict[str, np.ndarray]
Callback: Any = keras.callbacks.Callback


def codes_of(model: Any) -> Codes:
    """Codes of every weight as inference and the exported file have them."""
    layers = need("tfq_ext.qat.layers", why="a QAT model's weights")
    return {
        f"{layer.name}/{name}": quantizer.codes(layer.weight(name))
        for layer in layers.qat_layers(model)
        for name, quantizer in getattr(layer, "quantizers", {}).items()
    }


def changed(before: Codes, after: Codes) -> float:
    """Share of all codes that differ."""
    count = sum(values.size for values in before.values())
    return sum(int(np.sum(values != after[name])) for name, values in before.items()) / count


class CodeWatch(Callback):
    """Compares the exported codes before and after one step, a few times a run.

    Args:
        model: the QAT model (the student, where a Distiller trains).
        looks: how many times.

    `rows` is a list of [step, share of codes that the step changed].
    """

    def __init__(self, model: Any, looks: int = 8):
        super().__init__()
        self.watched, self.looks = model, looks
        self.rows: list[tuple[int, float]] = []
        self._before: Codes | None = None
        self._step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        stretches = int(self.params["epochs"])
        if epoch and epoch % max(1, stretches // self.looks) == 0:
            self._sync()
            self._before = codes_of(self.watched)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        if self._before is not None:
            self._sync()
            self.rows.append((self._step, changed(self._before, codes_of(self.watched))))
            self._before = None

    def _sync(self) -> None:
        """On JAX, reading `self.model` writes the compiled state back into the variables."""
        _ = self.model


def batch_jitter(model: Any, batches: list[np.ndarray]) -> tuple[float, float]:
    r"""How far apart the weights of two batches are in training, all variables held.

    What a forward pass in training really multiplies with is caught behind each quantizer. With
    naive folding that depends on the batch's variance, with the correction it does not.

    Returns:
        Share of codes that differ; mean over layers of \( \|w_1 - w_2\| / \|w_1\| \). Where each
        channel's scale follows its largest weight, the batch's variance falls out of the codes and
        moves the scales alone, so only the second shows it.
    """
    seen = [_caught(model, batch) for batch in batches]
    pairs = list(pairwise(seen))
    shares = [changed(a.codes, b.codes) for a, b in pairs]
    moved = [np.mean([_distance(a.real[n], b.real[n]) for n in a.real]) for a, b in pairs]
    return float(np.mean(shares)), float(np.mean(moved))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(a)), 1e-30))


@dataclass
class Caught:
    """What quantizers of weights gave in one forward pass.

    Args:
        codes: integers by weight.
        real: the values, float32.
    """

    codes: Codes = field(default_factory=dict)
    real: Codes = field(default_factory=dict)


def _caught(model: Any, batch: np.ndarray) -> Caught:
    before = model.get_weights()
    with _listening(model) as found:
        model(batch, training=True)
    model.set_weights(before)  # moving statistics and ranges went on
    return found


@contextmanager
def _listening(model: Any) -> Iterator[Caught]:
    layers = need("tfq_ext.qat.layers", why="a QAT model's weights")
    found = Caught()
    kept = []
    for layer in layers.qat_layers(model):
        for name, quantizer in getattr(layer, "quantizers", {}).items():
            kept.append(quantizer)
            quantizer.call = _noting(quantizer, quantizer.call, found, f"{layer.name}/{name}")
    try:
        yield found
    finally:
        for quantizer in kept:
            del quantizer.call


def _noting(quantizer: Any, call: Any, found: Caught, name: str) -> Any:
    def noted(x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        y = call(x, training=training)
        real = np.asarray(ops.convert_to_numpy(y), np.float32)
        scale = quantizer.grid(np.asarray(ops.convert_to_numpy(x), np.float32))[0]
        found.codes[name] = np.rint(real / quantizer.spread(scale, real.ndim)).astype(np.int16)
        found.real[name] = real
        return y

    return noted
