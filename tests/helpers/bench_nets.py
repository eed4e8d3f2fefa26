"""One network at every precision, made without TensorFlow, and nets that split a graph."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from one_op import Net, X, add_signature, f32
from small_nets import conv_options, images, residual
from tiny_models import Builder

from tfq_ext import quantize
from tfq_ext.emit.emitters import emit
from tfq_ext.recipe import load_recipe
from tfq_ext.repair.observe import observe
from tfq_ext.repair.planning import make_plan, op_choices
from tfq_ext.repair.ranges import by_name, choose_ranges
from tfq_ext.repair.weights import choose_weights, layers
from tfq_ext.samples import open_samples
from tfq_ext.tflite.inputs import input_specs


@lru_cache
def small(recipe: str = "float") -> bytes:
    """`small_nets.residual` as float, fp16, dynamic, int8, int4 or int16x8."""
    model = residual()
    add_signature(model)
    if recipe == "float":
        return model.to_bytes()
    if recipe in ("fp16", "dynamic", "weight_only"):
        return quantize(model.to_bytes(), recipe=recipe).content
    base = {"int8": "int8-minmax"}.get(recipe, recipe)
    grid = load_recipe({"base": base, "calibrator": "minmax", "output_calibrator": "minmax"})
    stats = observe(model, list(open_samples(images(4), input_specs(model))))
    choices = op_choices(model, grid)
    ranges, _ = choose_ranges(model, stats, grid)
    weights = choose_weights(layers(model, choices.ops), by_name(ranges), grid)
    return emit("patched", model, make_plan(model, grid, choices, ranges, weights)).content


def chain(*codes: str, shape: tuple[int, ...] = (1, 16, 16, 8)) -> bytes:
    """Float ops one after the other: CONV_2D, or any op of one input."""
    net = Net()
    last = net.input("x", X(shape, 0.5, 2.0))
    for k, code in enumerate(codes):
        if code == "CONV_2D":
            net.const(f"w{k}", f32(8, 3, 3, 8)), net.const(f"b{k}", f32(8))
            options = conv_options()
            last = net.op(code, f"t{k}", last, f"w{k}", f"b{k}", options=options, version=1)
        else:
            last = net.op(code, f"t{k}", last)
    return net.done(last).to_bytes()


def custom(name: str = "Nobody") -> bytes:
    """A conv-free net: ADD, a custom op that LiteRT does not know, ADD."""
    b = Builder()
    x, y, z, out = (b.tensor(n, (1, 2)) for n in ("x", "y", "z", "out"))
    b.op("ADD", [x, x], [y], "AddOptions")
    b.op("ADD", [y, y], [z], "AddOptions")
    b.op("ADD", [z, z], [out], "AddOptions")
    code = b.tree.operatorCodes[1]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    if code.deprecatedBuiltinCode > 127:
        code.deprecatedBuiltinCode = 127
    code.customCode = name
    op = b.tree.subgraphs[0].operators[1]
    op.builtinOptionsType, op.builtinOptions = 0, None
    b.end([x], [out])
    return b.bytes()


def wide(codes: int, features: int = 512) -> bytes:
    """Dense layers on one row: memory bound."""
    net = Net()
    last = net.input("x", X((1, features), -1.0, 1.0))
    for k in range(codes):
        net.const(f"w{k}", f32(features, features) / np.float32(features))
        net.const(f"b{k}", f32(features))
        options = ("FullyConnectedOptions", {})
        last = net.op("FULLY_CONNECTED", f"t{k}", last, f"w{k}", f"b{k}", options=options)
    return net.done(last).to_bytes()
