"""One model quantized in a process of its own: `python apart.py WHAT [RECIPE]`.

WHAT is a path, or "keras:NAME@SIZE" for an untrained network of keras.applications, 10 classes.
Prints one JSON line: outcome "done" or "refused", the sentence, islands, decibels on the samples.
A native crash prints nothing and its signal is the exit status: that is why it is apart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def in_a_process(what: str, recipe: str, *, timeout: int = 300) -> dict[str, Any]:
    """What `main` printed.

    Raises:
        AssertionError: the process crashed or said nothing; the message names the signal.
    """
    path = os.pathsep.join([str(HERE), str(HERE.parent / "helpers")])
    done = subprocess.run(
        [sys.executable, __file__, what, recipe],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise AssertionError(f"{what} ended the process with {name}.\n{done.stderr[-1500:]}")
    assert done.returncode == 0, f"{what}: {done.stderr[-3000:]}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _model(what: str) -> object:
    if not what.startswith("keras:"):
        return what
    import keras

    keras.utils.set_random_seed(0)
    name, _, size = what.removeprefix("keras:").partition("@")
    shape = (int(size), int(size), 3)
    return getattr(keras.applications, name)(weights=None, input_shape=shape, classes=10)


def main(what: str, recipe: str) -> dict[str, Any]:
    """Quantize on three random samples and run the file on them."""
    from strangers import quantized

    from tfq_ext.emit.to_float import to_float
    from tfq_ext.errors import TfqError

    try:
        source = _model(what)
        if what.startswith("keras:"):
            source = to_float(source).model.to_bytes()  # convert once, not twice
        done = quantized(source, recipe, n=3)
        return {
            "outcome": "done",
            "islands": done.islands,
            "read_back": done.result.account.read_back,
            "sqnr": done.sqnr(),
        }
    except TfqError as error:
        return {"outcome": "refused", "kind": type(error).__name__, "sentence": str(error)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
