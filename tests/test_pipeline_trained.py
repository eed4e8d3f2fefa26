"""quantize() of a model that carries fake quantization: what was trained wins."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from fake_quant_nets import half_trained, inputs, ordinary

import tfq_ext as tfq
from tfq_ext.converter import TFLiteConverter
from tfq_ext.repair.trained import UNTRAINED

pytestmark = pytest.mark.tf


def test_no_data_needed_and_all_integer():
    result = tfq.quantize(ordinary())
    account = result.account
    assert {row.calibrator for row in account.ranges} == {"trained"}
    assert all("integers as trained" in row.notes for row in account.weights)
    assert not account.float_ops
    assert "2 weight tensors and 3 activation grids" in account.read_back
    assert any("fake quantization" in note.reason for note in account.notes)


def test_data_do_not_move_what_was_trained():
    without = tfq.quantize(ordinary())
    with_data = tfq.quantize(ordinary(), inputs(), show_progress=False)
    assert without.content == with_data.content


def test_untrained_ranges_stay_float_or_come_from_data():
    without = tfq.quantize(half_trained())
    assert [row.reason for row in without.account.float_ops] == [UNTRAINED]
    with_data = tfq.quantize(half_trained(), inputs(), recipe="int8", show_progress=False)
    by_name = {row.tensors[0]: row.calibrator for row in with_data.account.ranges}
    assert not with_data.account.float_ops
    assert by_name["in"] == by_name["hidden"] == "trained" != by_name["out"]


def test_weight_only_keeps_the_trained_codes():
    result = tfq.quantize(ordinary(), recipe="weight_only")
    assert "2 weight tensors read back equal" in result.account.read_back
    assert any("not used in this mode" in note.reason for note in result.account.notes)


def test_the_converter_follows_a_recipe_on_a_trained_file():
    converter = TFLiteConverter.from_tflite(ordinary())
    converter.recipe = "int8"
    assert converter.convert() == tfq.quantize(ordinary()).content


def _kernel(keras, tf, bits, narrow, axis):
    """A Keras 3 layer: a convolution whose kernel is fake-quantized per channel."""

    class Conv(keras.layers.Layer):
        def build(self, shape):
            kernel = (3, 3, shape[-1], 1 if axis == 2 else 6)
            self.kernel = self.add_weight(shape=kernel, name="kernel")

        def call(self, x):
            rest = [k for k in range(4) if k != axis]
            bound = tf.reduce_max(tf.abs(self.kernel), axis=rest)
            kernel = tf.reshape(self.kernel, self.kernel.shape[:3]) if axis == 2 else self.kernel
            kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                kernel, -bound, bound, num_bits=bits, narrow_range=narrow
            )
            if axis == 2:
                kernel = tf.reshape(kernel, self.kernel.shape)
                return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")
            return tf.nn.conv2d(x, kernel, 1, "SAME")

    return Conv()


@pytest.mark.parametrize(
    ("bits", "narrow", "axis"), [(8, True, 3), (4, True, 3), (8, True, 2), (8, False, 3)]
)
def test_a_keras_3_model_with_fake_quantization_in_call(bits, narrow, axis):
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")

    class Rounded(keras.layers.Layer):
        def call(self, x):
            return tf.quantization.fake_quant_with_min_max_args(x, -3.0, 3.0)

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 4))
    x = _kernel(keras, tf, bits, narrow, axis)(Rounded()(image))
    model = keras.Model(image, Rounded()(x))
    result = tfq.quantize(model)
    assert not result.account.float_ops
    assert [row.bits for row in result.account.weights] == [bits]
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    interpreter = Interpreter(model_content=result.content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    step = 6 / 255
    assert np.abs(got - model(x).numpy()).max() <= step * 1.001  # a tie in float32 may fall apart


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_zeros_are_counted_before_and_after(share):
    from small_nets import images, residual

    model = residual()
    rng = np.random.default_rng(0)
    for tensor in model.graphs[0].tensors:
        if tensor.name in (b"w1", b"w2", b"w3", b"w4"):
            raw = np.array(model.tree.buffers[tensor.buffer].data).view(np.float32)
            raw[rng.random(raw.size) < share] = 0
            model.tree.buffers[tensor.buffer].data = raw.view(np.uint8)
    account = tfq.quantize(model.to_bytes(), images(), show_progress=False).account
    assert all(row.after.zeros >= row.before.zeros for row in account.weights)
    assert any(note.op == "sparsity" for note in account.notes) is bool(share)


def test_clusters_keep_their_number():
    from small_nets import images, residual

    model = residual(spread=20.0)
    for tensor in model.graphs[0].tensors:
        if tensor.name in (b"w1", b"w2"):
            raw = np.array(model.tree.buffers[tensor.buffer].data).view(np.float32)
            centers = np.linspace(raw.min(), raw.max(), 16).astype(np.float32)
            nearest = np.abs(raw[:, None] - centers).argmin(1)
            model.tree.buffers[tensor.buffer].data = centers[nearest].view(np.uint8)
    account = tfq.quantize(model.to_bytes(), images(), show_progress=False).account
    few = [row for row in account.weights if row.before.clustered]
    assert len(few) == 2
    assert all(row.after.distinct <= row.before.distinct <= 16 for row in few)
    assert all(row.channels == 1 for row in few)
