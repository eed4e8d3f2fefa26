"""bench() on real files in child processes: structure, pairing, failures. No time is judged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from bench_nets import chain, custom, small
from tiny_models import add_model, dense_model, two_signatures

from tfq_ext.errors import DataError, ModelError, UnknownName
from tfq_ext.tflite.runner import Port
from tfq_ext.validation.latency import KERNELS, bench
from tfq_ext.validation.latency.bench import Plan, _Table
from tfq_ext.validation.sandbox import Limits, ModelDied
from tfq_ext.validation.seat import on_disk
from tfq_ext.validation.seat.seat import Seat, fit

W = np.eye(2, 3, dtype=np.float32)
QUICK = {"runs": 3, "warmup": 0}


def port(name, shape=(1, 3)):
    return Port(name, 0, shape, np.dtype(np.float32), 0.0, 0)


class FakeSeat:
    """Takes given milliseconds; dies in round `dies`."""

    def __init__(self, *times, dies=None):
        self.times, self.dies, self.turns = list(times), dies, 0

    def call(self, name):
        assert name == "turn"
        self.turns += 1
        if self.turns == self.dies:
            raise ModelDied("signal", "SIGSEGV", "invoke")
        return self.times[(self.turns - 1) % len(self.times)]


def table(tmp_path, seats, threads=(1,), runs=3, warmup=1):
    names = list(dict.fromkeys(name for name, _ in seats))
    for name in names:
        (tmp_path / name).write_bytes(bytes(7))
    plan = Plan(None, threads, ("xnnpack",), runs, warmup, None, None, 0, Limits())
    made = _Table(plan, "xnnpack", {name: tmp_path / name for name in names}, names[0])
    made.seats, made.times = dict(seats), {key: [] for key in seats}
    facts = {"load_ms": 1, "first_ms": 2, "peak_bytes": 3, "model_bytes": 4, "assumed": []}
    made.facts = dict.fromkeys(seats, facts)
    for k in range(-warmup, runs):
        made._round(k >= 0)
    return list(made.rows())


def test_ratios_are_paired_and_the_warmup_counts_for_nobody(tmp_path):
    a, b = FakeSeat(99, 1, 10, 100), FakeSeat(99, 0.5, 5, 50)
    rows = table(tmp_path, {("a", 1): a, ("b", 1): b})
    assert [row.median_ms for row in rows] == [10, 5]
    assert (rows[1].ratio, rows[1].ratio_interval) == (0.5, (0.5, 0.5))
    assert [row.runs for row in rows] == [3, 3]
    assert rows[0].p90_ms == pytest.approx(np.percentile([1, 10, 100], 90))
    assert rows[1].variation == pytest.approx(rows[0].variation)
    assert rows[0].size_bytes == 7


def test_threads_compare_with_the_same_file(tmp_path):
    seats = {
        ("a", 1): FakeSeat(4),
        ("a", 2): FakeSeat(3),
        ("b", 1): FakeSeat(2),
        ("b", 2): FakeSeat(1),
    }
    rows = table(tmp_path, seats, threads=(1, 2))
    assert [(r.name, r.threads) for r in rows] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [r.thread_ratio for r in rows] == [1, 1, 0.75, 0.5]
    assert [r.ratio for r in rows] == pytest.approx([1, 0.5, 1, 1 / 3])


def test_who_dies_on_the_way_fails_alone_and_its_round_counts_for_nobody(tmp_path):
    a, b = FakeSeat(1, 2, 3, 4), FakeSeat(1, dies=3)
    rows = table(tmp_path, {("a", 1): a, ("b", 1): b})
    assert rows[1].failed == "LiteRT died at invoke: SIGSEGV."
    assert math.isnan(rows[1].median_ms)
    assert rows[0].failed == ""
    assert rows[0].runs == 3  # the round in which b died had no b left: a's turn stands
    assert rows[0].ratio == 1


def test_a_baseline_that_fails_leaves_times_without_ratios(tmp_path):
    rows = table(tmp_path, {("a", 1): FakeSeat(1, dies=1), ("b", 1): FakeSeat(2)})
    assert rows[0].failed
    assert rows[1].median_ms == 2
    assert math.isnan(rows[1].ratio)
    assert all(map(math.isnan, rows[1].ratio_interval))


def test_two_files_and_two_numbers_of_threads(tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(small("int8"))
    seen = []
    report = bench(
        {"float": small("float"), "int8": path},
        threads=(1, 2, 1),
        profile=False,
        on_round=lambda done, total: seen.append((done, total)),
        **QUICK,
    )
    assert [(r.name, r.threads) for r in report.rows] == [
        ("float", 1),
        ("int8", 1),
        ("float", 2),
        ("int8", 2),
    ]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for row in report.rows:
        low, high = row.interval_ms
        assert 0 < low <= row.median_ms <= high
        assert row.median_ms <= row.p90_ms
        assert row.load_ms > 0
        assert row.first_ms > 0
        assert row.peak_bytes > row.model_bytes > 0
    assert [r.ratio for r in report.rows if r.name == "float"] == [1, 1]
    assert report.rows[1].size_bytes == len(small("int8"))
    assert report.profiles == {}
    assert report.machine.cores >= 1
    assert report.row("int8").threads == 1


def test_profile_reasons_and_json():
    report = bench({"float": small("float"), "int4": small("int4")}, baseline="float", **QUICK)
    assert list(report.profiles) == ["float", "int4"]
    assert all(p.available for p in report.profiles.values())
    assert "slow-int4" in {f.rule.id for f in report.reasons}
    assert all(f.message.startswith("int4: ") for f in report.reasons)
    assert report.findings == report.reasons
    values = json.loads(report.to_json())
    assert values["rows"][1]["name"] == "int4"
    assert values["profiles"]["int4"]["ops"][0]["op"] == "QUANTIZE"
    assert "int4" in str(report)


@pytest.mark.parametrize("kernels", list(KERNELS))
def test_every_kernel_set(kernels):
    report = bench({"a": small("int8")}, kernels=(kernels,), profile=False, **QUICK)
    assert [row.kernels for row in report.rows] == [kernels]
    assert report.rows[0].median_ms > 0


def test_a_file_that_litert_refuses_fails_alone():
    report = bench({"good": small("float"), "bad": custom()}, **QUICK)
    good, bad = report.rows
    assert good.failed == ""
    assert "Nobody" in bad.failed
    assert math.isnan(bad.ratio)
    assert not report.profiles["bad"].available
    assert not any(f.message.startswith("bad") for f in report.reasons)


def test_nothing_but_failures_is_an_error():
    with pytest.raises(ModelError, match=r"bad: .*Nobody"):
        bench({"bad": custom()}, **QUICK)


def test_seconds_stop_after_five_rounds():
    report = bench({"a": small("float")}, seconds=1e-9, runs=1000, warmup=0, profile=False)
    assert report.rows[0].runs == 5


def test_second_signature_and_a_word_where_none_was_chosen():
    content = two_signatures(W, np.eye(4, 3, dtype=np.float32))
    report = bench({"a": content}, signature="second", **QUICK)
    assert report.notes == tuple(n for n in report.notes if "signature" not in n)
    assert report.profiles["a"].ops[0].subgraph == 1
    report = bench({"a": content}, profile=False, **QUICK)
    assert any("first, second" in note for note in report.notes)
    with pytest.raises(ModelError, match="no signature 'third'"):
        bench({"a": content}, signature="third", **QUICK)


def test_open_dimensions():
    content = open_chain()
    report = bench({"a": content}, profile=False, **QUICK)
    assert any("taken as 1" in note for note in report.notes)
    x = {"x": np.zeros((1, 5, 6, 2), np.float32)}
    report = bench({"a": content}, inputs=x, profile=False, **QUICK)
    assert not any("taken as 1" in note for note in report.notes)
    batch = bench({"a": dense_model(W)}, profile=False, **QUICK)
    assert not any("taken as 1" in note for note in batch.notes)


def open_chain():
    """ABS on float32[1, ?, ?, 2]."""
    from tfq_ext.tflite.read import Model

    model = Model.parse(chain("ABS", shape=(1, 4, 4, 2)))
    for tensor in model.graphs[0].tensors:
        tensor.shape, tensor.shapeSignature = [1, 1, 1, 2], [1, -1, -1, 2]
    return model.to_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": 0}, "runs >= 1"),
        ({"warmup": -1}, "warmup >= 0"),
        ({"threads": ()}, "number of threads"),
        ({"threads": (0,)}, "threads >= 1"),
        ({"kernels": ()}, "one kernel set"),
        ({"seconds": 0}, "over 0"),
        ({"baseline": "z"}, "'z' is none of the models: a"),
        ({"inputs": {"p": W, "q": W}}, "The sample has inputs p, q; the model takes"),
    ],
)
def test_bad_wishes(change, message):
    with pytest.raises(DataError, match=message):
        bench({"a": add_model() if "baseline" in change else small("float")}, **change)


def test_bad_names_and_files():
    with pytest.raises(DataError, match="at least one model"):
        bench({})
    with pytest.raises(UnknownName, match=r"Did you mean 'builtin'"):
        bench({"a": small("float")}, kernels=("buildin",))
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        bench({"a": b"sixteen bytes and some more"})


def test_fit_by_name_by_position_and_not_at_all():
    x, y = np.zeros((1, 3)), np.ones((1, 3))
    assert list(fit({"b": y, "a": x}, {"a": port("a"), "b": port("b")})) == ["a", "b"]
    assert fit({"b": y, "a": x}, {"a": port("a"), "b": port("b")})["b"][0, 0] == 1
    assert fit({"other": x}, {"a": port("a")})["a"] is not None
    by_place = fit({"p": x, "q": np.ones((1, 4))}, {"a": port("a"), "b": port("b", (1, 4))})
    assert by_place["b"].shape == (1, 4)
    for sample in ({"p": x}, {"q": np.ones((1, 4)), "p": x}, {}):
        with pytest.raises(DataError, match="the model takes a, b"):
            fit(sample, {"a": port("a"), "b": port("b", (1, 4))})


def test_a_seat_in_this_process(tmp_path):
    (tmp_path / "m.tflite").write_bytes(small("int4"))
    seat = Seat(str(tmp_path / "m.tflite"))
    assert seat.turn() > 0
    assert seat.facts()["assumed"] == []
    nodes = seat.delegates()
    assert len(nodes) > 1
    assert [x.shape for x in seat.codes().values()] == [(1, 8, 8, 3)]
    builtin = Seat(str(tmp_path / "m.tflite"), kernels="builtin")
    assert builtin.delegates() == []


def test_files_on_disk(tmp_path):
    path = tmp_path / "given.tflite"
    path.write_bytes(small("float"))
    with on_disk({"a": path, "b": small("int8")}) as paths:
        assert paths["a"] == path
        assert paths["b"].read_bytes() == small("int8")
    assert path.exists()
    assert not paths["b"].exists()
