"""Journal: its numbers against closed forms, its file against crashes and runs that go on."""

import keras
import numpy as np
import pytest
from tiny_qat import BATCH, data, eager, fit, float_net, numpy, on_backend, qat_net

from tfq_ext.errors import DataError, ModelError, SpecError, UnknownName
from tfq_ext.qat.distill import Distiller
from tfq_ext.qat.journal import Journal, read_journal
from tfq_ext.qat.journal.file import append, go_on
from tfq_ext.qat.journal.measure import Meter
from tfq_ext.qat.journal.rows import COLUMNS, Row
from tfq_ext.qat.layers import quantizers_of
from tfq_ext.qat.schedule import Schedule
from tfq_ext.qat.schedule.weights import weights_of

ROW = Row(5, 0, "conv/kernel", "weight", 4, 1, 0, -1.0, 1.0, 0.1, 0.2, 20.0)


def db(signal, noise):
    return 10 * np.log10(np.square(signal).sum() / np.square(noise).sum())


def test_the_numbers_are_those_of_the_model():
    x, _ = data()
    model = qat_net()
    rows = {row.name: row for row in Meter(model, x).rows(7, 1)}
    assert set(rows) == {name for name, _ in quantizers_of(model)}
    for weight in weights_of(model):
        row, real = rows[weight.name], weight.read()
        scale = np.asarray(weight.quantizer.grid(real)[0])
        rounded = numpy(weight.quantizer(keras.ops.convert_to_tensor(real)))
        assert (row.step, row.epoch, row.kind, row.bits) == (7, 1, "weight", 4)
        assert (row.low, row.high) == (real.min(), real.max())
        assert (row.scale_low, row.scale_high) == (scale.min(), scale.max())
        assert row.sqnr_db == pytest.approx(db(real, real - rounded), rel=1e-5)
    row, layer = rows["relu_range"], model.get_layer("relu_range")
    assert (row.low, row.high) == layer.range()
    assert row.scale_high == pytest.approx((row.high - row.low) / 255, rel=1e-6)
    part = keras.Model(model.input, layer.output)
    rounded = numpy(part(x))
    for _, quantizer in quantizers_of(model):
        quantizer.enabled = False
    real = numpy(part(x))
    assert row.sqnr_db == pytest.approx(db(real, real - rounded), rel=1e-3)


def test_looking_leaves_no_trace():
    x, _ = data()
    model = qat_net()
    before = [numpy(v) for v in model.variables]
    model.get_layer("conv").quantizer.enabled = False
    Meter(model, x).rows(0, 0)
    flags = {name: q.enabled for name, q in quantizers_of(model)}
    assert [name for name, on in flags.items() if not on] == ["conv/kernel"]
    for was, now in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(was, numpy(now))


def test_changed_and_turned_codes_are_counted():
    """Two of 108 weights go one bin up and down again: changed twice, turned once."""
    model = qat_net()
    meter = Meter(model)
    weight = next(w for w in weights_of(model) if w.name == "logits/kernel")
    real, quantizer = weight.read(), weight.quantizer
    codes = quantizer.codes(real)
    scale = np.broadcast_to(quantizer.spread(quantizer.grid(real)[0], real.ndim), real.shape)
    inner = [place for place in np.ndindex(codes.shape) if abs(codes[place]) < 4][:2]
    found = []
    for shift in (0, 1, 0, 0):
        value = weight.middles(codes, real)
        for place in inner:
            value[place] += shift * scale[place]
        weight.variable.assign(value)
        row = next(r for r in meter.rows(0, 0) if r.name == "logits/kernel")
        found.append((row.changed, row.turned))
    share = 2 / real.size
    assert np.isnan(found[0]).all()
    assert found[1:] == [(share, 0.0), (share, share), (0.0, 0.0)]


def test_a_fit_writes_first_last_and_every_few_steps(tmp_path):
    x, _ = data()
    model = eager(qat_net())
    path = tmp_path / "log.csv"
    fit(model, Schedule(quantize_after=3), Journal(path, every=6, data=x[:8]))
    log = read_journal(path)
    names = [name for name, _ in quantizers_of(model)]
    assert sorted(log.names) == sorted(names)
    steps, enabled = log.series("conv/kernel", "enabled")
    assert steps.tolist() == [0, 6, 12, 16]
    assert enabled.tolist() == [0, 1, 1, 1]
    assert log.series("relu_range", "epoch")[1].tolist() == [0, 0, 1, 1]
    assert np.isfinite(log.series("relu_range", "sqnr_db")[1]).all()
    assert np.isfinite(log.series("conv/kernel", "sqnr_db")[1]).all()
    assert np.isnan(log.series("relu_range", "changed")[1]).all()
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    last = log.series("relu_range", "high")[1][-1]
    assert last == pytest.approx(model.get_layer("relu_range").range()[1], rel=1e-6)


def test_a_run_that_goes_on_goes_on_in_the_file(tmp_path):
    """Saved at step 8, lost at 16, goes on from 8: nothing of the lost part stays."""
    model, path = eager(qat_net()), tmp_path / "log.csv"
    fit(model, Journal(path, every=3), epochs=1)
    model.save(tmp_path / "model.keras")
    fit(model, Journal(path, every=3), epochs=2, initial_epoch=1)
    assert read_journal(path).series("conv/kernel", "step")[0].tolist() == [
        *(0, 3, 6, 8, 11, 14, 16),
    ]
    again = keras.models.load_model(tmp_path / "model.keras")
    fit(again, Journal(path, every=5), epochs=2, initial_epoch=1)
    assert read_journal(path).series("conv/kernel", "step")[0].tolist() == [0, 3, 6, 8, 13, 16]
    fit(eager(qat_net()), Journal(path, every=100), epochs=1)
    assert read_journal(path).series("conv/kernel", "step")[0].tolist() == [0, 8]


def test_half_a_line_of_a_crash_is_cut(tmp_path):
    path = tmp_path / "log.csv"
    append(path, [ROW, ROW])
    with path.open("a") as file:
        file.write("9,0,conv/ker")
    assert read_journal(path).series("conv/kernel", "step")[0].tolist() == [5, 5]
    go_on(path, 6)
    append(path, [ROW])
    assert read_journal(path).columns["sqnr_db"].tolist() == [20.0] * 3


def test_other_files_are_left_alone(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("step,loss\n1,2\n")
    with pytest.raises(DataError, match="no journal"):
        fit(eager(qat_net()), Journal(path), epochs=1)
    assert path.read_text() == "step,loss\n1,2\n"
    with pytest.raises(DataError, match="Cannot read"):
        read_journal(tmp_path / "absent.csv")


def test_errors_help(tmp_path):
    path = tmp_path / "log.csv"
    append(path, [ROW])
    log = read_journal(path)
    with pytest.raises(UnknownName, match="conv/kernel"):
        log.series("dense", "step")
    with pytest.raises(UnknownName, match="sqnr_db"):
        log.series("conv/kernel", "snr")
    with pytest.raises(SpecError, match="every"):
        Journal(path, every=0)
    with pytest.raises(ModelError, match="no quantizers"):
        fit(eager(float_net()), Journal(path), epochs=1)


def test_a_distillers_student_is_watched(tmp_path):
    path = tmp_path / "log.csv"
    distiller = eager(Distiller(qat_net(), float_net(seed=2)))
    fit(distiller, Journal(path, data=data()[0][:BATCH]), epochs=1)
    assert "conv/kernel" in read_journal(path).names


def test_tensorboard_gets_every_number(tmp_path):
    tf = pytest.importorskip("tensorflow")
    fit(
        eager(qat_net()),
        Journal(tmp_path / "log.csv", every=8, tensorboard=tmp_path / "board"),
        epochs=1,
    )
    points = {}
    for file in (tmp_path / "board").iterdir():
        for record in tf.compat.v1.io.tf_record_iterator(str(file)):
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                points[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    steps, values = read_journal(tmp_path / "log.csv").series("conv/kernel", "sqnr_db")
    for step, value in zip(steps, values, strict=True):
        assert points["sqnr_db/conv/kernel", step] == pytest.approx(value, rel=1e-5)


@pytest.mark.slow
def test_the_same_on_jax():
    on_backend("jax", __file__, "numbers or few_steps")
