"""Events to ops: alignment on sequences whose answer is known, partitions against LiteRT's."""

from __future__ import annotations

import pytest
from bench_nets import chain, custom, small

from tfq_ext.tflite.read import Model
from tfq_ext.validation.profile import names
from tfq_ext.validation.profile.mapping import align, sort_events
from tfq_ext.validation.profile.partition import partitions, runs, taken
from tfq_ext.validation.profile.session import DELEGATE_OP, OPERATOR, WHOLE, Event, average


def inner(*tags, us=1.0):
    return [Event(tag, DELEGATE_OP, us, k, 0) for k, tag in enumerate(tags)]


def graph_of(content):
    return Model.parse(content).graphs[0]


CONV, ADD = "Convolution (NHWC, F32) IGEMM", "Add (ND)"


@pytest.mark.parametrize(
    ("tag", "code", "expected"),
    [
        ("Fully Connected (NC, QS8, QC8W) GEMM", "CONV_2D", True),  # 1x1
        ("Fully Connected (NC, QS8, QC8W) GEMM", "DEPTHWISE_CONV_2D", False),
        ("Convolution (NHWC, QC8) DWConv", "DEPTHWISE_CONV_2D", True),
        ("Squared Difference (ND)", "SQUARED_DIFFERENCE", True),
        ("Squared Difference (ND)", "SQUARE", False),
        ("Square Root (NC)", "SQRT", True),
        ("Square Root (NC)", "SQUARE", False),
        ("Global Average Pooling (NWC, F32)", "MEAN", True),
        ("Something New (NC)", "SOMETHING_NEW", True),  # not in the table
        ("Something New (NC)", "ADD", False),
        ("", "ADD", False),
    ],
)
def test_names(tag, code, expected):
    assert names.fits(tag, code) is expected


def test_every_entry_of_the_table_is_found_by_its_own_name():
    for name, codes in names.FITS.items():
        assert names.base(f"{name.title()} (NC, F32)") == name
        assert all(names.fits(name, code) for code in codes.split())


def test_one_to_one():
    graph = graph_of(chain("CONV_2D", "ABS", "CONV_2D"))
    found = align(graph, [0, 1, 2], inner(CONV, "Abs (NC)", CONV, us=2.0))
    assert found.us == {0: 2.0, 1: 2.0, 2: 2.0}
    assert found.kernels[1] == "Abs (NC)"
    assert found.unmapped == []


def test_a_fused_op_has_no_time_and_takes_none_from_others():
    graph = graph_of(chain("CONV_2D", "RELU", "CONV_2D"))
    found = align(graph, [0, 1, 2], inner(CONV, CONV))
    assert found.us == {0: 1.0, 1: 0, 2: 1.0}
    assert found.kernels[1] == ""


def test_helpers_go_with_the_op_that_follows_and_at_the_end_with_the_last():
    graph = graph_of(chain("CONV_2D", "ABS"))
    events = inner("Convert (NC, F32, QD8)", CONV, "Abs (NC)", "Copy (NC)")
    found = align(graph, [0, 1], events)
    assert found.us == {0: 2.0, 1: 2.0}
    assert found.kernels == {0: "Convert (NC, F32, QD8) + " + CONV, 1: "Abs (NC) + Copy (NC)"}


def test_what_fits_nothing_is_left_over_not_given_away():
    graph = graph_of(chain("CONV_2D", "ABS"))
    found = align(graph, [0, 1], inner(CONV, "Softmax (NC, F32)", "Abs (NC)", us=3.0))
    assert found.us == {0: 3.0, 1: 3.0}
    assert [e.tag for e in found.unmapped] == ["Softmax (NC, F32)"]


def test_events_without_ops_and_ops_without_events():
    graph = graph_of(chain("CONV_2D"))
    assert align(graph, [0], []).us == {0: 0}
    assert [e.tag for e in align(graph, [], inner(CONV)).unmapped] == [CONV]
    assert [e.tag for e in align(graph, [], inner("Copy (NC)")).unmapped] == ["Copy (NC)"]


def test_sorting_groups_by_what_runs_between_and_by_new_numbering():
    graph = graph_of(chain("CONV_2D", "COS", "CONV_2D"))
    events = [
        Event("Invoke", WHOLE, 100.0, 0, 0),
        *inner(CONV),
        Event("COS", OPERATOR, 50.0, 1, 0),
        *inner(CONV, CONV),
        *inner(CONV),
    ]
    got = sort_events(events, graph)
    assert got.total_us == 100.0
    assert got.builtin == {1: 50.0}
    assert [len(group) for group in got.groups] == [1, 2, 1]


def test_operators_of_other_subgraphs_are_part_of_their_caller():
    graph = graph_of(chain("CONV_2D", "COS"))
    events = [Event("ABS", OPERATOR, 5.0, 0, 1), Event("COS", OPERATOR, 9.0, 1, 0)]
    assert sort_events(events, graph).builtin == {1: 9.0}


def test_groups_of_a_loops_body_are_dropped_when_there_are_too_many():
    graph = graph_of(chain("CONV_2D", "COS"))
    graph.model.tree.operatorCodes[graph.ops[1].opcodeIndex].builtinCode = 119  # WHILE
    assert graph.code(graph.ops[1]) == "WHILE"
    events = [*inner(CONV), Event("WHILE", OPERATOR, 9.0, 1, 0), *inner(ADD), *inner(ADD)]
    got = sort_events(events, graph)
    assert [len(g) for g in got.groups] == [1, 1, 1]
    assert [g[0].tag for g in got.of_entry(1)] == [CONV]
    assert [g[0].tag for g in got.of_entry(2)] == [CONV, ADD]


def test_average_keeps_whole_fast_runs():
    def run(*us):
        return [
            Event("Invoke", WHOLE, sum(us), 0, 0),
            *(Event("ABS", OPERATOR, u, k, 0) for k, u in enumerate(us)),
        ]

    got = average([run(1, 5), run(2, 2), run(90, 1), run(1, 4)])
    assert [e.us for e in got] == [4.5, 1.5, 3.0]  # of the runs of 4 and 5
    odd = average([run(1, 5), run(2), run(1, 5)])  # another sequence is another thing
    assert [e.us for e in odd] == [6.0, 1.0, 5.0]


def test_partitions_of_a_chain():
    graph = graph_of(chain("CONV_2D", "COS", "CONV_2D", "ABS"))
    got = partitions(graph, {0, 2, 3})
    assert [(p.first, p.last, p.ops, p.where) for p in got] == [
        (0, 0, (0,), "XNNPACK"),
        (1, 1, (1,), "builtin"),
        (2, 3, (2, 3), "XNNPACK"),
    ]


def test_independent_branches_join_as_litert_does():
    # a -> [branch] -> sum: with "branch" outside, ops that do not wait for it run first.
    graph = graph_of(small("float"))
    assert [graph.code(op) for op in graph.ops][:3] == ["CONV_2D", "CONV_2D", "ADD"]
    kinds = runs(graph, {0, 2, 3, 4, 5})
    assert kinds == [(True, [0]), (False, [1]), (True, [2, 3, 4, 5])]
    assert runs(graph, set(range(6))) == [(True, [0, 1, 2, 3, 4, 5])]
    assert runs(graph, set()) == [(False, [0, 1, 2, 3, 4, 5])]


def test_taken_is_what_lies_between_outputs_and_inputs():
    graph = graph_of(chain("CONV_2D", "COS", "CONV_2D"))
    ends = {k: int(op.outputs[0]) for k, op in enumerate(graph.ops)}
    constants = [t for t in range(len(graph.tensors)) if graph.is_constant(t)]
    x = graph.inputs[0]
    assert taken(graph, [([x, *constants], [ends[0]])]) == {0}
    assert taken(graph, [([ends[1], *constants], [ends[2]])]) == {2}
    assert taken(graph, []) == set()


def test_a_cycle_ends():
    graph = graph_of(custom())
    graph.ops[0].inputs = [int(graph.ops[2].outputs[0])] * 2
    assert runs(graph, set()) == []
