"""Strangers' models through the verbs that judge: a right answer or one sentence, never a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import tiny_models as tm
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner
from one_op import EXAMPLES, Net, X, build, f32
from small_nets import images, residual

import tfq_ext as tfq
from tfq_ext.cli import main
from tfq_ext.errors import TfqError
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner
from tfq_ext.validation.accuracy import measure
from tfq_ext.validation.delegates import check_delegates
from tfq_ext.validation.vectors import replay


def renamed(content: bytes, name: Callable[[int], bytes | None]) -> bytes:
    """The same file with other tensor names."""
    model = Model.parse(content)
    for graph in model.graphs:
        for k, tensor in enumerate(graph.tensors):
            tensor.name = name(k)
    return model.to_bytes()


def two_twins() -> bytes:
    """Two inputs of one name and shape, no signature: a + 3 b, if the order is kept."""
    net = Net()
    net.input("a", X((1, 4)))
    net.input("b", X((1, 4)))
    net.const("three", np.full((1,), 3.0, np.float32))
    net.op("MUL", "b3", "b", "three", options=("MulOptions", {}))
    net.op("ADD", "y", "a", "b3", options=("AddOptions", {}))
    return net.done("y").to_bytes()


def without_inputs() -> bytes:
    """Nothing in, a constant doubled out."""
    net = Net()
    net.const("c", f32(1, 4))
    net.op("ADD", "y", "c", "c", options=("AddOptions", {}))
    return net.done("y").to_bytes()


def open_picture() -> bytes:
    """[-1, -1, -1, 3] in, a convolution with an int8 grid at its end."""
    b = tm.Builder()
    x = b.tensor("image", (-1, -1, -1, 3))
    w = b.tensor("w", (2, 1, 1, 3), values=f32(2, 1, 1, 3))
    bias = b.tensor("b", (2,), values=f32(2))
    y = b.tensor("y", (-1, -1, -1, 2))
    b.op("CONV_2D", [x, w, bias], [y], "Conv2DOptions")
    options = b.graph.operators[-1].builtinOptions
    options.strideH = options.strideW = 1
    q = b.tensor("q", (-1, -1, -1, 2), "int8", grid=("int8", 0.05, 0))
    b.op("QUANTIZE", [y], [q], "QuantizeOptions")
    b.end([x], [q], "serve")
    return b.bytes()


def text_in() -> bytes:
    """Rows of a table of texts: TFLite's string type at both ends."""
    b = tm.Builder()
    x, at, y = b.tensor("words", (3,)), b.tensor("at", (2,), "int32"), b.tensor("chosen", (2,))
    for t in (x, y):
        b.graph.tensors[t].type = schema.TensorType.STRING
    b.op("GATHER", [x, at], [y], "GatherOptions")
    b.end([x, at], [y], "serve")
    return b.bytes()


def deep(layers: int) -> bytes:
    """A chain of dense layers and TANH on one shared weight."""
    net = Net()
    at = net.input("x", X((1, 16)))
    net.const("w", f32(16, 16) * np.float32(0.4))
    for k in range(layers // 2):
        at = net.op("FULLY_CONNECTED", f"d{k}", at, "w", options=nets.DENSE)
        at = net.op("TANH", f"t{k}", at)
    return net.done(at).to_bytes()


def argmax() -> bytes:
    """Dense, then the class itself: int32[1]."""
    net = Net()
    net.input("x", X((1, 6)))
    net.const("w", f32(5, 6))
    net.op("FULLY_CONNECTED", "scores", "x", "w", options=nets.DENSE)
    net.const("axis", np.array(1, np.int32))
    net.op("ARG_MAX", "class", "scores", "axis", options=("ArgMaxOptions", {"outputType": 2}))
    graph = net.graph
    graph.tensors[graph.by_name["class"]].type = schema.TensorType.INT32
    return net.done("class").to_bytes()


def fixed_batch() -> bytes:
    return tm.dense_model(f32(5, 6), batch=4)


RESIDUAL = residual().to_bytes()
MODELS: dict[str, Callable[[], bytes]] = {
    "no signature": tm.add_model,
    "names alike": lambda: renamed(RESIDUAL, lambda k: b"same"),
    "names empty": lambda: renamed(RESIDUAL, lambda k: b""),
    "names absent": lambda: renamed(RESIDUAL, lambda k: None),
    "names hostile": lambda: renamed(
        RESIDUAL, lambda k: b"\x1b[31m<script>alert(%d)</script>[bold]\x07\n" % k
    ),
    "names not UTF-8": lambda: renamed(RESIDUAL, lambda k: b"\xff\xfe%d" % k),
    "two signatures": lambda: tm.two_signatures(f32(3, 5), f32(2, 6)),
    "twins": two_twins,
    "no inputs": without_inputs,
    "open picture": open_picture,
    "text": text_in,
    "argmax": argmax,
    "fixed batch": fixed_batch,
    "state": tm.rnn_model,
    "integers in": tm.cast_model,
    "uint8 in, int8 out": lambda: tm.quantized_io_model(
        f32(4, 6), ("uint8", 0.02, 128), ("int8", 0.05, 0)
    ),
    "ids": lambda: nets.tied_table().to_bytes(),
    "shared weight": lambda: nets.shared_weight().to_bytes(),
    "sparse": lambda: nets.sparse_dense()[0].to_bytes(),
    "custom op": lambda: nets.custom_op().to_bytes(),
    "two outputs": lambda: build("TOPK_V2", EXAMPLES["TOPK_V2"]).to_bytes(),
    "60 ops": lambda: deep(60),
}
# what cannot run here, or not on samples: exit 2 with a sentence wherever it has to
UNRUNNABLE = {"names not UTF-8", "text", "custom op", "no inputs"}


def rows(content: bytes, n: int = 8) -> dict[str, np.ndarray]:
    """Seeded samples of the first signature: [N, ...] by name."""
    rng, made = np.random.default_rng(0), {}
    specs = real_specs(Model.parse(content))
    for spec in (s for s in specs if s.signature == specs[0].signature):
        shape = (n, *(8 if d < 0 else d for d in spec.shape[1:]))
        if spec.dtype == "float32":
            made[spec.name] = rng.uniform(-1, 1, shape).astype(np.float32)
        elif spec.dtype == "string":
            made[spec.name] = np.full(shape, "a")
        else:
            made[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers")
    for name, make in MODELS.items():
        content = make()
        (folder / f"{name}.tflite").write_bytes(content)
        np.savez(folder / f"{name}.npz", **rows(content))
    return folder


def verbs(folder: Any, name: str) -> dict[str, list[str]]:
    model, data = str(folder / f"{name}.tflite"), str(folder / f"{name}.npz")
    return {
        "inspect": ["inspect", model, "--all"],
        "lint": ["lint", model],
        "lint with data": ["lint", model, "--data", data],
        "compare": ["compare", model, model, "--data", data],
        "bench": ["bench", model, "--runs", "2"],
        "vectors": ["vectors", model, "--count", "2", "-o", str(folder / f"{name}.zip")],
        "delegates": ["delegates", model, "--no-gpu", "--limit", "2"],
        "validate": [
            *("validate", model, "--reference", model, "--data", data),
            *("--runs", "2", "--workers", "1", "--bit-exact"),
        ],
    }


VERBS = tuple(verbs(Path(), ""))


def judged(words: list[str], *, runs: bool) -> Any:
    """Run a verb twice over, as text and as JSON; what must hold of any answer."""
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code in ((0, 1) if runs else (0, 1, 2)), (words, done.stderr)
    assert "Traceback" not in done.output
    if done.exit_code == 2 and not done.stdout:
        assert done.stderr.startswith("error: ")
        assert 20 < len(done.stderr) < 900, done.stderr
        return None
    json.loads(done.stdout, parse_constant=pytest.fail)
    return done


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("verb", ["inspect", "lint", "vectors"])
def test_each_is_read(files, name, verb):
    ambiguous = name == "two signatures"  # both take "x"
    judged(verbs(files, name)[verb], runs=name not in UNRUNNABLE and not ambiguous)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("verb", VERBS)
def test_each_is_judged_by_each_verb(files, name, verb):
    ambiguous = name in ("two signatures", "twins") and verb != "bench"
    words = verbs(files, name)[verb]
    if judged(words, runs=name not in UNRUNNABLE and not ambiguous):
        shown = CliRunner().invoke(main, words)
        assert shown.exit_code in (0, 1, 2), shown.stderr
        assert "\x1b[31m" not in shown.output, "a name steers the terminal"


def test_open_sizes_give_no_absurd_claim(files):
    found = tfq.lint(files / "open picture.tflite")
    assert "absurd-scale" not in {f.rule.id for f in found.findings}
    assert not any("-1 pixels" in f.message for f in found.findings)


def test_samples_under_the_names_of_candidate_or_reference():
    """A converter renames inputs; whoever opened the samples, both models get theirs."""
    float_ = RESIDUAL
    other = renamed(float_, lambda k: b"t%d" % k)
    name = real_specs(Model.parse(other))[0].name
    assert name != "image"
    found = tfq.validate(other, reference=float_, data={name: images(8)}, runs=2, workers=1)
    assert found.comparison.outputs[0].sqnr_db == np.inf
    assert found.accuracy.agreement == 1.0


def test_outputs_that_are_classes_are_compared_as_such():
    """ARG_MAX gives no scores: equal numbers agree, and decibels of class numbers say nothing."""
    mine, x = argmax(), rows(argmax(), 40)
    theirs = Model.parse(mine)
    weight = theirs.graphs[0].constant(theirs.graphs[0].by_name["w"]).copy()
    weight[2] += 0.7
    tensor = theirs.graphs[0].tensors[theirs.graphs[0].by_name["w"]]
    theirs.tree.buffers[tensor.buffer].data = weight.view(np.uint8).reshape(-1)
    changed = theirs.to_bytes()
    a, b = (
        np.array([next(iter(Runner(m)({"x": row[None]}).values()))[0] for row in x["x"]])
        for m in (mine, changed)
    )
    assert 0 < np.mean(a == b) < 1
    found = measure(changed, x, reference=mine, workers=1)
    assert found.agreement == pytest.approx(np.mean(a == b))
    assert found.sqnr_db is None
    labelled = measure(changed, x, reference=mine, labels=a, task="classification", workers=1)
    (top1,) = labelled.metrics
    assert (top1.reference, top1.candidate) == (1.0, pytest.approx(np.mean(a == b)))


def test_rare_clipping_is_not_called_a_broken_kernel():
    """One sample in eight saturates the grid of a SOFTMAX's input, none of the first four."""
    b = tm.Builder()
    x = b.tensor("x", (1, 3))
    q = b.tensor("q", (1, 3), "int8", grid=("int8", 1 / 127, 0))
    p = b.tensor("p", (1, 3), "int8", grid=("int8", 1 / 256, -128))
    y = b.tensor("y", (1, 3))
    b.op("QUANTIZE", [x], [q], "QuantizeOptions")
    b.op("SOFTMAX", [q], [p], "SoftmaxOptions")
    b.graph.operators[-1].builtinOptions.beta = 1.0
    b.op("DEQUANTIZE", [p], [y], "DequantizeOptions")
    b.end([x], [y])
    f = tm.Builder()
    x, y = f.tensor("x", (1, 3)), f.tensor("y", (1, 3))
    f.op("SOFTMAX", [x], [y], "SoftmaxOptions")
    f.graph.operators[-1].builtinOptions.beta = 1.0
    f.end([x], [y])
    data = np.random.default_rng(0).uniform(-1, 1, (8, 3)).astype(np.float32)
    data[6] = 6.0, -1.0, -1.0
    found = tfq.compare(f.bytes(), b.bytes(), lambda: iter(data[:, None]), show_progress=False)
    (row,) = (row for row in found.rows if row.op == "SOFTMAX")
    assert row.own_sqnr_db < 25
    assert "kernel" not in row.causes


def test_names_that_repeat_match_by_place(files):
    """Every verdict as with good names: what was found by name alone would be another tensor."""
    x = images(8)
    good = tfq.compare(RESIDUAL, RESIDUAL, x, show_progress=False)
    same = renamed(RESIDUAL, lambda k: b"same")
    bad = tfq.compare(same, same, x, show_progress=False)
    assert [row.op for row in bad.rows] == [row.op for row in good.rows]
    assert [row.range for row in bad.rows] == [row.range for row in good.rows]
    seen = tfq.lint(same, data=x, reference=same)
    assert "range-unlike-float" not in {f.rule.id for f in seen.findings}


@pytest.mark.parametrize("name", ["text", "names not UTF-8"])
def test_what_python_cannot_feed_is_told(files, name):
    content = (files / f"{name}.tflite").read_bytes()
    with pytest.raises(TfqError, match=r"text|UTF-8"):
        tfq.make_vectors(content, count=1)
    with pytest.raises(TfqError, match=r"text|UTF-8"):
        check_delegates(content, gpu=False)


def test_figures_by_hand():
    """Sizes sum to the file; MACs, parameters and agreement as counted on paper."""
    found = tfq.inspect(RESIDUAL)
    assert sum(found.parts.values()) == found.size_bytes == len(RESIDUAL)
    macs = {op.tensor: op.macs for op in found.ops}
    assert macs["a"] == 8 * 8 * 8 * 3 * 3 * 3  # H W O, kernel 3x3 of 3 channels
    assert macs["branch"] == 8 * 8 * 8 * 3 * 3 * 8
    assert macs["deep"] == 8 * 8 * 8 * 3 * 3
    assert macs["logits"] == 8 * 5


def test_vectors_hold_what_litert_gives():
    """The bytes of the output, from an interpreter of the test's own; replayed, all are equal."""
    content = tm.quantized_io_model(f32(4, 6), ("uint8", 0.02, 128), ("int8", 0.05, 0))
    made = tfq.make_vectors(content, count=3)
    done = replay(content, made)
    assert (done.vectors, done.equal, done.where) == (3, 3, "")


@pytest.mark.slow
def test_2000_ops_and_a_weight_of_45_mb():
    assert len(tfq.inspect(deep(2000)).ops) == 2000
    x = np.random.default_rng(0).uniform(-1, 1, (2, 16)).astype(np.float32)
    found = tfq.compare(deep(2000), deep(2000), x, show_progress=False)
    assert len(found.rows) == 2001
    net = Net()
    net.input("x", X((1, 3400)))
    net.const("w", f32(3400, 3400) * np.float32(0.02))
    net.op("FULLY_CONNECTED", "y", "x", "w", options=nets.DENSE)
    big = net.done("y").to_bytes()
    assert tfq.validate(big, runs=2).passed
