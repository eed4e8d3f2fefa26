"""Schedule in real fits: what it sets, when, and that the compiled step really changes."""

import warnings

import keras
import numpy as np
import pytest
from tiny_qat import (
    BATCH,
    Watch,
    compiled,
    data,
    eager,
    fit,
    float_net,
    numpy,
    on_backend,
    qat_net,
)

from tfq_ext.errors import ModelError, SpecError, TfqWarning
from tfq_ext.qat.layers import quantizers_of
from tfq_ext.qat.schedule import Dampen, Freeze, Schedule, fine_tuning_rate
from tfq_ext.qat.schedule.advice import advise
from tfq_ext.qat.schedule.damping import Damper, damp
from tfq_ext.qat.schedule.weights import weights_of

THINGS = {
    "quantize_after": 2,
    "bits": {0: 8, 4: 5, 0.5: 4},
    "freeze_bn_after": 10,
    "freeze_ranges_after": 12,
}
NEVER = {"freeze_bn_after": None, "freeze_ranges_after": None}


def says(schedule):
    return [(change.step, change.text) for change in schedule.history]


def flags(model):
    rows = [(q.enabled, q.frozen) for _, q in quantizers_of(model)]
    return (*(all(column) for column in zip(*rows, strict=True)), model.get_layer("conv").frozen)


def test_what_freezes_stands_still_in_the_compiled_step():
    """One change in one epoch; every phase with all of its changes is the next test."""
    model = compiled(qat_net(), 1e-3, jit_compile=keras.backend.backend() == "jax")
    looks = {
        "ends": Watch(lambda m: numpy(m.get_layer("relu_range").ends)),
        "mean": Watch(lambda m: numpy(m.get_layer("conv").norm.moving_mean)),
        "kernel": Watch(lambda m: numpy(m.get_layer("conv").layer.kernel)),
    }
    schedule = Schedule(freeze_bn_after=4, freeze_ranges_after=4, advice=False)
    fit(model, schedule, *looks.values(), epochs=1)
    assert says(schedule) == [(4, "ranges frozen, BatchNorm frozen")]
    for name, look in looks.items():
        pairs = zip(look.seen, look.seen[1:], strict=False)
        moved = [not np.array_equal(a, b) for a, b in pairs]
        assert moved == [name == "kernel" or k < 4 for k in range(1, 8)], name


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_phase_begins_at_its_step_and_in_the_compiled_function(jit):
    """Attributes after batch k are those of step k + 1; what is frozen does not move any more."""
    model = compiled(qat_net(), 1e-3, jit_compile=jit)
    schedule = Schedule(**THINGS, advice=False)
    ends = Watch(lambda m: numpy(m.get_layer("relu_range").ends))
    mean = Watch(lambda m: numpy(m.get_layer("conv").norm.moving_mean))
    attributes = Watch(flags)
    bits = Watch(lambda m: m.get_layer("conv").quantizer.bits)
    codes = Watch(lambda m: max(np.abs(w.quantizer.codes(w.read())).max() for w in weights_of(m)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none of a quantizer that has no gradient
        fit(model, schedule, ends, mean, attributes, bits)
    assert says(schedule) == [
        (0, "quantizers off, ranges observed, weights at 8 bits"),
        (2, "quantizers on"),
        (4, "weights at 5 bits"),
        (8, "weights at 4 bits"),
        (10, "BatchNorm frozen"),
        (12, "ranges frozen"),
    ]
    assert attributes.seen == [(k >= 2, k >= 12, k >= 10) for k in range(1, 17)]
    assert bits.seen == [8] * 3 + [5] * 4 + [4] * 9
    moved = [not np.array_equal(a, b) for a, b in zip(mean.seen, mean.seen[1:], strict=False)]
    assert moved == [k < 10 for k in range(1, 16)]
    moved = [not np.array_equal(a, b) for a, b in zip(ends.seen, ends.seen[1:], strict=False)]
    assert moved == [k < 12 for k in range(1, 16)]
    fit(model, codes, epochs=1)
    assert codes.seen == [7] * 8


def test_until_the_delay_is_over_training_is_that_of_the_float_network():
    late, off, on = (eager(qat_net(), 1e-3) for _ in range(3))
    for _, quantizer in quantizers_of(off):
        quantizer.enabled = False
    fit(late, Schedule(quantize_after=10**6, **NEVER, advice=False), epochs=1)
    fit(off, epochs=1)
    fit(on, Schedule(**NEVER, advice=False), epochs=1)
    kernels = [numpy(m.get_layer("conv").layer.kernel) for m in (late, off, on)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-5


@pytest.mark.parametrize(
    ("together", "accumulated", "steps"),
    [(1, 2, (0, 2, 3, 6)), (3, None, (0, 3, 6, 11))],
)
def test_steps_are_weight_updates(together, accumulated, steps):
    """16 batches: 8 updates when two are accumulated; with three a call, the next multiple."""
    if together > 1 and keras.backend.backend() == "torch":
        pytest.skip("Keras on torch has no steps_per_execution")
    optimizer = keras.optimizers.Adam(1e-4, gradient_accumulation_steps=accumulated)
    model = compiled(qat_net(), optimizer=optimizer, steps_per_execution=together)
    if accumulated:
        schedule = Schedule(quantize_after=2, freeze_bn_after=3, freeze_ranges_after=0.75)
    else:
        schedule = Schedule(quantize_after=2, freeze_bn_after=5, freeze_ranges_after=10)
    fit(model, schedule)
    assert tuple(change.step for change in schedule.history) == steps
    assert int(model.optimizer.iterations) == (8 if accumulated else 16)


def test_a_run_that_goes_on_is_the_run_that_was_not_interrupted(tmp_path):
    """Interrupted in the middle of every phase; same history, same weights to the last bit."""
    settings = {**THINGS, "quantize_after": 3, "advice": False}
    whole, whole_schedule = eager(qat_net(), 1e-3), Schedule(**settings)
    fit(whole, whole_schedule, epochs=3)
    part, first, second = eager(qat_net(), 1e-3), Schedule(**settings), Schedule(**settings)
    stop = Watch(lambda m: setattr(m, "stop_training", int(m.optimizer.iterations) == 8))
    fit(part, first, stop, epochs=3)
    part.save(tmp_path / "part.keras")
    again = keras.models.load_model(tmp_path / "part.keras")
    fit(again, second, epochs=3, initial_epoch=1)
    assert second.history[0].step == 8
    later = [c for c in says(whole_schedule) if c[0] > 8]
    assert later
    assert [c for c in says(second) if c[0] > 8] == later
    assert again.get_layer("conv").quantizer.bits == 4
    for mine, other in zip(again.weights, whole.weights, strict=True):
        np.testing.assert_allclose(numpy(mine), numpy(other), atol=1e-6, err_msg=mine.path)


def test_weights_built_with_other_bits_keep_them():
    model = qat_net(
        recipe={"base": "int8", "rules": [{"tensor": "conv", "weight_bits": 4}]},
        weight_bits=None,
    )
    bits = {w.name: w.quantizer.bits for w in weights_of(model)}
    assert bits == {"conv/kernel": 4, "logits/kernel": 8}
    seen = Watch(lambda m: {w.name: w.quantizer.bits for w in weights_of(m)})
    fit(eager(model), Schedule(bits={0: 6, 4: 5, 6: 4}), seen, epochs=1)
    assert {row["logits/kernel"] for row in seen.seen} == {8}
    assert [row["conv/kernel"] for row in seen.seen] == [6] * 3 + [5] * 2 + [4] * 3
    fit(eager(qat_net()), Schedule(bits={0: 6, 4: 4}, keep=["conv"]), seen, epochs=1)
    assert seen.seen[-8]["conv/kernel"] == 4
    assert seen.seen[-8]["logits/kernel"] == 6


def test_the_damping_loss_is_its_equation_and_goes_when_training_ends():
    model = qat_net()
    kernel = next(weights_of(model)).variable
    kernel.regularizer = keras.regularizers.L2(0.25)
    wanted = 0.25 * np.square(numpy(kernel)).sum()
    for weight in weights_of(model):
        real, q = weight.read(), weight.quantizer
        middle = weight.middles(q.codes(real), real)
        edge = np.asarray(q.spread(q.grid(real)[0], real.ndim)) * q.spec.qmax
        wanted += 0.5 * np.square(middle - np.clip(real, -edge, edge)).sum()
    begin = Schedule(oscillation=Dampen(0.5, stages=1))
    damp(model, 0.5)
    assert float(sum(model.losses)) == pytest.approx(wanted, rel=1e-5)
    damp(model, 0.0)
    fit(eager(model), begin, epochs=1)
    assert isinstance(kernel.regularizer, keras.regularizers.L2)
    assert says(begin)[0] == (0, "damping 0.25")  # the middle of the only stage


def distance(model):
    """Mean distance of weights from the middle of their bins, LSB."""
    parts = []
    for weight in weights_of(model):
        real, q = weight.read(), weight.quantizer
        scale = np.asarray(q.spread(q.grid(real)[0], real.ndim))
        parts.append((np.abs(real - weight.middles(q.codes(real), real)) / scale).ravel())
    return float(np.concatenate(parts).mean())


def test_damping_draws_weights_to_the_middle():
    plain, damped = eager(qat_net(), 1e-3), compiled(qat_net(), 1e-3)
    together = {"freeze_bn_after": 0.6, "freeze_ranges_after": 0.6, "advice": False}
    fit(plain, Schedule(**together), epochs=3)
    fit(damped, Schedule(**together, oscillation=Dampen(5.0, stages=1)), epochs=3)
    assert distance(damped) < 0.7 * distance(plain)


def test_frozen_weights_lie_in_the_middle_and_keep_their_code():
    model = compiled(qat_net(), optimizer=keras.optimizers.SGD(0.3))
    settings = Freeze(start=0.02, end=0.02, momentum=0.1, every=1)
    schedule = Schedule(oscillation=settings, freeze_bn_after=4, advice=False)

    def pinned(_):
        return {
            name: (pins.frozen, pins.integers) for name, (_, pins) in schedule.freezer.pins.items()
        }

    watch = Watch(pinned)
    fit(model, schedule, watch, epochs=4)
    assert sum(schedule.frozen.values()) > 0
    for weight in weights_of(model):
        frozen, integers = pinned(None)[weight.name]
        real, q = weight.read(), weight.quantizer
        codes = q.codes(real)
        np.testing.assert_array_equal(codes[frozen], integers[frozen])
        scale = np.broadcast_to(np.asarray(q.spread(q.grid(real)[0], real.ndim)), real.shape)
        np.testing.assert_allclose((real / scale)[frozen], integers[frozen], atol=1e-3)
    for before, after in zip(watch.seen, watch.seen[1:], strict=False):
        for name, (frozen, integers) in before.items():
            np.testing.assert_array_equal(integers[frozen], after[name][1][frozen])


def test_what_is_normalised_first_is_neither_frozen_nor_damped():
    model = eager(qat_net(weights="a2q", weight_bits=8))
    weights = list(weights_of(model))
    assert not any(weight.keeps_grid() for weight in weights)
    schedule = Schedule(oscillation="freeze")
    fit(model, schedule, epochs=1)
    assert schedule.frozen == {}
    fit(model, Schedule(oscillation="dampen"), epochs=1)
    assert not any(isinstance(weight.variable.regularizer, Damper) for weight in weights)


@pytest.mark.parametrize("kept", ["weights", "average"])
def test_the_better_of_weights_and_average_stays(kept):
    """An average near the start is better where the start's own answers count as right."""
    x, y = data(1)
    model = eager(qat_net(), 1e-2)
    if kept == "average":
        y = model.predict(x, verbose=0).argmax(1)
    schedule = Schedule(average=0.999, validation_data=(x, y), advice=False)
    fit(model, schedule)
    found = schedule.comparison
    now = model.evaluate(x, y, verbose=0, return_dict=True)
    assert now["loss"] == pytest.approx(getattr(found, kept)["loss"], rel=1e-5)
    assert found.kept == kept
    assert found.weights["loss"] != pytest.approx(found.average["loss"], rel=1e-2)
    assert schedule.history[-1].text.endswith(f"kept the {kept}")


def test_the_average_is_its_equation():
    x, y = data(1)
    model = eager(qat_net(), 1e-2)
    schedule = Schedule(average=0.8, validation_data=(x, y), advice=False)
    schedule.average.every = 1
    kernel = model.get_layer("conv").layer.kernel
    mine = numpy(kernel)
    course = Watch(lambda m: numpy(kernel))
    fit(model, course, schedule, epochs=1)
    for value in course.seen:
        mine = 0.8 * mine + 0.2 * value
    index = [v is kernel for v in model.trainable_variables].index(True)
    np.testing.assert_allclose(schedule.average.values[index], mine, atol=1e-6)


def test_an_unknown_metric_is_named():
    x, y = data()
    schedule = Schedule(average=0.9, validation_data=(x, y), monitor="top5")
    with pytest.raises(SpecError, match=r"'top5' is no metric of the model: .*loss"):
        fit(eager(qat_net()), schedule, epochs=1)
    with pytest.raises(SpecError, match="validation_data"):
        Schedule(average=0.9)


@pytest.mark.parametrize(
    ("optimizer", "warns"),
    [
        (lambda: keras.optimizers.Adam(1e-3), "Adam is 0.001"),
        (lambda: keras.optimizers.Adam(1e-4), ""),
        (lambda: keras.optimizers.SGD(0.1), "SGD is 0.1"),
        (lambda: keras.optimizers.SGD(1e-3), ""),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)), "Adam is"),
        (lambda: keras.optimizers.Adam(fine_tuning_rate(1e-3, 100)), ""),
        (lambda: keras.optimizers.Adagrad(1.0), ""),
    ],
)
def test_advice_on_the_learning_rate(optimizer, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        advise(optimizer())
    texts = [str(w.message) for w in caught if issubclass(w.category, TfqWarning)]
    assert len(texts) == bool(warns)
    assert all(warns in text and "try" in text for text in texts)


def test_schedule_gives_the_advice_once_and_can_be_told_not_to():
    model = eager(qat_net(), 1e-3)
    with pytest.warns(TfqWarning, match="try 1e-5 to 1e-4"):
        fit(model, Schedule(**NEVER), epochs=1)
    fit(model, Schedule(**NEVER), epochs=1)  # goes on: no longer at step 0
    fit(eager(model, 1e-3), Schedule(**NEVER, advice=False), epochs=1)


def test_fine_tuning_rate_is_half_a_cosine():
    assert fine_tuning_rate(0.1) == pytest.approx(1e-3)
    schedule = fine_tuning_rate(0.1, 200)
    for step, rate in [(0, 1e-3), (100, 1e-3 * 0.505), (200, 1e-5), (300, 1e-5)]:
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-4)
    with pytest.raises(SpecError):
        fine_tuning_rate(0)


def test_a_model_without_quantizers_is_refused():
    with pytest.raises(ModelError, match="quantize_aware"):
        fit(compiled(float_net()), Schedule(), epochs=1)


def test_data_of_unknown_length_need_whole_numbers():
    x, y = data()

    def batches():
        for k in range(3):
            yield x[k * BATCH : (k + 1) * BATCH], y[k * BATCH : (k + 1) * BATCH]

    model = eager(qat_net())
    with pytest.raises(SpecError, match="steps_per_epoch"):
        model.fit(batches(), verbose=0, callbacks=[Schedule()])
    schedule = Schedule(freeze_bn_after=1, freeze_ranges_after=2)
    model.fit(batches(), verbose=0, callbacks=[schedule])
    assert [change.step for change in schedule.history] == [1, 2]


def test_changes_are_said_in_one_line_each(capsys):
    fit(eager(qat_net()), Schedule(freeze_bn_after=3, freeze_ranges_after=3), epochs=1, verbose=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Schedule" in line]
    assert lines == ["Schedule, step 3: ranges frozen, BatchNorm frozen."]


def test_mirrored():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.distribute is TensorFlow's")
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = compiled(qat_net())
    things = {"quantize_after": 2, "freeze_bn_after": 4, "freeze_ranges_after": 4}
    fit(model, Schedule(**things, oscillation=Dampen(stages=1)), epochs=1)
    assert flags(model) == (True, True, True)


def test_the_same_on_jax():
    on_backend("jax", __file__, "stands_still")


@pytest.mark.slow
def test_all_the_same_on_jax():
    on_backend(
        "jax",
        __file__,
        "(every_phase and True) or delay or updates or goes_on or damping or frozen or average",
    )
