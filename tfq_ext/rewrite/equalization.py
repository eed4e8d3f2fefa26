"""Cross-layer equalization of a Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext._table import Table
from tfq_ext.errors import DataError
from tfq_ext.numerics.equalize import Block, Equalization, Link, equalize_blocks, scaled
from tfq_ext.rewrite.canonical import kernels_of
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.feed import Feed, run
from tfq_ext.rewrite.fold import fold_batch_norm, values
from tfq_ext.rewrite.graph import Flow, Node
from tfq_ext.rewrite.inside import parts
from tfq_ext.rewrite.opening import opened
from tfq_ext.rewrite.plan import Plan, plan_of
from tfq_ext.rewrite.relu6 import Swap
from tfq_ext.rewrite.rows import Kept, count, kept_table, paragraphs, table
from tfq_ext.rewrite.stand_ins import Watched
from tfq_ext.rewrite.uncap import relu6_to_relu
from tfq_ext.rewrite.walk import Rewritten, rewrite

keras = need("keras", why="Equalizing a Keras model")


@dataclass(frozen=True)
class Equalized:
    """Two layers that use their common channels alike now.

    Args:
        before, after: paths.
        channels: how many.
        scales: least and greatest factor.
        spread: greatest over least range of a live channel of `before`, originally and now.
        balance: greatest ratio between the ranges of a channel in both layers, originally and now.
    """

    before: str
    after: str
    channels: int
    scales: tuple[float, float]
    spread: tuple[float, float]
    balance: tuple[float, float]


@dataclass(frozen=True)
class EqualizeReport:
    """What `equalize` did.

    Args:
        equalized: pairs of layers.
        kept: path of each linear layer without a partner behind it, and why.
        sweeps: how many were made over all chains.
        prepared: reports of what came first: ReLU6 replaced, BatchNormalization folded.
    """

    equalized: tuple[Equalized, ...]
    kept: tuple[Kept, ...]
    sweeps: int
    prepared: tuple[Any, ...] = ()

    def __str__(self) -> str:
        first = (
            f"{count(len(self.equalized), 'pair')} of layers equalized in "
            f"{count(self.sweeps, 'sweep')}."
        )
        header = ("before", "after", "channels", "factors", "spread of ranges", "out of balance")
        rows = [
            (
                row.before,
                row.after,
                f"{row.channels}",
                f"{row.scales[0]:.3g} to {row.scales[1]:.3g}",
                f"{row.spread[0]:.3g} -> {row.spread[1]:.3g} times",
                f"{row.balance[0]:.3g} -> {row.balance[1]:.3g} times",
            )
            for row in self.equalized
        ]
        before = [str(report) for report in self.prepared]
        return paragraphs(*before, first, table(header, rows), kept_table(self.kept))


def equalize(
    model: Any,
    data: object = None,
    *,
    relu6: str = "skip",
    powers_of_two: bool = False,
    limit: float | None = None,
    batch: int = 64,
) -> Rewritten:
    r"""Give each channel the same weight range in the layer that writes it and in its reader.

    \( s = \sqrt{r_1 / r_2}, \quad W_1 / s, \; b_1 / s, \; W_2 s \)

    The float outputs stay. BatchNormalization is folded first. Pairs and chains over depthwise
    layers are found where one layer alone reads another's result, with ReLU, leaky ReLU, PReLU or
    nothing between (and pooling, padding, dropout, flatten).

    Args:
        model: Keras 3 model, or the path of a `.keras` file.
        data: samples; only `relu6="keep"` needs them.
        relu6: "skip" leaves layers with ReLU6 between them alone; "replace" makes ReLU of every
            ReLU6 first (changes outputs where activations exceed 6); "keep" allows only factors
            under which no cap acts that did not act on the data.
        powers_of_two: round factors to powers of two: float outputs stay the same bit for bit.
        limit: factors lie between 1 / limit and limit; None: free. Channels whose weights are all
            near 0 otherwise get activations far greater than before.
        batch: samples at once.

    Returns:
        (model, report): a new functional model, not compiled.

    Raises:
        ModelError: no Keras 3 model, or one that cannot be copied.
        DataError: relu6="keep" without data, or data that do not fit.

    Source: Nagel et al. 1906.04721 section 4.1.
    """
    policy = RELU6[relu6]
    if relu6 == "keep" and data is None:
        raise DataError('relu6="keep" needs data: the caps bind where activations come near 6.')
    model, closed = opened(model, _holds_linear)
    prepared = []
    for step in policy:
        model, report = step(model)
        prepared.append(report)
    caps = _largest(model, Feed(model, data, batch=batch)) if relu6 == "keep" else {}
    plan = plan_of(model, caps, limit)
    blocks = plan.blocks()
    done = equalize_blocks(
        blocks, plan.chains(blocks), bounds=plan.bounds, powers_of_two=powers_of_two
    )
    new = rewrite(model, _Apply(plan, done).visit)
    rows = tuple(_row(link, s, blocks, done) for link, s in done.scales.items())
    kept = (*plan.kept.values(), *closed)
    return Rewritten(new, EqualizeReport(rows, kept, done.sweeps, tuple(prepared)))


RELU6: Table[Any] = Table(
    "way with ReLU6",
    {
        "skip": (fold_batch_norm,),
        "replace": (relu6_to_relu, fold_batch_norm),
        "keep": (fold_batch_norm,),
    },
)


def _row(link: Link, s: np.ndarray, blocks: Mapping[str, Block], done: Equalization) -> Equalized:
    """What happened between two layers."""
    entering = {after: scale for (_, after), scale in done.scales.items()}
    leaving = {before: scale for (before, _), scale in done.scales.items()}
    before, after = blocks[link[0]], blocks[link[1]]
    ranges = before.output_ranges(), after.input_ranges()
    now = (
        before.scaled(entering.get(link[0]), s).output_ranges(),
        after.scaled(s, leaving.get(link[1])).input_ranges(),
    )
    names = link[0].removesuffix("/kernel"), link[1].removesuffix("/kernel")
    spread, balance = (
        (f(*ranges), f(*now)) for f in (lambda x, y: _ratio(x), lambda x, y: _ratio(x, y))
    )
    return Equalized(*names, len(s), (float(s.min()), float(s.max())), spread, balance)


def _ratio(x: np.ndarray, y: np.ndarray | None = None) -> float:
    """Greatest over least of x; with y, the greatest of x / y and y / x; of what is not 0."""
    if y is None:
        x = x[x > 0]
        return float(x.max() / x.min()) if x.size else 1.0
    alive = (x > 0) & (y > 0)
    ratio = np.abs(np.log(x[alive] / y[alive]))
    return float(np.exp(ratio.max())) if ratio.size else 1.0


def _holds_linear(layer: Any) -> bool:
    return any(kernels_of(part) for _, part in parts(layer))


def _largest(model: Any, feed: Feed) -> dict[str, np.ndarray]:
    """path of a ReLU6 -> greatest value of each channel before its cap."""
    watch = Watched()
    spied = rewrite(model, Swap(watch).visit)
    for inputs in feed:
        run(spied, inputs)
    return {path: s.channels for path, s in watch.seen.items() if s.channels is not None}


@dataclass(frozen=True)
class _Apply:
    """Gives the copies their scaled weights; `visit` is what `rewrite` wants."""

    plan: Plan
    done: Equalization

    def visit(self, flow: Flow, path: str, copies: Copies) -> Any:
        entering = {link[1]: s for link, s in self.done.scales.items()}
        leaving = {link[0]: s for link, s in self.done.scales.items()}

        def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            first = copies.made(node.operation) is None
            outputs = copies(node, args, kwargs)
            for kernel in kernels_of(node.operation) if first else []:
                name = f"{path}{node.operation.name}/{kernel.attribute}"
                before, after = entering.get(name), leaving.get(name)
                if before is not None or after is not None:
                    self._give(copies.made(node.operation), name, before, after)
            return outputs

        return call

    def _give(
        self, new: Any, name: str, before: np.ndarray | None, after: np.ndarray | None
    ) -> None:
        kernel = self.plan.kernels[name]
        weights = values(getattr(kernel.layer, kernel.attribute))
        result = scaled(self.plan.canonical(name), before, after)
        getattr(new, kernel.attribute).assign(kernel.restored(result, weights))
        if kernel.last and after is not None and new.bias is not None:
            bias = np.asarray(values(kernel.layer.bias), np.float64) / after
            new.bias.assign(bias.astype(np.float32))
