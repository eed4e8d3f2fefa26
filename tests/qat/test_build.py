"""quantize_aware: what is quantized, where the quantizers stand, and that Keras' own tools work."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from kinds_zoo import mobile, samples, short, trained_norms
from lite import predicted, run, run_apart

from tfq_ext import qat
from tfq_ext.errors import (
    DataError,
    ModelError,
    RecipeError,
    SpecError,
    TfqWarning,
    UnknownName,
)
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.kinds import KINDS, channel_axes
from tfq_ext.qat.layers import ChannelScale, Quantized, qat_layers, quantizers_of
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS, Quantizer
from tfq_ext.qat.start import unquantized

sys.path.append(str(Path(__file__).parent.parent / "e2e"))
import keras_zoo

L = keras.layers
ZOO = {name: build for name, (build, _) in keras_zoo.FULLY_INTEGER.items()} | {"mobile": mobile}
every_model = pytest.mark.parametrize("name", ZOO)


def inputs_of(name, model, count=12):
    if name == "subclassed":
        return [np.random.default_rng(0).normal(size=(count, 10)).astype(np.float32)]
    if name == "tied":
        return [np.random.default_rng(0).integers(0, 11, (count, 4)).astype(np.int32)]
    return samples(model, count)


def fed(x):
    return x[0] if len(x) == 1 else x


def at_most(found, wanted, share):
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a - b).max() <= share * np.abs(b).max()


def outputs(model, x):
    return [np.asarray(y) for y in keras.tree.flatten(model(fed(x), training=False))]


@every_model
def test_every_model_trains_and_keeps_its_function(name, tmp_path):
    """Unquantized equal to 1e-5, quantized close, the original untouched; a step, save and load."""
    model = trained_norms(ZOO[name]())
    x = inputs_of(name, model)
    before = [w.copy() for w in model.get_weights()]
    wanted = outputs(model, x)
    aware = qat.quantize_aware(model, fed(x))
    with unquantized(aware):
        at_most(outputs(aware, x), wanted, 1e-5)
    at_most(outputs(aware, x), wanted, 0.15)  # LayerNorm and GroupNorm on 8 bits lose most
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    if len(wanted) == 1:
        aware.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=True)
        start = [np.asarray(w) for w in aware.trainable_weights]
        aware.train_on_batch(fed(x), np.zeros_like(wanted[0]))
        ends = [np.asarray(w) for w in aware.trainable_weights]
        assert any(np.any(a != b) for a, b in zip(start, ends, strict=True))
    aware.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    for a, b in zip(outputs(aware, x), outputs(again, x), strict=True):
        np.testing.assert_array_equal(a, b)


def names(model, kind):
    return [layer.name for layer in model.layers if isinstance(layer, kind)]


def test_quantizers_stand_where_the_integer_graph_rounds():
    """Behind the fused ReLU, not between convolution, norm and ReLU; none behind Dropout."""
    aware = qat.quantize_aware(mobile())
    assert names(aware, FoldedBatchNorm) == ["conv0", "conv1", "depthwise", "project", "lone"]
    assert names(aware, Quantized) == ["scores"]
    ranges = names(aware, Quantizer)
    assert ranges[0] == "image_range"
    assert ranges[-2:] == ["pool_range", "scores_range"]
    assert len(ranges) == 9
    assert not names(aware, L.BatchNormalization)
    assert not [n for n in ranges if "dropout" in n]


def test_concat_shares_one_range_and_moving_adds_none():
    x = keras.Input((8, 8, 3), name="x")
    a = L.Conv2D(4, 3, padding="same", activation="relu", name="a")(x)
    b = L.MaxPooling2D(1, name="pool")(L.Conv2D(2, 1, name="b")(a))
    c = L.Concatenate(name="both")([a, b])
    d = L.Flatten(name="flat")(c)
    model = keras.Model(x, L.Dense(3, name="out")(d))
    aware = qat.quantize_aware(model)
    assert names(aware, Quantizer) == ["x_range", "a_range", "out_range"]
    shared = aware.get_layer("a_range")
    assert shared.slots == 2
    data = samples(model, 8)[0]
    aware = qat.quantize_aware(model, data)
    probe = keras.Model(model.input, [model.get_layer(n).output for n in ("a", "b")])
    low = min(float(np.asarray(y).min()) for y in probe(data))
    high = max(float(np.asarray(y).max()) for y in probe(data))
    assert aware.get_layer("a_range").range() == pytest.approx((min(low, 0.0), high), rel=1e-5)


def test_a_prescribed_grid_that_joins_another_is_rounded_again():
    x = keras.Input((6,), name="x")
    gate = L.Dense(4, activation="sigmoid", name="gate")(x)
    model = keras.Model(x, L.Concatenate(name="both")([gate, L.Dense(4, name="plain")(x)]))
    data = samples(model, 16)[0]
    aware = qat.quantize_aware(model, data)
    fixed = [q for q in aware.layers if isinstance(q, ACTIVATION_QUANTIZERS["fixed"])]
    assert [q.range() for q in fixed] == [(0.0, 255 / 256)]
    result = qat.export(aware)
    assert not result.account.float_ops
    (found,), (wanted,) = run(result.content, aware, [data]), predicted(aware, [data])
    assert np.abs(found - wanted).max() <= 1.01 * float(aware.get_layer("plain_range").grid()[0])


def test_shared_layers_stay_shared():
    dense, norm = L.Dense(4, use_bias=False, name="shared"), L.BatchNormalization()
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    model = keras.Model([a, b], L.Add()([norm(dense(a)), norm(dense(b))]))
    aware = qat.quantize_aware(model)
    assert names(aware, FoldedBatchNorm) == ["shared"]
    lone = L.BatchNormalization()
    model = keras.Model([a, b], L.Add()([lone(dense(a)), dense(b)]))
    aware = qat.quantize_aware(model)
    kinds = {layer.name: type(layer) for layer in qat_layers(aware)}
    assert kinds["shared"] is Quantized
    assert isinstance(aware.get_layer(lone.name).layer, ChannelScale)


def test_rules_set_bits_floats_and_ranges():
    rules = [
        {"op": "CONV_2D", "weight_bits": 4},
        {"position": "first", "weight_bits": 8},
        {"tensor": "depthwise", "per_channel": False},
        {"tensor": "pool", "range": [0.0, 3.0]},
        {"position": "last", "keep_float": True},
    ]
    aware = qat.quantize_aware(mobile(), recipe={"base": "int8", "rules": rules})
    found = dict(quantizers_of(aware))
    bits = {n.split("/")[0]: q.bits for n, q in found.items() if "/" in n}
    assert bits == {"conv0": 8, "conv1": 4, "depthwise": 8, "project": 4, "lone": 8}
    assert found["depthwise/kernel"].axes is None
    assert found["pool_range"].range() == (0.0, 3.0)


PAIRS = [(weights, "ema") for weights in WEIGHT_QUANTIZERS]
PAIRS += [("lsq", name) for name in ACTIVATION_QUANTIZERS if name not in ("ema", "fixed")]


@pytest.mark.parametrize(("weights", "activations"), PAIRS)
def test_every_quantizer_trains_and_exports(weights, activations):
    model = short()
    x = samples(model, 16)
    bits = 8 if weights in ("a2q", "fgq") else 4
    aware = qat.quantize_aware(
        model, x[0], weight_bits=bits, weights=weights, activations=activations
    )
    aware.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=True)
    aware.train_on_batch(x[0], np.zeros((16, 5), np.float32))
    result = qat.export(aware)
    assert not result.account.float_ops
    (found,), (wanted,) = run(result.content, aware, x), predicted(aware, x)
    assert np.all(np.isfinite(wanted))
    step = float(aware.get_layer("scores_range").grid()[0])
    assert np.abs(found - wanted).max() <= 3.01 * step


@pytest.mark.parametrize("batch_norm", ["corrected", "naive", "static"])
@pytest.mark.parametrize("equalize", [False, True])
def test_ways_to_fold(batch_norm, equalize):
    model = mobile()
    x = samples(model, 16)
    aware = qat.quantize_aware(model, x[0], batch_norm=batch_norm, equalize=equalize)
    with unquantized(aware):
        at_most(outputs(aware, x), outputs(model, x), 1e-5)
    folded = [layer for layer in qat_layers(aware) if isinstance(layer, FoldedBatchNorm)]
    if not equalize and batch_norm != "static":
        assert {layer.mode for layer in folded} == {batch_norm}


@pytest.mark.parametrize("calibrator", ["minmax", "mse", "percentile:99.9"])
def test_any_calibrator_starts_the_ranges(calibrator):
    model = mobile()
    x = samples(model, 64)[0]
    wide = dict(quantizers_of(qat.quantize_aware(model, x)))
    found = dict(quantizers_of(qat.quantize_aware(model, x, calibrator=calibrator)))
    widths = {n: np.ptp(found[n].range()) / np.ptp(wide[n].range()) for n in found if "/" not in n}
    assert max(widths.values()) <= 1.001
    assert (min(widths.values()) < 0.97) == (calibrator != "minmax")


def test_clone_and_weights():
    model = mobile()
    x = samples(model)
    aware = qat.quantize_aware(model, x[0], weight_bits=4)
    clone = keras.models.clone_model(aware)
    clone.set_weights(aware.get_weights())
    np.testing.assert_array_equal(outputs(aware, x)[0], outputs(clone, x)[0])


@pytest.mark.slow
def test_compiled_by_xla_as_without():
    model = mobile()
    x = samples(model, 32)[0]
    losses = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        aware = qat.quantize_aware(model, x)
        aware.get_layer(names(aware, L.Dropout)[0]).rate = 0.0
        aware.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=jit)
        history = aware.fit(x, np.zeros((32, 5)), epochs=3, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_mixed_precision_trains_and_exports_the_float32_codes():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = mobile()
        x = samples(model, 32)
        aware = qat.quantize_aware(model, x[0])
        aware.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=False)
        history = aware.fit(x[0], np.zeros((32, 5)), epochs=2, verbose=0)
        assert np.all(np.isfinite(history.history["loss"]))
        assert aware(x[0]).dtype == "float16"
        assert aware.get_layer("conv0").layer.kernel.dtype == "float32"
        result = qat.export(aware)
    finally:
        keras.config.set_dtype_policy("float32")
    (found,), (wanted,) = run(result.content, aware, x), predicted(aware, x)
    step = float(aware.get_layer("scores_range").grid()[0])
    assert np.abs(found - wanted.astype(np.float32)).max() <= 3.01 * step


@pytest.mark.slow
def test_mirrored_strategy_equals_one_device_where_statistics_are_frozen():
    """Two CPU devices, in a process of their own; with frozen norms the gradients just add up."""
    assert float(run_apart(MIRRORED)) < 1e-4


MIRRORED = """
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kinds_zoo import mobile, samples
from tfq_ext import qat
from tfq_ext.qat.layers import qat_layers, quantizers_of

def made(model, x):
    aware = qat.quantize_aware(model, x)
    for layer in qat_layers(aware):
        layer.frozen = True
    for layer in aware.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    aware.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=False)
    return aware

first = mobile()
x = samples(first, 64)[0]
one = made(first, x)
one.fit(x, np.zeros((64, 5)), batch_size=16, epochs=1, verbose=0, shuffle=False)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    second = mobile()
    second.set_weights(first.get_weights())
    two = made(second, x)
two.fit(x, np.zeros((64, 5)), batch_size=16, epochs=1, verbose=0, shuffle=False)
print(max(float(np.abs(a - b).max()) for a, b in zip(one.get_weights(), two.get_weights())))
"""


def test_a_network_that_was_never_trained_starts_its_ranges_by_training():
    x = keras.Input((6,))
    y = L.Dense(4, name="dense")(x)
    model = keras.Model(x, L.BatchNormalization(name="fresh")(y))
    data = samples(model, 32)[0]
    with pytest.warns(TfqWarning, match="'fresh' has never been trained"):
        aware = qat.quantize_aware(model, data)
    assert {q.range() for n, q in quantizers_of(aware) if "/" not in n} == {(0.0, 0.0)}
    aware.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=True)
    aware.train_on_batch(data, np.zeros((32, 4), np.float32))
    low, high = aware.get_layer("dense_range").range()
    assert -5 < low < -1
    assert 1 < high < 5  # a normalized batch, not the network's inference


def test_bad_settings_say_what_is_allowed():
    model = mobile()
    with pytest.raises(SpecError, match="corrected, naive, static; got 'folded'"):
        qat.quantize_aware(model, batch_norm="folded")
    with pytest.raises(RecipeError, match="kernels; got 'fp16'"):
        qat.quantize_aware(model, recipe="fp16")
    with pytest.raises(RecipeError, match="Weights train on symmetric grids"):
        qat.quantize_aware(model, recipe={"mode": "simulate", "weights": {"symmetric": False}})
    four = {"bits": 4, "symmetric": True}
    with pytest.raises(RecipeError, match="of 4 bits train with symmetric = False"):
        qat.quantize_aware(model, recipe={"mode": "simulate", "activations": four})
    with pytest.raises(RecipeError, match="search chooses widths of finished files"):
        qat.quantize_aware(model, recipe="mixed")
    with pytest.raises(UnknownName, match="No weight quantizer named 'lsqq'"):
        qat.quantize_aware(model, weights="lsqq")
    with pytest.raises(SpecError, match="starts from ranges: give data"):
        qat.quantize_aware(model, activations="lsq+")
    with pytest.raises(ModelError, match="quantization-aware already"):
        qat.quantize_aware(qat.quantize_aware(model))
    with pytest.raises(ModelError, match="not a Keras 3 model"):
        qat.quantize_aware("model.keras")


def test_activations_without_kernels_train_by_a_recipe_that_simulates():
    model = trained_norms(mobile())
    x = samples(model, 12)
    recipe = {"mode": "simulate", "calibrator": "minmax", "activations": {"bits": 4}}
    aware = qat.quantize_aware(model, fed(x), recipe=recipe)
    assert {q.bits for n, q in quantizers_of(aware) if "/" not in n} == {4}
    assert all(np.unique(y).size <= 16 for y in outputs(aware, x))
    with pytest.raises(ModelError, match="has 4 bits; LiteRT has kernels for activations of 8"):
        qat.export(aware)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), "has shape"),
        (np.zeros((0, 16, 16, 3), np.float32), "no samples"),
        (np.full((4, 16, 16, 3), np.nan, np.float32), "NaN or infinite"),
        ([np.zeros((4, 16, 16, 3), np.float32)] * 2, "2 arrays a batch"),
        ({"picture": np.zeros((4, 16, 16, 3), np.float32)}, "no input 'image'"),
    ],
)
def test_bad_data_says_what_is_wrong(data, said):
    with pytest.raises(DataError, match=said):
        qat.quantize_aware(mobile(), data)


def test_batches_of_any_form_give_the_same_ranges():
    model = mobile()
    x = samples(model, 40)[0]
    forms = {
        "array": x,
        "dict": {"image": x},
        "dataset": tf.data.Dataset.from_tensor_slices((x, np.zeros(40))).batch(7),
        "function": lambda: iter([x[:16], x[16:]]),
    }
    found = {}
    for name, data in forms.items():
        aware = qat.quantize_aware(model, data)
        found[name] = [q.range() for n, q in quantizers_of(aware) if "/" not in n]
    for name in forms:
        np.testing.assert_allclose(found[name], found["array"], rtol=1e-5)


RANK = {"Conv1D": 1, "Conv2D": 2, "Conv3D": 3, "DepthwiseConv1D": 1, "DepthwiseConv2D": 2}
RANK |= {"Conv1DTranspose": 1, "Conv2DTranspose": 2, "Dense": 0, "EinsumDense": 1}
ARGUMENTS = {"Dense": (5,), "EinsumDense": ("abc,cd->abd", (None, 5))}
ARGUMENTS |= {"DepthwiseConv1D": (3,), "DepthwiseConv2D": (3,)}
LINEAR_KINDS = {name for name, kind in KINDS.items() if "kernel" in kind.weights}


@pytest.mark.parametrize("name", sorted(LINEAR_KINDS - {"ChannelScale"}))
def test_kinds_name_real_classes_with_such_axes(name):
    """The table's axes are those along which the layer's own output has channels."""
    layer = getattr(L, name)(*ARGUMENTS.get(name, (5, 3)))
    outputs = layer(np.zeros((1, *(9,) * RANK[name], 4), np.float32))
    counted = np.prod([layer.kernel.shape[a] for a in channel_axes(layer, "kernel")])
    assert counted == outputs.shape[-1]
