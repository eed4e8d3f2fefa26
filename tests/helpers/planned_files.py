"""Small networks observed, planned and made integer, without TensorFlow."""

from __future__ import annotations

import numpy as np
from one_op import Net, X, f32
from small_nets import conv_options, images

from tfq_ext.emit.emitters import emit
from tfq_ext.emit.plan import Plan
from tfq_ext.recipe import load_recipe
from tfq_ext.repair.observe import observe
from tfq_ext.repair.planning import make_plan, op_choices
from tfq_ext.repair.ranges import by_name, choose_ranges
from tfq_ext.repair.weights import choose_weights, layers
from tfq_ext.samples import open_samples
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model

MINMAX = load_recipe("int8-minmax")


def concat(gain: float = 10.0) -> Model:
    """Two convolutions, one `gain` times the other, concatenated, then a third."""
    net = Net()
    net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
    net.const("w1", f32(4, 3, 3, 3) * gain), net.const("b1", f32(4))
    net.const("w2", f32(4, 3, 3, 3, seed=2)), net.const("b2", f32(4))
    net.op("CONV_2D", "loud", "image", "w1", "b1", options=conv_options(), version=1)
    net.op("CONV_2D", "quiet", "image", "w2", "b2", options=conv_options(), version=1)
    net.op("CONCATENATION", "both", "loud", "quiet", options=("ConcatenationOptions", {"axis": 3}))
    heavy = f32(4, 3, 3, 8, seed=3) * np.float32([0.1] * 4 + [1.0] * 4)  # quiet ones matter too
    net.const("w3", heavy), net.const("b3", f32(4))
    net.op("CONV_2D", "out", "both", "w3", "b3", options=conv_options(), version=1)
    return net.done("out")


def seen(model: Model, n: int = 8):
    """Samples, and their statistics."""
    samples = list(open_samples(images(n), input_specs(model)))
    return samples, observe(model, samples)


def planned(model: Model, stats, recipe=MINMAX) -> tuple[list, Plan]:
    """Ranges, and the plan that they make."""
    choices = op_choices(model, recipe)
    ranges, _ = choose_ranges(model, stats, recipe)
    weights = choose_weights(layers(model, choices.ops), by_name(ranges), recipe)
    return ranges, make_plan(model, recipe, choices, ranges, weights)


def integer(model: Model, recipe=MINMAX, data=None, emitter: str = "patched") -> Model:
    """The model quantized."""
    data = images(16) if data is None else data
    stats = observe(model, list(open_samples(data, input_specs(model))))
    return Model.parse(emit(emitter, model, planned(model, stats, recipe)[1]).content)
