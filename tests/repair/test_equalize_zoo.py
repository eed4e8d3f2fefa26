"""Equalization leaves what strangers' networks compute, wherever it changes anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equalize_nets import feed, relative
from one_op import run

pytest.importorskip("tensorflow")
import keras
import rewrite_nets

from tfq_ext.emit.to_float import to_float
from tfq_ext.repair.equalize import equalize
from tfq_ext.tflite.passes import relu6_to_relu
from tfq_ext.tflite.read import Model

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
import keras_zoo

pytestmark = [pytest.mark.tf, pytest.mark.slow]
NETWORKS = {name: build for name, (build, _) in keras_zoo.FULLY_INTEGER.items()}
NETWORKS |= {f"{name} to rewrite": build for name, build in rewrite_nets.NETS.items()}
# In the others nothing may be scaled: weights are shared, outputs leave, ops mind factors.
SCALED = {
    *("u_net", "sequence", "activations", "grouped", "nested"),
    *("mobilenet_like to rewrite", "resnet_like to rewrite", "every_linear to rewrite"),
    "in_a_layer to rewrite",
}


def _zoo() -> Iterator[tuple[str, Any]]:
    """(name, float model without caps at 6) of all that tell their shapes, so that a batch fits."""
    for name, build in NETWORKS.items():
        keras.utils.set_random_seed(7)
        model = rewrite_nets.shaken(build())
        if getattr(model, "inputs", None) is None or "subclassed" in name:
            continue
        pivot = to_float(model, batch=1).model
        relu6_to_relu(pivot)
        yield name, pivot


def _same_bits(one: Model, other: Model, feeds: dict[str, Any]) -> bool:
    pairs = zip(run(one.to_bytes(), feeds), run(other.to_bytes(), feeds), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_the_float_outputs_of_every_network_stay():
    count, plain, exact = 0, {}, {}
    for name, model in _zoo():
        count += 1
        scaled, powers = equalize(model), equalize(model, power_of_two=True)
        feeds = feed(model, seed=9)
        assert all(np.ptp(y) > 0 for y in run(model.to_bytes(), feeds)), f"{name} is dead"
        if scaled.factors:
            plain[name] = relative(model, scaled.model, feeds)
        if powers.factors:
            exact[name] = _same_bits(model, powers.model, feeds)
    assert count == 21
    assert plain.keys() >= SCALED, plain  # 9, so the rest is no empty promise
    assert exact.keys() >= SCALED, exact
    assert max(plain.values()) < 1e-5, plain
    assert all(exact.values()), exact
