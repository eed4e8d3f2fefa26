"""fp16 as a GPU adds: every product and every partial sum rounded, one after the other.

    acc <- f16(acc + f16(x w))     over ky, kx, c; then f16(acc + bias); then the activation

Source: bit-exact with LiteRT's GPU accelerator for 3x3 convolutions and for 1x1 of 64 positions on;
with fewer it shares the channels among threads, and errs less. Both
roundings are done in float32: a product of two fp16 is exact in it (22 bits), and 24 bits are
2 * 11 + 2, so that rounding a sum twice gives what rounding it once gives.
"""

from __future__ import annotations

import numpy as np

ACTIVATIONS = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def half(x: np.ndarray) -> np.ndarray:
    """The nearest fp16 numbers, as float32; infinite past 65504."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


def add_up(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, activation: str
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs in fp16 and exactly.

    Args:
        x: float32[P, K] or [P, K, O]: what each output position reads, in the order of adding;
            with O where every channel reads its own (depthwise).
        w: float32[K, O].
        bias: float32[O].
        activation: of ACTIVATIONS.

    Returns:
        (float32[P, O] as the GPU, float64[P, O] exact), both after the activation.
    """
    lowest, highest = ACTIVATIONS[activation]
    own = x.ndim == 3
    hx, hw = half(x), half(w)
    total = np.zeros((x.shape[0], w.shape[1]), np.float32)
    with np.errstate(invalid="ignore"):  # inf - inf
        for k in range(w.shape[0]):
            column = hx[:, k] if own else hx[:, k, None]
            total = half(total + half(column * hw[k]))
        if bias is not None:
            total = half(total + half(bias))
        wide = x.astype(np.float64), w.astype(np.float64)
        exact = np.einsum("pko,ko->po", *wide) if own else wide[0] @ wide[1]
    exact = exact + (0.0 if bias is None else bias.astype(np.float64))
    return np.clip(total, lowest, highest), np.clip(exact, lowest, highest)


def growth_bound(length: int, unit: float = 2.0**-11) -> float:
    """`K u / (1 - K u)`: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1."""
    grown = length * unit
    return grown / (1 - grown) if grown < 1 else float("inf")
