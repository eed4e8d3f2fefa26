"""Test vectors: the bytes that a device would be fed, and the bytes that it should give."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from one_op import f32
from small_nets import images, residual
from tiny_models import add_model, dense_model, quantized_io_model

from tfq_ext.errors import DataError
from tfq_ext.tflite.run import open_interpreter
from tfq_ext.validation import vectors
from tfq_ext.validation.vectors import make_vectors, replay

INT8 = quantized_io_model(f32(3, 4), ("int8", 0.05, 3), ("int8", 0.1, -2))


def unzipped(content: bytes):
    archive = zipfile.ZipFile(io.BytesIO(content))
    return json.loads(archive.read("manifest.json")), archive


def test_raw_bytes_into_a_plain_interpreter_give_the_expected_bytes():
    x = np.linspace(-6, 6, 12, dtype=np.float32).reshape(3, 4)
    manifest, archive = unzipped(make_vectors(INT8, x, count=3))
    interpreter = open_interpreter(INT8)
    (port,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    for k in range(3):
        raw = np.frombuffer(archive.read(f"{k}/input_0.bin"), np.int8)
        interpreter.set_tensor(port["index"], raw.reshape(manifest["vectors"][k]["inputs"][0]))
        interpreter.invoke()
        assert interpreter.get_tensor(out["index"]).tobytes() == archive.read(f"{k}/output_0.bin")


def test_reals_are_stored_as_the_codes_of_the_file():
    _, archive = unzipped(make_vectors(INT8, np.array([[0.05, 0.0, -0.05, 99]], np.float32)))
    assert np.frombuffer(archive.read("0/input_0.bin"), np.int8).tolist() == [4, 3, 2, 127]


def test_the_manifest_says_what_the_device_needs():
    manifest, _ = unzipped(make_vectors(INT8, count=2, seed=5))
    assert manifest["inputs"][0]["dtype"] == "int8"
    assert manifest["inputs"][0]["scale"] == pytest.approx(0.05)
    assert manifest["byte_order"] == "little"
    assert len(manifest["model_sha256"]) == 64
    assert len(manifest["vectors"]) == 2


def test_the_same_seed_gives_the_same_bytes():
    assert make_vectors(INT8, seed=1) == make_vectors(INT8, seed=1)
    assert make_vectors(INT8, seed=1) != make_vectors(INT8, seed=2)


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_replay_of_the_same_kernels_is_equal(kernels):
    content = residual().to_bytes()
    vectors = make_vectors(content, images(4), count=4, kernels=kernels)
    done = replay(content, vectors, kernels=kernels)
    assert (done.vectors, done.equal, done.where) == (4, 4, "")


def test_replay_names_the_difference():
    content = residual().to_bytes()
    vectors = make_vectors(content, images(2), count=2)
    manifest, archive = unzipped(vectors)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name in archive.namelist():
            raw = archive.read(name)
            if name == "1/output_0.bin":
                raw = (np.frombuffer(raw, np.float32) + np.float32(0.5)).tobytes()
            out.writestr(name, raw)
    done = replay(content, buffer.getvalue())
    assert done.equal == 1
    assert done.where == "sample 1, output logits"
    assert done.max_error == pytest.approx(0.5, rel=1e-5)
    assert manifest["outputs"][0]["name"] == "logits"


def test_several_inputs_and_an_open_batch():
    assert replay(add_model(), make_vectors(add_model(), count=2)).equal == 2
    free = dense_model(f32(3, 4))
    assert replay(free, make_vectors(free, f32(5, 4), count=5)).equal == 5


def test_vectors_of_another_file_are_refused():
    with pytest.raises(DataError, match="another file"):
        replay(residual().to_bytes(), make_vectors(INT8))


@pytest.mark.parametrize("cut", [0, 1, 50, -30])
def test_damaged_vectors_are_refused(cut):
    content = make_vectors(INT8)[:cut]
    with pytest.raises(DataError, match="no test vectors"):
        replay(INT8, content)


def test_damage_anywhere_in_the_archive_is_refused_or_seen():
    """Flipped bytes reach zipfile, zlib and json in every way that they can fail."""
    content = make_vectors(INT8, count=2)
    for seed in range(200):
        rng, damaged = np.random.default_rng(seed), bytearray(content)
        for at in rng.integers(0, len(content), 3):
            damaged[at] ^= int(rng.integers(1, 256))
        with suppress(DataError):  # or the damage does not matter
            vectors._unzipped(bytes(damaged), "it")


def test_nan_where_a_number_was_expected_is_an_infinite_difference():
    port = {"outputs": [{"name": "y", "scale": 0.0}]}
    one, nan = np.float32([1.0]), np.float32([np.nan])
    done = vectors._compared([{"outputs": [one]}], [[nan]], port, "builtin")
    assert (done.equal, done.max_error, done.where) == (0, np.inf, "sample 0, output y")


def test_noise_covers_the_codes_of_a_quantized_input():
    """-1..1 is two codes of an input whose step is 1."""
    pixels = quantized_io_model(f32(3, 64), ("int8", 1.0, -128), ("int8", 0.1, -2))
    _, archive = unzipped(make_vectors(pixels, count=1))
    assert np.unique(np.frombuffer(archive.read("0/input_0.bin"), np.int8)).size > 32
