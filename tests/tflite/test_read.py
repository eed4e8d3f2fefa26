"""Reading: look-ups, round trips, and files that are none."""

import numpy as np
import pytest
from float_files import adds_constant

from tfq_ext.errors import ModelError, TfqError
from tfq_ext.tflite.read import Model


@pytest.fixture
def content():
    return adds_constant(np.arange(6, dtype=np.float32).reshape(2, 3), "float32").model.to_bytes()


def test_the_graph_knows_who_makes_and_who_reads(content):
    graph = Model.parse(content).graphs[0]
    x, c, y = (graph.by_name[name] for name in ("x", "c", "y"))
    assert graph.producer == {y: 0}
    assert graph.consumers == {x: [0], c: [0]}
    assert graph.code(graph.ops[0]) == "ADD"
    assert graph.constant(c).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert graph.constant(x) is None


def test_writing_what_was_read_changes_nothing(content):
    once = Model.parse(content).to_bytes()
    assert Model.parse(once).to_bytes() == once


def test_a_copy_is_independent_but_shares_the_constants(content):
    model = Model.parse(content)
    twin = model.copy()
    twin.graphs[0].tensors[0].name = b"other"
    assert model.graphs[0].name(0) == "x"
    at = model.graphs[0].tensors[1].buffer
    assert twin.tree.buffers[at].data is model.tree.buffers[at].data


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: b"", "empty"),
        (lambda c: b"TFL3", "not a .tflite"),
        (lambda c: b"PK\x03\x04" + c[4:8].replace(b"TFL3", b"ZIP!") + c[8:], "not a .tflite"),
        (lambda c: c[:40], "truncated or damaged"),
        (lambda c: b"\xff\xff\xff\x7f" + c[4:], "truncated or damaged"),
    ],
)
def test_what_is_no_model_is_refused_in_a_sentence(content, spoil, message):
    with pytest.raises(ModelError, match=message):
        Model.parse(spoil(content), source="m.tflite")


def test_any_cut_either_reads_or_is_refused(content):
    for end in range(8, len(content), 16):
        try:
            Model.parse(content[:end])
        except TfqError:
            continue


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        Model.load(tmp_path / "absent.tflite")
