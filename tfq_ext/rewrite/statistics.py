"""Set the statistics of BatchNormalization to those of given data, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext._table import Table
from tfq_ext.errors import DataError
from tfq_ext.numerics.exact import SQUARES, SUMS, ExactSum
from tfq_ext.numerics.moments import Moments, merge_moments
from tfq_ext.rewrite.copies import copy_model
from tfq_ext.rewrite.feed import Feed
from tfq_ext.rewrite.fold import holds_norm, is_norm, values
from tfq_ext.rewrite.inside import parts
from tfq_ext.rewrite.opening import opened
from tfq_ext.rewrite.rows import count, paragraphs, table
from tfq_ext.rewrite.walk import Rewritten
from tfq_ext.rewrite.watch import Enough, watched

keras = need("keras", why="Estimating BatchNormalization statistics")


@dataclass(frozen=True)
class Moved:
    """One BatchNormalization.

    Args:
        path: the layer.
        channels: how many.
        values: how many a channel were averaged.
        mean: greatest change of a channel's mean, in its old standard deviations.
        deviation: least and greatest ratio of new to old standard deviation.
    """

    path: str
    channels: int
    values: int
    mean: float
    deviation: tuple[float, float]


@dataclass(frozen=True)
class StatisticsReport:
    """What `reestimate_batch_norm` did.

    Args:
        moved: every BatchNormalization, in order of execution.
        unseen: those that no sample reached; they keep their statistics.
        samples: how many.
    """

    moved: tuple[Moved, ...]
    unseen: tuple[str, ...]
    samples: int

    def __str__(self) -> str:
        first = (
            f"{count(len(self.moved), 'BatchNormalization')} re-estimated on "
            f"{count(self.samples, 'sample')}."
        )
        header = ("layer", "channels", "values a channel", "mean moved by", "deviation")
        rows = [
            (
                row.path,
                f"{row.channels}",
                f"{row.values:,}",
                f"{row.mean:.3g} sd",
                f"{row.deviation[0]:.3g} to {row.deviation[1]:.3g} times",
            )
            for row in self.moved
        ]
        unseen = table(("left alone",), ((path,) for path in self.unseen))
        return paragraphs(first, table(header, rows), unseen)


def reestimate_batch_norm(
    model: Any, data: object, *, batch: int = 64, order: str = "sequential"
) -> Rewritten:
    r"""Set each moving mean and variance to those of the layer's input over data, exactly.

    \( \mu = E[x], \quad v = E[(x - \mu)^2] \), with the model in inference mode.

    After training with quantization the moving averages lag behind the weights, the more so at few
    bits. Here no average decays: the sums are exact, and no order of samples changes a bit.

    Args:
        model: Keras 3 model, quantization-aware ones too, or the path of a `.keras` file.
        data: samples, anything that `tfq.quantize` takes.
        batch: samples at once.
        order: "sequential" gives each layer its statistics before the next one is looked at: one
            pass over the data for each BatchNormalization, up to it. "together" takes one pass in
            which all layers still have the old statistics: right for the first, approximate after.

    Returns:
        (model, report): a copy, not compiled; the model given stays as it is.

    Raises:
        ModelError: no Keras 3 model, or one that cannot be copied.
        DataError: data that do not fit the model, or hold NaN.

    Source: Nagel et al. 2203.08086 section 3 (re-estimation after training); sequential is ours.
    """
    steps = ORDERS[order]
    original, _ = opened(model, holds_norm)
    new = copy_model(original) if original is model else original
    return Rewritten(new, settle(new, Feed(new, data, batch=batch), steps))


@dataclass(frozen=True, eq=False)
class Site:
    """One BatchNormalization and where its input can be seen.

    Args:
        path: of the layer that is watched.
        watch: the layer whose call is watched.
        norm: holds the moving statistics.
        linear: from what `watch` reads to what `norm` normalizes; None: the same.
    """

    path: str
    watch: Any
    norm: Any
    linear: Any = None


def sites(model: Any) -> Iterator[Site]:
    """Every BatchNormalization of a model.

    A layer with `.norm` (a BatchNormalization that its own call does not use as a layer) and
    `.layer` (what the BatchNormalization follows), as quantization-aware models have them, is one.
    """
    inner: set[int] = set()
    for path, part in parts(model):
        if id(part) in inner:
            continue
        if is_norm(part):
            yield Site(path.lstrip("/"), part, part)
        elif is_norm(getattr(part, "norm", None)) and hasattr(part, "layer"):
            inner.add(id(part.norm))
            yield Site(path.lstrip("/"), part, part.norm, part.layer)


def settle(model: Any, feed: Iterable[Any], steps: Any) -> StatisticsReport:
    """Assign the statistics in place."""
    found = {site.path: site for site in sites(model)}
    calls: dict[str, int] = {}
    samples, first = 0, None
    for batch in feed:
        samples += len(keras.tree.flatten(batch)[0])
        if first is None:
            first = batch
            _pass(model, [batch], list(found.values()), calls)
    if first is None:
        raise DataError("There are no samples in the data; at least one is needed.")
    rows: list[Moved] = []
    for group in steps(list(calls)):
        chosen = [found[path] for path in group]
        last = calls[group[0]] if len(group) == 1 else None
        moments = _pass(model, feed, chosen, {}, last)
        rows += [_assign(site, moments[site.path]) for site in chosen]
    unseen = tuple(path for path in found if path not in calls)
    return StatisticsReport(tuple(rows), unseen, samples)


ORDERS: Table[Any] = Table(
    "order",
    {
        "sequential": lambda paths: [[path] for path in paths],
        "together": lambda paths: [paths] if paths else [],
    },
)


def _pass(
    model: Any,
    feed: Iterable[Any],
    chosen: list[Site],
    calls: dict[str, int],
    last: int | None = None,
) -> dict[str, Moments]:
    """One pass over the data; stops each batch after call `last` of the only site.

    Args:
        calls: filled with how often a batch calls each site, in order of the first calls.
    """
    moments = {site.path: Moments.empty() for site in chosen}
    seen = 0

    def see(site: Site) -> Any:
        def look(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal seen
            seen += 1
            calls[site.path] = calls.get(site.path, 0) + 1
            merged = merge_moments(moments[site.path], _moments(site, args, kwargs))
            assert merged is not None
            moments[site.path] = merged
            if seen == last:
                raise Enough

        return look

    with watched({site.watch: see(site) for site in chosen}):
        for batch in feed:
            seen = 0
            try:
                model(batch, training=False)
            except Enough:
                continue
    return moments


def _moments(site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Moments:
    """Of one call's input, one entry a channel; masked positions do not count."""
    x = args[0] if args else next(iter(kwargs.values()))
    x = keras.ops.convert_to_numpy(x if site.linear is None else site.linear(x))
    x = np.moveaxis(np.asarray(x, np.float64), site.norm.axis, -1)
    mask = kwargs.get("mask")
    if mask is not None:
        x = x[np.asarray(keras.ops.convert_to_numpy(mask), bool)]
    rows = x.reshape(-1, x.shape[-1])
    n = np.full(rows.shape[1], len(rows), np.int64)
    squares = ExactSum.of(np.square(rows).sum(axis=0), SQUARES)
    return Moments(n, ExactSum.of(rows.sum(axis=0), SUMS), squares)


def _assign(site: Site, moments: Moments) -> Moved:
    norm = site.norm
    mean, variance = values(norm.moving_mean), values(norm.moving_variance)
    before, after = np.sqrt(variance + norm.epsilon), np.sqrt(moments.variance + norm.epsilon)
    norm.moving_mean.assign(moments.mean.astype(np.float32))
    norm.moving_variance.assign(moments.variance.astype(np.float32))
    ratio = after / before
    return Moved(
        site.path,
        moments.channels,
        int(moments.n[0]),
        float((np.abs(moments.mean - mean) / before).max()),
        (float(ratio.min()), float(ratio.max())),
    )
