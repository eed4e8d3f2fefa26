"""What Keras models remember, found again in the file that TensorFlow makes of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras
import rewrite_nets as nets
from keras import layers as L

import tfq_ext
from tfq_ext.emit.to_float import to_float
from tfq_ext.emit.to_float.norms import remembered
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.recipe import load_recipe
from tfq_ext.repair.beliefs import attach_norms
from tfq_ext.rewrite import reestimate_batch_norm
from tfq_ext.tflite.runner import Runner

pytestmark = pytest.mark.tf
IMAGES = np.random.default_rng(0).uniform(-1, 1, (64, 12, 12, 3)).astype(np.float32)


def network():
    """A layer of every kind with a BatchNormalization, nested and alone too; true statistics."""
    x = keras.Input((12, 12, 3))
    y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same")(x)))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = L.ReLU(6.0)(L.BatchNormalization(scale=False)(y))
    inner = keras.Sequential([L.Conv2D(10, 1, use_bias=False), L.BatchNormalization(center=False)])
    z = inner(y)
    y = L.Add()([z, L.BatchNormalization()(L.Conv2D(10, 1, use_bias=False)(y))])
    y = L.ReLU()(L.BatchNormalization()(y))  # alone: a MUL and an ADD
    y = L.Conv2DTranspose(6, 3, strides=2, padding="same", use_bias=False)(y)
    y = L.ReLU()(L.BatchNormalization()(y))
    y = L.GlobalAveragePooling2D()(y)
    y = L.ReLU()(L.BatchNormalization()(L.Dense(12, use_bias=False)(y)))
    model = nets.shaken(keras.Model(x, L.Dense(5)(y)))
    for layer in model.layers:  # betas that are small beside gammas, as trained ones
        if isinstance(layer, L.BatchNormalization) and layer.beta is not None:
            layer.beta.assign(layer.beta * 0.3)
    return reestimate_batch_norm(model, IMAGES).model


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def pivot(model):
    return to_float(model)


def test_all_of_them_are_found(pivot):
    known = pivot.remembered
    assert len(known.norms) == 7
    assert not known.pixels
    attached = attach_norms(pivot.model, known)
    assert not attached.lost
    assert not attached.ambiguous
    assert len(attached.beliefs) == 7
    graph = pivot.model.graphs[0]
    codes = {graph.code(graph.ops[graph.producer[graph.by_name[n]]]) for n in attached.beliefs}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"} <= codes


def test_an_untrained_norm_remembers_nothing():
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, L.BatchNormalization()(L.Conv2D(4, 3)(x)))
    assert remembered(model).norms == ()
    with pytest.raises(tfq_ext.TfqError, match="has no trained BatchNormalization"):
        tfq_ext.quantize(model, recipe="data-free", input_range=(-1, 1))


def test_the_file_is_near_the_model_without_having_seen_anything(model):
    result = tfq_ext.quantize(model, recipe="data-free", input_range=(-1, 1))
    assert not result.account.float_ops
    assert "nothing was measured" in str(result)
    wanted = nets.outputs(model, IMAGES[:32])[0]
    seen = tfq_ext.quantize(model, IMAGES, recipe="int8-minmax")
    levels = [sqnr_db(wanted, _answers(model, r.content)) for r in (result, seen)]
    assert levels[0] > levels[1] - 6, levels  # a bit of resolution, for 5 deviations


def _answers(model, content):
    run = Runner(content)
    (name,) = [entry.name for entry in model.inputs]
    return np.concatenate([next(iter(run({name: x[None]}).values())) for x in IMAGES[:32]])


@pytest.mark.parametrize(
    ("layer", "pixels"),
    [
        (lambda: L.Rescaling(1 / 255), True),
        (lambda: L.Rescaling(1 / 127.5, offset=-1), True),
        (lambda: L.Rescaling(2.0), False),
        (lambda: L.Normalization(mean=[120.0, 115.0, 100.0], variance=[3000.0] * 3), True),
        (lambda: L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0] * 3), False),
    ],
)
def test_a_model_that_scales_pixels_itself_takes_0_to_255(layer, pixels):
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, L.Conv2D(4, 3)(layer()(x)))
    assert remembered(model).pixels == pixels


def test_pixels_need_no_range():
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, padding="same")(L.Rescaling(1 / 127.5, offset=-1)(x))
    y = L.ReLU(6.0)(L.BatchNormalization()(y))
    result = tfq_ext.quantize(nets.shaken(keras.Model(x, y)), recipe="data-free")
    row = next(row for row in result.account.ranges if row.calibrator == "exact input")
    assert (row.range.min, row.range.max) == (0.0, 255.0)


def test_a_norm_that_the_converter_mixes_with_another_constant_is_lost_and_said_to_be():
    """Without padding the rescaling goes into the convolution's bias too."""
    x = keras.Input((8, 8, 3))
    y = L.BatchNormalization()(L.Conv2D(4, 3)(L.Rescaling(1 / 127.5, offset=-1)(x)))
    with pytest.raises(tfq_ext.TfqError, match="none of this model's 1 is found"):
        tfq_ext.quantize(nets.shaken(keras.Model(x, y)), recipe="data-free")


def test_the_drop_in_converter_reads_them_too(model):
    converter = tfq_ext.TFLiteConverter.from_keras_model(model)
    converter.recipe = load_recipe("data-free").changed(
        rules=[{"tensor": "*input*", "range": [-1.0, 1.0]}]
    )
    content = converter.convert()
    assert converter.report.provenance.samples == 0
    assert len(content) == len(converter.report.content)
