"""Children that run models: what comes back, what kills them, and that none outlives us."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from bad_models import (
    crash,
    endless_loop,
    hundred_gigabytes,
    row_out_of_range,
    weight_without_bytes,
)
from tiny_models import dense_model, two_signatures

from tfq_ext.errors import DataError, ModelError, SpecError, TfqWarning
from tfq_ext.tflite.runner import Runner
from tfq_ext.tflite.stage import stage
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.sandbox import (
    RULES,
    Child,
    ChildError,
    Limits,
    ModelDied,
    SafeRunner,
    died_finding,
)

W = np.array([[1.0, 2.0, -1.0], [0.5, -0.25, 4.0]], np.float32)
X = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]], np.float32)
ROUND = "tfq_ext.spec:round_half_away"
RUNNER = "tfq_ext.tflite.runner:Runner"
QUICK = Limits(memory_bytes=2**30, seconds=2.0)
ONE = {"x": np.ones(1, np.float32)}


@pytest.fixture
def child():
    with Child(QUICK) as child:
        yield child


def is_running(pid: int) -> bool:
    """Whether it runs; a dead child of nobody may stay as a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def comes_true(condition) -> bool:
    """Within ten seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_call_has_the_function_s_value(child):
    x = np.array([-2.5, -0.5, 0.5, 2.5], np.float32)
    np.testing.assert_array_equal(child.call(ROUND, x), [-3, -1, 1, 3])
    np.testing.assert_array_equal(child.call(ROUND, x=x[::2]), [-3, 1])


def test_large_arrays_come_back_whole(child):
    x = np.random.default_rng(0).integers(0, 255, (3, 1000, 1000), np.uint8)
    packed = child.call("tfq_ext.tflite.bits:pack", x, "uint8")
    np.testing.assert_array_equal(packed, x.ravel())
    packed[0] = 1  # it is ours: writable


@pytest.mark.parametrize(
    "target", ["os:getpid", "tfq_ext.spec:nothing", "tfq_ext.none:x", "tfq_ext.spec:np.sum", "x"]
)
def test_only_functions_of_the_package_are_called(child, target):
    with pytest.raises(ChildError, match=r"tfq_ext|exist"):
        child.call(target)
    assert child.alive


def test_errors_are_raised_as_they_were(child):
    with pytest.raises(ModelError, match=r"the model is not a \.tflite") as caught:
        child.make(RUNNER, b"no model at all.....")
    assert type(caught.value) is ModelError
    remote = child.make(RUNNER, dense_model(W))
    with pytest.raises(DataError, match=r"shape \(1, 4\); the model takes \(-1, 3\)"):
        remote.call("__call__", {"x": np.ones((1, 4), np.float32)})
    np.testing.assert_allclose(remote.call("__call__", {"x": X})["y"], X @ W.T, rtol=1e-6)


def test_our_own_faults_carry_the_traceback_of_the_child(child):
    remote = child.make(RUNNER, dense_model(W))
    with pytest.raises(ChildError, match="AttributeError") as caught:
        remote.call("nonsense")
    assert "Traceback" in caught.value.__notes__[0]
    assert child.alive


def test_objects_are_apart_and_can_be_dropped(child):
    first, second = (child.make(RUNNER, dense_model(w)) for w in (W, -W))
    y = [r.call("__call__", {"x": X})["y"] for r in (first, second)]
    np.testing.assert_array_equal(y[0], -y[1])
    first.drop()
    with pytest.raises(ChildError, match="KeyError"):
        first.get("inputs")
    assert list(second.get("inputs")) == ["x"]


def test_warnings_are_given_here(child):
    account = child.make("tfq_ext.samples.checks:Account")
    with pytest.warns(TfqWarning, match="careful") as given:
        account.call("warn", "careful with <this>")
    assert len(given) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", TfqWarning)
        with pytest.raises(TfqWarning, match="again"):
            account.call("warn", "again")
    assert child.call(ROUND, 0.5) == 1


def test_arguments_may_have_any_name(child):
    account = child.make("tfq_ext.samples.checks:Account", notes={"target": None})
    assert account.get("notes") == {"target": None}
    with pytest.raises(ChildError, match="unexpected keyword argument 'target'"):
        child.call(ROUND, target=1)


def test_a_crash_has_a_signal_and_a_stage(child):
    runner = child.make(RUNNER, crash())
    with pytest.raises(ModelDied) as caught:
        runner.call("__call__", {"x": np.ones((4, 8), np.float32)})
    error = caught.value
    assert error.kind == "signal"
    assert error.stage == "allocate"
    assert error.how in ("SIGSEGV", "SIGABRT", "SIGBUS")
    assert str(error) == f"LiteRT died at allocate: {error.how}."
    assert not child.alive
    with pytest.raises(ModelDied, match="died at allocate"):
        child.call(ROUND, 1.0)
    assert died_finding(error).rule is RULES["runtime-died"]


def test_a_hang_ends_at_the_limit():
    with SafeRunner(endless_loop(), limits=Limits(seconds=1.0)) as runner:
        with pytest.raises(ModelDied, match="LiteRT gave no answer in 1 s at invoke") as caught:
            runner(ONE)
        assert comes_true(lambda: not is_running(runner.child.pid))
    assert died_finding(caught.value).rule is RULES["runtime-hang"]


def test_memory_is_limited():
    words = r"ran out of memory \(limit 0\.5 GiB\)"
    with Child(Limits(2**29)) as child, pytest.raises(ModelDied, match=words) as caught:
        child.call("tfq_ext.tflite.bits:pack", np.ones(150_000_000, np.uint8), "float32")
    assert died_finding(caught.value).rule is RULES["runtime-memory"]


def test_a_model_that_asks_for_100_gb_is_refused_with_the_reason():
    words = "cannot get the memory"
    with (
        SafeRunner(hundred_gigabytes()) as runner,
        pytest.raises(ModelError, match=words) as caught,
    ):
        runner({"x": np.ones((1, 1), np.float32)})
    assert died_finding(caught.value).rule is RULES["runtime-refused"]


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (row_out_of_range, (4, 8), "GATHER"),
        (weight_without_bytes, (1, 64), "Tensor 1 is invalidly specified"),
    ],
)
def test_what_litert_refuses_is_said_in_its_words(make, shape, words):
    with pytest.raises(ModelError, match=words) as caught, SafeRunner(make()) as runner:
        runner({"x": np.ones(shape, np.float32)})
    assert not isinstance(caught.value, ModelDied)
    finding = died_finding(caught.value)
    assert isinstance(finding, Finding)
    assert words in finding.message


def test_a_file_is_read_in_the_child_and_named_as_it_was(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(dense_model(W))
    with SafeRunner(path) as runner:
        np.testing.assert_allclose(runner({"x": X})["y"], X @ W.T, rtol=1e-6)
    path.write_bytes(dense_model(W)[:200])
    with pytest.raises(ModelError, match=r"m\.tflite is truncated"):
        SafeRunner(path)


def test_safe_runner_is_a_runner():
    data = two_signatures(W, -W)
    plain = Runner(data, signature="second")
    with SafeRunner(data, signature="second") as safe:
        assert safe.inputs == plain.inputs
        assert safe.outputs == plain.outputs
        np.testing.assert_array_equal(safe({"x": X[:1]})["y"], plain({"x": X[:1]})["y"])
        safe.feed({"x": X[1:]})
        safe.invoke()
        np.testing.assert_array_equal(safe.read()["y"], plain({"x": X[1:]})["y"])
    with pytest.raises(ModelError, match="no signature 'third'"):
        SafeRunner(data, signature="third")


def test_several_children_from_several_threads():
    wanted, got = {}, {}

    def work(k: int) -> None:
        with SafeRunner(dense_model(W * k)) as runner:
            for _ in range(20):
                got[k] = runner({"x": X})["y"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for k, thread in enumerate(threads):
        wanted[k] = X @ (W * k).T
        thread.start()
    for k, thread in enumerate(threads):
        thread.join(60)
        np.testing.assert_allclose(got[k], wanted[k], rtol=1e-6)


def test_one_child_takes_calls_of_several_threads_one_by_one(child):
    got = {}

    def work(k: int) -> None:
        got[k] = [float(child.call(ROUND, np.float64(k + 0.2 * j))) for j in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for k, thread in enumerate(threads):
        thread.join(60)
        assert got[k] == [np.floor(k + 0.2 * j + 0.5) for j in range(20)]


def test_a_child_outlives_the_thread_that_made_it():
    made = []
    thread = threading.Thread(target=lambda: made.append(Child(QUICK)))
    thread.start()
    thread.join()
    with made[0] as child:
        assert child.call(ROUND, 0.5) == 1
        time.sleep(0.1)
        assert child.alive


def test_closing_from_another_thread_wakes_the_caller():
    runner = SafeRunner(endless_loop(), limits=Limits(seconds=100.0))
    errors = []

    def work() -> None:
        try:
            runner(ONE)
        except ModelDied as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert comes_true(lambda: runner.child.stage == "invoke")
    runner.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(errors) == 1


HOLD = """
import sys
import numpy as np
sys.path[:0] = {paths!r}
from bad_models import endless_loop
from tfq_ext.validation.sandbox import Limits, SafeRunner
runner = SafeRunner(endless_loop(), limits=Limits(seconds=100.0))
print(runner.child.pid, flush=True)
try:
    runner({{"x": np.ones(1, np.float32)}})
except KeyboardInterrupt:
    print("interrupted", runner.child.alive)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_child_never_outlives_us(number):
    """Even one that is deep in a native loop, and however we end."""
    code = HOLD.format(paths=[str(Path(__file__).parents[1] / "helpers")])
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.7)
    assert is_running(pid)
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=30)
    assert comes_true(lambda: not is_running(pid))
    assert out.strip() == ("interrupted False" if number == signal.SIGINT else "")


def test_what_the_child_prints_is_kept_apart(capfd, child):
    child.make(RUNNER, dense_model(W)).call("__call__", {"x": X})
    assert comes_true(lambda: "XNNPACK" in child.stderr)
    assert capfd.readouterr() == ("", "")


def test_environment_variables_reach_the_child():
    with Child(env={"TFQ_SANDBOX_TEST": "1"}) as child:
        child.call(ROUND, 1.0)
        environ = Path(f"/proc/{child.pid}/environ").read_bytes()
    assert b"TFQ_SANDBOX_TEST=1" in environ


def test_nothing_of_the_current_folder_is_imported(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('hostile')")
    monkeypatch.chdir(tmp_path)
    with Child(QUICK) as child:
        assert child.call(ROUND, 0.5) == 1


def test_a_child_that_cannot_start_is_our_fault():
    home = {"PYTHONHOME": "/nowhere"}
    with Child(env=home) as child, pytest.raises(ChildError, match="did not start") as caught:
        child.call(ROUND, 1.0)
    assert "PYTHONHOME" in caught.value.__notes__[0]


def test_closing_twice_and_calling_after(child):
    child.close()
    child.close()
    with pytest.raises(ModelDied, match="was closed"):
        child.call(ROUND, 1.0)


def test_file_descriptors_and_threads_are_given_back():
    def use() -> tuple[int, int]:
        with Child(QUICK) as child:
            child.call(ROUND, 1.0)
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    assert use() == use()


def test_stages_are_free_outside_of_a_child():
    stage("invoke")


@pytest.mark.parametrize("wrong", [{"memory_bytes": 1000}, {"seconds": 0.0}, {"seconds": -1.0}])
def test_limits_that_cannot_be(wrong):
    with pytest.raises(SpecError):
        Limits(**wrong)


def test_no_limits_at_all():
    with Child(Limits(memory_bytes=None, seconds=None)) as child:
        assert child.call(ROUND, 0.5) == 1


def test_threads_that_close_at_once_close_once(monkeypatch):
    child = Child(QUICK)
    life, real, closed = child._process._life, os.close, []

    def slow(number):
        if number == life:
            closed.append(number)
            time.sleep(0.1)  # long enough for another thread to come by
        real(number)

    monkeypatch.setattr(os, "close", slow)
    threads = [threading.Thread(target=child.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert closed == [life]
