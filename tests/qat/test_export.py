"""What was trained is what the file holds and computes."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kinds_zoo import LINEAR, mobile, samples, trained_norms
from lite import output_step, predicted, run, run_apart

from tfq_ext import demo, qat
from tfq_ext.errors import ModelError
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.layers import qat_layers, quantizers_of
from tfq_ext.qat.offsets import input_grid, whole_offset
from tfq_ext.qat.quantizers import Quantizer
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Model

L = keras.layers
every_kind = pytest.mark.parametrize("kind", LINEAR)


def one_layer(kind, *, norm=True, relu=True):
    make, shape = LINEAR[kind]
    x = y = keras.Input(shape)
    y = make()(y)
    y = L.BatchNormalization()(y) if norm or kind == "ChannelScale" else y
    return trained_norms(keras.Model(x, L.ReLU()(y) if relu else y))


def fit(model, x, steps=3, rate=1e-2):
    """Eagerly: for three steps a graph is not worth its second."""
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
    targets = [np.zeros(y.shape, np.float32) for y in predicted(model, x)]
    for _ in range(steps):
        model.train_on_batch(x[0] if len(x) == 1 else x, targets[0])
    return model


def trained(model, **settings):
    """A QAT model after a few steps, and its inputs."""
    keras.utils.set_random_seed(1)
    x = samples(model, 32)
    return fit(qat.quantize_aware(model, x[0] if len(x) == 1 else x, **settings), x), x


def stored_codes(content):
    """(op, codes[channels, rest], scales) of every weight in the file."""
    rows = []
    for graph, _, op, code in Model.parse(content).walk():
        if code in WEIGHTS:
            fact = WEIGHTS[code]
            tensor = int(op.inputs[fact.weight])
            codes = graph.constant(tensor)
            rest = np.moveaxis(codes, fact.axis, 0).reshape(codes.shape[fact.axis], -1)
            rows.append((code, rest, np.asarray(graph.tensors[tensor].quantization.scale)))
    return rows


def keras_codes(model):
    """The same from the QAT model, in the order of its layers."""
    rows = []
    for layer in qat_layers(model):
        if isinstance(layer, Quantizer) or "kernel" not in layer.quantizers:
            continue
        quantizer, weight = layer.quantizers["kernel"], layer.weight("kernel")
        axes = [a % weight.ndim for a in quantizer.axes or ()]
        rest = [a for a in range(weight.ndim) if a not in axes]
        codes = np.transpose(quantizer.codes(weight), (*axes, *rest))
        count = int(np.prod([weight.shape[a] for a in axes], dtype=int))
        rows.append((codes.reshape(count, -1), quantizer.grid(weight)[0].reshape(-1)))
    return rows


# Each kind at both widths, with and without a norm; the other two pairs among the slow tests.
QUICK = [(8, True), (4, False)]
PAIRS = [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [(8, False), (4, True)])]


@every_kind
@pytest.mark.parametrize(("bits", "norm"), PAIRS)
def test_codes_and_scales_are_the_trained_ones_and_litert_computes_with_them(kind, bits, norm):
    model, x = trained(one_layer(kind, norm=norm), weight_bits=bits)
    result = qat.export(model)
    ((_, stored, scales),) = stored_codes(result.content)
    ((wanted, wanted_scales),) = keras_codes(model)
    np.testing.assert_array_equal(stored, wanted)
    assert np.abs(stored).max() == (7 if bits == 4 and "Transpose" not in kind else 127)
    np.testing.assert_array_equal(scales.astype(np.float32), wanted_scales)
    assert not result.account.float_ops
    if norm or kind == "ChannelScale":
        same_bias(model, result.content)
    steps = np.abs(run(result.content, model, x)[0] - predicted(model, x)[0]) / output_step(model)
    apart = "Transpose" in kind and not norm  # the ReLU stands behind a grid of its own
    assert steps.max() <= (2.01 if apart else 1.01)
    if bits == 8 and not apart:  # at 4 bits builtin kernels run, which round twice
        assert np.mean(steps > 0.5) < 0.005  # ties; else the same code


def same_bias(model, content):
    """Inference adds the file's int32; where float32 leaves a tie, its neighbour."""
    (layer,) = (x for x in qat_layers(model) if isinstance(x, FoldedBatchNorm))
    quantizer, weight, bias = layer.quantizer, layer.weight(), layer.bias()
    added = whole_offset(keras.ops.array(bias), layer, quantizer, keras.ops.array(weight), False)
    unit = np.float64(input_grid(layer).grid()[0]) * quantizer.grid(weight)[0].reshape(-1)
    counts = np.asarray(added) / unit
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-2)
    ((graph, op),) = ((g, op) for g, _, op, code in Model.parse(content).walk() if code in WEIGHTS)
    stored = graph.constant(int(op.inputs[-1]))
    assert np.abs(stored - np.rint(counts)).max() <= 1
    assert np.abs(stored).max() > 10


def test_a_depthwise_kernel_with_one_scale_keeps_its_layout():
    recipe = {"base": "int8", "weights": {"per_channel": False}}
    model, x = trained(one_layer("DepthwiseConv2D"), recipe=recipe)
    content = qat.export(model).content
    ((_, _, scales),) = stored_codes(content)
    assert scales.size == 1
    (wanted,), (found,) = predicted(model, x), run(content, model, x)
    assert np.abs(found - wanted).max() < 1.01 * output_step(model)


# At 4 bits LiteRT's builtin kernels run, which round twice: 99.3 to 99.6 % over trainings.
@pytest.mark.parametrize(
    ("count", "bits", "agreement"),
    [
        (200, 8, 0.99),
        pytest.param(3000, 8, 0.996, marks=pytest.mark.slow),
        pytest.param(3000, 4, 0.99, marks=pytest.mark.slow),
    ],
)
def test_a_trained_network_predicts_in_litert_what_it_predicts_in_keras(count, bits, agreement):
    """The bundled network on some of its 3000 test images, after an epoch of a third of them."""
    keras.utils.set_random_seed(0)
    model = keras.models.load_model(demo.model_path())
    x, labels = (part[:count] for part in demo.evaluation())
    aware = qat.quantize_aware(model, demo.calibration(), weight_bits=bits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    aware.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, run_eagerly=count < 1000)
    aware.fit(x[: count // 3], labels[: count // 3], batch_size=32, epochs=1, verbose=0)
    (wanted,) = predicted(aware, [x])
    (found,) = run(qat.export(aware).content, aware, [x])
    assert np.mean(found.argmax(1) == wanted.argmax(1)) >= agreement
    assert np.mean(wanted.argmax(1) == labels) > 0.88
    # Some thirty roundings in a row: kernels differ by as much among themselves.
    assert np.mean(np.abs(found - wanted)) <= 1.0 * output_step(aware)


def test_every_grid_is_read_back():
    model, _ = trained(mobile())
    result = qat.export(model)
    assert result.account.read_back == (
        "6 weight tensors, 9 activation grids and 6 biases read back equal"
    )
    file = Model.parse(result.content)
    grids = {
        (float(np.float32(t.quantization.scale[0])), int(t.quantization.zeroPoint[0]))
        for g in file.graphs
        for k, t in enumerate(g.tensors)
        if g.dtype(k) == "int8" and not g.is_constant(k)
    }
    for _, quantizer in quantizers_of(model):
        if hasattr(quantizer, "range"):
            scale, zero = quantizer.grid()
            assert (float(scale), int(zero)) in grids


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integers_in_and_out(io):
    model, _ = trained(mobile())
    result = qat.export(model, input_type=io, output_type=io)
    reader = Interpreter(model_content=result.content)
    assert reader.get_input_details()[0]["dtype"] == np.dtype(io)
    assert reader.get_output_details()[0]["dtype"] == np.dtype(io)


def test_sixteen_bit_activations():
    model, x = trained(mobile(), recipe="int16x8")
    (wanted,) = predicted(model, x)
    (found,) = run(qat.export(model).content, model, x)
    assert np.abs(found - wanted).max() <= 0.002 * np.abs(wanted).max()


def test_a_layer_kept_float_stays_float():
    rules = [{"tensor": "conv1", "keep_float": True}]
    model, x = trained(mobile(), recipe={"base": "int8", "rules": rules})
    assert not [n for n, _ in quantizers_of(model) if n.startswith("conv1/")]
    assert [row.layer for row in qat.overview(model).floats] == ["conv1", "norm1"]
    result = qat.export(model)
    assert [op.op for op in result.account.float_ops] == ["CONV_2D"]
    (found,) = run(result.content, model, x)
    (wanted,) = predicted(model, x)
    assert np.abs(found - wanted).max() <= 4 * output_step(model)


def test_what_training_does_not_see_is_calibrated_where_there_is_data():
    x = keras.Input((8, 8, 4))
    y = L.GroupNormalization(2)(L.Conv2D(4, 3, activation="selu")(x))
    model, data = trained(keras.Model(x, L.Conv2D(2, 1)(y)))
    without, with_data = qat.export(model), qat.export(model, data[0])
    reasons = {op.reason for op in without.account.float_ops}
    assert any("give export(model, data)" in reason for reason in reasons)
    assert len(with_data.account.float_ops) < len(without.account.float_ops)
    (wanted,) = predicted(model, data)
    # An untrained variance on 8 bits costs what the float island does not.
    for result, share in ((without, 0.05), (with_data, 0.3)):
        (found,) = run(result.content, model, data)
        assert np.abs(found - wanted).max() <= share * np.abs(wanted).max()


def test_what_cannot_be_exported_says_why():
    plain = mobile()
    with pytest.raises(ModelError, match="has no quantizers"):
        qat.export(plain)
    delayed, _ = trained(mobile())
    next(q for _, q in quantizers_of(delayed)).enabled = False
    with pytest.raises(ModelError, match="still switched off"):
        qat.export(delayed)
    narrow, _ = trained(mobile())
    narrow.get_layer("pool_range").bits = 4
    with pytest.raises(ModelError, match="'pool_range' has 4 bits; LiteRT has kernels for"):
        qat.export(narrow)
    with pytest.raises(ModelError, match="has no range yet"):
        qat.export(qat.quantize_aware(plain))


ELSEWHERE = """
import sys
import keras, numpy as np
from tfq_ext import qat

model = qat.load_model(sys.argv[1])
x = np.load(sys.argv[2])
if len(sys.argv) > 4:
    keras.utils.set_random_seed(3)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    y = np.zeros((len(x), 5), np.float32)
    model.fit(x, y, epochs=1, batch_size=8, verbose=0, shuffle=False)
    model.save(sys.argv[4])
qat.export(model).save(sys.argv[3])
print(keras.backend.backend())
"""


def elsewhere(*words):
    return run_apart(ELSEWHERE, *words, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")


@pytest.mark.slow
def test_jax_exports_the_same_file_from_the_same_weights(tmp_path):
    """Also after training there: the trained model, exported here, gives the same bytes."""
    pytest.importorskip("jax")
    model, x = trained(mobile())
    model.save(tmp_path / "qat.keras")
    np.save(tmp_path / "x.npy", x[0])
    words = [tmp_path / name for name in ("qat.keras", "x.npy", "jax.tflite")]
    assert elsewhere(*words) == "jax"
    assert (tmp_path / "jax.tflite").read_bytes() == qat.export(model).content
    words = [tmp_path / name for name in ("qat.keras", "x.npy", "after.tflite", "after.keras")]
    elsewhere(*words)
    after = keras.models.load_model(tmp_path / "after.keras")
    assert (tmp_path / "after.tflite").read_bytes() == qat.export(after).content
    assert (tmp_path / "after.tflite").read_bytes() != (tmp_path / "jax.tflite").read_bytes()
