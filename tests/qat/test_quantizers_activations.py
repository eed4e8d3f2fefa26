"""What single activation quantizers promise beyond the laws: averages, learned numbers."""

import keras
import numpy as np
import other_backend
import pytest
import tensorflow as tf

from tfq_ext.errors import SpecError
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS
from tfq_ext.qat.quantizers.learned import LEAST

ops = keras.ops
jitted = pytest.mark.parametrize("jit", [False, True])


def batches(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(), 1, (16, 8)).astype(np.float32) for _ in range(count)]


# --- moving averages -----------------------------------------------------------------------------


@jitted
def test_ema_is_the_average_written_as_a_loop(jit):
    q = ACTIVATION_QUANTIZERS["ema"](decay=0.8)
    run = tf.function(lambda x: q(x, training=True), jit_compile=jit)
    lo = hi = None
    for x in batches(6):
        run(tf.constant(x))
        low, high = np.float32(min(x.min(), 0)), np.float32(max(x.max(), 0))
        lo = low if lo is None else 0.8 * lo + 0.2 * low
        hi = high if hi is None else 0.8 * hi + 0.2 * high
        np.testing.assert_allclose(q.range(), (lo, hi), rtol=1e-6)


def test_the_first_batch_counts_whole_unless_start_came_before():
    x = batches(1)[0]
    fresh, begun = (ACTIVATION_QUANTIZERS["ema"](decay=0.5) for _ in range(2))
    begun.start(-8.0, 4.0)
    fresh(x, training=True)
    begun(x, training=True)
    np.testing.assert_allclose(fresh.range(), (x.min(), x.max()), rtol=1e-6)
    np.testing.assert_allclose(begun.range(), ((x.min() - 8) / 2, (x.max() + 4) / 2), rtol=1e-6)


def test_the_values_are_quantized_with_the_range_they_gave():
    x = batches(1)[0]
    q = ACTIVATION_QUANTIZERS["ema"]()
    y = ops.convert_to_numpy(q(x, training=True))
    assert np.abs(y - x).max() <= q.grid()[0] * 0.5001


@pytest.mark.parametrize("state", [{"training": False}, {"frozen": True}, {"slot": None}])
def test_ema_observes_only_in_training_while_it_may(state):
    q = ACTIVATION_QUANTIZERS["ema"](frozen=state.get("frozen", False))
    q.start(-1.0, 1.0)
    q(batches(1)[0], training=state.get("training", True), slot=state.get("slot", 0))
    assert q.range()[1] == 1.0


def test_ema_observes_during_the_delay():
    x = batches(1)[0]
    q = ACTIVATION_QUANTIZERS["ema"](enabled=False)
    np.testing.assert_array_equal(q(x, training=True), x)
    assert q.range()[1] == x.max()


@jitted
def test_slots_share_the_union_of_their_ranges(jit):
    q = ACTIVATION_QUANTIZERS["ema"](slots=3)
    data = [k * x for k, x in enumerate(batches(3), start=1)]
    for slot, x in enumerate(data):
        tf.function(lambda v, slot=slot: q(v, training=True, slot=slot), jit_compile=jit)(x)
    lows, highs = [x.min() for x in data], [x.max() for x in data]
    np.testing.assert_allclose(q.ends, np.stack([lows, highs], 1), rtol=1e-6)
    np.testing.assert_allclose(q.range(), (min(lows), max(highs)), rtol=1e-6)


def test_a_range_contains_zero():
    q = ACTIVATION_QUANTIZERS["ema"]()
    q(np.full((4, 4), 3.0, np.float32), training=True)
    assert q.range() == (0.0, 3.0)


REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS

x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    inputs = keras.Input((4,))
    h = ACTIVATION_QUANTIZERS["ema"](name="a")(inputs)
    h = ACTIVATION_QUANTIZERS["lsq+"](name="b")(keras.layers.Dense(3)(h))
    model = keras.Model(inputs, h)
    model.compile("sgd", "mse", jit_compile=False)
model.fit(x, np.ones((8, 3), np.float32), batch_size=8, epochs=1, verbose=0, shuffle=False)
lo = (x[:4].min() + x[4:].min()) / 2
hi = (x[:4].max() + x[4:].max()) / 2
np.testing.assert_allclose(model.get_layer("a").range(), (lo, hi), rtol=1e-6)
assert np.all(np.isfinite(model.get_layer("b").range()))
"""


def test_replicas_average_their_ranges(tmp_path):
    """Two CPU devices: each sees half of the batch."""
    other_backend.run(REPLICAS, "tensorflow", tmp_path)


@pytest.mark.parametrize("name", ["ema", "lsq", "lsq+", "tqt", "pact"])
def test_a_model_in_mixed_precision_trains(name):
    keras.utils.set_random_seed(0)
    policy = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
        inputs = keras.Input((8,))
        h = keras.layers.Dense(8, activation="relu")(inputs)
        h = ACTIVATION_QUANTIZERS[name](name="q")(h)
        assert h.dtype == "float16"
        model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(h))
        model.compile("sgd", "mse")
        x = batches(1)[0]
        losses = model.fit(x, x[:, :1], epochs=3, verbose=0).history["loss"]
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    assert np.all(np.isfinite(losses))
    assert np.all(np.isfinite(model.get_layer("q").range()))


def test_a_model_comes_back_from_a_file(tmp_path):
    inputs = keras.Input((8,))
    shared = ACTIVATION_QUANTIZERS["ema"](slots=2, name="shared")
    h = shared(inputs, slot=1)
    for name in ("lsq", "lsq+", "tqt", "pact"):
        h = ACTIVATION_QUANTIZERS[name](name=name[:3] + str(len(name)))(keras.layers.Dense(8)(h))
    model = keras.Model(inputs, shared(h, slot=0))
    model.compile("sgd", "mse")
    x = batches(1)[0]
    model.fit(x, x, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))


# --- learned numbers -----------------------------------------------------------------------------


def closed_form(x, s, low, high, upstream):
    u = x.astype(np.float64) / s
    slope = np.where((u >= low) & (u <= high), np.rint(u) - u, np.clip(np.rint(u), low, high))
    return (slope * upstream).sum() / np.sqrt(x[0].size * high)


def test_a_step_of_sgd_moves_the_scale_by_lsq_s_own_update():
    x = batches(1)[0]
    q = ACTIVATION_QUANTIZERS["lsq"](bits=4)
    q.start(-1.0, 1.0)
    s = float(q.grid()[0])
    optimizer = keras.optimizers.SGD(0.5)
    with tf.GradientTape() as tape:
        loss = 1e-3 * tf.reduce_sum(tf.square(q(tf.constant(x)) - 1.0))
    grads = tape.gradient(loss, [v.value for v in q.trainable_variables])
    optimizer.apply(grads, q.trainable_variables)
    upstream = 2e-3 * (ops.convert_to_numpy(q.__class__.call(q_at(s), x)) - 1.0)
    wanted = s - 0.5 * closed_form(x, s, -8, 7, upstream)
    np.testing.assert_allclose(float(q.scale.numpy(False)), wanted, rtol=1e-5)


def q_at(s):
    q = ACTIVATION_QUANTIZERS["lsq"](bits=4)
    q.scale.set(s)
    return q


def test_however_hard_it_is_pushed_a_scale_stays_positive_and_comes_back():
    q = ACTIVATION_QUANTIZERS["lsq"]()
    q.start(-1.0, 1.0)
    before = float(q.grid()[0])
    q.scale.move.assign(-50.0)
    np.testing.assert_allclose(float(q.grid()[0]), before * LEAST, rtol=1e-5)
    with tf.GradientTape(persistent=True) as tape:
        y = tf.reduce_sum(q(np.full((4, 4), 5.0, np.float32)))
        both = y, -y
    down, up = (tape.gradient(loss, q.scale.move.value) for loss in both)
    assert float(down) == 0  # no further
    assert float(up) < 0  # SGD lifts it


def test_a_step_moves_a_scale_by_no_more_than_the_rate_s_share():
    """A gradient of thousands at a rate of 0.01: one hundredth, not minus a thousand."""
    q = ACTIVATION_QUANTIZERS["lsq"]()
    q.start(-0.01, 0.01)
    before = float(q.grid()[0])
    with tf.GradientTape() as tape:
        loss = 1e3 * tf.reduce_sum(q(np.full((4, 4), 5.0, np.float32)))
    grads = tape.gradient(loss, [v.value for v in q.trainable_variables])
    keras.optimizers.SGD(0.01).apply(grads, q.trainable_variables)
    np.testing.assert_allclose(float(q.grid()[0]), 0.99 * before, rtol=1e-5)


def test_tqt_scales_are_exact_powers_of_two():
    w = np.random.default_rng(1).normal(size=(3, 3, 4, 6)).astype(np.float32)
    q = WEIGHT_QUANTIZERS["tqt"](axes=(3,), bits=4)
    q.build(w.shape)
    q.start_from(w)
    a = ACTIVATION_QUANTIZERS["tqt"]()
    a.start(-0.3, 5.7)
    for scale in (q.grid(w)[0], a.grid()[0]):
        assert np.all(np.frexp(scale)[0] == 0.5)


def test_pact_is_pulled_down_by_its_penalty_and_only_in_training():
    q = ACTIVATION_QUANTIZERS["pact"](l2=0.25)
    q.start(0.0, 4.0)
    q(np.ones((2, 2), np.float32), training=True)
    assert [float(loss) for loss in q.losses] == [0.25 * 16]
    q(np.ones((2, 2), np.float32), training=False)
    frozen = ACTIVATION_QUANTIZERS["pact"](frozen=True)
    frozen(np.ones((2, 2), np.float32), training=True)
    assert not frozen.losses


def test_lsq_plus_learns_an_offset_towards_what_is_clipped():
    """Values in [2, 4], started at [-1, 1]: beta rises, and zero stays on the grid."""
    q = ACTIVATION_QUANTIZERS["lsq+"](bits=4)
    q.start(-1.0, 1.0)
    x = np.random.default_rng(2).uniform(2, 4, (64, 16)).astype(np.float32)
    optimizer = keras.optimizers.SGD(0.01)
    errors = []
    for _ in range(60):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(q(tf.constant(x), training=True) - x))
        grads = tape.gradient(loss, [v.value for v in q.trainable_variables])
        optimizer.apply([g * 30 for g in grads], q.trainable_variables)
        errors.append(float(loss))
    assert errors[-1] < errors[0] / 50
    assert float(q.offset.move) > 0
    assert q.range()[1] > 3.8
    assert float(q(np.zeros((1, 1), np.float32))[0, 0]) == 0.0


def test_lsq_plus_refuses_a_symmetric_grid():
    with pytest.raises(SpecError, match='use "lsq"'):
        ACTIVATION_QUANTIZERS["lsq+"](symmetric=True)
