"""Distiller: its loss is the equation, its student is the QAT model, its teacher stays."""

import keras
import numpy as np
import pytest
from tiny_qat import compiled, data, fit, float_net, numpy, on_backend, qat_net

from tfq_ext.errors import ModelError, SpecError, UnknownName
from tfq_ext.qat.distill import Distiller, SoftTargets
from tfq_ext.qat.distill.hints import Told, pooling
from tfq_ext.qat.distill.losses import relative_error
from tfq_ext.qat.schedule import Dampen, Schedule

L = keras.layers


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(teacher, student, temperature):
    """T^2 sum p (log p - log q), sample by sample, in float64."""
    p, q = (softmax(np.float64(z) / temperature) for z in (teacher, student))
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)


def wide_teacher(softmax_end=False, seed=3):
    """More channels, a larger first map than the student's."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((6, 6, 2))
    x = L.Conv2D(6, 3, padding="same", activation="relu", name="wide")(x)
    x = L.Conv2D(4, 3, activation="relu", name="same")(L.ZeroPadding2D(1)(x))
    x = L.Conv2D(5, 3, strides=1, activation="relu", name="half")(x)
    x = L.Flatten()(x)
    end = "softmax" if softmax_end else None
    return keras.Model(image, L.Dense(3, activation=end, name="end")(x))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_the_divergence_by_hand(temperature):
    teacher, student = np.random.default_rng(0).normal(0, 3, (2, 7, 5)).astype(np.float32)
    weights = np.array([0, 1, 2, 0.5, 1, 1, 3], np.float32)
    loss = SoftTargets(temperature)
    wanted = kl(teacher, student, temperature)
    assert float(loss(teacher, student)) == pytest.approx(wanted.mean(), rel=1e-4)
    weighted = float(loss(teacher, student, sample_weight=weights))
    assert weighted == pytest.approx((wanted * weights).mean(), rel=1e-4)
    assert float(loss(teacher, teacher)) == pytest.approx(0, abs=1e-5)
    probabilities = SoftTargets(temperature, teacher_logits=False, student_logits=False)
    found = float(probabilities(softmax(teacher), softmax(student)))
    assert found == pytest.approx(wanted.mean(), rel=1e-3)


def test_at_high_temperature_the_gradient_is_the_difference_of_logits():
    """Hinton et al., equation 4: dL/dz -> (z - v) / K for centred logits, hence the T^2."""
    teacher, student = np.random.default_rng(0).normal(size=(2, 1, 4))
    teacher, student = teacher - teacher.mean(), student - student.mean()
    nudge, temperature = 1e-3, 1e3
    for k in range(4):
        step = nudge * np.eye(4)[k]
        ends = [kl(teacher, student + sign * step, temperature)[0] for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * nudge)
        assert slope == pytest.approx((student - teacher)[0, k] / 4, abs=2e-3)


def test_relative_error_of_saying_nothing_is_one():
    t = np.random.default_rng(0).normal(size=(6, 3, 3, 2)).astype(np.float32)
    assert float(np.mean(numpy(relative_error(t, 0 * t)))) == pytest.approx(1, rel=1e-5)
    assert float(np.mean(numpy(relative_error(t, t)))) == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_equation(weighted):
    """Every term from the outputs themselves: labels, teacher, hint, regularizer."""
    x, y = data()
    student, teacher = float_net(), wide_teacher()
    student.get_layer("logits").kernel.regularizer = keras.regularizers.L2(0.1)
    hints = {"conv": "half"}
    distiller = compiled(
        Distiller(student, teacher, temperature=3.0, alpha=0.3, hints=hints, hint_weight=0.5)
    )
    weights = np.linspace(0, 2, len(x)).astype(np.float32) if weighted else None
    told = distiller(x, training=True)
    assert isinstance(told, Told)
    found = float(distiller.compute_loss(x, y, told, weights, training=True))

    w = np.ones(len(x)) if weights is None else weights
    z, t = numpy(told.output), numpy(teacher(x))
    inside = keras.Model(teacher.input, teacher.get_layer("half").output)
    target = numpy(inside(x)).astype(np.float64)
    said = numpy(told.features[0]).astype(np.float64) @ numpy(distiller.projections[0].kernel)
    power = (target**2).sum((1, 2, 3)).mean()
    hint = (((said - target) ** 2).sum((1, 2, 3)) / power * w).mean()
    labels = (-np.log(softmax(np.float64(z)))[np.arange(len(x)), y] * w).mean()
    extra = 0.1 * np.square(numpy(student.get_layer("logits").kernel)).sum()
    wanted = 0.7 * labels + 0.3 * (kl(t, z, 3.0) * w).mean() + 0.5 * hint + extra
    assert found == pytest.approx(wanted, rel=1e-4)


def test_the_student_is_the_qat_model_and_the_teacher_stays(tmp_path):
    """Schedule finds its layers; fit, evaluate, predict, save and load of both."""
    x, y = data()
    student, teacher = qat_net(), wide_teacher(softmax_end=True)
    before = [numpy(v) for v in teacher.weights]
    options = {"hints": {"conv": "half"}, "temperature": 2.0}
    distiller = compiled(Distiller(student, teacher, **options), 1e-3)
    schedule = Schedule(
        quantize_after=2, freeze_ranges_after=None, oscillation=Dampen(stages=1), advice=False
    )
    history = fit(distiller, schedule, validation_data=(x, y)).history
    assert set(history) == {
        *("loss", "accuracy", "teacher_loss", "hint_loss", "val_loss", "val_accuracy"),
    }
    assert history["hint_loss"][-1] < history["hint_loss"][0]
    assert student.get_layer("conv").frozen
    assert schedule.history[0].text.startswith("quantizers off")
    for was, now in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(was, numpy(now))
    mine = distiller.evaluate(x, y, verbose=0, return_dict=True)
    assert mine == pytest.approx(compiled(student).evaluate(x, y, verbose=0, return_dict=True))
    wanted = numpy(student(x))
    np.testing.assert_allclose(distiller.predict(x, verbose=0), wanted, atol=1e-6)
    distiller.save(tmp_path / "both.keras")
    student.save(tmp_path / "student.keras")
    again = keras.models.load_model(tmp_path / "both.keras")
    np.testing.assert_allclose(numpy(again(x)), wanted, atol=1e-6)
    assert again.temperature == 2.0
    fit(again, epochs=1)
    alone = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(numpy(alone(x)), wanted, atol=1e-6)


def test_what_is_trained_is_the_student_and_the_projection():
    student, teacher = qat_net(), wide_teacher()
    distiller = Distiller(student, teacher, hints={"conv": "half"})
    trained = {id(v) for v in distiller.trainable_variables}
    projection = distiller.projections[0].kernel
    assert trained == {id(v) for v in [*student.trainable_variables, projection]}
    assert not teacher.trainable_variables


def test_without_labels_the_student_learns_what_the_teacher_says():
    x, _ = data(count=256)
    teacher = float_net(seed=5)
    head = teacher.get_layer("logits")
    head.set_weights([5 * head.get_weights()[0], head.get_weights()[1]])
    distiller = Distiller(qat_net(8), teacher, alpha=1.0, temperature=2.0)
    distiller.compile(keras.optimizers.Adam(2e-2), jit_compile=False)
    history = distiller.fit(x, batch_size=32, epochs=8, verbose=0).history
    assert history["teacher_loss"][-1] < 0.5 * history["teacher_loss"][0]
    assert history["loss"] == pytest.approx(history["teacher_loss"], rel=1e-4)


def test_any_loss_between_the_two():
    x, y = data()
    student, teacher = float_net(), wide_teacher()
    distiller = Distiller(student, teacher, alpha=1.0, loss="mse")
    distiller.compile("sgd", loss=None)
    found = float(distiller.compute_loss(x, y, distiller(x, training=True)))
    outputs = numpy(teacher(x)) - numpy(student(x, training=True))
    assert found == pytest.approx(np.square(outputs).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("end", "logits"), [("linear", True), ("softmax", False), ("layer", False), ("qat", False)]
)
def test_logits_or_probabilities_is_seen(end, logits):
    image = keras.Input((4,))
    z = L.Dense(3, activation="softmax" if end in ("softmax", "qat") else None)(image)
    model = keras.Model(image, L.Softmax()(z) if end == "layer" else z)
    if end == "qat":
        from tfq_ext.qat.build import quantize_aware

        model = quantize_aware(model)
    soft = Distiller(model, keras.models.clone_model(model) if end != "qat" else model)._soft
    assert (soft.teacher_logits, soft.student_logits) == (logits, logits)


@pytest.mark.parametrize(
    ("student", "teacher", "factors"),
    [
        ((None, 4, 4, 8), (None, 4, 4, 2), (1, 1)),
        ((None, 4, 4, 8), (None, 8, 8, 2), (1, 2)),
        ((None, 9, 9, 8), (None, 3, 3, 2), (3, 1)),
        ((None, 7), (None, 9), (1, 1)),
    ],
)
def test_maps_are_averaged_by_whole_factors(student, teacher, factors):
    assert pooling(student, teacher, "a -> b") == factors


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((None, 4, 4, 8), (None, 6, 6, 2)),
        ((None, 4, 4, 8), (None, 4, 8, 2)),
        ((None, 4), (None, 4, 4)),
    ],
)
def test_maps_that_do_not_fit_are_refused(student, teacher):
    with pytest.raises(ModelError, match="a -> b"):
        pooling(student, teacher, "a -> b")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"temperature": 0}, SpecError, "temperature"),
        ({"alpha": 1.5}, SpecError, "alpha"),
        ({"hint_weight": -1}, SpecError, "hint_weight"),
        ({"hints": {"cnov": "half"}}, UnknownName, "Did you mean 'conv'"),
        ({"hints": {"conv": "hlaf"}}, UnknownName, "the teacher has no layer"),
        ({"hints": {"conv": "end"}}, ModelError, "conv -> end"),
    ],
)
def test_errors_help(options, error, words):
    with pytest.raises(error, match=words):
        Distiller(float_net(), wide_teacher(), **options)


def test_outputs_that_cannot_be_compared_are_refused():
    with pytest.raises(ModelError, match="they differ"):
        Distiller(float_net(classes=4), wide_teacher())
    with pytest.raises(ModelError, match="always 1"):
        Distiller(float_net(classes=1), float_net(classes=1))


@pytest.mark.slow
def test_the_same_on_jax():
    on_backend("jax", __file__, "equation")


@pytest.mark.slow
def test_all_the_same_on_jax():
    on_backend("jax", __file__, "stays or labels")
