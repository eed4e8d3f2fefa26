"""The observation run: exact ranges (the residual branch too), any order, any interruption."""

import numpy as np
import pytest
from small_nets import images, residual

from tfq_ext.errors import DataError, StatsError
from tfq_ext.repair.observe import observe
from tfq_ext.samples import Sample
from tfq_ext.tflite.run import Keeper

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
