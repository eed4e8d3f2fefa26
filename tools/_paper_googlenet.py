"""GoogLeNet with and without local response normalization, random weights: for size and time."""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need

# Szegedy et al. 1409.4842, table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED = ("3b", "4e")  # a max pooling behind these
NORMS = 2  # the paper normalizes behind the first pooling and behind the second convolution


def googlenet(side: int, *, width: float = 1.0, norms: bool = True, classes: int = 1000) -> Any:
    """float32[1, side, side, 3] -> logits; He's random weights by Keras's seed.

    Args:
        side: pixels.
        width: factor of all channels.
        norms: with the two local response normalizations.
        classes: of the logits.

    Source: Szegedy et al. 1409.4842, table 1, without the auxiliary classifiers.
    """
    keras = need("keras", why="a GoogLeNet")
    build = _Builder(keras, width, norms)
    image = keras.Input((side, side, 3), batch_size=1, name="image")
    x = build.conv(image, 64, 7, 2)
    x = build.norm(build.pool(x))
    x = build.conv(build.conv(x, 64, 1), 192, 3)
    x = build.pool(build.norm(x))
    for name, counts in MODULES.items():
        x = build.module(x, *counts)
        x = build.pool(x) if name in POOLED else x
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes)(x))


class _Builder:
    """The parts, with their factor of width."""

    def __init__(self, keras: Any, width: float, norms: bool):
        self.layers, self.width, self.norms = keras.layers, width, norms
        self.lrn = _normalization(keras)

    def conv(self, x: Any, channels: int, size: int, stride: int = 1) -> Any:
        """Convolution and ReLU."""
        count = max(8, round(channels * self.width))
        how = {"activation": "relu", "kernel_initializer": "he_normal"}
        return self.layers.Conv2D(count, size, stride, "same", **how)(x)

    def pool(self, x: Any, stride: int = 2) -> Any:
        """The largest of 3x3."""
        return self.layers.MaxPooling2D(3, stride, "same")(x)

    def norm(self, x: Any) -> Any:
        """Local response normalization, where there is one."""
        return self.lrn()(x) if self.norms else x

    def module(self, x: Any, a: int, b: int, c: int, d: int, e: int, f: int) -> Any:
        """One inception module."""
        parts = [
            self.conv(x, a, 1),
            self.conv(self.conv(x, b, 1), c, 3),
            self.conv(self.conv(x, d, 1), e, 5),
            self.conv(self.pool(x, 1), f, 1),
        ]
        return self.layers.Concatenate()(parts)


def _normalization(keras: Any) -> Any:
    """A layer class; Keras has none."""
    tf = need("tensorflow", why="local response normalization")

    class LocalResponseNormalization(keras.layers.Layer):
        """x / (1 + 1e-4 / 5 * sum of squares over 5 channels) ** 0.75, as Caffe's GoogLeNet."""

        def call(self, x: Any) -> Any:
            """The normalized x."""
            return tf.nn.local_response_normalization(x, 2, 1.0, 1e-4 / 5, 0.75)

        def compute_output_shape(self, shape: Any) -> Any:
            """That of x."""
            return shape

    return LocalResponseNormalization
