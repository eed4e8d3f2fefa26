"""Statistics of a model: merging shards, and a file that says what is wrong with it."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tfq_ext.calibrate.accumulator import observe_many
from tfq_ext.calibrate.stats import (
    NO_SAMPLES,
    Stats,
    TensorStats,
    combine_hashes,
    hash_sample,
)
from tfq_ext.errors import OutputError, StatsError

MODEL = "ab" * 32


def sample(key):
    rng = np.random.default_rng(key)
    a = rng.normal(size=(1, 5, 5, 3)).astype(np.float32)
    odd = np.array([np.nan, np.inf, 1.0], np.float32)
    varying = rng.normal(size=(1, 2 + key % 2)).astype(np.float32)
    return {"block/conv;é": a, "odd": odd, "varying": varying, "none": np.zeros((0, 4), "f4")}


def stats(*keys, model=MODEL):
    accumulators, hashes = {}, NO_SAMPLES
    for key in keys:
        observe_many(accumulators, sample(key), key)
        hashes = combine_hashes(hashes, hash_sample(key, sample(key)))
    return Stats({n: a.freeze() for n, a in accumulators.items()}, model, hashes)


def test_shards_merge_to_the_whole_in_any_order():
    a, b, c, whole = stats(0, 5), stats(3), stats(1, 2), stats(0, 1, 2, 3, 5)
    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == c.merge(a).merge(b) == whole
    assert whole.merge(Stats({}, MODEL)) == whole
    assert whole.samples == 5
    assert whole.sample_keys.tolist() == [0, 1, 2, 3, 5]
    assert a != whole


def test_a_tensor_of_one_shard_only_is_kept():
    a, b = stats(0), stats(1)
    less = Stats({"odd": b["odd"]}, MODEL, b.sample_hash)
    merged = a.merge(less)
    assert merged["block/conv;é"] == a["block/conv;é"]
    assert merged["odd"].sample_keys.tolist() == [0, 1]


def test_a_shard_counted_twice_is_an_error_even_if_it_shares_no_tensor():
    a = stats(0, 1)
    with pytest.raises(StatsError, match="counted twice, keys 1"):
        a.merge(stats(1, 2))
    with pytest.raises(StatsError, match="counted twice, keys 0, 1"):
        Stats({"odd": a["odd"]}, MODEL).merge(Stats({"varying": a["varying"]}, MODEL))


def test_statistics_of_two_models_do_not_merge():
    with pytest.raises(StatsError, match="do not merge"):
        stats(0).merge(stats(1, model="cd" * 32))


def test_an_unknown_tensor_is_named():
    with pytest.raises(StatsError, match=r"'x'.*block/conv"):
        stats(0)["x"]
    assert "x" not in stats(0)
    assert "odd" in stats(0)


@pytest.mark.parametrize(
    "change",
    [
        {"count": 1},
        {"nan": 7},
        {"min": -9.0},
        {"sample_keys": np.array([3, 2])},
        {"sample_keys": np.array([1, 1])},
        {"sample_min": np.zeros(1, np.float32)},
        {"sample_max": np.zeros(2)},
        {"min": np.inf, "max": -np.inf},
    ],
)
def test_fields_that_contradict_each_other_are_refused(change):
    with pytest.raises(StatsError):
        replace(stats(1, 2)["block/conv;é"], **change)


def test_sample_hashes_form_a_set():
    one, two = hash_sample(0, sample(0)), hash_sample(1, sample(1))
    assert combine_hashes(one, two) == combine_hashes(two, one)
    assert combine_hashes(one, NO_SAMPLES) == one
    x = np.arange(6, dtype=np.float32)
    variants = [(0, x), (1, x), (0, x[::-1]), (0, x.reshape(2, 3)), (0, x.astype(np.float64))]
    variants += [(0, np.array(["a"], object)), (0, np.array(["b"], object)), (0, np.zeros((0, 2)))]
    assert len({hash_sample(key, {"x": v}) for key, v in variants}) == len(variants)
    with pytest.raises(StatsError, match="64"):
        combine_hashes("xyz")


@pytest.mark.parametrize("keys", [(), (0,), (0, 1, 2, 9)])
def test_a_file_gives_back_what_was_saved(tmp_path, keys):
    before = stats(*keys)
    written = before.save(tmp_path / "cal")
    assert written == tmp_path / "cal.npz"
    for path in ("cal", "cal.npz", "cal.json"):
        assert Stats.load(tmp_path / path, model=MODEL) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cal.json", "cal.npz"]


def test_a_loaded_file_can_be_resumed(tmp_path):
    stats(0, 1).save(tmp_path / "s")
    assert Stats.load(tmp_path / "s").merge(stats(2)) == stats(0, 1, 2)


def test_equal_statistics_are_equal_bytes(tmp_path):
    stats(0, 1, 2).save(tmp_path / "a")
    stats(2).merge(stats(1)).merge(stats(0)).save(tmp_path / "b")
    for end in ("npz", "json"):
        assert (tmp_path / f"a.{end}").read_bytes() == (tmp_path / f"b.{end}").read_bytes()


def test_the_json_says_what_the_numbers_belong_to(tmp_path):
    stats(0, 1).save(tmp_path / "s")
    head = json.loads((tmp_path / "s.json").read_text())
    assert (head["format"], head["version"], head["model"]) == ("tfq_ext.stats", 1, MODEL)
    assert head["samples"] == 2
    rows = {row["name"]: row for row in head["tensors"]}
    assert rows["odd"] | {"name": 0} == {
        "name": 0, "count": 6, "nan": 2, "inf": 2, "min": 1.0, "max": 1.0, "channels": 3,
    }  # fmt: skip
    assert rows["none"]["min"] is None
    assert rows["varying"]["channels"] is None


@pytest.mark.parametrize("end", ["npz", "json"])
def test_a_missing_file_is_named(tmp_path, end):
    stats(0).save(tmp_path / "s")
    (tmp_path / f"s.{end}").unlink()
    with pytest.raises(StatsError, match=rf"No statistics at .*s\.{end}"):
        Stats.load(tmp_path / "s")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"", lambda b: b[:70] + b"x" + b[71:]]
)
def test_damaged_numbers_are_noticed(tmp_path, damage):
    path = stats(0).save(tmp_path / "s")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StatsError, match="truncated, altered"):
        Stats.load(path)


def test_a_save_interrupted_between_its_files_is_noticed(tmp_path):
    stats(0).save(tmp_path / "old")
    stats(1).save(tmp_path / "s")
    (tmp_path / "old.json").replace(tmp_path / "s.json")
    with pytest.raises(StatsError, match="interrupted"):
        Stats.load(tmp_path / "s")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda h: h | {"version": 2}, "format version 2"),
        (lambda h: h | {"format": "other"}, "not a file of statistics"),
        (lambda h: [], "not a file of statistics"),
        (lambda h: h | {"samples": 5}, "do not fit"),
        (lambda h: h | {"sample_hash": "0"}, "do not fit"),
        (lambda h: h | {"tensors": h["tensors"][1:]}, "do not fit"),
        (lambda h: h | {"tensors": h["tensors"] * 2}, "do not fit"),
        (lambda h: h | {"tensors": [{}]}, "do not fit"),
        (lambda h: {k: v for k, v in h.items() if k != "tensors"}, "do not fit"),
    ],
)
def test_an_edited_head_is_refused(tmp_path, edit, message):
    path = stats(0).save(tmp_path / "s").with_suffix(".json")
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(StatsError, match=message):
        Stats.load(path)


def test_half_a_head_is_refused(tmp_path):
    path = stats(0).save(tmp_path / "s").with_suffix(".json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(StatsError, match="not JSON"):
        Stats.load(path)


def test_statistics_of_another_model_are_not_loaded(tmp_path):
    stats(0).save(tmp_path / "s")
    with pytest.raises(StatsError, match="not of cdcd"):
        Stats.load(tmp_path / "s", model="cd" * 32)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    with pytest.raises(OutputError, match="Cannot write"):
        stats(0).save(tmp_path / "no such folder" / "s")
    stats(0).save(tmp_path / "s")
    (tmp_path / "s.json").unlink()
    (tmp_path / "s.json").mkdir()
    with pytest.raises(OutputError, match=r"s\.json"):
        stats(1).save(tmp_path / "s")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.json", "s.npz"]


def test_reading_statistics_needs_neither_numba_nor_tensorflow(tmp_path):
    path = stats(0, 1).save(tmp_path / "s")
    code = (
        "import sys; from tfq_ext.calibrate.stats import Stats; s = Stats.load(sys.argv[1]);"
        "s['odd'].channels.variance; s.merge(Stats({}, s.model));"
        "assert not {'numba', 'tensorflow', 'keras'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_empty_statistics_are_neutral():
    one = stats(4)["block/conv;é"]
    assert TensorStats.empty().merge(one) == one == one.merge(TensorStats.empty())
    assert hash_sample(0, {}) != NO_SAMPLES
