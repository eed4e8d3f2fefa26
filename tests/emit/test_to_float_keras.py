"""Keras models and files become pivots that compute the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from float_files import run

from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import ModelError

pytestmark = pytest.mark.tf
keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(1, 8, 8, 3)).astype(np.float32)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def _conv_net(lib, name="net"):
    layers = lib.layers
    return lib.Sequential(
        [
            lib.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, use_bias=False),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(5, name="scores"),
        ],
        name=name,
    )


def _trained(model):
    """Batch statistics and scales away from 0 and 1, so that folding shows."""
    model.set_weights([RNG.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def _ops(pivot):
    return [name for *_, name in pivot.model.walk()]


def _names(pivot, key="serving_default"):
    signature = pivot.model.signatures[key]
    return [m.name.decode() for m in signature.inputs], [m.name.decode() for m in signature.outputs]


def _close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def _plain_converter(model):
    """What the user of TFLiteConverter gets, for comparison."""
    from tfq_ext.emit.quiet import quiet
    from tfq_ext.tflite.read import Model

    with quiet():
        return Model.parse(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def test_batch_normalization_is_folded_and_the_batch_stays_open(capfd):
    model = _trained(_conv_net(keras))
    pivot = to_float(model)
    assert capfd.readouterr() == ("", "")
    assert "Saved artifact" in pivot.log
    assert pivot.source == "keras"
    shapes = {"SHAPE", "STRIDED_SLICE", "PACK"}  # Flatten of an open batch
    kept = [op for op in _ops(pivot) if op not in shapes]
    assert kept == ["CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    graph = pivot.model.graphs[0]
    assert graph.shape(graph.inputs[0]) == (-1, 8, 8, 3)
    _close(run(pivot.model.to_bytes(), IMAGE)[0], model.predict(IMAGE, verbose=0))


def test_names_and_signature_are_those_of_tflite_converter():
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    outputs = {
        "p": keras.layers.Dense(2, name="first")(joined),
        "q": keras.layers.Dense(3, name="second")(joined),
    }
    model = keras.Model([left, right], outputs)
    pivot, plain = to_float(model), _plain_converter(model)
    assert _names(pivot) == (["left", "right"], ["p", "q"])
    graph, other = pivot.model.graphs[0], plain.graphs[0]
    for ours, theirs in ((graph.inputs, other.inputs), (graph.outputs, other.outputs)):
        assert [graph.name(i) for i in ours] == [other.name(i) for i in theirs]


def test_nested_models_and_the_same_digest_twice():
    inner = _conv_net(keras, "inner")
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, keras.layers.Softmax()(inner(x)))
    first, second = to_float(model), to_float(model)
    assert first.digest == second.digest
    _close(run(first.model.to_bytes(), IMAGE)[0], model.predict(IMAGE, verbose=0))
    inner.layers[-1].bias.assign(np.ones(5))
    assert to_float(model).digest != first.digest


def test_an_lstm_gets_batch_1_by_itself_and_says_so():
    x = keras.Input((6, 4), name="sequence")
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.LSTM(5)(x)))
    pivot = to_float(model)
    assert "Batch size fixed to 1" in pivot.notes[0]
    assert "tf.TensorListReserve does not convert" in pivot.notes[0]
    assert _names(pivot) == (["sequence"], ["output_0"])
    graph = pivot.model.graphs[0]
    assert graph.shape(graph.inputs[0]) == (1, 6, 4)
    every = [g.name(i) for g in pivot.model.graphs for i in range(len(g.tensors))]
    assert len(set(every)) == len(every)
    assert "" not in every
    sequence = RNG.normal(size=(1, 6, 4)).astype(np.float32)
    _close(run(pivot.model.to_bytes(), sequence)[0], model.predict(sequence, verbose=0))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_size_can_be_given(batch):
    pivot = to_float(_conv_net(keras), batch=batch)
    graph = pivot.model.graphs[0]
    assert graph.shape(graph.inputs[0]) == (batch, 8, 8, 3)
    assert _names(pivot) == (["image"], ["output_0"])


def test_subclassed_models_need_a_shape():
    model = Subclassed()
    with pytest.raises(ModelError, match=r"no input shape yet\. Call it once"):
        to_float(model)
    x = np.ones((2, 4), np.float32)
    expected = model(x)
    _close(run(to_float(model).model.to_bytes(), x[:1])[0], expected[:1])
    with pytest.raises(ModelError, match=r"subclassed model does not tell\. Wrap"):
        to_float(model, batch=1)


def test_a_layer_is_no_model():
    with pytest.raises(ModelError, match=r"Got a layer \(Dense\), not a model\. Wrap it"):
        to_float(keras.layers.Dense(3))


def test_other_signatures_of_a_keras_model():
    with pytest.raises(ModelError, match=r"no signature 'x'. It has: 'serving_default'"):
        to_float(_conv_net(keras), signatures=["x"])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files(tmp_path, suffix):
    model = _trained(_conv_net(keras))
    path = tmp_path / f"m{suffix}"
    model.save(path)
    pivot = to_float(path)
    assert pivot.source == "keras"
    assert len(pivot.digest) == 64
    _close(run(pivot.model.to_bytes(), IMAGE)[0], model.predict(IMAGE, verbose=0))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"cannot be loaded.*damaged"):
        to_float(path)


def test_custom_objects_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text(
        "import keras\n\nclass Triple(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 3.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_layers

    path = tmp_path / "custom.h5"
    keras.Sequential([keras.Input((4,)), my_layers.Triple()]).save(path)
    pivot = to_float(path, custom_objects=["my_layers:Triple"])
    x = np.ones((1, 4), np.float32)
    assert np.array_equal(run(pivot.model.to_bytes(), x)[0], 3 * x)
    with pytest.raises(ModelError, match=r"uses 'Triple'.*custom_objects=\['your.module:Triple'\]"):
        to_float(path)


def test_python_code_in_files_is_never_run(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        with pytest.raises(ModelError, match=r"Python code \(a Lambda layer\), which is not run"):
            to_float(tmp_path / name)


def test_weights_alone(tmp_path):
    path = tmp_path / "only.weights.h5"
    _conv_net(keras).save_weights(path)
    with pytest.raises(ModelError, match="weights but no architecture"):
        to_float(path)


def _old_h5(path, *, with_lambda=False):
    """A .h5 as Keras 2 wrote it: DepthwiseConv2D carries groups=1, which Keras 3 refuses."""
    tf_keras = pytest.importorskip("tf_keras")
    h5py = pytest.importorskip("h5py")
    model = _trained(_conv_net(tf_keras))
    if with_lambda:
        model.add(tf_keras.layers.Lambda(lambda x: x + 1))
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1
        file.attrs["model_config"] = json.dumps(config)
    return model


def test_an_old_h5_is_loaded_with_tf_keras(tmp_path):
    model = _old_h5(tmp_path / "old.h5")
    pivot = to_float(tmp_path / "old.h5")
    assert pivot.source == "tf_keras"
    assert "Loaded with tf_keras" in pivot.notes[0]
    assert "groups" in pivot.notes[0]
    _close(run(pivot.model.to_bytes(), IMAGE)[0], model.predict(IMAGE, verbose=0))


def test_an_old_h5_with_python_code_does_not_reach_tf_keras(tmp_path):
    _old_h5(tmp_path / "old.h5", with_lambda=True)
    with pytest.raises(ModelError, match="Lambda layer"):
        to_float(tmp_path / "old.h5")


def test_an_old_h5_without_tf_keras_says_what_to_install(tmp_path):
    _old_h5(tmp_path / "old.h5")
    code = (
        "import sys; sys.modules['tf_keras'] = None\n"  # what Python does for an absent package
        "from tfq_ext.emit.to_float import to_float\n"
        "from tfq_ext.errors import MissingDependency\n"
        "try: to_float(sys.argv[1])\n"
        "except MissingDependency as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "old.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert 'pip install "tfq_ext[tfmot]"' in done.stdout, done.stderr
    assert done.stderr == ""


def test_tf_keras_models_and_their_fused_lstm():
    tf_keras = pytest.importorskip("tf_keras")
    model = _trained(_conv_net(tf_keras))
    pivot = to_float(model)
    assert pivot.source == "tf_keras"
    assert _names(pivot) == (["image"], ["scores"])
    assert not {"MUL", "ADD", "SUB"} & set(_ops(pivot))
    _close(run(pivot.model.to_bytes(), IMAGE)[0], model.predict(IMAGE, verbose=0))
    rnn = tf_keras.Sequential([tf_keras.Input((6, 4)), tf_keras.layers.LSTM(5, name="last")])
    fused = to_float(rnn)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in _ops(fused)
    assert _names(fused)[1] == ["last"]


def test_fake_quantization_of_keras_layers_stays():
    class FakeQuant(keras.layers.Layer):
        def call(self, x):
            return tf.quantization.fake_quant_with_min_max_vars(x, -1.0, 1.0)

    x = keras.Input((8, 8, 3))
    y = FakeQuant()(keras.layers.Conv2D(4, 3)(FakeQuant()(x)))
    pivot = to_float(keras.Model(x, y))
    assert _ops(pivot).count("QUANTIZE") == _ops(pivot).count("DEQUANTIZE") == 2


def test_float16_computation_is_explained():
    layer = keras.layers.Conv2D(4, 3, dtype="mixed_float16")
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    with pytest.raises(ModelError, match=r"computes in float16.*dtype policy 'float32'"):
        to_float(model)


def test_a_model_quantized_by_keras_is_refused():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="small")])
    inner.quantize("int8")
    x = keras.Input((4,))
    with pytest.raises(ModelError, match=r"quantized by Keras \(layer 'small': int8\)"):
        to_float(keras.Model(x, inner(x)))


def test_another_backend_is_explained(tmp_path):
    _conv_net(keras).save(tmp_path / "m.keras")
    code = (
        "import sys; from tfq_ext.emit.to_float import to_float\n"
        "try: to_float(sys.argv[1])\nexcept ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.keras")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert "backend 'jax'; only 'tensorflow'" in done.stdout, done.stderr


def test_a_conversion_is_silent_in_a_fresh_process(tmp_path):
    _conv_net(keras).save(tmp_path / "m.keras")
    code = (
        "import sys; from tfq_ext.emit.to_float import to_float\n"
        "pivot = to_float(sys.argv[1], verbose='-v' in sys.argv)\n"
        "assert pivot.log\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.keras")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    loud = subprocess.run([*command, "-v"], capture_output=True, text=True, timeout=120)
    assert "Saved artifact" in loud.stderr
    assert loud.stdout == ""
