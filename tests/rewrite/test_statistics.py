"""BatchNormalization statistics of given data, against numpy on the whole of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras
import rewrite_nets as nets
from keras import layers as L

from tfq_ext.errors import UnknownName
from tfq_ext.rewrite import reestimate_batch_norm

pytestmark = pytest.mark.tf

DATA = np.random.default_rng(3).normal(size=(50, 6, 6, 3)).astype(np.float32) * 3 + 1


def _deep():
    x = keras.Input((6, 6, 3))
    y = L.ReLU()(L.BatchNormalization(name="a", epsilon=0.05)(L.Conv2D(4, 3, name="c")(x)))
    y = L.ReLU(6.0)(L.BatchNormalization(name="b", scale=False)(L.Conv2D(4, 3, name="d")(y)))
    return nets.shaken(keras.Model(x, L.BatchNormalization(name="e")(L.Flatten(name="f")(y))))


def _moments(x):
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return x.mean(axis=0), x.var(axis=0)


def _check(norm, x):
    for found, expected in zip((norm.moving_mean, norm.moving_variance), _moments(x), strict=True):
        np.testing.assert_allclose(np.asarray(found.value), expected, rtol=1e-6, atol=1e-6)


def test_each_layer_has_the_moments_of_its_input():
    new, report = reestimate_batch_norm(_deep(), DATA, batch=7)
    for norm, before in (("a", "c"), ("b", "d"), ("e", "f")):
        part = keras.Model(new.input, new.get_layer(before).output)
        _check(new.get_layer(norm), nets.outputs(part, DATA)[0])
    assert [row.path for row in report.moved] == ["a", "b", "e"]
    assert [row.values for row in report.moved] == [50 * 16, 50 * 4, 50]
    assert report.samples == 50


def test_together_takes_the_old_statistics():
    model = _deep()
    new, _ = reestimate_batch_norm(model, DATA, order="together")
    for norm, before in (("a", "c"), ("b", "d"), ("e", "f")):
        part = keras.Model(model.input, model.get_layer(before).output)
        _check(new.get_layer(norm), nets.outputs(part, DATA)[0])


@pytest.mark.parametrize("order", ["sequential", "together"])
def test_neither_order_nor_batches_of_samples_matter(order):
    model = _deep()
    rng = np.random.default_rng(0)
    weights = [
        reestimate_batch_norm(model, DATA[p], batch=b, order=order).model.get_weights()
        for p, b in ((np.arange(50), 50), (rng.permutation(50), 8), (rng.permutation(50), 1))
    ]
    for other in weights[1:]:  # kernels round a batch of 1 differently in the last bits
        for a, b in zip(weights[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_the_report_says_how_far_each_moved():
    model = _deep()
    norm = model.get_layer("a")
    mean, variance = (np.asarray(w.value) for w in (norm.moving_mean, norm.moving_variance))
    _, report = reestimate_batch_norm(model, DATA)
    part = keras.Model(model.input, model.get_layer("c").output)
    new_mean, new_variance = _moments(nets.outputs(part, DATA)[0])
    row, sd = report.moved[0], np.sqrt(variance + 0.05)
    assert row.mean == pytest.approx(np.abs((new_mean - mean) / sd).max(), rel=1e-5)
    ratio = np.sqrt(new_variance + 0.05) / sd
    assert row.deviation == pytest.approx((ratio.min(), ratio.max()), rel=1e-5)
    assert " sd" in str(report)
    assert "50 samples" in str(report)


def test_nested_and_shared_layers():
    model = nets.shaken(nets.nested())
    new, report = reestimate_batch_norm(model, nets.batch(model, 20))
    assert len(report.moved) == 2
    assert all(row.path.startswith("outer/middle") for row in report.moved)
    assert report.moved[0].values == 20 * 36 * 2  # both calls count
    assert all(np.isfinite(w).all() for w in new.get_weights())


def test_masked_positions_do_not_count():
    x = keras.Input((4, 3))
    model = keras.Model(x, L.BatchNormalization(name="n")(L.Masking()(x)))
    data = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
    data[:, 2:] = 0
    norm = reestimate_batch_norm(model, data).model.get_layer("n")
    _check(norm, data[:, :2])


def test_another_axis():
    x = keras.Input((5, 4))
    model = keras.Model(x, L.BatchNormalization(axis=1, name="n")(x))
    data = np.random.default_rng(0).normal(size=(9, 5, 4)).astype(np.float32)
    norm = reestimate_batch_norm(model, data).model.get_layer("n")
    _check(norm, np.moveaxis(data, 1, -1))


def test_a_layer_with_its_norm_inside_is_found():
    """As quantization-aware layers have it: `.layer`, and `.norm` that is never called."""

    @keras.saving.register_keras_serializable("test_statistics")
    class Folded(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.layer, self.norm = L.Dense(4, use_bias=False), L.BatchNormalization()

        def build(self, shape):
            self.layer.build(shape)
            self.norm.build((*shape[:-1], 4))

        def call(self, x):
            gain = self.norm.gamma / keras.ops.sqrt(self.norm.moving_variance + 1e-3)
            return keras.ops.matmul(x, keras.ops.round(self.layer.kernel * gain))

    x = keras.Input((3,))
    model = nets.shaken(keras.Model(x, Folded(name="folded")(x)))
    data = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    new, report = reestimate_batch_norm(model, data)
    folded = new.get_layer("folded")
    _check(folded.norm, data @ np.asarray(folded.layer.kernel.value))
    assert [row.path for row in report.moved] == ["folded"]


def test_a_model_without_any_is_left_as_it_is():
    x = keras.Input((3,))
    _, report = reestimate_batch_norm(keras.Model(x, L.Dense(2)(x)), np.eye(3, dtype=np.float32))
    assert not report.moved
    assert "0 BatchNormalizations" in str(report)


def test_an_unknown_order_is_named():
    with pytest.raises(UnknownName, match="sequential, together"):
        reestimate_batch_norm(_deep(), DATA, order="sequentially")
