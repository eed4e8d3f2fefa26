"""Milliseconds of a training step on TensorFlow: float, and each phase of QAT; TFMOT beside it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from _bench import busy, in_child
from _qat_nets import NETS, WIDTHS, Style
from _qat_queue import Job
from _qat_rival import in_turns, stepper, timed

from tfq_ext._optional import need

BATCH = 64
ROUNDS, STEPS = 12, 4
# name -> (options of the network)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet, strides as for ImageNet": ("mobilenet", {"strides": "imagenet"}),
    "mobilenet": ("mobilenet", {}),
    "resnet20": ("resnet20", {}),
}
QUICK_CASES: dict[str, tuple[str, dict[str, Any]]] = {"tiny": ("tiny", {})}
# phase -> attributes of (quantizers, folded BatchNorms)
PHASES = {
    "delay": (False, False),
    "corrected": (True, False),
    "frozen": (True, True),
}


def run(job: Job) -> list[str]:
    """One line a case: medians and the ratios of medians within rounds."""
    quick = job.settings.nets == ("tiny",)
    rounds = 3 if quick else ROUNDS
    for name, (net, options) in (QUICK_CASES if quick else CASES).items():
        print(f"step time: {name}", file=sys.stderr, flush=True)
        found = ours(net, options, rounds)
        rival = in_child(timed, net, "relu6", options, BATCH, rounds, STEPS)
        row = {
            "id": name,
            "ms": {key: float(np.median(values)) for key, values in (found | rival).items()},
            "ratio": ratios(found, "float") | ratios(rival, "float, tf_keras"),
            "machine": busy(),
        }
        job.log().write("steptime", row)
    return []


def ratios(found: dict[str, list[float]], float_name: str) -> dict[str, list[float]]:
    """name -> [median, lower and upper quartile] of a step over the float step of its round."""
    base = np.array(found[float_name])
    return {
        name: [float(np.quantile(np.array(values) / base, q)) for q in (0.5, 0.25, 0.75)]
        for name, values in found.items()
        if name != float_name
    }


def ours(net: str, options: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Float and each phase, in turns, in this process."""
    keras = need("keras", why="tools/bench_qat.py")
    qat = need("tfq_ext.qat", why="tools/bench_qat.py")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, 32, 32, 3)).astype(np.float32)
    y = rng.integers(0, 10, BATCH)
    model = NETS[net](Style(keras), **{"width": WIDTHS[net], **options})
    turns = {"float": stepper(_compiled(model), x, y)}
    turns["float"]()  # BatchNorm has seen something: ranges can be calibrated
    for phase, (on, still) in PHASES.items():
        made = qat.quantize_aware(model, x)
        put(made, on, still)
        turns[phase] = stepper(_compiled(made), x, y)
    return in_turns(turns, rounds, STEPS)


def put(model: Any, on: bool, still: bool) -> None:
    """Set a model's phase: quantizers on, BatchNorm and ranges standing still."""
    layers = need("tfq_ext.qat.layers", why="a QAT model's layers")
    for _, quantizer in layers.quantizers_of(model):
        quantizer.enabled, quantizer.frozen = on, still
    for layer in layers.qat_layers(model):
        if hasattr(layer, "norm"):
            layer.frozen = still


def _compiled(model: Any) -> Any:
    keras = need("keras", why="tools/bench_qat.py")
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model
