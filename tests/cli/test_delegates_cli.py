"""`tfq delegates`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from delegate_nets import NO_DRIVER, chain, need_gpu
from small_nets import images, residual

from tfq_ext.cli.delegates import delegates, exit_code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("delegates")
    (path / "right.tflite").write_bytes(residual().to_bytes())
    (path / "wrong.tflite").write_bytes(chain().to_bytes())
    np.save(path / "x.npy", images(4))
    return path


def typed(*arguments, env=None):
    return CliRunner().invoke(delegates, [*map(str, arguments)], env=env)


def test_help_has_examples_and_exit_codes():
    result = typed("--help")
    assert result.exit_code == 0
    assert "tfq delegates model.tflite --bisect" in result.output
    assert "Exit codes" in result.output


def test_a_right_net_passes(folder):
    need_gpu()
    result = typed(folder / "right.tflite", "--data", folder / "x.npy", "--limit", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("GPU delegate: fp32 ok, fp16 ok on ")
    assert "2 samples" in result.stdout


def test_a_wrong_net_fails_and_names_the_op(folder):
    need_gpu()
    result = typed(folder / "wrong.tflite", "--bisect")
    assert result.exit_code == 1
    assert "fp32 wrong" in result.stdout
    assert "Op 2, CONV_2D, is wrong on the GPU, even alone." in result.stdout


def test_without_an_adapter_it_is_undecided_never_passed(folder):
    result = typed(folder / "right.tflite", env=NO_DRIVER)
    assert result.exit_code == 2
    assert result.stdout.startswith("GPU delegate: fp32 not checked, fp16 not checked\n")
    assert "no adapter: " in result.stdout


def test_machines_get_json_and_nothing_else_on_stdout(folder):
    result = typed(folder / "right.tflite", "--no-gpu", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["gpu"] == []
    assert {row["tensor"] for row in told["fp16_risk"]["rows"]} >= {"branch", "logits"}


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((), 0),
        (("ok", "ok"), 0),
        (("ok", "not checked"), 2),
        (("ok", "wrong"), 1),
        (("wrong", "not checked"), 1),
        (("refused", "ok"), 1),
        (("died", "died"), 1),
    ],
)
def test_exit_codes(statuses, code):
    from types import SimpleNamespace as Row

    assert exit_code(Row(gpu=[Row(status=status) for status in statuses])) == code
