r"""How many bits an accumulator needs, and how large weights may be for one of P bits.

A layer computes :math:`\sum_i q_i x_i` in integers. If no input can make a channel's sum leave
:math:`[-(2^{P-1} - 1), 2^{P-1} - 1]`, a P-bit accumulator never overflows, in whatever order the
products are added. LiteRT's inputs are :math:`x = q_x - z`, within [-255, 255] for int8.

Source: Colbert et al. 2308.13504 (A2Q), sections 3 and 4; 2401.10432 (A2Q+). METHODS.md 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError


@dataclass(frozen=True)
class Inputs:
    """What integers a layer's input may hold.

    Args:
        lo, hi: least and largest; lo <= 0 <= hi.
    """

    lo: int
    hi: int

    def __post_init__(self) -> None:
        if not self.lo <= 0 <= self.hi:
            raise SpecError(f"Inputs must be able to be 0, got [{self.lo}, {self.hi}].")

    @classmethod
    def of(cls, bits: int, *, signed: bool) -> Inputs:
        """All integers of N bits: [-2^(N-1), 2^(N-1) - 1] or [0, 2^N - 1]."""
        return cls(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else cls(0, 2**bits - 1)

    @classmethod
    def behind(cls, zero_point: int, bits: int = 8) -> Inputs:
        """What LiteRT multiplies: codes of a signed grid minus their zero point."""
        return cls(-(2 ** (bits - 1)) - zero_point, 2 ** (bits - 1) - 1 - zero_point)


def l1_bound(accumulator_bits: int, input_bits: int, *, signed: bool) -> float:
    r"""A2Q's bound: :math:`\|q\|_1 \le (2^{P-1} - 1)\, 2^{1_{signed} - N}` never overflows.

    Source: 2308.13504, equation 11.
    """
    return (2 ** (accumulator_bits - 1) - 1) * 2.0 ** (int(signed) - input_bits)


def centered_bound(accumulator_bits: int, input_bits: int) -> float:
    r"""A2Q+'s bound for weights that sum to 0 and unsigned inputs.

    .. math:: \|q\|_1 \le (2^P - 2) / (2^N - 1)

    Both signs then carry half, and only one of them counts for either end; about twice A2Q's.

    Source: 2401.10432, equation 7.
    """
    return (2**accumulator_bits - 2) / (2**input_bits - 1)


def extremes(codes: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    r"""Least and largest sum that some input gives each channel, exactly; int64[C] each.

    .. math:: \max_x \sum_i q_i x_i = x_{max} \sum_{q > 0} q + x_{min} \sum_{q < 0} q

    Args:
        codes: int[n, C], a channel's weights below each other.
        inputs: what they are multiplied with.
    """
    wide = codes.astype(np.int64)
    up, down = np.maximum(wide, 0).sum(axis=0), np.minimum(wide, 0).sum(axis=0)
    return up * inputs.lo + down * inputs.hi, up * inputs.hi + down * inputs.lo


def worst_input(codes: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The input that gives each channel its largest sum; int64[n, C]."""
    return np.where(codes > 0, inputs.hi, np.where(codes < 0, inputs.lo, 0)).astype(np.int64)


def needed_bits(codes: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Bits of the smallest accumulator that no input can overflow; int64[C], at least 1.

    P bits hold [-(2^(P-1) - 1), 2^(P-1) - 1]: the most negative code is left out, as A2Q does.
    """
    lo, hi = extremes(codes, inputs)
    worst = np.maximum(np.abs(lo), np.abs(hi))
    return np.array([int(value).bit_length() + 1 for value in worst.ravel()], np.int64)


def fits(codes: np.ndarray, inputs: Inputs, accumulator_bits: int) -> np.ndarray:
    """Whether a channel can never overflow; bool[C]."""
    return needed_bits(codes, inputs) <= accumulator_bits


def data_type_bits(fan_in: int, input_bits: int, weight_bits: int, *, signed: bool) -> int:
    r"""Accumulator bits that suffice whatever the weights are, from the data types alone.

    .. math:: P \ge \alpha + \phi(\alpha) + 1, \quad
        \alpha = \log_2 K + N + M - 1 - 1_{signed}, \quad \phi(\alpha) = \log_2(1 + 2^{-\alpha})

    Args:
        fan_in: K, products in a sum.
        input_bits: N.
        weight_bits: M, signed.
        signed: whether the inputs are.

    Source: 2308.13504, equation 8.
    """
    alpha = np.log2(fan_in) + input_bits + weight_bits - 1 - int(signed)
    return int(np.ceil(alpha + np.log2(1 + 2.0**-alpha) + 1))


def project_l1(rows: np.ndarray, radius: np.ndarray) -> np.ndarray:
    r"""The nearest rows with :math:`\|v\|_1 \le r`: soft thresholding at the one right height.

    Args:
        rows: float[C, n].
        radius: float[C], >= 0.

    Returns:
        float64[C, n].

    Source: Duchi et al. 2008, figure 1; A2Q+'s start, 2401.10432, section 4.
    """
    magnitude = np.abs(rows.astype(np.float64))
    ordered = -np.sort(-magnitude, axis=1)
    excess = (np.cumsum(ordered, axis=1) - radius[:, None]) / np.arange(1, rows.shape[1] + 1)
    last = np.maximum((ordered > excess).sum(axis=1) - 1, 0)
    height = np.maximum(excess[np.arange(len(rows)), last], 0.0)
    return np.sign(rows) * np.maximum(magnitude - height[:, None], 0.0)


def wrapped(total: np.ndarray, accumulator_bits: int) -> np.ndarray:
    """What an accumulator of P bits holds after adding up to `total`, wrapping around; int64."""
    half = 1 << (accumulator_bits - 1)
    return (np.asarray(total, np.int64) + half) % (2 * half) - half
