"""Which tensors share a grid: hand-made graphs, read off the 8-bit specification."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from float_files import SHAPE, blank

from tfq_ext.tflite.grids import derived_from, observed, shared_grids
from tfq_ext.tflite.patch import add_tensor, insert_op

OPTIONS = {
    "ADD": ("AddOptions", schema.AddOptionsT),
    "CONCATENATION": ("ConcatenationOptions", schema.ConcatenationOptionsT),
}


def graph_of(*rows, inputs=("a", "b")):
    """rows: (op code, input names, output name)."""
    graph = blank()
    names = dict.fromkeys([*inputs, *(n for _, ins, out in rows for n in (*ins, out))])
    at = {n: add_tensor(graph, n, "float32", SHAPE) for n in names}
    for code, ins, out in rows:
        name, make = OPTIONS.get(code, (None, None))
        insert_op(
            graph,
            len(graph.ops),
            code,
            [at[n] for n in ins],
            [at[out]],
            options=(name, make()) if name else None,
        )
    graph.tree.inputs = [at[n] for n in inputs]
    graph.tree.outputs = [at[rows[-1][2]]]
    return graph


def groups(graph):
    return {frozenset(graph.name(t) for t in grid.tensors) for grid in shared_grids(graph)}


def test_add_leaves_its_operands_their_own_grids():
    graph = graph_of(("ADD", ["a", "b"], "y"))
    assert groups(graph) == {frozenset("a"), frozenset("b"), frozenset("y")}


def test_concat_ties_all_inputs_to_its_output():
    graph = graph_of(("CONCATENATION", ["a", "b"], "y"))
    (grid,) = shared_grids(graph)
    assert {graph.name(t) for t in grid.tensors} == {"a", "b", "y"}
    assert [graph.code(graph.ops[k]) for k in grid.joined] == ["CONCATENATION"]


def test_pad_and_reshape_repeat_their_input_and_are_not_observed():
    graph = graph_of(("PAD", ["a"], "p"), ("RESHAPE", ["p"], "r"), ("ADD", ["r", "b"], "y"))
    assert groups(graph) == {frozenset({"a", "p", "r"}), frozenset("b"), frozenset("y")}
    names = {graph.name(t): graph.name(o) for t, o in derived_from(graph).items()}
    assert names == {"p": "a", "r": "a"}
    assert [graph.name(t) for t in observed(graph)] == ["a", "b", "y"]


def test_average_pooling_shares_the_grid_but_has_values_of_its_own():
    graph = graph_of(("AVERAGE_POOL_2D", ["a"], "y"), inputs=("a",))
    assert groups(graph) == {frozenset({"a", "y"})}
    assert [graph.name(t) for t in observed(graph)] == ["a", "y"]


def test_a_prescribed_output_is_not_tied_by_the_concat_behind_it():
    graph = graph_of(("SOFTMAX", ["a"], "s"), ("CONCATENATION", ["s", "b"], "y"))
    assert groups(graph) == {frozenset("a"), frozenset("s"), frozenset({"b", "y"})}


def test_every_float_activation_lies_in_exactly_one_grid():
    graph = graph_of(
        ("CONCATENATION", ["a", "b"], "c"), ("PAD", ["c"], "p"), ("ADD", ["p", "a"], "y")
    )
    members = [t for grid in shared_grids(graph) for t in grid.tensors]
    assert sorted(members) == list(np.unique(members)) == sorted(graph.by_name.values())
