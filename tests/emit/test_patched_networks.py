"""MobileNetV2 with ImageNet weights on real images: decibels at the logits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import one_op
import pytest
from PIL import Image

from tfq_ext.emit import simulate
from tfq_ext.emit.patched import constants, static
from tfq_ext.emit.plan import Plan
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

SHARED = Path(os.environ.get("TFQ_SHARED", "does-not-exist"))
KERAS = SHARED / "models" / "mobilenet_v2_imagenet.keras"
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tf,
    pytest.mark.data,
    pytest.mark.skipif(not KERAS.exists(), reason="set TFQ_SHARED to the folder with models/"),
]


def load(path: Path) -> np.ndarray:
    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD)[None]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    paths = sorted((SHARED / "data" / "imagenet_dev").glob("*.jpg"))
    return [load(p) for p in paths[:: max(len(paths) // 16, 1)][:16]]


@pytest.fixture(scope="module")
def pivot() -> Model:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(KERAS, compile=False)
    return Model.parse(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@pytest.fixture(scope="module")
def plan(pivot: Model, images: list[np.ndarray]) -> Plan:
    """Max-abs weights, min-max ranges of the first eight images."""
    name = pivot.graphs[0].name(pivot.graphs[0].inputs[0])
    ranges: dict[str, Any] = {}
    for x in images[:8]:
        for key, r in one_op.observe(pivot, {name: x}).items():
            ranges[key] = ranges[key] | r if key in ranges else r
    return Plan(ranges, one_op.weights_of(pivot))


def logits(content: bytes, images: list[np.ndarray]) -> np.ndarray:
    run = Runner(content, threads=2)
    return np.concatenate([next(iter(run({"x": x}).values())) for x in images])


def decibel(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - got) ** 2)))


def in_16_bits(pivot: Model, plan: Plan, margin: float) -> Plan:
    ops = frozenset(pivot.graphs[0].name(op.outputs[0]) for op in pivot.graphs[0].ops)
    return replace(plan, int16=ops, ranges={n: r.scaled(margin) for n, r in plan.ranges.items()})


# measured 42.8, 18.9, 19.8 and 18.1 dB; the floors leave 1.5 dB for other LiteRT versions
@pytest.mark.parametrize(
    ("emitter", "floor"),
    [
        (constants.emit_fp16, 41.3),
        (constants.emit_weight_only, 17.4),
        (constants.emit_dynamic, 18.3),
        (static.emit, 16.6),
    ],
)
def test_against_the_float_model(
    emitter: Any, floor: float, pivot: Model, plan: Plan, images: list[np.ndarray]
):
    held_out = images[8:]
    wanted = logits(pivot.to_bytes(), held_out)
    emitted = emitter(pivot, plan)
    assert decibel(wanted, logits(emitted.content, held_out)) > floor


def test_16_bit_activations_add_next_to_nothing(pivot: Model, plan: Plan, images: list[np.ndarray]):
    """Against the float model with the same 8-bit weights.

    On images that gave no ranges, clipping is all of the error: one tensor goes to 6.6 times its
    calibrated maximum. Ranges times 4 cost two of sixteen bits and give 47.0 dB instead of 28.3.
    """
    same_weights = simulate.emit(pivot, replace(plan, ranges={})).content
    exact = static.emit(pivot, in_16_bits(pivot, plan, 1.0))
    roomy = static.emit(pivot, in_16_bits(pivot, plan, 4.0))
    assert exact.notes == roomy.notes == ()
    seen, held_out = images[:8], images[8:]
    assert decibel(logits(same_weights, seen), logits(exact.content, seen)) > 55
    assert decibel(logits(same_weights, held_out), logits(roomy.content, held_out)) > 45
