"""Bad days of the verbs that judge a file: data, disks, signals, terminals. No trace is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from one_op import f32
from tiny_models import dense_model, quantized_io_model

VERBS = ("inspect", "lint", "compare", "bench", "validate", "vectors", "delegates")
TFQ = [sys.executable, "-c", "from tfq_ext.cli import main; main()"]
MARK = "TFQ_TEST_MARK"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and mounts of POSIX")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A float file and one with int8 at its ends, samples, labels."""
    folder = tmp_path_factory.mktemp("bad days")
    weights = f32(4, 6)
    (folder / "float.tflite").write_bytes(dense_model(weights))
    into, out = ("int8", 2 / 255, 0), ("int8", 0.08, 3)
    (folder / "int8.tflite").write_bytes(quantized_io_model(weights, into, out))
    x = np.random.default_rng(0).uniform(-1, 1, (40, 6)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    np.save(folder / "labels.npy", (x @ weights.T).argmax(1))
    return folder


def words(verb: str, model: Path, data: Path | None = None) -> list[str]:
    """A short run of a verb."""
    folder = model.parent
    reference = str(folder / "float.tflite")
    fed = [] if data is None else ["--data", str(data)]
    table = {
        "inspect": [],
        "lint": fed,
        "compare": fed or ["--data", str(folder / "x.npz")],
        "bench": ["--runs", "2", "--no-profile", *fed],
        "validate": ["--runs", "2", "--workers", "1", "--reference", reference, *fed],
        "vectors": ["--count", "2", "-o", str(folder / f"v{os.getpid()}.zip"), *fed],
        "delegates": ["--no-gpu", "--limit", "2", *fed],
    }
    first = [reference] if verb == "compare" else []
    return [verb, *first, str(model), *table[verb]]


def tfq(*arguments: object, code: int | None = 0, **options: object) -> subprocess.CompletedProcess:
    """Run tfq in a process of its own, without a terminal."""
    done = subprocess.run(
        [*TFQ, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        **options,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr[-2000:]
    if code is not None:
        assert done.returncode == code, (arguments, done.stdout[-800:], done.stderr[-800:])
    return done


def told(done: subprocess.CompletedProcess) -> str:
    """The one sentence on stderr."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    assert lines, done
    assert lines[0].startswith(("error:", "Usage:", "Error:")), done.stderr
    assert len(done.stderr) < 1500, done.stderr
    return done.stderr


def _bad(kind: str, folder: Path) -> Path:
    x = np.load(folder / "x.npz")["x"].copy()
    path = folder / f"{kind}.npz"
    if kind == "nan":
        x[3, 2] = np.nan
    elif kind == "inf":
        x[3, 2] = np.inf
    elif kind == "shape":
        x = x[:, :5]
    elif kind == "text":
        x = np.full((4, 6), "a")
    elif kind == "no rows":
        x = x[:0]
    elif kind == "complex":
        x = x.astype(np.complex64)
    if kind == "empty":
        np.savez(path)
    elif kind == "torn":
        path.write_bytes((folder / "x.npz").read_bytes()[:200])
    elif kind == "zero bytes":
        path.write_bytes(b"")
    elif kind != "missing":
        np.savez(path, x=x)
    return path


FED = ("lint", "compare", "bench", "validate", "vectors", "delegates")
BAD = ("shape", "text", "no rows", "complex", "empty", "torn", "zero bytes", "missing", "nan")


@pytest.mark.parametrize("kind", [*BAD, "inf"])
def test_samples_that_cannot_be_used(place, kind):
    """compare meets every one; the other verbs open data in the same way (slow test below)."""
    said = told(tfq(*words("compare", place / "int8.tflite", _bad(kind, place)), code=2))
    assert kind not in ("nan", "inf") or "ample 3" in said


@pytest.mark.slow
@pytest.mark.parametrize("verb", FED)
@pytest.mark.parametrize("kind", BAD)
def test_samples_that_no_verb_can_use(place, verb, kind):
    if verb in ("bench", "vectors", "delegates") and kind == "nan":
        pytest.skip("it takes a few of the samples, and the one with NaN may not be among them")
    told(tfq(*words(verb, place / "int8.tflite", _bad(kind, place)), code=2))


def _files(folder: Path) -> dict[str, Path]:
    whole = (folder / "int8.tflite").read_bytes()
    made = {
        "torn": whole[: len(whole) // 2],
        "cut short": whole[:-40],
        "empty": b"",
        "no model": b"PK\3\4" + bytes(400),
    }
    for name, content in made.items():
        (folder / f"{name}.tflite").write_bytes(content)
    (folder / "folder.tflite").mkdir(exist_ok=True)
    return {name: folder / f"{name}.tflite" for name in (*made, "folder", "missing")}


@pytest.mark.parametrize("name", ["torn", "empty", "no model", "folder", "missing"])
@pytest.mark.parametrize("verb", ["inspect", "compare", "validate"])
def test_what_is_no_model(place, verb, name):
    told(tfq(*words(verb, _files(place)[name], place / "x.npz"), code=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torn", "empty", "no model", "folder", "missing"])
@pytest.mark.parametrize("verb", ["lint", "bench", "vectors", "delegates"])
def test_what_no_verb_takes_for_a_model(place, verb, name):
    told(tfq(*words(verb, _files(place)[name]), code=2))


LABELS = {
    "too few": np.zeros(7, np.int64),
    "too many": np.zeros(70, np.int64),
    "out of range": np.arange(40),
    "negative": np.full(40, -1),
    "text": np.full(40, "cat"),
    "nan": np.full(40, np.nan),
}


QUICK = (
    "negative",
    "text",
)  # counts and unknown classes: tests/validation/test_accuracy_measure.py
LABEL_CASES = [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in LABELS]


@pytest.mark.parametrize("kind", LABEL_CASES)
def test_labels_that_do_not_fit_leave_accuracy_unjudged(place, kind):
    """A gate on accuracy then cannot be decided, which is 2: never a pass."""
    np.save(place / "bad.npy", LABELS[kind])
    done = tfq(
        *words("validate", place / "int8.tflite", place / "x.npz"),
        *("--labels", place / "bad.npy", "--task", "classification", "--max-drop", "50%"),
        code=2,
    )
    assert "abel" in done.stdout + done.stderr


def test_one_sample_is_enough_to_run_and_too_few_to_decide(place):
    x = np.load(place / "x.npz")["x"]
    np.savez(place / "one.npz", x=x[:1], y=np.load(place / "labels.npy")[:1])
    data = place / "one.npz"
    done = tfq(*words("validate", place / "int8.tflite", data), "--max-drop", "1%", code=2)
    assert "cannot judge" in done.stdout
    tfq(*words("compare", place / "int8.tflite", data))


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_all_that_stdout_gets(place, verb):
    done = tfq(*words(verb, place / "int8.tflite"), "--json")
    assert isinstance(json.loads(done.stdout), dict)
    assert done.stderr == ""


def test_a_path_with_spaces_quotes_and_foreign_letters(place, tmp_path):
    folder = tmp_path / "my 'new' \"models\" ünï 模型 $HOME;x"
    folder.mkdir()
    for name in ("float.tflite", "int8.tflite", "x.npz"):
        (folder / name).write_bytes((place / name).read_bytes())
    for verb in ("inspect", "compare", "validate"):
        tfq(*words(verb, folder / "int8.tflite", folder / "x.npz"))


@pytest.mark.parametrize(
    "environment",
    [
        {"COLUMNS": "60"},
        {"COLUMNS": "20"},
        {"TERM": "dumb"},
        {"PYTHONWARNINGS": "error"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"HOME": "/proc/nowhere", "NUMBA_CACHE_DIR": "", "MPLCONFIGDIR": "/proc/nowhere"},
        {"PYTHONOPTIMIZE": "1"},
    ],
    ids=lambda e: ",".join(e),
)
def test_odd_environments(place, environment):
    for verb in ("inspect", "compare"):
        model, data = place / "int8.tflite", place / "x.npz"
        tfq(*words(verb, model, data), env={**os.environ, **environment})


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "HOME"])
def test_strict_warnings_and_no_home_with_every_verb(place, tmp_path, verb, name):
    value = {"PYTHONWARNINGS": "error", "HOME": "/proc/nowhere"}[name]
    page = ["--html", str(tmp_path / "r.html")] if verb == "validate" else []
    env = {**os.environ, name: value}
    tfq(*words(verb, place / "int8.tflite"), *page, env=env)


@posix
def test_a_reader_that_leaves_early(place):
    """`tfq ... | head -1`: no complaint, and no fault."""
    for verb in ("inspect", "validate"):
        line = " ".join(f"'{w}'" for w in [*TFQ, *words(verb, place / "int8.tflite"), "--json"])
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{line} | head -c 1"],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.stdout == "{"
        assert "Traceback" not in done.stderr
        assert "fault" not in done.stderr


@posix
def test_a_folder_that_cannot_be_written(place, tmp_path):
    """Not even by root: /proc/self takes no files."""
    model, x = place / "int8.tflite", place / "x.npz"
    for flag in ("--html", "--junit", "--markdown", "--report"):
        said = told(tfq("validate", model, flag, "/proc/self/r.out", "--runs", 2, code=2))
        assert "/proc/self" in said
    told(tfq("vectors", model, "--count", 1, "-o", "/proc/self/v.zip", code=2))
    told(tfq("validate", model, "--model-explorer", "/proc/self/nodes", "--runs", 2, code=2))
    for verb in ("compare", "validate"):  # and what only runs there needs to write nothing
        tfq(*words(verb, model, x), cwd="/proc/self")


@posix
def test_a_full_disk_leaves_what_was_there(place, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        page = folder / "r.html"
        page.write_bytes(b"old")
        said = told(tfq("validate", place / "int8.tflite", "--html", page, "--runs", 2, code=2))
        assert "No space left" in said
        assert page.read_bytes() == b"old"
        assert [p.name for p in folder.iterdir()] == ["r.html"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _alive(mark: str) -> list[str]:
    """Processes that were started with the mark in their environment, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def _gone(mark: str, seconds: float = 10.0) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := _alive(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _long(verb: str, folder: Path) -> list[str]:
    """A run that takes minutes, if nobody ends it."""
    many, model, base = folder / "many.npz", folder / "int8.tflite", folder / "float.tflite"
    if not many.exists():
        np.savez(many, x=np.random.default_rng(1).normal(size=(300_000, 6)).astype(np.float32))
    table = {
        "lint": ["lint", model, "--data", many, "--limit", "300000"],
        "compare": ["compare", base, model, "--data", many],
        "bench": ["bench", model, "--runs", "100000000", "--seconds", "200", "--no-profile"],
        "validate": ["validate", model, "--reference", base, "--data", many, "--workers", "2"],
        "vectors": ["vectors", model, "--data", many, "--count", "300000", "-o", folder / "v.zip"],
        "delegates": ["delegates", model, "--no-gpu", "--data", many, "--limit", "300000"],
    }
    return [str(word) for word in table[verb]]


def _interrupted(verb: str, place: Path, sign: int, wait: float) -> tuple[int, str]:
    mark = uuid.uuid4().hex
    before = set(place.iterdir()) | {place / "many.npz"}
    process = subprocess.Popen(
        [*TFQ, *_long(verb, place)],
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(_alive(mark)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(wait)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, sign)
    said = process.communicate(timeout=60)[1]
    assert _gone(mark) == [], "children outlived the run"
    assert set(place.iterdir()) <= before, "partial files"
    return process.returncode, said


@posix
@pytest.mark.parametrize("verb", ["compare", "bench", "validate"])
def test_ctrl_c_in_the_middle(place, verb):
    code, said = _interrupted(verb, place, signal.SIGINT, 1.5)
    assert code == 130, said
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert "checkpoint" not in said, "no such option here"


@posix
@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("verb", ["lint", "compare", "bench", "validate", "vectors", "delegates"])
def test_ctrl_c_at_other_moments(place, verb, wait):
    code, said = _interrupted(verb, place, signal.SIGINT, wait)
    assert code == 130, said
    assert "Traceback" not in said


@posix
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_killed_from_outside_leaves_no_children(place, sign):
    code, _ = _interrupted("validate", place, sign, 2.0)
    assert code != 0


def test_two_runs_at_once(place):
    """The same file, the same verbs: each gets its own answer."""
    runs = [
        subprocess.Popen(
            [*TFQ, *words("compare", place / "int8.tflite"), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    one, two = (json.loads(run.communicate(timeout=240)[0]) for run in runs)
    assert one == two
