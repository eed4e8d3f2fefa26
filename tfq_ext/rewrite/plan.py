"""What equalization may scale in a model: kernels, links between them, and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext.numerics.equalize import Block, Bounds, Link, cap_bounds, limit_bounds
from tfq_ext.rewrite.canonical import Kernel, kernels_of
from tfq_ext.rewrite.chains import Joint, joints, scalable
from tfq_ext.rewrite.fold import used_in, values
from tfq_ext.rewrite.rows import Kept
from tfq_ext.rewrite.walk import flows


@dataclass
class Plan:
    """Kernels by path ("backbone/conv/kernel"), the links between them, and what is left alone.

    Args:
        kernels: those that belong to a link.
        links: in order of execution.
        channels: kernel of a dense layer -> channels of the image that it reads flattened.
        bounds: of links.
        kept: path of a linear layer -> why it has no partner behind it.
    """

    kernels: dict[str, Kernel] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    bounds: dict[Link, Bounds] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)

    def canonical(self, name: str) -> np.ndarray:
        """A kernel's weights, float[taps, I/G, G, O/G]."""
        return _weights(self.kernels[name], self.channels.get(name))

    def blocks(self) -> dict[str, Block]:
        """The magnitudes of every kernel in a link."""
        return {name: Block.of(self.canonical(name)) for name in self.kernels}

    def chains(self, blocks: Mapping[str, Block]) -> list[list[str]]:
        """The links strung together over diagonal kernels."""
        after = dict(self.links)
        inside = {b for _, b in self.links if blocks[b].is_diagonal and b in after}
        chains = []
        for before, name in self.links:
            if before in inside:
                continue
            chain = [before, name]
            while chain[-1] in inside:
                chain.append(after[chain[-1]])
            chains.append(chain)
        return chains

    def join(self, before: tuple[str, Kernel], after: tuple[str, Kernel]) -> Link:
        """Note a link."""
        self.kernels |= dict((before, after))
        self.links.append((before[0], after[0]))
        return before[0], after[0]


def plan_of(model: Any, caps: Mapping[str, np.ndarray], limit: float | None) -> Plan:
    """Everything that can be equalized in a model and in those nested in it.

    Args:
        model: functional, BatchNormalization folded.
        caps: path of a ReLU6 -> greatest value of each channel before it; a ReLU6 that is not
            there keeps its layers apart.
        limit: greatest factor; None: free.
    """
    plan, uses = Plan(), used_in(model)
    for path, flow in flows(model):
        found, alone = joints(flow, uses)
        plan.kept |= {path + n: Kept(path + n, reason) for n, reason in alone.items()}
        for layer in scalable(flow, uses):
            pair = _named(path, layer)
            if len(pair) == 2:
                plan.join(*pair)
        for joint in found:
            _join(plan, path, joint, caps)
    if limit is not None:
        for link in plan.links:
            _bound(plan, link, limit_bounds(_width(plan, link), limit))
    return plan


def _join(plan: Plan, path: str, joint: Joint, caps: Mapping[str, np.ndarray]) -> None:
    """Add one joint, or a row that says why not."""
    where = f"{path}{joint.before.operation.name}"
    before = _named(path, joint.before.operation)[-1]
    after = _named(path, joint.after.operation)[0]
    unknown = [cap for cap in joint.caps if path + cap not in caps]
    if unknown:
        reason = f'{unknown[0]} is a ReLU6: pass relu6="replace", or relu6="keep" with data'
        plan.kept[where] = Kept(where, reason)
        return
    written = Block.of(_weights(before[1])).outputs
    weights = values(getattr(after[1].layer, after[1].attribute))
    if Block.of(_weights(after[1])).inputs != written:
        if weights.ndim != 2 or weights.shape[0] % written:
            plan.kept[where] = Kept(where, f"{after[0]} reads its channels in another order")
            return
        plan.channels[after[0]] = written
    link = plan.join(before, after)
    for cap in joint.caps:
        largest = np.asarray(caps[path + cap], np.float64)
        taps = largest.reshape(-1, written)  # a ReLU6 behind Flatten sees pixels too
        _bound(plan, link, cap_bounds(taps.max(axis=0)))


def _named(path: str, layer: Any) -> list[tuple[str, Kernel]]:
    return [(f"{path}{layer.name}/{k.attribute}", k) for k in kernels_of(layer)]


def _weights(kernel: Kernel, channels: int | None = None) -> np.ndarray:
    """float[taps, I/G, G, O/G]."""
    return kernel.canonical(values(getattr(kernel.layer, kernel.attribute)), channels)


def _width(plan: Plan, link: Link) -> int:
    return Block.of(plan.canonical(link[0])).outputs


def _bound(plan: Plan, link: Link, new: Bounds) -> None:
    """Narrow a link's bounds."""
    old = plan.bounds.get(link)
    if old is not None:
        new = Bounds(np.maximum(old.low, new.low), np.minimum(old.high, new.high))
    plan.bounds[link] = new
