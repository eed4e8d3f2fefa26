"""`tfq demo`: files, table, words, JSON; what happens without TensorFlow."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tfq_ext.cli import main
from tfq_ext.cli.contest import OURS, RIVALS, STEPS
from tfq_ext.tflite.runner import Runner

NO_TENSORFLOW = """
import sys
sys.modules.update(tensorflow=None, keras=None)
from tfq_ext.cli import main
main(["demo", "--out", sys.argv[1]])
"""


@pytest.mark.tf
@pytest.mark.slow
def test_the_demo_end_to_end(tmp_path):
    folder = tmp_path / "a" / "b"
    result = CliRunner(env={"COLUMNS": "80"}).invoke(
        main, ["demo", "--out", str(folder), "--limit", "20"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.stderr
    for name, (file, _) in {**RIVALS, **OURS}.items():
        line = next(row for row in result.stdout.splitlines() if row.startswith(name + "  "))
        size = (folder / file).stat().st_size
        assert f" {size / 1e3:.1f} " in line
        assert len(line) <= 80
        assert Runner(folder / file)({"image": np.zeros((1, 28, 28, 1))})
    assert f"{STEPS}/{STEPS}" in result.stderr
    assert f"tfq audit {folder / 'fashion_mobilenet.keras'} --data" in result.stdout
    assert np.load(folder / "calibration.npy").shape == (20, 28, 28, 1)


@pytest.mark.tf
@pytest.mark.slow
def test_json_holds_the_same_files(tmp_path):
    arguments = ["demo", "--out", str(tmp_path), "--limit", "10", "--json"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    rows = json.loads(result.stdout, parse_constant=pytest.fail)["rows"]
    assert [row["name"] for row in rows] == ["float", *RIVALS, *OURS]
    assert {row["accuracy"]["n"] for row in rows} == {10}
    assert rows[0]["accuracy"]["drop"] is None


def test_without_tensorflow_one_sentence_says_what_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NO_TENSORFLOW, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "tfq_ext[tensorflow]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "file" / "x")])
    assert result.exit_code == 2
    assert "Cannot make the folder" in result.stderr
