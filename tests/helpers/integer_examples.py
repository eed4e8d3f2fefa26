"""Random examples of quantized ops: shapes, strides, grids, fused activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from integer_ops import OneOp, Random, T


def scale(rng: Random, lo: float = 0.002, hi: float = 0.2) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(lo), np.log(hi)))))


def zero(rng: Random, dtype: str) -> int:
    if dtype == "int16":
        return 0
    ends = np.iinfo(dtype)
    return int(
        rng.choice(
            [ends.min, ends.max, 0 if dtype == "int8" else 128, rng.integers(ends.min, ends.max)]
        )
    )


def act(rng: Random, shape: tuple[int, ...], dtype: str = "int8", **scales: float) -> T:
    return T(shape, dtype, scale(rng, **scales), zero(rng, dtype))


def dims(rng: Random, *ranges: tuple[int, int]) -> tuple[int, ...]:
    return tuple(int(rng.integers(lo, hi, endpoint=True)) for lo, hi in ranges)


def weight(rng: Random, shape: tuple[int, ...], axis: int, dtype: str, per_channel: bool) -> T:
    kind, low, high = {
        "int8": ("int8", -127, 127),
        "int4": ("int4", -8, 7),
        "uint8": ("uint8", 0, 255),
    }[dtype]
    values = rng.integers(low, high, shape, endpoint=True)
    n = shape[axis] if per_channel else 1
    scales = [scale(rng, 0.001, 0.02) for _ in range(n)]
    z = int(rng.integers(1, 255)) if dtype == "uint8" else 0
    return T(shape, kind, scales, z, values.astype(np.uint8 if dtype == "uint8" else np.int8), axis)


def bias_of(rng: Random, x: T, w: T, outputs: int, dtype: str = "int32") -> T:
    scales = np.float32(x.scale) * np.asarray(w.scale, np.float32)
    return T((outputs,), dtype, scales, 0, rng.integers(-20000, 20000, outputs).astype(dtype))


def output_scale(rng: Random, x: T, w: T, fan: int) -> float:
    """So that outputs fill the grid, give or take; sometimes M is above 1."""
    spread = float(x.scale) * float(np.mean(w.scale)) * 70 * 60 * np.sqrt(fan)
    return float(np.float32(spread / 60 * np.exp(rng.uniform(-3, 1))))


def _weights_kind(dtype: str, rng: Random) -> tuple[str, bool]:
    if dtype == "uint8":
        return "uint8", False
    return ("int8", bool(rng.integers(4)))


STRIDES = {"padding": (0, 1)}


def conv_2d(rng: Random, dtype: str = "int8", kind: str | None = None) -> OneOp:
    n, h, w_, depth, outputs, kh, kw = dims(
        rng, (1, 2), (5, 9), (5, 9), (1, 9), (1, 9), (1, 3), (1, 4)
    )
    x = act(rng, (n, h, w_, depth), dtype)
    default, per = _weights_kind(dtype, rng)
    w = weight(rng, (outputs, kh, kw, depth), 0, kind or default, per)
    sy, sx, dy, dx = dims(rng, (1, 2), (1, 3), (1, 2), (1, 2))
    options = {
        "padding": int(rng.integers(2)),
        "strideH": sy,
        "strideW": sx,
        "dilationHFactor": dy if sy == 1 else 1,
        "dilationWFactor": dx if sx == 1 else 1,
        "fusedActivationFunction": int(rng.choice([0, 1, 2, 3])),
    }
    y = T((), dtype, output_scale(rng, x, w, kh * kw * depth), zero(rng, dtype))
    bias = bias_of(rng, x, w, outputs, "int64" if dtype == "int16" else "int32")
    return OneOp("CONV_2D", (x, w, bias), (y,), ("Conv2DOptions", options), 5)


def depthwise_conv_2d(rng: Random, dtype: str = "int8", kind: str | None = None) -> OneOp:
    n, h, w_, depth, m, kh, kw = dims(rng, (1, 2), (5, 9), (5, 9), (1, 9), (1, 3), (1, 3), (1, 4))
    x = act(rng, (n, h, w_, depth), dtype)
    default, per = _weights_kind(dtype, rng)
    w = weight(rng, (1, kh, kw, depth * m), 3, kind or default, per)
    sy = dims(rng, (1, 2))[0]
    dy = dims(rng, (1, 2))[0] if sy == 1 else 1
    options = {
        "padding": int(rng.integers(2)),
        "strideH": sy,
        "strideW": sy,
        "depthMultiplier": m,
        "dilationHFactor": dy,
        "dilationWFactor": dy,
        "fusedActivationFunction": int(rng.choice([0, 1, 2, 3])),
    }
    y = T((), dtype, output_scale(rng, x, w, kh * kw), zero(rng, dtype))
    bias = bias_of(rng, x, w, depth * m, "int64" if dtype == "int16" else "int32")
    return OneOp("DEPTHWISE_CONV_2D", (x, w, bias), (y,), ("DepthwiseConv2DOptions", options), 6)


def fully_connected(rng: Random, dtype: str = "int8", kind: str | None = None) -> OneOp:
    rows, depth, outputs = dims(rng, (1, 4), (1, 70), (1, 20))
    x = act(rng, (rows, depth), dtype)
    default, per = _weights_kind(dtype, rng)
    w = weight(rng, (outputs, depth), 0, kind or default, per and bool(rng.integers(2)))
    y = T((), dtype, output_scale(rng, x, w, depth), zero(rng, dtype))
    bias = bias_of(rng, x, w, outputs, "int64" if dtype == "int16" else "int32")
    bias = bias if rng.integers(4) else None
    options = {"fusedActivationFunction": int(rng.choice([0, 1, 3]))}
    return OneOp("FULLY_CONNECTED", (x, w, bias), (y,), ("FullyConnectedOptions", options), 5)


def transpose_conv(rng: Random, dtype: str = "int8") -> OneOp:
    n, h, w_, depth, outputs, k, s = dims(
        rng, (1, 2), (3, 5), (3, 5), (1, 6), (1, 20), (1, 4), (1, 3)
    )
    x = act(rng, (n, h, w_, depth), dtype)
    w = weight(
        rng, (outputs, k, k, depth), 0, "int8" if dtype != "uint8" else dtype, dtype != "uint8"
    )
    same = int(rng.integers(2))  # 0 is SAME
    size = [d * s if same == 0 else (d - 1) * s + k for d in (h, w_)]
    shape = T((4,), "int32", None, 0, np.array([n, *size, outputs], np.int32))
    y = T((), dtype, output_scale(rng, x, w, k * k * depth / s), zero(rng, dtype))
    bias = bias_of(rng, x, w, outputs, "int64" if dtype == "int16" else "int32")
    options = {"padding": same, "strideH": s, "strideW": s}
    return OneOp("TRANSPOSE_CONV", (shape, w, x, bias), (y,), ("TransposeConvOptions", options), 3)


def batch_matmul(rng: Random, dtype: str = "int8") -> OneOp:
    n, rows, depth, columns = dims(rng, (1, 3), (1, 5), (1, 20), (1, 6))
    adj = [bool(v) for v in rng.integers(0, 2, 2)]
    a = act(rng, (n, depth, rows) if adj[0] else (n, rows, depth), dtype)
    b = act(rng, (n, columns, depth) if adj[1] else (n, depth, columns), dtype)
    y = T((), dtype, output_scale(rng, a, b, depth), zero(rng, dtype))
    return OneOp(
        "BATCH_MATMUL", (a, b), (y,), ("BatchMatMulOptions", {"adjX": adj[0], "adjY": adj[1]}), 2
    )


# An int16 ADD with power-of-two scales that broadcasts ends the process (LiteRT 2.3).
def binary(code: str, options: str, fused: bool = True) -> Callable[..., OneOp]:
    def make(rng: Random, dtype: str = "int8") -> OneOp:
        shape = dims(rng, (1, 3), (1, 5), (1, 9))
        other = [shape, shape[-1:], (1, 1, shape[-1]), (1,)][int(rng.integers(4))]
        other = shape if dtype == "int16" else other  # LiteRT aborts on some, see below
        a, b = act(rng, shape, dtype, lo=0.01, hi=0.1), act(rng, other, dtype, lo=0.01, hi=0.1)
        if code == "MUL":
            s = float(a.scale) * float(b.scale) * 50 * np.exp(rng.uniform(-1, 1.5))
        elif code == "SQUARED_DIFFERENCE":
            s = max(a.scale, b.scale) ** 2 * 100 * np.exp(rng.uniform(-1, 1))
        else:
            s = (a.scale + b.scale) * np.exp(rng.uniform(-1.5, 1))
        y = T((), dtype, float(np.float32(s)), zero(rng, dtype))
        pair = (a, b) if rng.integers(2) else (b, a)
        if code == "SUB" and dtype != "int16":
            pair = (a, b)
        function = {"fusedActivationFunction": int(rng.choice([0, 1, 2, 3]))} if fused else {}
        return OneOp(code, pair, (y,), (options, function), 2 if dtype != "int16" else 3)

    return make


def same_grid(make: Callable[[Random, Callable[..., T]], Any]) -> Callable[..., OneOp]:
    """Examples of ops whose data share one grid; `make(rng, data)` uses `data(*shape)`."""

    def example(rng: Random, dtype: str = "int8") -> OneOp:
        s, z = scale(rng), zero(rng, dtype)
        one: OneOp = make(rng, lambda *shape: T(shape, dtype, s, z))
        return one

    return example


def i32(*values: Any) -> T:
    array = np.array(values[0] if len(values) == 1 else values, np.int32)
    return T(array.shape, "int32", None, 0, array)


def copying(
    code: str,
    shape: tuple[int, ...],
    *more: T,
    options: Any = None,
    version: int = 2,
    first: bool = True,
    outputs: int = 1,
) -> Callable[..., OneOp]:
    """An op that moves codes of one tensor."""

    def make(rng: Random, data: Callable[..., T]) -> OneOp:
        x = data(*shape)
        inputs = (x, *more) if first else (*more, x)
        return OneOp(code, inputs, (data(),) * outputs, options, version)

    return same_grid(make)


def pool(code: str) -> Callable[..., OneOp]:
    def make(rng: Random, data: Callable[..., T]) -> OneOp:
        n, h, w, c, fh, fw, sy, sx = dims(
            rng, (1, 2), (3, 9), (3, 9), (1, 18), (1, 3), (1, 3), (1, 3), (1, 3)
        )
        options = {
            "padding": int(rng.integers(2)),
            "strideH": sy,
            "strideW": sx,
            "filterHeight": fh,
            "filterWidth": fw,
            "fusedActivationFunction": int(rng.choice([0, 1, 3])),
        }
        return OneOp(code, (data(n, h, w, c),), (data(),), ("Pool2DOptions", options), 2)

    return same_grid(make)


def reduction(code: str, own_grid: bool) -> Callable[..., OneOp]:
    def make(rng: Random, dtype: str = "int8") -> OneOp:
        shape = dims(rng, (1, 3), (1, 12), (1, 12), (1, 9))
        axes = [(1, 2), (1, 2), (1, 2), (3,), (0, 3), (1,), (0, 1, 2, 3), (2, 1), (-1,)][
            int(rng.integers(9))
        ]
        x = act(rng, shape, dtype)
        count = int(np.prod([shape[a] for a in axes]))
        factor = np.exp(rng.uniform(-2, 1)) * (
            np.sqrt(count) if code == "SUM" else 1 / np.sqrt(count)
        )
        y = T(
            (),
            dtype,
            float(np.float32(x.scale * factor)) if own_grid else x.scale,
            zero(rng, dtype) if own_grid else x.zero,
        )
        options = {"keepDims": bool(rng.integers(2))}
        return OneOp(code, (x, i32(list(axes))), (y,), ("ReducerOptions", options), 2)

    return make


def unary(
    code: str,
    options: Callable[[Random], Any] | None = None,
    fixed: Any = None,
    lo: float = 0.005,
    hi: float = 0.2,
    positive: bool = False,
    version: int = 2,
) -> Callable[..., OneOp]:
    """`fixed`: dtype -> (scale, zero) of the output; else about the input's."""

    def make(rng: Random, dtype: str = "int8") -> OneOp:
        shape = dims(rng, (1, 3), (30, 90))
        x = act(rng, shape, dtype, lo=lo, hi=hi)
        if positive:
            x = T(shape, dtype, x.scale, np.iinfo(dtype).min)
        if fixed:
            s, z = fixed[dtype]
        else:
            s, z = float(np.float32(x.scale * np.exp(rng.uniform(-1.5, 0.7)))), zero(rng, dtype)
        return OneOp(
            code, (x,), (T((), dtype, s, z),), None if options is None else options(rng), version
        )

    return make


def prelu(rng: Random, dtype: str = "int8") -> OneOp:
    x = act(rng, dims(rng, (1, 2), (2, 5), (2, 5), (1, 7)), dtype)
    alpha = act(rng, (1, 1, x.shape[-1]), dtype, lo=0.001, hi=0.01)
    y = T((), dtype, float(np.float32(x.scale * np.exp(rng.uniform(-1, 1)))), zero(rng, dtype))
    return OneOp("PRELU", (x, alpha), (y,), None, 1)


def quantize(rng: Random, dtype: str = "int8") -> OneOp:
    y = act(rng, (), dtype)
    kind = str(
        rng.choice(["float32", "int8", "uint8"] if dtype != "int16" else ["float32", "int16"])
    )
    shape = dims(rng, (1, 3), (1, 90))
    if kind == "float32":
        return OneOp("QUANTIZE", (T(shape, "float32"),), (y,), None, 1)
    s = float(np.float32(y.scale * np.exp(rng.uniform(-2, 2)))) if rng.integers(4) else y.scale
    return OneOp("QUANTIZE", (T(shape, kind, s, zero(rng, kind)),), (y,), None, 2)


def dequantize(rng: Random, dtype: str = "int8") -> OneOp:
    return OneOp(
        "DEQUANTIZE", (act(rng, dims(rng, (1, 3), (1, 90)), dtype),), (T((), "float32"),), None, 3
    )


def resize(code: str, options: str) -> Callable[..., OneOp]:
    def make(rng: Random, data: Callable[..., T]) -> OneOp:
        n, h, w, c = dims(rng, (1, 2), (1, 9), (1, 9), (1, 18))
        size = dims(rng, (1, 17), (1, 17))
        mode = int(rng.integers(3))
        flags = {"alignCorners": mode == 1, "halfPixelCenters": mode == 2}
        return OneOp(code, (data(n, h, w, c), i32(list(size))), (data(),), (options, flags), 3)

    return same_grid(make)


def concatenation(rng: Random, data: Callable[..., T]) -> OneOp:
    n, h, c = dims(rng, (1, 2), (1, 4), (1, 5))
    parts = tuple(data(n, h, int(rng.integers(1, 6))) for _ in range(c))
    return OneOp("CONCATENATION", parts, (data(),), ("ConcatenationOptions", {"axis": -1}), 2)


def strided_slice(rng: Random, data: Callable[..., T]) -> OneOp:
    options = {
        "beginMask": 1,
        "endMask": int(rng.choice([0, 4])),
        "shrinkAxisMask": int(rng.choice([0, 2])),
    }
    steps = i32([1, 1, int(rng.choice([1, 2]))])
    return OneOp(
        "STRIDED_SLICE",
        (data(3, 4, 9), i32([1, 2, 1]), i32([2, 3, -1]), steps),
        (data(),),
        ("StridedSliceOptions", options),
        2,
    )


def binary_same(code: str, options: str) -> Callable[..., OneOp]:
    def make(rng: Random, data: Callable[..., T]) -> OneOp:
        return OneOp(
            code,
            (data(2, 3, 5), data(2, 3, 5) if rng.integers(2) else data(1, 1, 5)),
            (data(),),
            (options, {}),
            2,
        )

    return same_grid(make)


def arg(code: str, options: str) -> Callable[..., OneOp]:
    def make(rng: Random, data: Callable[..., T]) -> OneOp:
        axis = T((), "int32", None, 0, np.array(int(rng.choice([1, 2, -1])), np.int32))
        return OneOp(
            code, (data(2, 9, 40), axis), (T((), "int32"),), (options, {"outputType": 2}), 2
        )

    return same_grid(make)


def packing(rng: Random, data: Callable[..., T]) -> OneOp:
    return OneOp(
        "PACK",
        (data(2, 3), data(2, 3)),
        (data(),),
        ("PackOptions", {"valuesCount": 2, "axis": 1}),
        2,
    )


def selecting(code: str) -> Callable[..., OneOp]:
    def make(rng: Random, data: Callable[..., T]) -> OneOp:
        mask = T((2, 5), "bool")
        return OneOp(
            code,
            (mask, data(2, 5), data(2, 5)),
            (data(),),
            ("SelectV2Options" if code[-1] == "2" else "SelectOptions", {}),
            1,
        )

    return same_grid(make)


def padv2(rng: Random, data: Callable[..., T]) -> OneOp:
    x = data(1, 4, 5, 3)
    value = T((1,), x.dtype, x.scale, x.zero, np.array([7], x.dtype))
    return OneOp(
        "PADV2",
        (x, i32([[0, 0], [1, 2], [2, 0], [0, 1]]), value),
        (data(),),
        ("PadV2Options", {}),
        2,
    )


def update_slice(rng: Random, data: Callable[..., T]) -> OneOp:
    return OneOp(
        "DYNAMIC_UPDATE_SLICE",
        (data(4, 6), data(2, 3), i32([int(rng.integers(4)), 5])),
        (data(),),
        ("DynamicUpdateSliceOptions", {}),
        1,
    )
