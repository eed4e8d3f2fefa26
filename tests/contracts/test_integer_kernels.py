"""Laws of KERNELS: every entry against all three of LiteRT's kernel sets, code for code."""

from __future__ import annotations

from collections import Counter
from typing import Any

import integer_ops
import numpy as np
import pytest
from integer_ops import OneOp, T
from integer_random import RANDOM

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.validation.integer.call import Unsupported
from tfq_ext.validation.integer.record import Recorder, read_call
from tfq_ext.validation.integer.table import KERNELS, compute

SETS = ("reference", "builtin", "xnnpack")
SEEDS = 8  # half of them with power-of-two scales, where ties abound
MANY = 120

# (op, type) that no kernel of LiteRT 2.3 runs.
REFUSED = {
    *((op, "uint8") for op in ["BATCH_MATMUL", "SQUARED_DIFFERENCE", "ELU", "EXP", "LOG", "ABS"]),
    *(
        (op, "int16")
        for op in [
            "SQUARED_DIFFERENCE",
            "ARG_MAX",
            "ARG_MIN",
            "ELU",
            "LOG",
            "RELU_N1_TO_1",
            "HARD_SWISH",
            "SPACE_TO_DEPTH",
            "DEPTH_TO_SPACE",
        ]
    ),
}
# (op, type) that the reference says it does not cover, by whatever kernel set.
UNCOVERED = {(op, "int16") for op in ["SUM", "LOGISTIC", "TANH", "EXP", "PRELU"]}
CASES = [(op, dtype) for op in RANDOM for dtype in ("int8", "uint8", "int16")]


def examples(op: str, dtype: str, seeds: range, **more: Any) -> list[tuple[int, OneOp]]:
    made = []
    for seed in seeds:
        one = RANDOM[op](np.random.default_rng([seed, 7]), dtype, **more)
        made.append((seed, integer_ops.snap(one) if seed % 2 else one))
    return made


def judge(one: OneOp, seed: int, seen: Counter[str]) -> list[str]:
    """Run one example on all kernel sets; what differs, in words."""
    try:
        model = integer_ops.build(one)
    except ModelError:
        seen["refused"] += 1
        return []
    rng = np.random.default_rng(seed)
    fed = integer_ops.reals(one, integer_ops.feeds(rng, one))
    return [w for kernels in SETS for w in judge_on(kernels, one.code, model, fed, seen)]


def judge_on(
    kernels: str, op: str, model: Model, fed: dict[str, np.ndarray], seen: Counter[str]
) -> list[str]:
    """The same on one kernel set."""
    kernel = KERNELS[op]
    if kernels in kernel.broken:
        return []
    recorder = Recorder(model, model.to_bytes(), kernels)
    try:
        read = recorder.invoke(fed)
        call, recorded = read_call(model.graphs[0], model.graphs[0].ops[0], read)
        delegated = bool(recorder.delegated())
        rounding = kernel.rounding(kernels, delegated, call.y.dtype)
        wanted = compute(call, rounding)
    except (ModelError, Unsupported) as why:
        seen["uncovered" if isinstance(why, Unsupported) else "refused"] += 1
        return []
    seen[kernels] += 1
    seen["delegated"] += delegated
    assert [w.dtype for w in wanted] == [r.dtype for r in recorded]
    wrong = sum(int((w != r).sum()) for w, r in zip(wanted, recorded, strict=True))
    return [f"{kernels} ({rounding}): {wrong} codes differ"] if wrong else []


def check(op: str, dtype: str, seeds: range, **more: Any) -> Counter[str]:
    seen: Counter[str] = Counter()
    made = examples(op, dtype, seeds, **more)
    found = [f"seed {seed}: {w}" for seed, one in made for w in judge(one, seed, seen)]
    assert not found, "\n".join(found)
    return seen


def expect(op: str, dtype: str, seen: Counter[str]) -> None:
    """Nothing is left out in silence: what was not compared is in a table above."""
    compared = sum(seen[kernels] for kernels in SETS)
    if (op, dtype) in REFUSED:
        assert (bool(seen["refused"]), compared) == (True, 0)
    elif (op, dtype) in UNCOVERED:
        assert (bool(seen["uncovered"]), compared) == (True, 0)
    else:
        assert compared


def test_every_kernel_has_a_random_example_and_the_reverse():
    assert set(RANDOM) == set(KERNELS)


def test_every_entry_is_exact_and_names_known_arithmetic():
    names = {"double", "single", "upward", "away", "mixed", "xnnpack"}
    for kernel in KERNELS.values():
        assert kernel.exact
        assert {kernel.reference, kernel.builtin, kernel.xnnpack} <= names
        assert set(kernel.other.values()) <= names
        assert all(name in SETS and why for name, why in kernel.broken.items())


@pytest.mark.parametrize(("op", "dtype"), CASES, ids="-".join)
def test_codes_are_litert_s(op: str, dtype: str):
    expect(op, dtype, check(op, dtype, range(SEEDS)))


@pytest.mark.slow
@pytest.mark.parametrize(("op", "dtype"), CASES, ids="-".join)
def test_codes_are_litert_s_on_many(op: str, dtype: str):
    expect(op, dtype, check(op, dtype, range(1000, 1000 + MANY)))


FOUR_BITS = [
    ("CONV_2D", "int8"),
    ("CONV_2D", "int16"),
    ("DEPTHWISE_CONV_2D", "int8"),
    ("FULLY_CONNECTED", "int8"),
    ("FULLY_CONNECTED", "int16"),
]


@pytest.mark.parametrize(("op", "dtype"), FOUR_BITS, ids="-".join)
def test_four_bit_weights(op: str, dtype: str):
    seen = check(op, dtype, range(SEEDS), kind="int4")
    assert seen["reference"]


def test_litert_misreads_four_bit_depthwise_weights_under_int16():
    """A bug of LiteRT 2.3, all kernel sets: int16 x int4 depthwise gives unrelated numbers."""
    seen: Counter[str] = Counter()
    made = examples("DEPTHWISE_CONV_2D", "int16", range(4), kind="int4")
    found = [w for seed, one in made for w in judge(one, seed, seen)]
    assert len(found) == 4 * len(SETS)


def many(op: str, seed: int) -> OneOp:
    """An elementwise int16 op of 150,000 values: what differs once in 100,000 shows."""
    rng = np.random.default_rng(seed)
    a, b = (float(np.float32(np.exp(rng.uniform(-7, -6)))) for _ in range(2))
    b = a * float(rng.uniform(0.5, 1)) if op == "ADD" else b
    s = (a + b) * rng.uniform(0.6, 1.2) if op == "ADD" else a * b * 20_000
    pair = (T((1, 64, 64, 37), "int16", a), T((1, 64, 64, 37), "int16", b))
    out = (T((), "int16", float(np.float32(s))),)
    return OneOp(op, pair, out, (op.capitalize() + "Options", {}), 4)


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_rare_differences_of_int16(op: str):
    seen: Counter[str] = Counter()
    assert not [w for seed in range(3) for w in judge(many(op, seed), seed, seen)]
    assert seen["builtin"]


@pytest.mark.parametrize("scale", [2 / 255, 0.5, 0.02])
@pytest.mark.parametrize("size", [256, 261])
def test_reals_that_fall_on_ties(size: int, scale: float):
    """Pixels p / 127.5 - 1 on a grid of 2 / 255 are halfway between codes, always."""
    pixels = (np.arange(size, dtype=np.float32) - np.float32(127.5)) * np.float32(scale)
    x, y = T((1, size), "float32"), T((), "int8", scale, -1)
    model = integer_ops.build(OneOp("QUANTIZE", (x,), (y,)))
    seen: Counter[str] = Counter()
    fed = {"x0": pixels[None]}
    assert not [w for k in SETS for w in judge_on(k, "QUANTIZE", model, fed, seen)]
    assert seen["builtin"]


TAKEN = "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV ADD SUB MUL MEAN SUM LOGISTIC"


@pytest.mark.parametrize("op", TAKEN.split())
def test_xnnpack_really_took_the_op(op: str):
    """Else the column `xnnpack` would be untried."""
    assert check(op, "int8", range(4))["delegated"]


def test_reference_sum_of_litert_is_still_broken():
    """The reason in KERNELS["SUM"].broken; a LiteRT that mends it should be compared again."""
    wrong = 0
    for seed, one in examples("SUM", "int8", range(6)):
        model = integer_ops.build(one)
        fed = integer_ops.reals(one, integer_ops.feeds(np.random.default_rng(seed), one))
        read = Recorder(model, model.to_bytes(), "reference").invoke(fed)
        call, recorded = read_call(model.graphs[0], model.graphs[0].ops[0], read)
        wrong += int((compute(call, "double")[0] != recorded[0]).any())
    assert wrong


def test_single_rounding_is_nearly_xnnpack_s_and_not_quite():
    """XNNPACK multiplies in float32, ties to even: equal but for ties and the last float bit."""
    different = total = 0
    for seed, one in examples("CONV_2D", "int8", range(0, 40, 2)):
        model = integer_ops.build(one)
        fed = integer_ops.reals(one, integer_ops.feeds(np.random.default_rng(seed), one))
        read = Recorder(model, model.to_bytes(), "xnnpack").invoke(fed)
        call, recorded = read_call(model.graphs[0], model.graphs[0].ops[0], read)
        gap = np.abs(compute(call, "single")[0].astype(int) - recorded[0])
        assert gap.max() <= 1
        different, total = different + int(gap.sum()), total + gap.size
    assert different <= total * 1e-4
