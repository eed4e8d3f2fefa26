"""What is read of the machine, from files whose content is known."""

from __future__ import annotations

import os

import pytest

from tfq_ext.validation.latency.machine import Ticks, busy_share, machine, ticks
from tfq_ext.validation.seat.seat import resident

X86 = (
    "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sse4_2 avx512_vnni\n\n"
    "processor : 1\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\nHardware\t: Board 5\n\n"


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "loadavg").write_text("1.25 0.50 0.10 2/300 4711\n")
    (tmp_path / "stat").write_text("cpu  100 0 50 800 20 0 5 25 0 0\ncpu0 1 2 3\n")
    (tmp_path / "cpuinfo").write_text(X86)
    return tmp_path


def test_x86(proc):
    got = machine(proc)
    assert (got.cpu, got.load, got.dot_product) == ("Some CPU @ 2 GHz", 1.25, True)
    assert got.cores >= 1


@pytest.mark.parametrize(("feature", "expected"), [("asimddp", True), ("crc32", False)])
def test_arm(proc, feature, expected):
    (proc / "cpuinfo").write_text(ARM.format(feature))
    got = machine(proc)
    assert (got.cpu, got.dot_product) == ("Board 5", expected)


def test_a_system_without_proc(tmp_path):
    got = machine(tmp_path / "none")
    assert (got.load, got.busy, got.dot_product) == (None, None, None)
    assert ticks(tmp_path / "none") is None
    assert resident("VmRSS", tmp_path / "none") == 0


def test_files_full_of_nonsense(proc):
    (proc / "loadavg").write_text("\n")
    (proc / "stat").write_text("cpu x y\n")
    (proc / "cpuinfo").write_bytes(b"\xff\xfe\n")
    assert machine(proc).load is None
    assert ticks(proc) is None


def test_ticks_idle_and_waiting_are_no_work(proc):
    assert ticks(proc) == Ticks(work=180, total=1000)


@pytest.mark.parametrize(
    ("work", "total", "own", "expected"),
    [(80, 200, 0.0, 0.4), (80, 200, 0.5, 0.15), (80, 200, 3.0, 0.0), (300, 200, 0.0, 1.0)],
)
def test_share_of_others(work, total, own, expected):
    hertz = os.sysconf("SC_CLK_TCK")
    before, after = Ticks(1000, 5000), Ticks(1000 + work, 5000 + total)
    assert busy_share(before, after, own * 100 / hertz) == pytest.approx(expected)


def test_share_is_unknown_without_readings():
    reading = Ticks(1, 2)
    assert busy_share(None, reading, 0) is None
    assert busy_share(reading, None, 0) is None
    assert busy_share(reading, reading, 0) is None


def test_memory_of_this_process():
    assert 1 << 20 < resident("VmRSS") <= resident("VmHWM")
    assert resident("VmNonsense") == 0
