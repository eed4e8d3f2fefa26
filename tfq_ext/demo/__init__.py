"""A small trained network and real images, so that everything can be tried offline.

The network is a MobileNetV2-style classifier of Fashion-MNIST (`card.json` holds its facts), the
images are a seeded choice of Fashion-MNIST: part of the training set to calibrate with, part of
the test set to measure with. All of it is written by `tools/train_demo.py`.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv 1708.07747; MIT, see the licence file here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfq_ext._table import Table

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# Powers of two, and an integer mean: with 127.5 the zero point of the input would be half a code.
PIXEL_MEAN = 128.0
PIXEL_STD = 128.0

_FOLDER = Path(__file__).parent
# name of the split -> prefix of its two arrays in the archive
_SPLITS = Table("split of the demo images", {"calibration": "calibration", "evaluation": "test"})


def model_path() -> Path:
    """The float Keras 3 model: float32[N, 28, 28, 1] in, float32[N, 10] logits out."""
    return _FOLDER / "fashion_mobilenet.keras"


def images_path() -> Path:
    """The archive of all bundled images (`numpy.load` reads it, no pickles)."""
    return _FOLDER / "fashion_images.npz"


def card_path() -> Path:
    """JSON facts of the training: seed, epochs, parameters, top-1, versions."""
    return _FOLDER / "card.json"


def preprocess(pixels: np.ndarray) -> np.ndarray:
    """What the network eats: x = (pixel - 128) / 128, in [-1, 1), exact in float32.

    So the input's quantization is known without calibration: scale 1/128, and zero point 128
    (uint8) or 0 (int8), where each pixel value is its own code.

    Args:
        pixels: uint8[..., 28, 28, 1].

    Returns:
        float32 of the same shape.
    """
    return (np.asarray(pixels, np.float32) - np.float32(PIXEL_MEAN)) / np.float32(PIXEL_STD)


def images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Raw images and labels of one split: "calibration" (from training) or "evaluation" (test).

    Returns:
        uint8[N, 28, 28, 1] pixels and uint8[N] labels, indices into `CLASS_NAMES`.

    Raises:
        UnknownName: there is no such split.
    """
    prefix = _SPLITS[split]
    with np.load(images_path(), allow_pickle=False) as archive:
        return archive[f"{prefix}_pixels"][..., None], archive[f"{prefix}_labels"]


def calibration() -> np.ndarray:
    """Preprocessed calibration images, float32[256, 28, 28, 1]; disjoint from `evaluation`."""
    return preprocess(images("calibration")[0])


def evaluation() -> tuple[np.ndarray, np.ndarray]:
    """Preprocessed test images, float32[3000, 28, 28, 1], and their labels, uint8[3000]."""
    pixels, labels = images("evaluation")
    return preprocess(pixels), labels
