"""`tfq bench`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bench_nets import custom, small
from click.testing import CliRunner
from small_nets import images

from tfq_ext.cli.bench import bench
from tfq_ext.cli.errors import reported


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench")
    for recipe in ("float", "int4"):
        (path / f"{recipe}.tflite").write_bytes(small(recipe))
    (path / "custom.tflite").write_bytes(custom())
    (path / "text.tflite").write_bytes(b"this is not a model at all")
    np.save(path / "x.npy", images(2))
    return path


def typed(*arguments):
    import click

    @click.group()
    @click.pass_context
    def main(ctx):
        ctx.with_resource(reported(ctx))

    main.add_command(bench)
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_help_has_examples_and_exit_codes():
    result = typed("--help")
    assert result.exit_code == 0
    assert "tfq bench int8.tflite --against float.tflite" in result.output
    assert "Exit codes" in result.output


def test_people_get_times_ops_and_reasons(folder):
    result = typed(
        *(folder / "int4.tflite", "--against", folder / "float.tflite"),
        *("--runs", 3, "--warmup", 0, "--top", 2, "--data", folder / "x.npy"),
    )
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "x base: by float.tflite" in text
    assert "XNNPACK ran 5 of 8 ops" in text
    assert "with 4-bit weights take" in text
    assert "\x1b" not in result.stdout


def test_machines_get_json_and_nothing_else(folder):
    result = typed(
        *(folder / "int4.tflite", "--against", folder / "float.tflite", "--json"),
        *("--runs", 2, "--warmup", 0, "--threads", "1,2", "--kernels", "xnnpack,builtin"),
        "--no-profile",
    )
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["baseline"] == "float.tflite"
    assert len(values["rows"]) == 8
    assert values["profiles"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.tflite",), "none.tflite"),
        (("text.tflite",), "not a .tflite"),
        (("custom.tflite",), "Nobody"),
        (("float.tflite", "--threads", "1,x"), "1,2,4"),
        (("float.tflite", "--threads", "0"), "1,2,4"),
        (("float.tflite", "--kernels", "fast"), "Known: xnnpack, builtin, reference"),
        (("float.tflite", "--signature", "other"), "no signature 'other'"),
        (("float.tflite", "--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(folder, arguments, message):
    result = typed(folder / arguments[0], *arguments[1:])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_file_that_cannot_be_timed_is_exit_code_2_beside_one_that_can(folder):
    result = typed(
        folder / "custom.tflite", "--against", folder / "float.tflite", "--runs", 1, "--no-profile"
    )
    assert result.exit_code == 2
    assert "float" in result.output
