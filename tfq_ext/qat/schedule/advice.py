"""How fast to train: fine-tuning a trained network with quantizers needs small steps."""

from __future__ import annotations

import warnings
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import SpecError, TfqWarning

keras = need("keras", why="Quantization-aware training")

SHARE = 0.01  # of the float training's rate, at the start and again from there to the end
_ADAPTIVE = (5e-4, "1e-5 to 1e-4")
_PLAIN = (2e-2, "1e-4 to 3e-3")
# optimizer -> the rate beyond which we warn, and what to try
RATES: dict[str, tuple[float, str]] = {
    **dict.fromkeys(("Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Lamb"), _ADAPTIVE),
    "Lion": (1e-4, "1e-6 to 1e-5"),
    "SGD": _PLAIN,
}


def fine_tuning_rate(float_rate: float, steps: int | None = None) -> Any:
    r"""A learning rate for fine-tuning with quantizers, from the one of the float training.

    .. math:: \eta(t) = 0.01\,\eta_{float} \cdot (0.01 + 0.99 (1 + \cos(\pi t / T)) / 2)

    Args:
        float_rate: the float training's, before it decayed.
        steps: T, length of the fine-tuning in optimizer steps; a tenth of the float training's is
            usual. None gives the constant rate.

    Returns:
        A float, or a `keras.optimizers.schedules.CosineDecay` for `steps`.

    Source: NVIDIA, pytorch-quantization user guide (start at 1 % of the initial rate, half a
    cosine down to 1 % of that); Krishnamoorthi 1806.08342, section 4.1, uses 1e-5 with SGD.
    """
    if not float_rate > 0:
        raise SpecError(f"float_rate must be positive; got {float_rate!r}.")
    rate = SHARE * float_rate
    if steps is None:
        return rate
    return keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps, alpha=SHARE)


def advise(optimizer: Any) -> None:
    """Warn when the learning rate is far above what fine-tuning needs.

    Optimizers that are not in RATES are not judged.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # behind a loss scale
    limit, advice = RATES.get(type(inner).__name__, (float("inf"), ""))
    rate = float(keras.ops.convert_to_numpy(inner.learning_rate))
    if rate > limit:
        warnings.warn(
            f"The learning rate of {type(inner).__name__} is {rate:.3g}. A network that is trained "
            f"already needs far less with quantizers: try {advice}, or "
            "tfq.qat.fine_tuning_rate(rate of the float training, steps). "
            "Schedule(advice=False) if you train from scratch.",
            TfqWarning,
            stacklevel=2,
        )
