"""A Keras model as the reference, TFLiteConverter's file as the candidate; real networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tfq_ext.tflite.bits import pack
from tfq_ext.tflite.read import Model
from tfq_ext.validation.comparison import compare

SHARED = Path(os.environ.get("TFQ_SHARED", "nowhere"))


@pytest.mark.tf
@pytest.mark.slow
def test_a_keras_model_against_what_tfliteconverter_makes_of_it(tmp_path):
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("keras")
    x = np.random.default_rng(0).uniform(-1, 1, (24, 16, 16, 3)).astype(np.float32)
    source = keras.Input((16, 16, 3))
    y = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(source)
    y = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(y))
    z = keras.layers.DepthwiseConv2D(3, padding="same")(y)
    y = keras.layers.ReLU()(keras.layers.Add()([y, z]))
    y = keras.layers.Dense(5, activation="softmax")(keras.layers.GlobalAveragePooling2D()(y))
    model = keras.Model(source, y)
    model.save(tmp_path / "model.keras")
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in x)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    made = converter.convert()
    for reference in (model, str(tmp_path / "model.keras")):
        found = compare(reference, made, x, show_progress=False)
        assert not [u for u in found.unmatched if u.side == "candidate"]
        ops = {r.op for r in found.rows}
        assert ops >= {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
        assert all(r.own_sqnr_db is not None and r.own_sqnr_db > 20 for r in found.rows)
        assert found.outputs[0].sqnr_db > 20


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.data
def test_a_fault_in_mobilenet_is_named_at_its_layer():
    from test_comparison_match import integer

    from tfq_ext.emit.to_float import to_float
    from tfq_ext.samples import open_samples
    from tfq_ext.tflite.inputs import input_specs

    keras, images = SHARED / "models/mobilenet_v2_imagenet.keras", SHARED / "data/imagenet_dev"
    if not (keras.exists() and images.exists()):
        pytest.skip("needs TFQ_SHARED with the network and the images")
    pytest.importorskip("tensorflow")
    reference = to_float(keras).model
    values = "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
    data = open_samples(images, input_specs(reference), preprocess=values, limit=12, shuffle=True)
    candidate = integer(reference, data=data)
    graph = candidate.graphs[0]
    op = next(o for o in graph.ops if "b8_proj" in graph.name(int(o.outputs[0])))
    shift_bias(candidate, op, channel=7, codes=40)
    found = compare(reference.to_bytes(), candidate.to_bytes(), data, show_progress=False)
    assert len(found.rows) >= 66
    row = next(r for r in found.rows if "b8_proj" in r.tensor)
    assert row in found.worst(3)
    assert row.causes[0] == "bias"
    assert "channel 7" in row.verdict
    assert "compare-mean-shift" in {f.rule.id for f in found.findings if f.tensor == row.tensor}


def shift_bias(model: Model, op, channel: int, codes: float) -> None:
    """Add so many codes of the output to one channel's bias."""
    graph, bias = model.graphs[0], int(op.inputs[2])
    stored = np.array(graph.constant(bias))
    scale = float(np.asarray(graph.tensors[bias].quantization.scale)[channel])
    out = float(graph.tensors[int(op.outputs[0])].quantization.scale[0])
    stored[channel] += round(codes * out / scale)
    model.tree.buffers[graph.tensors[bias].buffer].data = pack(stored, "int32")
