"""The two networks of bench_qat, as functions of a Keras: Keras 3 for us, tf_keras for TFMOT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfq_ext._table import Table

MOMENTUM = 0.97  # hundreds of steps an epoch, few epochs
CLASSES = 10
STAGES = (16, 32, 64)  # channels of ResNet-20
# MobileNetV2's table 2: expansion, channels, repeats; and where each row halves the image.
ROWS = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
HEAD = 1280
STRIDES = {
    "cifar": (1, (1, 2, 2, 1, 1, 2, 1)),  # 32, 32, 16, 8, 8, 8, 4, 4
    "imagenet": (2, (1, 2, 2, 2, 1, 2, 1)),  # 16, 16, 8, 4, 2, 2, 1, 1: as keras.applications
}


@dataclass(frozen=True)
class Style:
    """What both networks share.

    Args:
        keras: the module, Keras 3 or tf_keras.
        relu: "relu" or "relu6".
        decay: L2 of the kernels; 0 in fine-tuning and where networks are only timed.
    """

    keras: Any
    relu: str = "relu6"
    decay: float = 0.0

    def conv(self, filters: int, size: int, stride: int, name: str) -> Any:
        """Convolution without bias: BatchNorm follows."""
        return self.keras.layers.Conv2D(
            filters,
            size,
            stride,
            "same",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=self.keras.regularizers.L2(self.decay) if self.decay else None,
            name=name,
        )

    def depthwise(self, stride: int, name: str) -> Any:
        """3x3 filter of each channel; not decayed, as in MobileNetV1's section 3.2."""
        return self.keras.layers.DepthwiseConv2D(
            3, stride, "same", use_bias=False, depthwise_initializer="he_normal", name=name
        )

    def norm(self, x: Any, layer: Any, *, active: bool = True) -> Any:
        """Layer, BatchNorm, activation."""
        layers = self.keras.layers
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{layer.name}_bn")(layer(x))
        return self.act(x, layer.name) if active else x

    def act(self, x: Any, name: str) -> Any:
        """ReLU or ReLU6."""
        limit = 6.0 if self.relu == "relu6" else None
        return self.keras.layers.ReLU(limit, name=f"{name}_relu")(x)

    def top(self, image: Any, x: Any, name: str) -> Any:
        """Pooling and logits."""
        x = self.keras.layers.GlobalAveragePooling2D(name="pool")(x)
        logits = self.keras.layers.Dense(CLASSES, name="logits")(x)
        return self.keras.Model(image, logits, name=name)


def divisible(channels: float) -> int:
    """Whole multiple of 8, at least 8, no less than 90 % of what was asked for."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mobilenet(
    style: Style, *, width: float = 0.35, strides: str = "cifar", rows: int = len(ROWS)
) -> Any:
    """MobileNetV2 for small images: float32[N, 32, 32, 3] -> float32[N, 10] logits.

    The last convolution's 1280 channels are scaled by the width too; at 0.35 they would be half of
    all parameters. `rows` of the table are built.

    Source: Sandler et al. 1801.04381, table 2.
    """
    stem, halvings = STRIDES[strides]
    image = style.keras.Input((32, 32, 3), name="image")
    x, count = style.norm(image, style.conv(divisible(32 * width), 3, stem, "stem")), 0
    for (expansion, channels, repeats), first in list(zip(ROWS, halvings, strict=True))[:rows]:
        for repeat in range(repeats):
            made = partial(
                _inverted, style, f"block{count}", expansion, divisible(channels * width)
            )
            x, count = made(x, first if repeat == 0 else 1), count + 1
    x = style.norm(x, style.conv(divisible(HEAD * width), 1, 1, "head"))
    return style.top(image, x, "mobilenet")


def _inverted(style: Style, name: str, expansion: int, channels: int, x: Any, stride: int) -> Any:
    start, inside = x, x.shape[-1] * expansion
    if expansion > 1:
        x = style.norm(x, style.conv(inside, 1, 1, f"{name}_expand"))
    x = style.norm(x, style.depthwise(stride, f"{name}_depthwise"))
    x = style.norm(x, style.conv(channels, 1, 1, f"{name}_project"), active=False)
    if stride == 1 and start.shape[-1] == channels:
        x = style.keras.layers.Add(name=f"{name}_add")([start, x])
    return x


def resnet(style: Style, *, width: float = 1.0) -> Any:
    """ResNet-20 for small images; shortcuts that change shape are 1x1 convolutions (option B).

    Source: He et al. 1512.03385, section 4.2.
    """
    image = style.keras.Input((32, 32, 3), name="image")
    x = style.norm(image, style.conv(divisible(STAGES[0] * width), 3, 1, "stem"))
    for stage, channels in enumerate(STAGES):
        for block in range(3):
            stride = 2 if stage and not block else 1
            x = _residual(style, f"stage{stage}_{block}", divisible(channels * width), stride, x)
    return style.top(image, x, "resnet20")


def _residual(style: Style, name: str, channels: int, stride: int, x: Any) -> Any:
    start = x
    x = style.norm(x, style.conv(channels, 3, stride, f"{name}_a"))
    x = style.norm(x, style.conv(channels, 3, 1, f"{name}_b"), active=False)
    if stride != 1 or start.shape[-1] != channels:
        start = style.norm(start, style.conv(channels, 1, stride, f"{name}_short"), active=False)
    x = style.keras.layers.Add(name=f"{name}_add")([start, x])
    return style.act(x, f"{name}_add")


def tiny(style: Style, *, width: float = 0.35) -> Any:
    """The first three rows of the MobileNet, for a quick run."""
    return mobilenet(style, width=width, rows=3)


def small(style: Style, *, width: float = 0.35) -> Any:
    """The MobileNet with ImageNet's strides: a fifth of the work, for machines without a GPU."""
    return mobilenet(style, width=width, strides="imagenet")


NETS: Table[Callable[..., Any]] = Table(
    "network", {"mobilenet": mobilenet, "resnet20": resnet, "small": small, "tiny": tiny}
)
# unless told otherwise
WIDTHS = {"mobilenet": 0.35, "resnet20": 1.0, "small": 0.35, "tiny": 0.35}
