"""tools/bench_validate.py from end to end. No time is judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_nets import residual

TOOLS = Path(__file__).parents[2] / "tools"
pytestmark = [pytest.mark.slow, pytest.mark.tf]


def test_inspect_takes_turns_with_the_analyzer(tmp_path):
    pytest.importorskip("tensorflow")
    model, figures = tmp_path / "net.tflite", tmp_path / "figures.json"
    model.write_bytes(residual().to_bytes())
    tool = [sys.executable, str(TOOLS / "bench_validate.py"), "--model", str(model)]
    done = subprocess.run(
        [*tool, "--parts", "inspect", "--rounds", "1", "--json", str(figures)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (part,) = json.loads(figures.read_text())["parts"]
    times = part["figures"]["times"]
    assert times["tfq inspect"]["of_ours"] == 1
    assert all(row["median_s"] > 0 for row in times.values())
    assert "tf.lite.experimental.Analyzer" in done.stdout
