"""`tfq quantize` killed while it learns a rounding: the same command goes on from there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_nets import images, residual

LAYERS = 4
# int16x8 needs no TensorFlow; so many steps take each layer a few tenths of a second.
COMMAND = (
    *(sys.executable, "-c", "from tfq_ext.cli import main; main()"),
    *("quantize", "net.tflite", "--data", "x.npy", "--recipe", "int16x8"),
    *("--set", "weights.rounding=adaround:40000"),
)


def begun(place: Path, *more: str) -> subprocess.Popen[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*COMMAND, *more], cwd=place, stdin=subprocess.DEVNULL, **streams)


def done(place: Path, *more: str) -> None:
    process = begun(place, *more)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said


def kept(place: Path) -> dict[str, tuple[int, int]]:
    """Every file of codes; writing it again would change both numbers."""
    found = {path.name: path.stat() for path in (place / "run-codes").glob("*.npy")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_killed_while_it_rounds_and_run_again_gives_the_same_bytes(tmp_path):
    (tmp_path / "net.tflite").write_bytes(residual().to_bytes())
    np.save(tmp_path / "x.npy", images(6))
    resumable = ("--checkpoint", "run", "-o", "resumed.tflite")
    process = begun(tmp_path, *resumable)
    deadline = time.monotonic() + 240
    while not kept(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    before = kept(tmp_path)
    assert 0 < len(before) < LAYERS, "the kill missed the middle"
    assert not (tmp_path / "resumed.tflite").exists()

    done(tmp_path, *resumable)
    after = kept(tmp_path)
    assert len(after) == LAYERS
    assert before.items() <= after.items(), "a layer was learned a second time"
    done(tmp_path, "-o", "whole.tflite")
    whole, resumed = (tmp_path / f"{name}.tflite" for name in ("whole", "resumed"))
    assert resumed.read_bytes() == whole.read_bytes()
