"""The observation run: exact ranges (the residual branch too), any order, any interruption."""

import numpy as np
import pytest
from one_op import Net, X, f32
from small_nets import SHAPE, conv_options, images, residual

import tfq_ext
from tfq_ext.errors import DataError, StatsError
from tfq_ext.repair.observe import observe
from tfq_ext.samples import Sample
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import Keeper
from tfq_ext.tflite.runner import Runner

tf = pytest.mark.tf
MODEL = residual()
SAMPLES = [Sample(k, {"image": x[None]}) for k, x in enumerate(images())]
NAMES = ["image", "a", "branch", "sum", "deep", "mean", "logits"]


@pytest.fixture(scope="module")
def stats():
    return observe(MODEL, SAMPLES)


def test_every_range_is_the_true_one(stats):
    keeper, graph = Keeper(MODEL), MODEL.graphs[0]
    seen = {name: [] for name in NAMES}
    for sample in SAMPLES:
        read = keeper.invoke(sample.inputs)
        for name in NAMES:
            seen[name].append(np.array(read(graph.by_name[name])))
    assert sorted(stats) == sorted(NAMES)
    for name in NAMES:
        values = np.stack(seen[name])
        assert (stats[name].min, stats[name].max) == (values.min(), values.max()), name
        assert stats[name].count == values.size
        mean = values.reshape(-1, values.shape[-1]).astype(np.float64).mean(axis=0)
        assert stats[name].channels.mean == pytest.approx(mean, abs=1e-6)


def test_neither_order_nor_sharding_nor_threads_change_a_bit(stats):
    backwards = observe(MODEL, SAMPLES[::-1], threads=1)
    assert backwards == stats
    assert observe(MODEL, SAMPLES[::2]).merge(observe(MODEL, SAMPLES[1::2])) == stats


def test_an_interrupted_run_resumes_to_the_same_statistics(stats, tmp_path):
    def interrupted():
        yield from SAMPLES[:10]
        raise KeyboardInterrupt

    path = tmp_path / "stats"
    with pytest.raises(KeyboardInterrupt):
        observe(MODEL, interrupted(), checkpoint=path)
    assert observe(MODEL, SAMPLES, checkpoint=path) == stats


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "stats"
    observe(MODEL, SAMPLES[:2], checkpoint=path)
    with pytest.raises(StatsError, match="model"):
        observe(residual(seed=9), SAMPLES[:2], checkpoint=path)


def test_no_samples_is_an_error():
    with pytest.raises(DataError, match="no sample"):
        observe(MODEL, [])


def unread(*, dead: bool = True):
    """conv -> out, and beside it a conv and a ReLU whose results go nowhere."""
    net = Net()
    net.input("image", X(SHAPE, -1.0, 1.0))
    net.const("w", f32(4, 3, 3, 3))
    net.const("b", f32(4))
    net.op("CONV_2D", "a", "image", "w", "b", options=conv_options())
    if dead:
        net.const("dead w", f32(2, 3, 3, 4))
        net.const("dead b", f32(2))
        net.op("CONV_2D", "dead", "a", "dead w", "dead b", options=conv_options())
        net.op("RELU", "deader", "dead")
    net.const("w2", f32(5, 1, 1, 4))
    net.const("b2", f32(5))
    net.op("CONV_2D", "out", "a", "w2", "b2", options=conv_options())
    return net.done("out")


def test_a_tensor_that_nobody_reads_has_no_values_and_is_not_observed():
    model = unread()
    found = observe(model, SAMPLES[:3])
    assert sorted(found) == ["a", "dead", "image", "out"]
    keeper = Keeper(model)
    read = keeper.invoke(SAMPLES[0].inputs)
    with pytest.raises(ValueError, match="null"):  # LiteRT's own words: no memory
        read(model.graphs[0].by_name["deader"])


@pytest.mark.parametrize("recipe", ["int16x8", "dynamic", pytest.param("int8", marks=tf)])
def test_a_file_with_ops_that_nobody_reads_comes_out_without_them(recipe):
    found, plain = (
        tfq_ext.quantize(unread(dead=dead).to_bytes(), images(6), recipe=recipe)
        for dead in (True, False)
    )
    names = {name for graph in Model.parse(found.content).graphs for name in graph.by_name}
    assert not {name for name in names if "dead" in name}
    fed = {"image": images(1)}
    np.testing.assert_array_equal(*(Runner(r.content)(fed)["out"] for r in (found, plain)))
    said = [note.reason for note in found.account.notes]
    assert "an op whose results nobody reads is taken out: 2 times" in said
    assert plain.account.float_ops == found.account.float_ops == ()


def test_a_source_may_fill_one_array_again_and_again(stats):
    """Samples are worked on while the next is fetched, as a generator with one buffer does it."""
    buffer = np.empty_like(SAMPLES[0].inputs["image"])

    def refilled():
        for sample in SAMPLES:
            buffer[...] = sample.inputs["image"]
            yield Sample(sample.key, {"image": buffer})

    assert observe(MODEL, refilled(), threads=3) == stats


def test_a_checkpoint_of_other_samples_is_refused(tmp_path):
    path = tmp_path / "stats"
    observe(MODEL, SAMPLES[:3], checkpoint=path)
    others = [Sample(k, {"image": x[None]}) for k, x in enumerate(images(3, seed=7))]
    with pytest.raises(StatsError, match="other samples"):
        observe(MODEL, others, checkpoint=path)
    with pytest.raises(StatsError, match="other samples"):
        observe(MODEL, SAMPLES[:2], checkpoint=path)
