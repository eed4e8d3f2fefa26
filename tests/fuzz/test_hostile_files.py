"""A named corpus of bad days: every command says one clear sentence, exit code 2, no traceback."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import small_nets
from bad_models import (
    calls_itself,
    crash,
    endless_loop,
    hundred_gigabytes,
    row_out_of_range,
    weight_without_bytes,
)
from click.testing import CliRunner
from fuzz_targets import TARGETS

from tfq_ext.cli import main
from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.validation.sandbox import Limits, ModelDied, SafeRunner, died_finding

HONEST = small_nets.residual().to_bytes()
READERS = [name for name in TARGETS if name != "run"]
VERBS = [v for v in ("inspect", "lint") if find_spec(f"tfq_ext.cli.{v}") is not None]


def _reversed() -> bytes:
    """Every offset is wrong, the magic is right."""
    return HONEST[:8] + HONEST[8:][::-1]


def _self_reference() -> bytes:
    """The root table is its own list of subgraphs."""
    at = struct.unpack_from("<I", HONEST)[0]
    data = bytearray(HONEST)
    for word in range(at, at + 40, 4):
        struct.pack_into("<I", data, word, 0)
    return bytes(data)


def _edited(change: Callable[[object], None]) -> bytes:
    model = Model.parse(HONEST)
    change(model.tree)
    return model.to_bytes()


def _absurd_shapes(tree) -> None:
    for tensor in tree.subgraphs[0].tensors:
        tensor.shape = [2**31 - 1] * len(tensor.shape)


def _negative_shapes(tree) -> None:
    tree.subgraphs[0].tensors[0].shape = [1, -8, -8, 3]


def _swapped_types(tree) -> None:
    tree.subgraphs[0].tensors[0].buffer = 2**31


# name -> bytes that cannot be read as a model
DAMAGED: dict[str, Callable[[], bytes]] = {
    "zero bytes": lambda: b"",
    "eight bytes": lambda: HONEST[:8],
    "twelve bytes": lambda: HONEST[:12],
    "text": lambda: b"This is not a model, it is a letter.\n" * 50,
    "html": lambda: b"<!DOCTYPE html><html>404 Not Found</html>",
    "zip": lambda: b"PK\x03\x04" + bytes(200),
    "git lfs pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "magic and zeros": lambda: b"\x1c\0\0\0TFL3" + bytes(1000),
    "magic and ones": lambda: b"\x1c\0\0\0TFL3" + b"\xff" * 1000,
    "reversed": _reversed,
    "self reference": _self_reference,
    "calls itself": calls_itself,
    "calls in a ring": lambda: calls_itself(3),
    "absurd shapes": lambda: _edited(_absurd_shapes),
    "negative shapes": lambda: _edited(_negative_shapes),
    "buffers that are not there": lambda: _edited(_swapped_types),
    **{f"truncated at {k}/16": lambda k=k: HONEST[: len(HONEST) * k // 16] for k in range(1, 16)},
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("target", READERS)
def test_a_damaged_file_is_refused_in_a_sentence(target, name):
    with pytest.raises(ModelError) as caught:
        TARGETS[target]()(DAMAGED[name]())
    sentence = str(caught.value)
    assert 20 < len(sentence) < 400
    assert sentence.endswith(".")


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("verb", VERBS)
def test_at_the_command_line(verb, name, tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(DAMAGED[name]())
    result = CliRunner().invoke(main, [verb, str(path)])
    assert result.exit_code == 2, result.output
    assert "bad.tflite" in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("claims", [2**31 - 1, 2**31, 2**40], ids=["2 GB - 1", "2 GB", "1 TB"])
def test_a_file_that_claims_gigabytes(verb, claims, tmp_path):
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.truncate(claims)  # a sparse file: takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = CliRunner().invoke(main, [verb, str(path)])
    assert result.exit_code == 2
    assert "huge.tflite" in result.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB: 512 MiB


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("what", ["folder", "nothing", "device", "unreadable"])
def test_what_is_no_file(verb, what, tmp_path):
    path = {"folder": tmp_path, "device": Path("/dev/zero")}.get(what, tmp_path / "none.tflite")
    if what == "unreadable":
        path.write_bytes(HONEST)
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user reads everything")
    result = CliRunner().invoke(main, [verb, str(path)])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def _feed(runner: SafeRunner) -> dict[str, np.ndarray]:
    return {name: np.ones(port.shape, port.dtype) for name, port in runner.inputs.items()}


# name -> (bytes, words of the error, rule of the finding): sound to read, fatal to run
FATAL = {
    "crashes": (crash, r"LiteRT died at allocate: SIG[A-Z]+\.", "runtime-died"),
    "loops": (endless_loop, r"LiteRT gave no answer in 2 s at invoke\.", "runtime-hang"),
    "100 GB": (hundred_gigabytes, "cannot get the memory", "runtime-refused"),
    "row out of range": (row_out_of_range, "GATHER", "runtime-refused"),
    "weight without bytes": (weight_without_bytes, "invalidly specified", "runtime-refused"),
}


@pytest.mark.parametrize("name", FATAL)
def test_a_file_that_kills_litert_is_an_error_of_the_file(name):
    make, words, rule = FATAL[name]
    limits = Limits(seconds=2.0)
    with pytest.raises(ModelError, match=words) as caught, SafeRunner(make(), limits=limits) as r:
        r(_feed(r))
    assert died_finding(caught.value).rule.id == rule
    assert isinstance(caught.value, ModelDied) == (rule != "runtime-refused")


@pytest.mark.parametrize("name", FATAL)
@pytest.mark.parametrize("target", READERS)
def test_such_files_are_read_without_harm(target, name):
    TARGETS[target]()(FATAL[name][0]())
