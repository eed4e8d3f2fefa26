"""Rewriting on another Keras backend gives the weights that TensorFlow's gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SCRIPT = """
import sys
import numpy as np
import rewrite_nets as nets
import tfq_ext.rewrite as rewriting

model = nets.shaken(nets.mobilenet_like())
x = nets.batch(model, 16)
model = rewriting.relu6_to_relu(model, x).model
model = rewriting.reestimate_batch_norm(model, x).model
model = rewriting.equalize(model).model
np.savez(sys.argv[1], *model.get_weights(), y=nets.outputs(model, x)[0])
"""


def _made(backend: str, path: Path) -> dict[str, np.ndarray]:
    helpers = Path(__file__).parents[1] / "helpers"
    env = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(helpers)}
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=True, env=env)
    return dict(np.load(path))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_agree(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    pytest.importorskip("tensorflow")
    ours, theirs = (_made(b, tmp_path / f"{b}.npz") for b in ("tensorflow", backend))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        scale = np.abs(array).max()
        np.testing.assert_allclose(theirs[name], array, rtol=1e-3, atol=2e-5 * scale)
