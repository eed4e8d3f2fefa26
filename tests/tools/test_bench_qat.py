"""tools/bench_qat.py: its parts by closed forms, and all of it from end to end, tiny."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _qat_plan import EXPERIMENTS, FLOAT, METHODS, QUICK, Run, Settings, runs
from _qat_queue import Job, Log
from _qat_results import Results, run_of

TOOLS = Path(__file__).parents[2] / "tools"
FULL = runs(EXPERIMENTS, Settings())


def test_every_run_comes_after_the_one_it_starts_from_and_once():
    assert len(set(FULL)) == len(FULL)
    for k, run in enumerate(FULL):
        assert run.start is None or run.start in FULL[:k]


@pytest.mark.parametrize("run", FULL[::9], ids=lambda run: run.id)
def test_an_id_names_its_run(run):
    assert run_of(run.id) == run


def test_what_is_compared_trains_equally_long():
    base = Run("mobilenet", 0.35, "relu6", 0)
    settings = Settings(float_epochs=40, tune_epochs=8)
    for name, method in METHODS.items():
        run = replace(base, method=name)
        assert run.epochs(settings) == (48 if method.scratch else 8)
        usual = settings.rate if method.scratch else settings.tune_rate
        assert run.rate(settings) == pytest.approx(usual * method.slower)
    assert base.epochs(settings) == 40


def test_the_last_line_of_an_id_counts(tmp_path):
    log = Log(tmp_path / "deep" / "log.jsonl")
    assert log.rows("run") == {}
    log.write("run", {"id": "a", "accuracy": 0.1})
    log.write("file", {"id": "a", "accuracy": 0.2})
    log.write("run", {"id": "a", "accuracy": 0.3})
    assert log.rows("run")["a"]["accuracy"] == 0.3
    assert log.rows("file")["a"]["accuracy"] == 0.2


@pytest.fixture
def results(tmp_path):
    """Two seeds of a float network and its W8A8; 10 labels, answers known."""
    labels = np.arange(10)
    job = Job(tmp_path / "none.npz", tmp_path, Settings())
    (tmp_path / "predictions").mkdir()
    for seed, wrong in ((0, 1), (1, 3)):
        for method, more in ((FLOAT, 0), ("w8", 1)):
            run = Run("tiny", 0.35, "relu6", seed, method)
            answers = labels.copy()
            answers[: wrong + more] = 99
            np.save(tmp_path / "predictions" / f"{run.id}.npy", answers)
            job.log().write("run", {"id": run.id, "backend": "tensorflow", "parameters": 10})
    return Results(job, labels)


def test_groups_average_seeds_and_pair_images(results):
    (base,) = results.bases()
    group = results.group(base, "w8")
    assert group.seeds == (0, 1)
    assert group.accuracies == (0.8, 0.6)
    shares = [0, 0, 0.5, 0.5, 1, 1, 1, 1, 1, 1]
    np.testing.assert_array_equal(group.hits(group.seeds), shares)
    found = results.against(group, results.baseline(base, group.seeds))
    assert found.drop == pytest.approx(0.1)
    assert found.lo < 0.1 < found.hi
    assert results.group(base, "w4") is None


def lose(results, seed, method):
    run = Run("tiny", 0.35, "relu6", seed, method)
    row = results.runs[run.id] | {"accuracy": 1 - (1 + 2 * seed + (method == "w8")) / 10}
    results.job.log().write("run", row)
    del results.runs  # read the log again
    (results.job.out / "predictions" / f"{run.id}.npy").unlink()


def test_seeds_whose_answers_are_there_are_paired(results):
    (base,) = results.bases()
    lose(results, 0, "w8")
    group = results.group(base, "w8")
    assert group.accuracy == pytest.approx(0.7)
    found = results.against(group, results.baseline(base, group.seeds))
    assert found.paired
    assert found.note == "seed 1 alone"
    assert found.drop == pytest.approx(0.1)
    assert found.texts()[1].endswith("(seed 1 alone)")


def test_the_start_stands_in_for_lost_answers_of_the_float_network(results):
    (base,) = results.bases()
    for seed in (0, 1):
        lose(results, seed, FLOAT)
    group = results.group(base, "w8")
    assert not results.against(group, results.baseline(base, group.seeds)).paired
    for seed in (0, 1):
        run = replace(base, seed=seed)
        results.job.log().write("run", {"id": run.id, "accuracy": 1.0})
        np.save(results.job.out / "predictions" / f"{run.id}.npy", results.labels)
    del results.runs
    found = results.against(group, results.baseline(base, group.seeds))
    assert found.paired
    assert found.drop == pytest.approx(0.1)  # against the fine-tuned one, by the log
    assert found.lo < 0.3 < found.hi
    assert found.note == "+30.00 against the network before fine-tuning"


def test_ours_stands_behind_tfmot_by_pairs(results):
    from _qat_sections import tfmot

    folder = results.job.out / "predictions"
    for name, wrong in (("tfmot", 1), ("w8", 3)):
        name = f"tiny-0.35-relu6-s0.{name}.steps30"
        np.save(folder / f"{name}.litert.npy", np.where(results.labels < wrong, 99, results.labels))
        row = {"id": name, "keras": 1, "accuracy": 1, "agreement": 1, "bytes": 1, "seconds": 1}
        results.job.log().write("tfmot", row)
    (section,) = tfmot(results)
    behind = section.header.index("behind TFMOT in LiteRT, points")
    assert [row[behind] for row in section.rows] == ["", "+20.00"]


@pytest.mark.tf
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 7, 4])
def test_shifted_products_are_the_depthwise_convolution(size, stride):
    keras = pytest.importorskip("keras")
    from _qat_depthwise import depthwise

    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, size, size, 5)).astype(np.float32)
    w = rng.normal(size=(3, 3, 5, 1)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(keras.ops.depthwise_conv(x, w, stride, "same"))
    np.testing.assert_allclose(depthwise(x, w, (stride, stride), "same"), wanted, atol=1e-5)


@pytest.mark.tf
def test_batches_are_crops_of_every_image_once_an_epoch():
    pytest.importorskip("keras")
    from _qat_data import MEAN, STD, Batches, cropped

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    batches = Batches(pixels, np.arange(12), batch=4, length=3, seed=0)
    assert sorted(np.concatenate([batches[k][1] for k in range(3)])) == list(range(12))
    padded = np.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)))
    shifts, flips = np.array([[0, 8], [4, 4]], np.int32), np.array([True, False])
    found = np.asarray(cropped(padded, np.array([3, 5], np.int32), shifts, flips))
    first = padded[3, :32, 8:40][:, ::-1]
    np.testing.assert_allclose(found[0] * STD + MEAN, first, atol=1e-3)
    np.testing.assert_allclose(found[1] * STD + MEAN, pixels[5], atol=1e-3)


@pytest.mark.tf
@pytest.mark.parametrize(("mode", "moves"), [("naive", True), ("corrected", False)])
def test_naive_folding_moves_the_weights_from_batch_to_batch(mode, moves):
    keras = pytest.importorskip("keras")
    from _qat_nets import Style, tiny
    from _qat_watch import batch_jitter

    from tfq_ext import qat

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 32, 32, 3)).astype(np.float32)
    recipe = {"base": "int8", "weights": {"per_channel": False}}
    model = qat.quantize_aware(tiny(Style(keras)), batch_norm=mode, recipe=recipe)
    before = model.get_weights()
    share, moved = batch_jitter(model, [x[:8], 2 * x[8:]])
    assert (share > 0.01) == moves
    assert (moved > 0.01) == moves
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.mark.tf
@pytest.mark.slow
def test_from_end_to_end_on_noise(tmp_path):
    rng = np.random.default_rng(0)
    images = {f"x_{part}": rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for part, n in SPLITS}
    labels = {f"y_{part}": rng.integers(0, 10, n) for part, n in SPLITS}
    np.savez(tmp_path / "noise.npz", **images, **labels)
    options = ["--quick", "--data", tmp_path / "noise.npz", "--out", tmp_path, "--keep"]
    steps = ("float", "finetune", "export", "codes", "report", "plot")
    command = [sys.executable, TOOLS / "bench_qat.py", *steps, *options, f"{FLOAT},w8,w8-naive"]
    for _ in range(2):  # the second time everything is there already
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert (kinds.count("run"), kinds.count("file"), kinds.count("codes")) == (4, 4, 2)
    assert all(line["left_float"] == 0 for line in lines if line["kind"] == "file")
    report = (tmp_path / "report.md").read_text()
    assert "| W8A8, corrected and frozen | 1 |" in report
    assert (tmp_path / "plot.png").stat().st_size > 10_000


SPLITS = (("train", 256), ("test", 200))


def test_the_quick_settings_are_a_part_of_the_full_ones():
    assert {run.method for run in runs(EXPERIMENTS, QUICK)} - {None} == QUICK.keep
