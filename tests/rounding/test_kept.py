"""A run that is killed and started again gives the bytes of one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfq_ext.errors import OutputError
from tfq_ext.rounding import ROUNDERS, Job, LayerData, weight_params
from tfq_ext.rounding.kept import Kept, job_key
from tfq_ext.spec import QSpec

RUN = """
import sys
from test_kept import layers
from tfq_ext.rounding import ROUNDERS
from tfq_ext.rounding.kept import Kept
kept = Kept(sys.argv[1])
for job in layers(20, 60_000):
    codes = kept.round("adaround", ROUNDERS["adaround"], job)
    print(codes.tobytes().hex(), flush=True)
"""


def layers(steps, last=20):
    """Three jobs, of so many steps; the last one is long enough to be hit in its middle."""
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(6, 12)).astype(np.float32)
    x = rng.normal(size=(256, 1, 12)).astype(np.float32)
    data = LayerData.of(weight, x, x + 0.1, lo=0.0)
    params = weight_params(weight, QSpec(4, narrow=True, axis=0))
    return [Job(weight, params, data, k, steps if k < 2 else last) for k in range(3)]


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(tmp_path):
    process = start(tmp_path / "killed")
    first = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert rest == ""
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "killed").glob("*.npy")}
    assert len(kept) == 2
    again, _ = start(tmp_path / "killed").communicate()
    whole, _ = start(tmp_path / "whole").communicate()
    assert again == whole
    assert again.splitlines(keepends=True)[:2] == first
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "killed").glob("*.npy")}
    assert len(after) == 3
    assert kept.items() <= after.items()  # not written, so not computed, a second time
    for name in after:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def changed(what):
    job = layers(10)[0]
    data, patches = job.data, job.data.patches
    gram = data.gram.copy()
    gram[0, 0, 0] = np.nextafter(gram[0, 0, 0], 9)
    moved = {
        "seed": {"seed": 1},
        "argument": {"argument": 11},
        "weight": {"weight": job.weight * np.float32(1.0001)},
        "grid": {"params": weight_params(job.weight * 2, job.params.spec)},
        "bits": {"params": weight_params(job.weight, QSpec(8, narrow=True, axis=0))},
        "moments": {"data": replace(data, gram=gram)},
        "activation": {"data": replace(data, patches=replace(patches, hi=6.0))},
        "bias": {"data": replace(data, patches=replace(patches, bias=patches.bias + 1))},
        "no patches": {"data": replace(data, patches=None)},
        "no data": {"data": None},
    }
    return job, moved if what is None else replace(job, **moved[what])


@pytest.mark.parametrize("what", changed(None)[1])
def test_whatever_codes_depend_on_is_in_the_key(what):
    job, other = changed(what)
    assert job_key("adaround", job) == job_key("adaround", layers(10)[0])
    assert job_key("adaround", job) != job_key("adaround", other)
    assert job_key("adaround", job) != job_key("gptq", job)


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_file_is_computed_anew(tmp_path, damage):
    job, kept = layers(10)[0], Kept(tmp_path / "deep" / "er")
    rounder = ROUNDERS["adaround"]
    codes = kept.round("adaround", rounder, job)
    (path,) = kept.folder.glob("*.npy")
    good = path.read_bytes()
    if damage is None:  # another weight's codes under this name
        np.save(path, codes[:2])
    else:
        path.write_bytes(damage)
    np.testing.assert_array_equal(kept.round("adaround", rounder, job), codes)
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="folder"):
        Kept(tmp_path / "file" / "in")


@pytest.mark.parametrize("damage", [None, "gone", b"", b"{", b"[]", b'{"steps": 1}'])
def test_what_a_rounder_told_is_kept_beside_its_codes(tmp_path, damage):
    """Whoever damages it loses the words, not the codes."""
    kept, job = Kept(tmp_path), layers(20)[0]
    first, again = [], []
    codes = kept.round("adaround", ROUNDERS["adaround"], replace(job, tell=first.append))
    assert len(first) == 1
    assert first[0].steps == 20
    (beside,) = tmp_path.glob("*.json")
    if damage == "gone":
        beside.unlink()
    elif damage is not None:
        beside.write_bytes(damage)
    found = kept.round("adaround", None, replace(job, tell=again.append))
    assert np.array_equal(found, codes)
    assert again == (first if damage is None else [])
    assert np.array_equal(kept.round("adaround", None, job), codes)
