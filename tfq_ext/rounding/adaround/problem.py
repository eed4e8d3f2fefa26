"""One layer laid out for learning: patches in blocks, codes without zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.rounding.layer_data import LayerData, Patches
from tfq_ext.spec import QParams

_FAR = 3e38  # instead of an infinite bound: compiled arithmetic then needs no special case


@dataclass(frozen=True, eq=False)
class Problem:
    """What the compiled loops take.

    Args:
        steps: float32[C, n] weights over their scale.
        scale, bias: float32[C].
        zero: int32[C] the zero points.
        ends: float32[C, 2] lowest and highest code, zero point taken off.
        bounds: float32[2] of the activation.
        gain: float32[C] slope of the loss by s-fold outputs over the residual: the loss is the
            mean square of the residual over that of one code of one input.
        blocks: float32[G, K, n, BLOCK] patches, shuffled; zeros behind the last.
        target: float32[K, C, BLOCK] outputs wanted, after bias and activation.
    """

    steps: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    zero: np.ndarray
    ends: np.ndarray
    bounds: np.ndarray
    gain: np.ndarray
    blocks: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, weight: np.ndarray, params: QParams, data: LayerData | None, seed: int) -> Problem:
        """From a job's parts; `seed` shuffles the patches, the same way for all channels.

        Raises:
            SpecError: no patches, or NaN or inf among them.
        """
        patches = _checked(data)
        rows = len(weight)
        scale = np.broadcast_to(params.scale.reshape(-1), rows).astype(np.float32)
        zero = np.broadcast_to(params.zero_point.reshape(-1), rows).astype(np.int32)
        ends = np.stack([params.spec.qmin - zero, params.spec.qmax - zero], 1).astype(np.float32)
        bounds = np.clip([patches.lo, patches.hi], -_FAR, _FAR).astype(np.float32)
        bias = np.asarray(patches.bias, np.float32)
        blocks, target = _in_blocks(patches, bias, bounds, seed)
        return cls(
            steps=(np.asarray(weight, np.float32) / scale[:, None]).astype(np.float32),
            scale=scale,
            bias=bias,
            zero=zero,
            ends=ends,
            bounds=bounds,
            gain=_gain(patches.rough, scale, blocks.shape[-1]),
            blocks=blocks,
            target=target,
        )

    def codes(self, bare: np.ndarray) -> np.ndarray:
        """int8[C, n] of whole numbers without zero point, clipped to the grid."""
        held = np.clip(bare, self.ends[:, :1], self.ends[:, 1:])
        return (held + self.zero[:, None]).astype(np.int8)

    def bare(self, codes: np.ndarray) -> np.ndarray:
        """int32[C, n] codes, zero point taken off."""
        return codes.astype(np.int32) - self.zero[:, None]


def _checked(data: LayerData | None) -> Patches:
    if data is None or data.patches is None or not len(data.patches.rough):
        raise SpecError(
            "adaround learns from patches and got none. Pass calibration data, and LayerData "
            "with patches (LayerData.of keeps them); gptq works from second moments alone."
        )
    patches = data.patches
    for name in ("rough", "target", "bias"):
        values = getattr(patches, name)
        if not np.all(np.isfinite(values)):
            count = int(np.sum(~np.isfinite(values)))
            raise SpecError(f"The patches' {name} has {count} NaN or inf values.")
    return patches


def _gain(rough: np.ndarray, scale: np.ndarray, batch: int) -> np.ndarray:
    """float32[C]: 2 s / (B s^2 h), h the mean square of the group's inputs; dead groups 0."""
    power = np.square(rough, dtype=np.float64).mean(axis=(0, 2))
    power = np.repeat(power, len(scale) // len(power))
    unit = np.maximum(scale.astype(np.float64) * power * batch, np.finfo(np.float32).tiny)
    return np.where(power > 0, 2 / unit, 0.0).astype(np.float32)


def _in_blocks(
    patches: Patches, bias: np.ndarray, bounds: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """float32[G, K, n, BLOCK] and float32[K, C, BLOCK]; padding has no residual."""
    from tfq_ext.numerics.soft_rounding import BLOCK  # numba

    count, groups, n = patches.rough.shape
    blocks = -(-count // BLOCK)
    order = np.random.default_rng(seed).permutation(count)
    x = np.zeros((blocks * BLOCK, groups, n), np.float32)
    x[:count] = patches.rough[order]
    wanted = np.tile(np.clip(bias, *bounds), (blocks * BLOCK, 1))
    wanted[:count] = np.clip(patches.target[order] + bias, *bounds)
    return (
        np.ascontiguousarray(x.reshape(blocks, BLOCK, groups, n).transpose(2, 0, 3, 1)),
        np.ascontiguousarray(wanted.reshape(blocks, BLOCK, -1).transpose(0, 2, 1), np.float32),
    )
