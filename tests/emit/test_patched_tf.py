"""Networks from Keras: all kinds of layers, and TFLiteConverter as the witness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import one_op
import pytest

from tfq_ext.emit import simulate
from tfq_ext.emit.patched import constants, static
from tfq_ext.emit.patched.io import retype
from tfq_ext.emit.plan import Plan
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

pytestmark = pytest.mark.tf


def mobile(k: Any, x: Any) -> Any:
    """Padding, stride, depthwise, residual, mean, softmax."""
    x = k.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = k.layers.Conv2D(8, 3, strides=2, activation="relu6")(x)
    y = k.layers.DepthwiseConv2D(3, padding="same")(x)
    y = k.layers.Conv2D(8, 1)(k.layers.ReLU(6.0)(y))
    x = k.layers.GlobalAveragePooling2D()(k.layers.Add()([x, y]))
    return k.layers.Dense(5, activation="softmax")(x)


def gated(k: Any, x: Any) -> Any:
    """Squeeze and excite: mean, dense, logistic, mul; pooling and concat."""
    x = k.layers.Conv2D(8, 3, padding="same", activation="swish")(x)
    s = k.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * k.layers.Conv2D(8, 1, activation="sigmoid")(s)
    a, b = k.layers.MaxPooling2D(2)(x), k.layers.AveragePooling2D(2)(x)
    x = k.layers.Concatenate()([a, b])
    return k.layers.Dense(6, activation="tanh")(k.layers.Flatten()(x))


def unet(k: Any, x: Any) -> Any:
    """Transpose convolution, skip by concat, both resizings."""
    a = k.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    b = k.layers.Conv2D(8, 3, padding="same", strides=2)(a)
    b = k.layers.LeakyReLU(0.1)(b)
    up = k.layers.Conv2DTranspose(6, 2, strides=2)(b)
    big = k.layers.UpSampling2D(2, interpolation="bilinear")(b)
    near = k.layers.UpSampling2D(2, interpolation="nearest")(b)
    x = k.layers.Concatenate()([a, up, big, near])
    return k.layers.Conv2D(3, 1)(x)


def attention(k: Any, x: Any) -> Any:
    """Reshape, transpose, batch matmul, layer norm."""
    x = k.layers.Reshape((64, 3))(x)
    x = k.layers.Dense(8)(x)
    x = x + k.layers.MultiHeadAttention(2, 4)(x, x)
    x = k.layers.LayerNormalization()(x)
    return k.layers.Dense(4)(x)


def wide(k: Any, x: Any) -> Any:
    """Every weight has 1024 elements or more: below that TFLiteConverter leaves it float."""
    x = k.layers.Conv2D(128, 3, activation="relu")(x)
    x = k.layers.DepthwiseConv2D(3, padding="same")(x)
    x = k.layers.Conv2D(16, 1)(x)
    return k.layers.Dense(8)(k.layers.Flatten()(x))


NETS: dict[str, Callable[[Any, Any], Any]] = {
    "mobile": mobile,
    "gated": gated,
    "unet": unet,
    "attention": attention,
}
# layer norm: NEG in no integer type (a graph pass makes it MUL), its square in 8 bits only
FLOAT_OPS_ALLOWED = {"attention": {"SQUARED_DIFFERENCE", "NEG"}}


def images(n: int = 4) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (n, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def converters() -> dict[str, Any]:
    """name -> function that returns a fresh TFLiteConverter of the same Keras model."""
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(5)
    made = {}
    for name, body in (NETS | {"wide": wide}).items():
        x = keras.Input((8, 8, 3), batch_size=1)
        model = keras.Model(x, body(keras, x))

        def fresh(m: Any = model) -> Any:
            return tf.lite.TFLiteConverter.from_keras_model(m)

        made[name] = fresh
    return made


@pytest.fixture(scope="module")
def pivots(converters: dict[str, Any]) -> dict[str, Model]:
    return {name: Model.parse(fresh().convert()) for name, fresh in converters.items()}


def planned(pivot: Model, *, int16: bool = False) -> tuple[Model, Plan]:
    codes = one_op.weights_of(pivot)
    pivot = one_op.on_grid(pivot, codes)
    name = pivot.graphs[0].name(pivot.graphs[0].inputs[0])
    ranges: dict[str, Any] = {}
    for image in images():
        for key, r in one_op.observe(pivot, {name: image[None]}).items():
            ranges[key] = ranges[key] | r if key in ranges else r
    ops = {pivot.graphs[0].name(op.outputs[0]) for op in pivot.graphs[0].ops}
    return pivot, Plan(ranges, codes, int16=frozenset(ops) if int16 else frozenset())


def outputs(content: bytes) -> np.ndarray:
    run = Runner(content)
    return np.concatenate([next(iter(run({"x": x[None]}).values())) for x in images()])


def decibel(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / max(np.sum((wanted - got) ** 2), 1e-30)))


@pytest.mark.parametrize("name", NETS)
def test_int16x8(name: str, pivots: dict[str, Model]):
    pivot, plan = planned(pivots[name], int16=True)
    emitted = static.emit(pivot, plan)
    assert {n.op for n in emitted.notes} <= FLOAT_OPS_ALLOWED.get(name, set())
    # weights are on their grids already: what is left is 16-bit rounding, and coarse RESIZE
    assert decibel(outputs(pivot.to_bytes()), outputs(emitted.content)) > 55


@pytest.mark.parametrize("name", NETS)
def test_int8(name: str, pivots: dict[str, Model]):
    pivot, plan = planned(pivots[name])
    emitted = static.emit(pivot, plan)
    assert {n.op for n in emitted.notes} <= FLOAT_OPS_ALLOWED.get(name, set())
    wanted = outputs(pivot.to_bytes())
    assert decibel(wanted, outputs(emitted.content)) > 22
    simulated = simulate.emit(pivot, plan).content
    assert decibel(wanted, outputs(simulated)) > 22


@pytest.mark.parametrize("name", ["mobile", "gated", "unet"])
def test_mixed_widths_and_kept_ops(name: str, pivots: dict[str, Model]):
    pivot, plan = planned(pivots[name], int16=True)
    ops = [pivot.graphs[0].name(op.outputs[0]) for op in pivot.graphs[0].ops]
    kept = dict.fromkeys(ops[1::4], "every fourth")
    emitted = static.emit(pivot, Plan(plan.ranges, plan.weights, kept, frozenset(ops[::2])))
    assert {n.tensor for n in emitted.notes} == set(kept)
    assert decibel(outputs(pivot.to_bytes()), outputs(emitted.content)) > 22


def float_weight_ops(model: Model) -> Counter[tuple[str, str, int]]:
    """(op, type of input 1, version) of the ops whose codes sit at input 1."""
    rows: Counter[tuple[str, str, int]] = Counter()
    for graph, _, op, code in model.walk():
        if code in constants.HYBRID:
            version = model.tree.operatorCodes[op.opcodeIndex].version
            rows[code, graph.dtype(op.inputs[1]), version] += 1
    return rows


def test_dynamic_range_has_the_converters_form(converters: Any, pivots: Any):
    """Same ops hybrid, same weight types, same versions."""
    import tensorflow as tf

    converter = converters["wide"]()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    theirs = float_weight_ops(Model.parse(converter.convert()))
    pivot = pivots["wide"]
    plan = Plan(weights=one_op.weights_of(pivot))
    ours = float_weight_ops(Model.parse(constants.emit_dynamic(pivot, plan).content))
    assert {code for code, dtype, _ in theirs if dtype == "int8"} >= {"CONV_2D"}
    assert ours == theirs


@pytest.mark.parametrize("name", NETS)
def test_dynamic_and_weight_only_run(name: str, pivots: dict[str, Model]):
    pivot, plan = planned(pivots[name])
    wanted = outputs(pivot.to_bytes())
    assert decibel(wanted, outputs(constants.emit_weight_only(pivot, plan).content)) > 100
    assert decibel(wanted, outputs(constants.emit_dynamic(pivot, plan).content)) > 30


@pytest.mark.parametrize("name", NETS)
def test_fp16_constants_equal_the_converters(name: str, converters: Any, pivots: Any):
    import tensorflow as tf

    converter = converters[name]()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    theirs = half_constants(Model.parse(converter.convert()))
    ours = half_constants(Model.parse(constants.emit_fp16(pivots[name], Plan()).content))
    assert ours == {k: v for k, v in theirs.items() if k[0] >= constants.FP16_ELEMENTS}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_retype_does_what_the_converter_does(dtype: str, converters: Any):
    """A file finished with float borders against the one that TFLiteConverter retypes itself."""
    import tensorflow as tf

    def convert(kind: str) -> bytes:
        converter = converters["mobile"]()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in images())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(kind)
        return converter.convert()

    ours = Model.parse(retype(convert("float32"), dtype, dtype))
    theirs = Model.parse(convert(dtype))
    assert [c for *_, c in ours.walk()] == [c for *_, c in theirs.walk()]
    assert np.array_equal(outputs(ours.to_bytes()), outputs(theirs.to_bytes()))


def half_constants(model: Model) -> Counter[tuple[int, bytes]]:
    """(size, bytes) of the float16 constants."""
    graph = model.graphs[0]
    half = [graph.constant(t) for t in range(len(graph.tensors)) if graph.dtype(t) == "float16"]
    return Counter((v.size, v.tobytes()) for v in half if v is not None)
