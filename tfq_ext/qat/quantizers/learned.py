"""A number that training moves, that can be held still, and that is the same on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import take_upstream

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
LEAST = 2.0**-6  # a relative number never falls below this share of its anchor


class Learned:
    r"""A float32 variable in two parts: where it stands and how far training has moved it.

    .. math:: v = a \max(1 + m, 2^{-6}) \quad \text{or} \quad v = a + m, \qquad
        \frac{\partial L}{\partial m} := \mathrm{clip}\left(\frac{1}{a}
        \frac{\partial L}{\partial v}, -1, 1\right)

    A scale kept as its logarithm would need exp, whose last bit differs from backend to backend
    and from eager to XLA; a product does not. `m` starts at 0, so weight decay pulls towards the
    start. With this gradient a step of SGD moves v by what the paper's update would, but at most
    by the learning rate's share of v (an 8-bit scale of small logits would change its sign in one
    step of 0.01), and a step of Adam moves it by a share of v as well.

    Args:
        owner: the layer that gets the two variables.
        name: of the number.
        shape: of the number.
        value: where it starts until `set`.
        relative: v = a max(1 + m, ..), which stays positive; else v = a + m, gradient over 1.
        limit: in place of 1 in the clip.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        shape: tuple[int, ...],
        value: float,
        *,
        relative: bool = True,
        limit: float = 1.0,
    ):
        settings = {"shape": shape, "dtype": "float32", "autocast": False}
        start = keras.initializers.Constant(value)
        self.anchor = owner.add_weight(
            initializer=start, trainable=False, aggregation="mean", name=name, **settings
        )
        self.move = owner.add_weight(initializer="zeros", name=f"{name}_move", **settings)
        self.relative, self.limit = relative, limit

    def __call__(self, held: bool) -> Any:
        """The number in the graph; held: where it stands, and its gradient is 0."""
        anchor, move = self.anchor + 0.0, self.move + 0.0  # tensors: custom gradients want those
        if held:
            return anchor + 0.0 * move
        limit = ops.full_like(anchor, self.limit)
        if not self.relative:
            return anchor + steered(move, ops.ones_like(anchor), limit)
        return anchor * _at_least(1.0 + steered(move, 1.0 / (anchor * anchor), limit))

    def numpy(self, held: bool) -> np.ndarray:
        """The same number, bit for bit."""
        anchor, move = map(ops.convert_to_numpy, (self.anchor, self.move))
        if held:
            return anchor
        if not self.relative:
            return anchor + move
        return anchor * np.maximum(np.float32(1) + move, np.float32(LEAST))

    def set(self, value: Any) -> None:
        """Stand at another value, unmoved."""
        shape = tuple(self.anchor.shape)
        self.anchor.assign(np.broadcast_to(np.asarray(value, np.float32), shape))
        self.move.assign(np.zeros(shape, np.float32))

    def hold(self, held: bool) -> None:
        """Stand where the number is now; `held` tells how it was read until now."""
        self.set(self.numpy(held))


@ops.custom_gradient
def steered(value: Any, factor: Any, limit: Any) -> tuple[Any, Any]:
    """The value; its gradient is multiplied by `factor` and clipped at `limit`; one shape all."""

    def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        slope = ops.clip(take_upstream(args, upstream) * factor, -limit, limit)
        return slope, ops.zeros_like(factor), ops.zeros_like(limit)

    return ops.add(value, 0.0), grad


@ops.custom_gradient
def _at_least(value: Any) -> tuple[Any, Any]:
    """max(value, LEAST); at the floor only gradients that lift the value pass."""

    def grad(*args: Any, upstream: Any = None) -> Any:
        slope = take_upstream(args, upstream)
        return ops.where(value > LEAST, slope, ops.minimum(slope, 0.0))

    return ops.maximum(value, LEAST), grad
