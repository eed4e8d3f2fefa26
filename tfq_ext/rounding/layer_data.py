r"""What a rounder knows of a layer's inputs: second moments, and sampled patches.

Row c of a weight [C, n] meets the inputs of its group g = c // (C / G): one group in dense layers
and ordinary convolutions (n = kernel height x width x channels), one a channel in depthwise ones.
With x the layer's input in the float network and \( \tilde x \) that in the quantized prefix, the
error of codes that stand for \( \hat w \) is
\( E (w x - \hat w \tilde x)^2 = \hat w H \hat w^T - 2 w K \hat w^T + w R w^T \), where
\( H = E \tilde x \tilde x^T, \; K = E x \tilde x^T, \; R = E x x^T \).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Patches:
    """Sampled positions, for rounders that learn.

    Args:
        rough: float32[m, G, n] inputs in the quantized prefix.
        target: float32[m, C] what the float network gives there, before bias and activation.
        bias: float32[C]
        lo, hi: the fused activation clamps to these; infinite where it does not.
    """

    rough: np.ndarray
    target: np.ndarray
    bias: np.ndarray
    lo: float = -np.inf
    hi: float = np.inf


@dataclass(frozen=True, eq=False)
class LayerData:
    """What a data-driven rounder is fed.

    Args:
        gram: float64[G, n, n], H above: mean over samples and positions.
        cross: float64[G, n, n], K above; rows belong to the float input.
        power: float64[C], w R w^T for the float weight.
        patches: None where nobody asked for them.
    """

    gram: np.ndarray
    cross: np.ndarray
    power: np.ndarray
    patches: Patches | None = None

    @classmethod
    def of(
        cls,
        weight: np.ndarray,
        rough: np.ndarray,
        real: np.ndarray,
        *,
        bias: np.ndarray | None = None,
        lo: float = -np.inf,
        hi: float = np.inf,
    ) -> LayerData:
        """From positions held in memory.

        Args:
            weight: float32[C, n].
            rough, real: float32[m, G, n].
            bias: float32[C]; None: 0.
            lo, hi: of the activation.
        """
        a, b = (x.astype(np.float64).transpose(1, 0, 2) for x in (rough, real))
        target = apply_rows(weight, real)
        patches = Patches(rough, target, np.zeros(len(weight), np.float32), lo, hi)
        if bias is not None:
            patches = Patches(rough, target, bias, lo, hi)
        count = len(rough)
        return cls(
            gram=a.transpose(0, 2, 1) @ a / count,
            cross=b.transpose(0, 2, 1) @ a / count,
            power=np.square(target, dtype=np.float64).mean(axis=0),
            patches=patches,
        )


def apply_rows(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """float32[m, C]: rows [C, n] applied to inputs [m, G, n]."""
    groups = x.shape[1]
    by_group = rows.reshape(groups, -1, rows.shape[-1])
    return np.einsum("mgn,gcn->mgc", x, by_group, optimize=True).reshape(len(x), -1)


def squared_error(weight: np.ndarray, reals: np.ndarray, data: LayerData) -> np.ndarray:
    """E (w x - w^ x~)^2 of each channel, float64[C].

    Args:
        weight: float32[C, n] the float weight.
        reals: float32[C, n] what the codes stand for.
        data: of the layer.
    """
    groups, n = len(data.gram), weight.shape[-1]
    w, v = (x.astype(np.float64).reshape(groups, -1, n) for x in (weight, reals))
    bent = (v @ data.gram * v).sum(-1) - 2 * (w @ data.cross * v).sum(-1)
    return np.maximum(bent.reshape(-1) + data.power, 0.0)
