r"""BatchNormalization as one factor and one offset a channel, and what they do to a linear layer.

\( W_{inf} = \gamma W / \sigma, \quad b_{inf} = \beta + \gamma (b - \mu) / \sigma, \quad
\sigma = \sqrt{v + \epsilon} \)

Source: Krishnamoorthi 1806.08342, equations 20 and 21; the layer's own bias b is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfq_ext.errors import SpecError


def norm_map(
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Inference BatchNormalization as \( y = a x + d \).

    \( a = \gamma / \sqrt{v + \epsilon}, \quad d = \beta - a \mu \)

    Args:
        mean: \( \mu \), float[C].
        variance: v, float[C], not negative.
        epsilon: of this very layer; above 0 where a variance is 0.
        gamma: float[C]; None is 1.
        beta: float[C]; None is 0.

    Returns:
        (a, d), float64[C] each.

    Raises:
        SpecError: v + epsilon is not positive somewhere.
    """
    mu, v = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    if not (v + epsilon > 0).all():
        raise SpecError(
            f"Variance + epsilon must be positive, got {float((v + epsilon).min())!r}: the moving "
            "variance is damaged."
        )
    a = 1 / np.sqrt(v + epsilon)
    if gamma is not None:
        a = a * np.asarray(gamma, np.float64)
    d = -a * mu
    return a, d if beta is None else d + np.asarray(beta, np.float64)


def along(values: np.ndarray, shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """One value a channel in the shape that multiplies a kernel.

    Args:
        values: [C]; channel c of a depthwise kernel (H, W, I, M) is i M + m.
        shape: of the kernel.
        axes: of the kernel that hold the channels, in order; their sizes' product is C.

    Returns:
        [shape on the axes, 1 elsewhere].
    """
    wanted = [axis % len(shape) for axis in axes]
    sizes = [shape[axis] for axis in wanted]
    if int(np.prod(sizes)) != len(values) or wanted != sorted(wanted):
        raise SpecError(f"{len(values)} channels cannot lie on axes {list(axes)} of {list(shape)}.")
    return np.reshape(values, [n if k in wanted else 1 for k, n in enumerate(shape)])


def fold_kernel(kernel: np.ndarray, a: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The kernel with its output channels scaled, in its own dtype.

    Args:
        kernel: float[...].
        a: factor a channel, float64[C].
        axes: of the kernel that hold the output channels, in order.
    """
    folded = np.asarray(kernel, np.float64) * along(a, kernel.shape, axes)
    return folded.astype(kernel.dtype)


def fold_bias(bias: np.ndarray | None, a: np.ndarray, d: np.ndarray) -> np.ndarray:
    """a b + d, float32[C]; without a bias, d.

    Args:
        bias: float[C] or None.
        a, d: factor and offset a channel, float64[C].
    """
    b = 0.0 if bias is None else np.asarray(bias, np.float64)
    return np.asarray(a * b + d, np.float32)
