"""CIFAR-10 on the device: batches cropped and flipped at random by one compiled function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext._optional import need

keras = need("keras", why="tools/bench_qat.py")
ops = keras.ops
PyDataset: Any = keras.utils.PyDataset

MEAN = np.array([125.3, 123.0, 113.9], np.float32)  # of the training images, by channel
STD = np.array([63.0, 62.1, 66.7], np.float32)
SHIFT = 4  # pixels either way
SIZE = 32


@dataclass(frozen=True)
class Data:
    """Images uint8[N, 32, 32, 3], labels int32[N]."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @classmethod
    def load(cls, path: Path, *, train: int | None = None, test: int | None = None) -> Data:
        """The .npz that fetch.py writes, or its first images.

        Raises:
            SystemExit: the file is no CIFAR-10.
        """
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in cls.__dataclass_fields__ if name in archive}
        if len(found) < 4 or found["x_train"].shape[1:] != (SIZE, SIZE, 3):
            raise SystemExit(
                f"{path} holds {', '.join(found) or 'nothing'}; wanted x_train uint8[N, 32, 32, 3],"
                " y_train, x_test, y_test, as `fetch.py cifar10 DIR` writes them."
            )
        limits = {"x_train": train, "y_train": train, "x_test": test, "y_test": test}
        cut = {name: values[: limits[name]] for name, values in found.items()}
        labels = {n: np.asarray(v, np.int32).ravel() for n, v in cut.items() if n.startswith("y")}
        return cls(**{**cut, **labels})

    def test(self) -> np.ndarray:
        """Normalized test images, float32[N, 32, 32, 3]."""
        return normalized(self.x_test)

    def calibration(self, count: int = 512) -> np.ndarray:
        """Normalized training images, not augmented."""
        return normalized(self.x_train[:count])


def normalized(pixels: np.ndarray) -> np.ndarray:
    """Zero mean, unit variance by channel."""
    return (pixels.astype(np.float32) - MEAN) / STD


class Batches(PyDataset):
    """An endless shuffled stream, cut into stretches after which Keras evaluates.

    What Keras calls an epoch is one stretch of `length` batches: the next one goes on where it
    ended, and a new permutation begins when all images have been seen.

    Args:
        pixels: uint8[N, 32, 32, 3].
        labels: int32[N].
        batch: images a step.
        length: steps a stretch.
        seed: of order, crops and flips.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, batch: int, length: int, seed: int):
        super().__init__(workers=1)
        self.pixels = ops.convert_to_tensor(_padded(pixels))
        self.labels, self.batch, self.length = labels, batch, length
        self.rng = np.random.default_rng(seed)
        self.rest = np.empty(0, np.int32)
        self.cropped = _compiled(cropped)
        self._draw()

    def _draw(self) -> None:
        count = self.batch * self.length
        while len(self.rest) < count:
            order = self.rng.permutation(len(self.labels)).astype(np.int32)
            self.rest = np.concatenate([self.rest, order])
        self.order, self.rest = self.rest[:count], self.rest[count:]
        self.shifts = self.rng.integers(0, 2 * SHIFT + 1, (count, 2)).astype(np.int32)
        self.flips = self.rng.random(count) < 0.5

    def on_epoch_end(self) -> None:
        """Draw the next stretch."""
        self._draw()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        rows = slice(index * self.batch, (index + 1) * self.batch)
        n = self.order[rows]
        return self.cropped(self.pixels, n, self.shifts[rows], self.flips[rows]), self.labels[n]


def cropped(pixels: Any, n: Any, shifts: Any, flips: Any) -> Any:
    """Images n, shifted, half of them mirrored; normalized float32[B, 32, 32, 3]."""
    side, span = SIZE + 2 * SHIFT, np.arange(SIZE, dtype=np.int32)
    rows = shifts[:, 0, None] + span
    columns = ops.where(flips[:, None], span[::-1], span) + shifts[:, 1, None]
    flat = (n[:, None, None] * side + rows[:, :, None]) * side + columns[:, None, :]
    found = ops.take(ops.reshape(pixels, (-1, 3)), flat, axis=0)
    return (ops.cast(found, "float32") - MEAN) / STD


def _padded(pixels: np.ndarray) -> np.ndarray:
    """A border of the mean color, which is 0 once it is normalized (but for the rounding)."""
    side = SIZE + 2 * SHIFT
    wide = np.empty((len(pixels), side, side, 3), np.uint8)
    wide[:] = np.rint(MEAN).astype(np.uint8)
    wide[:, SHIFT:-SHIFT, SHIFT:-SHIFT] = pixels
    return wide


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """One dispatch a batch on JAX; elsewhere eager ops are quick enough."""
    if keras.backend.backend() != "jax":
        return function
    jax: Any = need("jax", why="the JAX backend")
    compiled: Callable[..., Any] = jax.jit(function)
    return compiled
