"""What goes wrong outside: disks, permissions, data. One sentence each, and no half files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nets
import numpy as np
import pytest
from small_nets import images, residual

import tfq_ext
from tfq_ext.errors import DataError, ModelError, OutputError, TfqWarning

pytest.importorskip("tensorflow", reason="int8 files are finished by TensorFlow")
pytestmark = pytest.mark.tf
CONTENT = residual().to_bytes()
DATA = images(6)


@pytest.fixture(scope="module")
def result() -> tfq_ext.result.Result:
    return tfq_ext.quantize(CONTENT, DATA, recipe="int8-minmax", show_progress=False)


def _files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_full_disk_leaves_what_was_there(result, tmp_path):
    """On a file system of 16 kB, where this may be mounted: the new file does not fit."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        target = folder / "model.tflite"
        target.write_bytes(b"old")
        large = tfq_ext.result.Result(
            bytes(100_000), result.recipe, result.provenance, result.account
        )
        with pytest.raises(OutputError, match=r"model\.tflite"):
            large.save(target)
        assert target.read_bytes() == b"old"
        assert _files(folder) == ["model.tflite"], "no half file stays behind"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_failing_rename_leaves_what_was_there(result, tmp_path, monkeypatch):
    target = tmp_path / "model.tflite"
    target.write_bytes(b"old")

    def fails(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device", str(destination))

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OutputError, match="No space left"):
        result.save(target)
    assert target.read_bytes() == b"old"
    assert _files(tmp_path) == ["model.tflite"]


def test_a_folder_that_is_not_there_and_one_in_the_way(result, tmp_path):
    with pytest.raises(OutputError, match="missing"):
        result.save(tmp_path / "missing" / "model.tflite")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        result.save(tmp_path / "taken")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(result, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match=r"model\.tflite"):
            result.save(tmp_path / "model.tflite")
    finally:
        tmp_path.chmod(0o700)


def test_saving_replaces_and_reads_back(result, tmp_path):
    target = tmp_path / "model.tflite"
    target.write_bytes(b"old")
    assert result.save(target) == target
    assert target.read_bytes() == result.content
    assert _files(tmp_path) == ["model.tflite"]


def _with(index: tuple[int, ...], value: float) -> np.ndarray:
    data = DATA.copy()
    data[index] = value
    return data


# what comes -> part of the sentence; every one must be caught before native code sees it
BAD = {
    "nan": (_with((3, 1, 2, 0), np.nan), "1 NaN"),
    "infinite": (_with((3, 1, 2, 0), -np.inf), "1 infinite"),
    "channels first": (np.moveaxis(DATA, -1, 1), "channels first"),
    "too few axes": (lambda: iter([DATA[0, 0]]), "is expected"),
    "other size": (DATA[:, :6], "size differs"),
    "text": (np.full((2, 8, 8, 3), "a"), "U1"),
    "empty": (DATA[:0], "sample"),
    "unknown input": ({"picture": DATA}, "picture"),
    "no data": (None, "representative samples"),
    "no such file": ("nowhere.npz", "no such file"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore::tfq_ext.errors.TfqWarning")
def test_samples_that_cannot_be_used(kind):
    data, sentence = BAD[kind]
    with pytest.raises(DataError, match=sentence):
        tfq_ext.quantize(CONTENT, data, recipe="int8-minmax", show_progress=False)


def test_one_bad_sample_among_good_ones_is_named_by_its_number():
    with pytest.raises(DataError, match=r"Sample 3\b.*\(0, 1, 2, 0\)"):
        tfq_ext.quantize(CONTENT, _with((3, 1, 2, 0), np.nan), recipe="int8-minmax")


def test_blank_samples_are_a_warning_and_give_a_file_all_the_same():
    with pytest.warns(TfqWarning, match="constant"):
        done = tfq_ext.quantize(CONTENT, DATA * 0, recipe="int8-minmax", show_progress=False)
    assert done.account.float_ops == ()


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.98])
def test_a_truncated_model_is_refused(keep):
    with pytest.raises(ModelError):
        tfq_ext.quantize(CONTENT[: int(len(CONTENT) * keep)], DATA)


def test_what_is_no_model_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.tflite"
    path.write_text("not a model at all, only text")
    with pytest.raises(ModelError, match=r"notes\.tflite is not a \.tflite"):
        tfq_ext.quantize(path, DATA)


def test_a_finished_file_is_not_quantized_again(result):
    with pytest.raises(ModelError, match="already quantized"):
        tfq_ext.quantize(result.content, DATA)


def test_weights_that_are_not_finite_are_named():
    model = nets.dense_chain()
    graph = model.graphs[0]
    weight = graph.constant(graph.by_name["w1"]).copy()
    weight[2, 3] = np.nan
    model.tree.buffers[graph.tensors[graph.by_name["w1"]].buffer].data = weight.reshape(-1).view(
        np.uint8
    )
    data = np.random.default_rng(0).normal(size=(8, 4, 12)).astype(np.float32)
    with pytest.raises(tfq_ext.errors.TfqError, match=r"w1|d1"):
        tfq_ext.quantize(model.to_bytes(), lambda: iter(data), recipe="int8-minmax")
