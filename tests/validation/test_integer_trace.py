"""trace: one value taken apart, against the same sums written the slow way."""

from __future__ import annotations

import integer_ops
import numpy as np
import pytest
from integer_ops import OneOp
from integer_random import RANDOM

from tfq_ext.errors import DataError, ModelError
from tfq_ext.numerics.fixedpoint import quantize_multiplier
from tfq_ext.validation.integer import trace
from tfq_ext.validation.integer.tracing import TRACED, Trace


def example(op: str, seed: int) -> tuple[OneOp, bytes, dict[str, np.ndarray]]:
    one = RANDOM[op](np.random.default_rng([seed, 7]), "int8")
    content = integer_ops.build(one).to_bytes()
    fed = integer_ops.feeds(np.random.default_rng(seed), one)
    return one, content, integer_ops.reals(one, fed)


def traced(op: str, seed: int) -> list[Trace]:
    """Three values of a random layer: the first, the last, one between."""
    one, content, fed = example(op, seed)
    shape = integer_ops.build(one).graphs[0].shape(integer_ops.build(one).graphs[0].outputs[0])
    middle = tuple(n // 2 for n in shape)
    places = [(0,) * len(shape), tuple(n - 1 for n in shape), middle]
    return [trace(content, 0, place, fed) for place in places]


@pytest.mark.parametrize("op", TRACED)
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_trace_adds_up(op: str, seed: int):
    for t in traced(op, seed):
        products = sum((x - t.x_zero) * w for x, w in zip(t.x, t.w, strict=True))
        assert products + t.bias == t.accumulator
        assert (t.m0, t.shift) == quantize_multiplier(t.real)
        low, high = t.limits
        assert low <= t.code <= high
        if low < t.code < high:
            assert abs(t.y_zero + t.exact - t.code) <= 1.0
        assert t.code == t.recorded


def test_a_trace_reads_well():
    text = str(traced("CONV_2D", 2)[2])
    lines = text.splitlines()
    assert lines[0].startswith("CONV_2D 'out', value [1, ")
    assert "more" in lines[2]
    assert "+ bias" in text
    assert "/ 2^31 * 2^" in text
    assert "LiteRT's reference kernel" in lines[-1]
    assert "- -" not in text


def test_what_cannot_be_traced():
    _, content, fed = example("CONV_2D", 0)
    with pytest.raises(ModelError, match="0 CONV_2D"):
        trace(content, 7, (0, 0, 0, 0), fed)
    with pytest.raises(DataError, match="shape"):
        trace(content, 0, (0, 0), fed)
    with pytest.raises(DataError, match="shape"):
        trace(content, 0, (0, 99, 0, 0), fed)
    _, content, fed = example("ADD", 0)
    with pytest.raises(ModelError, match="none"):
        trace(content, 0, (0, 0, 0), fed)
