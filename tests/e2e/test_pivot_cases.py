"""Each row of the table "where the pivot needs care" (CONTRIBUTING), through quantize()."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import nets
import numpy as np
import pytest
from small_nets import residual
from strangers import MINMAX, details, quantized, rows_for
from tiny_models import two_signatures

import tfq_ext
from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

pytest.importorskip("tensorflow", reason="int8 files are finished by TensorFlow")
pytestmark = pytest.mark.tf
HERE = Path(__file__).parent


def test_a_table_shared_by_gather_and_dense_does_not_abort_the_process():
    """In a process of its own: without the pass `untie` TensorFlow's quantizer aborts it."""
    code = (
        "import nets; from strangers import quantized\n"
        "done = quantized(nets.tied_table().to_bytes())\n"
        "assert done.islands == {}, done.islands\n"
        "print('SQNR', done.sqnr())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent / 'helpers'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) > 30


def test_an_op_kept_float_keeps_its_float_weight_and_its_neighbours_stay_integer():
    recipe = {"base": MINMAX, "rules": [{"tensor": "d1", "keep_float": True}]}
    done = quantized(nets.dense_chain().to_bytes(), recipe)
    assert list(details(done.content)) == [
        ("QUANTIZE", "float32", "int8"),
        ("FULLY_CONNECTED", "int8", "int8"),
        ("DEQUANTIZE", "int8", "float32"),
        ("FULLY_CONNECTED", "float32", "float32"),
        ("QUANTIZE", "float32", "int8"),
        ("FULLY_CONNECTED", "int8", "int8"),
        ("DEQUANTIZE", "int8", "float32"),
    ]
    graph = Model.parse(done.content).graphs[0]
    kept = next(op for op in graph.ops[2:] if graph.code(op) == "FULLY_CONNECTED")
    pivot = Model.parse(done.pivot).graphs[0]
    weight = graph.constant(int(kept.inputs[1]))
    assert np.array_equal(weight, pivot.constant(pivot.by_name["w1"]))


def test_a_weight_shared_with_an_op_kept_float_is_integer_for_the_other_only():
    recipe = {"base": MINMAX, "rules": [{"tensor": "two", "keep_float": True}]}
    done = quantized(nets.shared_weight().to_bytes(), recipe)
    graph = Model.parse(done.content).graphs[0]
    dense = [op for op in graph.ops if graph.code(op) == "FULLY_CONNECTED"]
    assert [graph.dtype(int(op.inputs[1])) for op in dense] == ["int8", "float32"]
    assert graph.is_constant(int(dense[1].inputs[1])), "not codes behind DEQUANTIZE"


@pytest.mark.parametrize("recipe", [MINMAX, "int4", "int16x8", "dynamic", "weight_only", "fp16"])
def test_one_buffer_read_by_two_ops_is_stored_once(recipe):
    done = quantized(nets.shared_weight().to_bytes(), recipe)
    file = Model.parse(done.content)
    graph = file.graphs[0]
    sources = set()
    for op in graph.ops:
        if graph.code(op) == "FULLY_CONNECTED":
            weight = int(op.inputs[1])
            if not graph.is_constant(weight):
                weight = int(graph.ops[graph.producer[weight]].inputs[0])
            sources.add(graph.tensors[weight].buffer)
    assert len(sources) == 1
    assert done.sqnr() > (12 if recipe == "int4" else 25)


def test_a_concat_that_ruins_an_input_is_in_the_account_with_the_ratio():
    done = quantized(nets.unequal_concat(300.0).to_bytes())
    shared = [r for r in done.result.account.ranges if "CONCATENATION" in r.joined]
    assert len(shared) == 1
    row = shared[0]
    assert {"head0", "head1", "both"} <= set(row.tensors)
    own = {name: r.width for name, r in row.sources.items()}
    assert row.spread == pytest.approx(row.range.width / own["head0"])
    assert row.spread > 100
    even = quantized(nets.unequal_concat(1.0).to_bytes())
    assert max(r.spread for r in even.result.account.ranges) < 4


def test_the_concat_s_range_is_the_one_in_the_file_on_every_input():
    done = quantized(nets.unequal_concat(30.0).to_bytes())
    graph = Model.parse(done.content).graphs[0]
    concat = next(op for op in graph.ops if graph.code(op) == "CONCATENATION")
    tensors = [*map(int, concat.inputs), int(concat.outputs[0])]
    assert len({float(graph.tensors[t].quantization.scale[0]) for t in tensors}) == 1


def test_sparse_weights_are_made_dense():
    model, full = nets.sparse_dense()
    done = quantized(model.to_bytes())
    assert done.ops == {"QUANTIZE": 1, "FULLY_CONNECTED": 1, "DEQUANTIZE": 1}
    assert done.sqnr() > 30
    graph = Model.parse(done.content).graphs[0]
    dense = next(op for op in graph.ops if graph.code(op) == "FULLY_CONNECTED")
    assert np.array_equal(graph.constant(int(dense.inputs[1])) == 0, np.abs(full) < 1e-9)
    assert any("sparse" in note.reason for note in done.result.account.notes)


def test_names_that_look_alike_are_not_taken_for_each_other_when_reading_back():
    done = quantized(nets.names_that_end_in_digits().to_bytes())
    assert done.islands == {}
    read_back = done.result.account.read_back
    assert "2 weight tensors" in read_back
    assert "2 biases" in read_back
    assert done.sqnr() > 25


def test_several_signatures():
    rng = np.random.default_rng(0)
    content = two_signatures(rng.normal(size=(3, 5)), rng.normal(size=(2, 4)))
    shapes = {"first": (1, 5), "second": (1, 4)}
    data = [
        (key, {"x": rng.normal(size=shape).astype(np.float32)})
        for key, shape in shapes.items()
        for _ in range(6)
    ]
    result = tfq_ext.quantize(content, lambda: iter(data), recipe=MINMAX, show_progress=False)
    assert result.account.float_ops == ()
    assert "2 weight tensors" in result.account.read_back
    for key, sample in data:
        (wanted,), (got,) = (
            Runner(c, signature=key)(sample).values() for c in (content, result.content)
        )
        assert np.max(np.abs(wanted - got)) < 0.05 * np.max(np.abs(wanted)) + 0.05


def test_a_signature_without_samples_stays_float_and_is_named():
    rng = np.random.default_rng(0)
    content = two_signatures(rng.normal(size=(3, 5)), rng.normal(size=(2, 4)))
    data = [("first", {"x": rng.normal(size=(1, 5)).astype(np.float32)}) for _ in range(6)]
    result = tfq_ext.quantize(content, lambda: iter(data), recipe=MINMAX, show_progress=False)
    assert [(f.op, f.reason) for f in result.account.float_ops] == [
        ("FULLY_CONNECTED", "no range was observed for its output")
    ]
    Runner(result.content, signature="second")({"x": np.ones((1, 4), np.float32)})


def test_a_file_over_2_gb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.write(b"\x1c\x00\x00\x00TFL3")
        file.truncate(3 << 30)  # a hole: takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="2 GiB"):
        tfq_ext.quantize(path, np.zeros((1, 3), np.float32))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown} kB more: the file was read"


def test_a_model_over_2_gb_is_refused_when_it_is_packed():
    model = nets.dense_chain()
    model.tree.buffers[1].data = np.broadcast_to(np.uint8(0), 3 << 30)  # no memory behind it
    with pytest.raises(ModelError, match=r"3\.00 GiB; a \.tflite holds 2 GiB"):
        model.to_bytes()


def test_an_unknown_custom_op_is_refused_by_name():
    with pytest.raises(ModelError, match="MyOwnOp"):
        quantized(nets.custom_op().to_bytes())


@pytest.mark.parametrize("recipe", ["fp16", "weight_only"])
def test_an_unknown_custom_op_is_no_obstacle_where_nothing_runs(recipe):
    result = tfq_ext.quantize(nets.custom_op().to_bytes(), recipe=recipe)
    assert "CUSTOM:MyOwnOp" in result.account.ops


@pytest.mark.parametrize("recipe", [MINMAX, "int16x8", "dynamic", "weight_only", "fp16"])
def test_metadata_survives(recipe):
    payload = b'{"labels": ["cat", "dog"]}' * 9
    model = nets.with_metadata(residual(), "TFLITE_METADATA", payload)
    file = Model.parse(quantized(model.to_bytes(), recipe).content)
    entries = {m.name: m.buffer for m in file.tree.metadata}
    stored = file.tree.buffers[entries[b"TFLITE_METADATA"]].data
    assert bytes(np.asarray(stored, np.uint8)) == payload


def test_samples_of_the_first_row_are_the_same_for_every_caller():
    """The helper's own promise, on which the decibels of these tests rest."""
    model = nets.dense_chain()
    one, two = (rows_for(model, 2) for _ in range(2))
    assert all(np.array_equal(a[k], b[k]) for a, b in zip(one, two, strict=True) for k in a)
