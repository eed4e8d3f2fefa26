"""`relu6_to_relu`: what the user calls, and what he is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfq_ext.rewrite.feed import Feed, run
from tfq_ext.rewrite.loss import Losses, OutputLoss, loss_table
from tfq_ext.rewrite.opening import opened
from tfq_ext.rewrite.relu6 import Swap, holds_relu6
from tfq_ext.rewrite.rows import Done, Kept, count, kept_table, paragraphs, table
from tfq_ext.rewrite.stand_ins import Seen, Uncapped, Watched
from tfq_ext.rewrite.walk import Rewritten, rewrite


@dataclass(frozen=True)
class Released:
    """One ReLU6 that became ReLU.

    Args:
        path: the layer.
        form: how it was written.
        share_above: of its values in the original model, those over 6, 0..1; None: not measured.
        largest: the greatest value before the cap; None: not measured.
    """

    path: str
    form: str
    share_above: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Relu6Report:
    """What `relu6_to_relu` did.

    Args:
        released: every ReLU6 that became ReLU.
        kept: every one that did not, with the reason.
        outputs: what the outputs lose; empty without data.
        samples: how many were measured.
    """

    released: tuple[Released, ...]
    kept: tuple[Kept, ...]
    outputs: tuple[OutputLoss, ...] = ()
    samples: int = 0

    def __str__(self) -> str:
        measured = f", measured on {count(self.samples, 'sample')}."
        rest = measured if self.samples else ". Pass data to see what that changes."
        width = 4 if self.samples else 2
        rows = [(r.path, r.form, *_measured(r))[:width] for r in self.released]
        return paragraphs(
            f"ReLU6 -> ReLU: {count(len(self.released), 'activation')}{rest}",
            table(("layer", "was", "values above 6", "largest")[:width], rows),
            loss_table(self.outputs),
            kept_table(self.kept),
        )


def _measured(row: Released) -> tuple[str, str]:
    if row.share_above is None or row.largest is None:
        return "not measured", "not measured"
    return f"{row.share_above:.3%}", f"{row.largest:.3g}"


def relu6_to_relu(model: Any, data: object = None, *, batch: int = 64) -> Rewritten:
    """Replace every ReLU6 by ReLU; the model given stays as it is.

    `min(max(x, 0), 6)  ->  max(x, 0)`

    Not exact where activations exceed 6: the report says how often and what the outputs lose.
    Whether it helps quantization is open (Krishnamoorthi figure 16 prefers ReLU, Jacob et al. table
    4.3 ReLU6): measure. Equalization wants ReLU.

    Args:
        model: Keras 3 model (functional, sequential, nested; subclassed where `call` can be
            traced), or the path of a `.keras` file.
        data: samples to measure on, anything that `tfq.quantize` takes; None measures nothing.
        batch: samples at once.

    Returns:
        (model, report): a new functional model with the same weights and names, not compiled.
        Hard-swish and hard-sigmoid written out with relu6 stay as they are.

    Raises:
        ModelError: no Keras 3 model, or one that cannot be copied.
        DataError: data that do not fit the model, or hold NaN.

    Source: Krishnamoorthi 1806.08342 section 3 and figure 16.
    """
    original, closed = opened(model, holds_relu6)
    swap = Swap(Uncapped())
    new = rewrite(original, swap.visit)
    kept = (*swap.kept.values(), *closed)
    if data is None:
        released = tuple(Released(d.path, d.what) for d in swap.done.values())
        return Rewritten(new, Relu6Report(released, kept))
    seen, losses, n = _measure(original, new, Feed(original, data, batch=batch))
    released = tuple(_released(d, seen.get(d.path)) for d in swap.done.values())
    return Rewritten(new, Relu6Report(released, kept, losses.rows(), n))


def _released(done: Done, seen: Seen | None) -> Released:
    if seen is None or not seen.values:
        return Released(done.path, done.what)
    return Released(done.path, done.what, seen.above / seen.values, seen.largest)


def _measure(original: Any, new: Any, feed: Feed) -> tuple[dict[str, Seen], Losses, int]:
    """One pass of both models: what the caps met, and how far the outputs lie apart."""
    watched = Watched()
    before = rewrite(original, Swap(watched).visit)
    losses, n = Losses([str(name) for name in original.output_names]), 0
    for inputs in feed:
        reference = run(before, inputs)
        losses.add(reference, run(new, inputs))
        n += len(reference[0])
    return watched.seen, losses, n
