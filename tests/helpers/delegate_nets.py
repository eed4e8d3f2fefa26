"""Nets that GPU delegates get right, wrong, refuse or die of; and whether there is a GPU at all."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from one_op import CONV, EXAMPLES, Example, Net, X, build, f32, observe, weights_of
from small_nets import conv_options, images, residual

from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan
from tfq_ext.tflite.read import Model
from tfq_ext.validation.delegates.inputs import open_inputs
from tfq_ext.validation.delegates.log import read_log
from tfq_ext.validation.delegates.sides import COMPILED, Ran, run_side
from tfq_ext.validation.sandbox import Limits

NO_DRIVER = {"VK_DRIVER_FILES": "/nowhere.json", "VK_ICD_FILENAMES": "/nowhere.json"}
_SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


@cache
def adapter() -> str:
    """Name of the GPU's driver, "" without one."""
    ran = run_side(
        COMPILED,
        build("RELU", EXAMPLES["RELU"]).to_bytes(),
        [{"x0": np.ones((2, 8), np.float32)}],
        limits=Limits(seconds=120),
        repeat=False,
        accelerator="gpu",
    )
    return read_log(ran.stderr).adapter if ran.complete else ""


def need_gpu() -> None:
    """Skip the test, with the reason, where LiteRT finds no adapter."""
    if not adapter():
        pytest.skip("LiteRT finds no GPU adapter (tools/install_software_gpu.sh installs one)")


def without_fp16() -> dict[str, str]:
    """Variables that choose a driver without fp16; skips where there is none."""
    if not _SWIFTSHADER.exists():
        pytest.skip(f"no driver without fp16 here ({_SWIFTSHADER})")
    return {"VK_DRIVER_FILES": str(_SWIFTSHADER), "VK_ICD_FILENAMES": str(_SWIFTSHADER)}


def on_gpu(model: Model, *, fp32: bool, inputs: list | None = None) -> Ran:
    """One run of each sample on GPU and CPU together."""
    samples, _ = open_inputs(model, None, preprocess=None, limit=1, seed=0, signature=None)
    return run_side(
        COMPILED,
        model.to_bytes(),
        inputs or samples,
        limits=Limits(seconds=300),
        repeat=False,
        accelerator="gpu",
        fp32=fp32,
    )


def grouped(channels: int, groups: int, out: int) -> Model:
    """A CONV_2D whose weight has fewer channels than its input."""
    weight = f32(out, 3, 3, channels // groups)
    inputs = (X((1, 6, 6, channels)), weight, f32(out))
    return build("CONV_2D", Example(inputs, ("Conv2DOptions", CONV)))


def point(stride: int, *, size: int = 1, integer: bool = True) -> Model:
    """A convolution of 1x1 (or `size`) with a stride; 8 bits all through, or float."""
    net = Net()
    net.input("x", X((1, 9, 9, 8), -1, 1))
    net.const("w", f32(8, size, size, 8))
    net.const("b", f32(8))
    net.op("CONV_2D", "y", "x", "w", "b", options=conv_options(0, stride), version=1)
    model = net.done("y")
    if not integer:
        return model
    x = np.random.default_rng(0).uniform(-1, 1, (1, 9, 9, 8)).astype(np.float32)
    return Model.parse(
        static.emit(model, Plan(observe(model, {"x": x}), weights_of(model))).content
    )


def top_k(n: int, k: int = 3) -> Model:
    """The k greatest of n."""
    inputs = (X((1, n)), np.array(k, np.int32))
    return build("TOPK_V2", Example(inputs, ("TopKV2Options", {}), ("float32", "int32")))


def twice(code: str, options: str | None) -> Model:
    """An op that reads one tensor twice."""
    net = Net()
    net.input("x", X((1, 4, 4)))
    values = {"valuesCount": 2} if code == "PACK" else {}
    net.op(code, "y", "x", "x", options=None if options is None else (options, values))
    return net.done("y")


def chain(*, groups: int = 2) -> Model:
    """Five ops; the third is a grouped convolution that a GPU does not compute."""
    net = Net()
    net.input("x", X((1, 6, 6, 8)))
    net.const("w", f32(8, 3, 3, 8) * 0.2)
    net.const("b", np.zeros(8, np.float32))
    net.op("CONV_2D", "n0", "x", "w", "b", options=conv_options(1), version=1)
    net.op("RELU6", "n1", "n0")
    net.const("gw", f32(6, 3, 3, 8 // groups) * 0.2)
    net.const("gb", np.zeros(6, np.float32))
    net.op("CONV_2D", "n2", "n1", "gw", "gb", options=conv_options(1), version=1)
    net.op("LOGISTIC", "n3", "n2")
    net.op("TANH", "n4", "n3")
    return net.done("n4")


def overflowing() -> Model:
    """Values of 1e5 inside, hidden by a RELU6 at the end; right in fp32."""
    net = Net()
    net.input("x", X((1, 4, 4, 8)))
    net.const("w", np.full((4, 1, 1, 8), 20000, np.float32))
    net.const("b", np.full(4, 150000, np.float32))
    net.op("CONV_2D", "big", "x", "w", "b", options=conv_options(1), version=1)
    net.const("w2", np.full((4, 1, 1, 4), 1e-5, np.float32))
    net.const("b2", np.zeros(4, np.float32))
    net.op("CONV_2D", "y", "big", "w2", "b2", options=conv_options(3), version=1)
    return net.done("y")


def long_sum(channels: int = 512) -> Model:
    """A 3x3 convolution over many positive values: fp16 sums lose it."""
    net = Net()
    net.input("x", X((1, 5, 5, channels)))
    rng = np.random.default_rng(3)
    net.const("w", rng.uniform(0.5, 1.0, (4, 3, 3, channels)).astype(np.float32) / channels)
    net.const("b", np.zeros(4, np.float32))
    net.op("CONV_2D", "y", "x", "w", "b", options=conv_options(), version=1)
    return net.done("y")


def with_refused() -> Model:
    """CONV_2D, L2_NORMALIZATION (which the GPU leaves to the CPU), CONV_2D, LOGISTIC."""
    net = Net()
    net.input("x", X((1, 6, 6, 8)))
    net.const("w", f32(8, 3, 3, 8) * 0.2)
    net.const("b", np.zeros(8, np.float32))
    net.op("CONV_2D", "n0", "x", "w", "b", options=conv_options(1), version=1)
    net.op("L2_NORMALIZATION", "n1", "n0", options=("L2NormOptions", {}))
    net.op("CONV_2D", "n2", "n1", "w", "b", options=conv_options(1), version=1)
    net.op("LOGISTIC", "n3", "n2")
    return net.done("n3")


def quantized(bits: int) -> bytes:
    """The small residual net with 8-bit weights and activations of so many bits."""
    model = residual()
    ops = frozenset(model.graphs[0].name(int(op.outputs[0])) for op in model.graphs[0].ops)
    ranges = observe(model, {"image": images(1)})
    plan = Plan(ranges, weights_of(model), int16=ops if bits == 16 else frozenset())
    return static.emit(model, plan).content
