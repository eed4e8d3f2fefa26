"""More inputs from few: what the float network answers to a mixture is as good a lesson.

The teacher is the network itself, so that a new input needs no label. Without mixtures 100 images
are learned by heart: on MobileNetV2 at 4 bits 13.8 dB on them and 11.1 dB on others, with
mixtures 11.3 and 11.1 dB.

Source: Beyer et al. 2106.05237 (aggressive mixtures, many passes); Yun et al. 1905.04899 (CutMix).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Values = Mapping[int, np.ndarray]
MIXED = 0.7  # share of the samples that another one is mixed into
LEAST_CROP = 0.5  # of an image's height and width
SMALLEST_IMAGE = 16  # pixels


def mixture(one: Values, other: Values, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """A sample made of two.

    Integers (token numbers, indices) stay as they are. Images (rank 4, 16 pixels at least) may be
    mirrored and cropped, other inputs only blended.

    Args:
        one, other: graph input -> array, samples along the first axis.
        rng: decides.
    """
    if not all(x.dtype.kind == "f" for x in one.values()):
        return dict(one)
    same = all(one[t].shape == other[t].shape for t in one)
    blend = same and rng.random() < MIXED
    share = rng.uniform(0.5, 1.0) if blend else 1.0
    box = _box(rng) if blend and rng.random() < 0.5 else None
    view = (_box(rng, LEAST_CROP), rng.random() < 0.5)
    made = {}
    for t, x in one.items():
        image = x.ndim == 4 and min(x.shape[1:3]) >= SMALLEST_IMAGE
        y = _cropped(x, *view) if image else x
        if blend:
            y = _pasted(y, other[t], box) if image and box else share * y + (1 - share) * other[t]
        made[t] = np.asarray(y, x.dtype)
    return made


Box = tuple[float, float, float, float]  # top, left, height, width; shares of the image


def _box(rng: np.random.Generator, least: float = 0.25) -> Box:
    height, width = rng.uniform(least, 1.0, 2)
    top, left = rng.random(2) * (1 - np.array([height, width]))
    return float(top), float(left), float(height), float(width)


def _cropped(x: np.ndarray, box: Box, mirrored: bool) -> np.ndarray:
    """The box enlarged to the whole image, bilinearly."""
    y = _along(_along(x, 1, box[0], box[2]), 2, box[1], box[3])
    return y[:, :, ::-1] if mirrored else y


def _along(x: np.ndarray, axis: int, start: float, share: float) -> np.ndarray:
    count = x.shape[axis]
    at = (start + share * (np.arange(count) + 0.5) / count) * count - 0.5
    at = np.clip(at, 0, count - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, count - 1)
    part = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
    return x.take(low, axis) * (1 - part) + x.take(high, axis) * part


def _pasted(x: np.ndarray, other: np.ndarray, box: Box) -> np.ndarray:
    """`x` with a part of the other, of at most half its height and width."""
    height, width = x.shape[1:3]
    top, left, tall, wide = box
    rows = slice(int(top * height), int((top + tall) * height))
    columns = slice(int(left * width), int((left + wide) * width))
    y = np.array(x)
    y[:, rows, columns] = other[:, rows, columns]
    return y
