"""Small .tflite files that carry fake quantization, made without TensorFlow."""

from __future__ import annotations

import numpy as np
from tiny_models import TYPES, Builder

TYPES |= {"uint16": 16, "int16": 7}  # schema codes
RELU_GRID = ("uint8", 0.02, 0)
SIGNED_GRID = ("uint8", 0.05, 120)


class Pairs(Builder):
    """A builder that knows pairs."""

    def pair(self, x, shape, grid, name=None):
        """QUANTIZE -> DEQUANTIZE behind tensor `x`; returns the float behind it."""
        k = f"{len(self.tree.subgraphs)}_{len(self.graph.tensors)}"
        q = self.tensor(f"q{k}", shape, grid[0], grid=grid)
        d = self.tensor(name or f"d{k}", shape)
        self.op("QUANTIZE", [x], [q], "QuantizeOptions")
        self.op("DEQUANTIZE", [q], [d], "DequantizeOptions")
        return d

    def layer(self, x, columns, rows=6, *, seed=0, scales=None, name="y"):
        """FULLY_CONNECTED whose weight goes through a pair; returns its output."""
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(rows, columns)).astype(np.float32) * 0.3
        w = self.tensor(f"{name}_w", values.shape, values=values)
        scale = float(np.float32(np.abs(values).max() / 127)) if scales is None else scales
        d = self.pair(w, values.shape, ("uint8", scale, 128))
        y = self.tensor(name, (1, rows))
        self.op("FULLY_CONNECTED", [x, d, -1], [y], "FullyConnectedOptions")
        return y

    def binary(self, code, a, b, shape, name):
        """ADD, CONCATENATION, ... of two tensors."""
        y = self.tensor(name, shape)
        option = {"CONCATENATION": "Concatenation", "ADD": "Add", "MUL": "Mul"}[code]
        self.op(code, [a, b], [y], f"{option}Options")
        if code == "CONCATENATION":
            self.graph.operators[-1].builtinOptions.axis = 1
        return y


def ordinary():
    """input pair -> dense -> pair -> dense -> pair at the output."""
    b = Pairs()
    x = b.tensor("in", (1, 5))
    h = b.pair(b.layer(b.pair(x, (1, 5), SIGNED_GRID), 5, name="hidden"), (1, 6), SIGNED_GRID)
    y = b.pair(b.layer(h, 6, 3, seed=1, name="last"), (1, 3), SIGNED_GRID, "out")
    b.end([x], [y], "serve")
    return b.bytes()


def two_readers():
    """One tensor, two readers on different grids, joined by ADD."""
    b = Pairs()
    x = b.tensor("in", (1, 5))
    h = b.layer(b.pair(x, (1, 5), SIGNED_GRID), 5, name="hidden")
    one = b.layer(b.pair(h, (1, 6), SIGNED_GRID), 6, seed=1, name="one")
    two = b.layer(b.pair(h, (1, 6), ("uint8", 0.01, 128)), 6, seed=2, name="two")
    pairs = [b.pair(t, (1, 6), SIGNED_GRID) for t in (one, two)]
    y = b.pair(b.binary("ADD", *pairs, (1, 6), "sum"), (1, 6), SIGNED_GRID, "out")
    b.end([x], [y], "serve")
    return b.bytes()


def joined(second=("uint8", 0.03, 100)):
    """CONCATENATION of two tensors with grids of their own, and one behind it."""
    b = Pairs()
    x = b.tensor("in", (1, 5))
    start = b.pair(x, (1, 5), SIGNED_GRID)
    left = b.pair(b.layer(start, 5, name="left"), (1, 6), SIGNED_GRID)
    right = b.pair(b.layer(start, 5, seed=1, name="right"), (1, 6), second)
    y = b.binary("CONCATENATION", left, right, (1, 12), "both")
    b.end([x], [b.pair(y, (1, 12), SIGNED_GRID, "out")], "serve")
    return b.bytes()


def half_trained():
    """The second dense layer's output has no pair."""
    b = Pairs()
    x = b.tensor("in", (1, 5))
    h = b.pair(b.layer(b.pair(x, (1, 5), SIGNED_GRID), 5, name="hidden"), (1, 6), SIGNED_GRID)
    b.end([x], [b.layer(h, 6, 3, seed=1, name="out")], "serve")
    return b.bytes()


def inputs(n=64, seed=5):
    """float32[n, 5]."""
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
