"""Depthwise convolution as a sum of shifted products, for JAX, whose own is slow without cuDNN."""

from __future__ import annotations

import math
from typing import Any

from tfq_ext._optional import need


def depthwise(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    r"""\( y_{ijc} = \sum_{ab} x_{si+a,\,sj+b,\,c} \, w_{abc} \), padded as "same" is.

    Args:
        inputs: float[N, H, W, C].
        kernel: float[A, B, C, 1].
        strides: one number, or two equal ones.
        padding: "same".
        data_format, dilation_rate: "channels_last", 1; others are not needed here.
    """
    jnp = need("jax.numpy", why="the JAX backend")
    stride = strides if isinstance(strides, int) else int(strides[0])
    assert padding == "same"
    assert kernel.shape[3] == 1
    sizes = inputs.shape[1:3]
    outs = [math.ceil(size / stride) for size in sizes]
    spans = [(out - 1) * stride + 1 for out in outs]
    totals = [
        max(span - 1 + k - size, 0)
        for span, k, size in zip(spans, kernel.shape, sizes, strict=False)
    ]
    pads = [(total // 2, total - total // 2) for total in totals]
    x = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    terms = (
        x[:, a : a + spans[0] : stride, b : b + spans[1] : stride] * kernel[a, b, :, 0]
        for a in range(kernel.shape[0])
        for b in range(kernel.shape[1])
    )
    return sum(terms)


def by_shifts() -> None:
    """Make Keras on JAX use it from now on, in this process."""
    backend: Any = need("keras.src.backend.jax.nn", why="the JAX backend")
    backend.depthwise_conv = depthwise
