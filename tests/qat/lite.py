"""Run an exported file in LiteRT, by the names that Keras gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(content: bytes, model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The file's outputs in the order of the model's, sample by sample."""
    runner = Interpreter(model_content=content).get_signature_runner()
    keys = list(runner.get_input_details())
    names = [str(t.name) for t in keras.tree.flatten(model.inputs)]
    rows = []
    for k in range(len(inputs[0])):
        fed = {}
        for name, array in zip(names, inputs, strict=True):
            key = name if name in keys else keys[names.index(name)]
            fed[key] = array[k : k + 1]
        rows.append(runner(**fed))
    outputs = [np.concatenate([row[key] for row in rows]) for key in sorted(rows[0])]
    if len(outputs) == 1:
        return outputs
    wanted = [tuple(t.shape[1:]) for t in keras.tree.flatten(model.outputs)]
    return sorted(outputs, key=lambda y: wanted.index(y.shape[1:]))


def predicted(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The Keras forward."""
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in keras.tree.flatten(outputs)]


def output_step(model: keras.Model) -> float:
    """One LSB of the first output's grid: the last quantizer's scale."""
    from tfq_ext.qat.quantizers import Quantizer

    return float([x for x in model.layers if isinstance(x, Quantizer)][-1].grid()[0])


def run_apart(code: str, *words: object, **environment: str) -> str:
    """The last line that a script prints in a process of its own, with these helpers at hand."""
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, (here, here.parent / "helpers")))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]
