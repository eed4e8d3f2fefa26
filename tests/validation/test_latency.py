"""Timing: order and statistics under a fake clock; no assertion on real time."""

import numpy as np
import pytest
from tiny_models import cast_model, dense_model, quantized_io_model

from tfq_ext.errors import DataError
from tfq_ext.tflite.runner import Runner
from tfq_ext.validation.latency import measure_latency, noise, summarize, time_rounds

W = np.eye(2, 3, dtype=np.float32)


class Recorder:
    """A timed thing that writes down what happens and moves the fake clock."""

    def __init__(self, name, log, clock, milliseconds):
        self.name, self.log, self.clock, self.milliseconds = name, log, clock, milliseconds
        self.calls = 0

    def feed(self, inputs):
        self.log.append(f"feed {self.name}")
        self.clock.now += 50_000_000  # feeding is slow and must not be counted

    def invoke(self):
        self.log.append(f"invoke {self.name}")
        self.clock.now += int(self.milliseconds(self.calls) * 1e6)
        self.calls += 1


class FakeClock:
    now = 0

    def __call__(self):
        return self.now


def run_fake(runs, warmup, **costs):
    log, clock = [], FakeClock()
    models = {name: Recorder(name, log, clock, cost) for name, cost in costs.items()}
    inputs = {key: {} for key in models}
    return time_rounds(models, inputs, runs=runs, warmup=warmup, clock=clock), log


def test_rounds_interleave_and_feed_before_each_invoke():
    _, log = run_fake(1, 1, a=lambda k: 1, b=lambda k: 2, c=lambda k: 3)
    one = ["feed a", "invoke a", "feed b", "invoke b", "feed c", "invoke c"]
    assert log == one * 2


def test_only_invoke_counts_and_warmup_does_not():
    times, _ = run_fake(3, 2, a=lambda k: 100 if k < 2 else k)
    np.testing.assert_allclose(times["a"], [2.0, 3.0, 4.0])


def test_drift_cancels_in_the_paired_ratio():
    # Both get ten times slower on the way; b always takes half of a.
    times, _ = run_fake(40, 0, a=lambda k: 1 + k / 4, b=lambda k: (1 + k / 4) / 2)
    got = summarize(times, threads=2)
    assert got["b"].ratio == pytest.approx(0.5, abs=1e-5)
    assert got["b"].ratio_interval == pytest.approx((0.5, 0.5), abs=1e-5)
    low, high = got["b"].interval_ms
    assert low < got["b"].median_ms < high  # while the times themselves vary
    assert (got["a"].ratio, got["a"].ratio_interval) == (1.0, (1.0, 1.0))
    assert (got["a"].runs, got["a"].threads) == (40, 2)


def test_interval_against_the_order_statistics():
    # The exact 95 % interval of the median of 101 values: ranks 41 and 61 (binomial, p = 1/2).
    ms = np.random.default_rng(3).permutation(np.arange(101.0)) + 1
    got = summarize({"a": ms}, threads=1)["a"]
    assert got.median_ms == 51.0
    assert abs(got.interval_ms[0] - 41) <= 2
    assert abs(got.interval_ms[1] - 61) <= 2


def test_same_seed_same_interval_whatever_the_order_of_models():
    rng = np.random.default_rng(0)
    a, b = rng.gamma(3, size=30), rng.gamma(4, size=30)
    assert summarize({"a": a, "b": b}, threads=1)["a"] == summarize({"a": a}, threads=1)["a"]


def test_real_models_are_counted_and_named():
    models = {"float": dense_model(W), "int8": quantized_io_model(W, *[("int8", 0.1, 0)] * 2)}
    got = measure_latency(models, runs=7, warmup=1, threads=1)
    assert list(got) == ["float", "int8"]
    assert all(one.runs == 7 and one.median_ms > 0 and one.ratio > 0 for one in got.values())
    assert got["float"].ratio == 1.0


def test_noise_fits_every_port():
    ports = {**Runner(cast_model()).inputs, **Runner(dense_model(W)).inputs}
    x = noise(ports, seed=1)
    assert x["ids"].dtype == np.int32
    assert x["x"].shape == (1, 3)
    assert np.ptp(x["x"]) > 0
    np.testing.assert_array_equal(x["x"], noise(ports, seed=1)["x"])


def test_bad_counts():
    with pytest.raises(DataError, match="runs >= 1"):
        measure_latency({"a": dense_model(W)}, runs=0)
    with pytest.raises(DataError, match="at least one model"):
        measure_latency({})
