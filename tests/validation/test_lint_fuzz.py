"""Files with nonsense in them: every rule says something or nothing, and never falls over."""

from __future__ import annotations

import random
import warnings

import pytest
from lint_examples import EXAMPLES

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.validation.lint.config import LintConfig
from tfq_ext.validation.lint.run import judge
from tfq_ext.validation.lint.subject import Subject

SCALES = [0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-45, 3e38, 0.1]
ZEROS = [0, 1, -1, 127, 128, 2**40, -(2**62)]
DIMENSIONS = [0, 1, 2, 4, -1, 2**30]


def _few(rng: random.Random, values: list) -> list:
    return [rng.choice(values) for _ in range(rng.choice([0, 1, 1, 2, 4]))]


def _tensor(rng: random.Random, t, buffers: int) -> None:
    """One field of a tensor gets a value that no converter writes."""
    q = t.quantization
    what = rng.randrange(7)
    if what == 0:
        t.type = rng.randrange(20)
    elif what == 1:
        t.shape = _few(rng, DIMENSIONS)
    elif what == 2:
        t.buffer = rng.randrange(buffers)
    elif what == 3:
        t.name = rng.choice([None, b"\xff\x1b[31m", b""])
    elif q is not None and what == 4:
        q.scale = _few(rng, SCALES)
    elif q is not None and what == 5:
        q.zeroPoint = _few(rng, ZEROS)
    elif q is not None:
        q.quantizedDimension = rng.choice([-1, 0, 1, 7, 2**30])


def _op(rng: random.Random, tree, sub, op) -> None:
    """Other tensors, fewer of them, or another op code."""
    what = rng.randrange(3)
    tensors = range(len(sub.tensors))
    if what == 0:
        op.inputs = [rng.choice([-1, rng.choice(tensors), int(t)]) for t in op.inputs]
        op.inputs = op.inputs[: rng.randrange(4)]
    elif what == 1:
        op.outputs = [rng.choice(tensors) for _ in op.outputs][: rng.randrange(3)]
    else:
        tree.operatorCodes[op.opcodeIndex].builtinCode = rng.randrange(210)


@pytest.mark.parametrize("seed", range(4))
def test_edited_trees(seed):
    rng = random.Random(seed)
    made = [bad() for bad, _ in EXAMPLES.values()]
    judged = 0
    for _ in range(120):
        source = rng.choice(made)
        tree = source.model.copy().tree
        for _ in range(rng.choice([1, 2, 4])):
            sub = rng.choice(tree.subgraphs)
            _tensor(rng, rng.choice(sub.tensors), len(tree.buffers))
            _op(rng, tree, sub, rng.choice(sub.operators))
        judged += _judged(Model(tree).to_bytes(), source)
    assert judged > 60


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes(seed):
    rng = random.Random(seed)
    made = [bad().model.to_bytes() for bad, _ in EXAMPLES.values()]
    judged = 0
    for _ in range(150):
        content = bytearray(rng.choice(made))
        for _ in range(rng.choice([1, 1, 2, 4])):
            content[rng.randrange(8, len(content))] = rng.choice([0, 1, 127, 128, 255])
        judged += _judged(bytes(content), None)
    assert judged > 20


def _judged(content: bytes, like: Subject | None) -> bool:
    """Judge the file with NumPy's warnings as errors; False where it cannot be read at all."""
    try:
        model = Model.parse(content)
    except ModelError:
        return False
    extra = {}
    if like is not None:
        extra = {"values": like.values, "samples": like.samples, "reference": like.reference}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge(Subject(model, name="x.tflite", target=(2, 3, 0), **extra), LintConfig())
    return True
