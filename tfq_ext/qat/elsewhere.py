"""Conversion where Keras computes with JAX or PyTorch: in a child process that has TensorFlow.

Only the way from the Keras model to the float flatbuffer needs TensorFlow as Keras' backend. What
the child found (flatbuffer, codes, scales, ranges) comes back as plain files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.errors import ModelError
from tfq_ext.qat.deploy import Deployed, TrainedRange, TrainedWeight

_CHILD = "import sys; from tfq_ext.qat.elsewhere import child; child(sys.argv[1])"
_MODEL, _PIVOT, _ARRAYS, _REST = "qat.keras", "pivot.tflite", "trained.npz", "trained.json"


def converted_elsewhere(model: Any) -> tuple[Pivot, Deployed]:
    """What `deploy` and `to_float` give, by a process of its own.

    Raises:
        ModelError: the child failed; its last line is told.
    """
    with tempfile.TemporaryDirectory(prefix="tfq-export-") as folder:
        model.save(Path(folder) / _MODEL)
        env = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, folder], env=env, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(
                f"The process that converts with TensorFlow failed: {last} Layers of your own must "
                "be registered (keras.saving.register_keras_serializable) in an installed module; "
                "else load the saved model with KERAS_BACKEND=tensorflow and export it there."
            )
        pivot = to_float((Path(folder) / _PIVOT).read_bytes())
        return pivot, _read(Path(folder))


def child(folder: str) -> None:
    """Runs in the child: read the model, write what was asked for."""
    keras = need("keras", why="Exporting a QAT model")
    from tfq_ext.qat.deploy import deploy  # registers the layers, too

    deployed = deploy(keras.models.load_model(Path(folder) / _MODEL, compile=False))
    pivot = to_float(deployed.model)
    (Path(folder) / _PIVOT).write_bytes(pivot.model.to_bytes())
    _write(Path(folder), deployed)


def _write(folder: Path, deployed: Deployed) -> None:
    arrays: dict[str, np.ndarray] = {}
    for k, weight in enumerate(deployed.weights):
        arrays |= {f"codes{k}": weight.codes, f"scale{k}": weight.scale}
    np.savez(folder / _ARRAYS, **arrays)  # type: ignore[arg-type]
    rest = {
        "weights": [
            {"layer": w.layer, "bits": w.bits, "sqnr_db": w.sqnr_db} for w in deployed.weights
        ],
        "ranges": [asdict(r) for r in deployed.ranges],
    }
    (folder / _REST).write_text(json.dumps(rest), encoding="utf-8")


def _read(folder: Path) -> Deployed:
    rest = json.loads((folder / _REST).read_text(encoding="utf-8"))
    with np.load(folder / _ARRAYS) as arrays:
        weights = [
            TrainedWeight(codes=arrays[f"codes{k}"], scale=arrays[f"scale{k}"], **row)
            for k, row in enumerate(rest["weights"])
        ]
    ranges = [TrainedRange(**row) for row in rest["ranges"]]
    return Deployed(None, weights, ranges)
