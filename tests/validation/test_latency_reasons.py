"""Reasons on made-up times: each rule finds its case, with the numbers, and no other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_made import TAGS, profiled, report, row
from bench_nets import chain, small, wide

from tfq_ext.tflite.read import Model
from tfq_ext.validation.latency import REASONS, RULES
from tfq_ext.validation.latency.case import counted, pairs
from tfq_ext.validation.latency.explain import Case, Side, explain
from tfq_ext.validation.latency.machine import Machine
from tfq_ext.validation.latency.notes import notes_of
from tfq_ext.validation.profile import BUILTIN, XNNPACK


def found(content, profile, **more):
    return {f.rule.id: f for f in explain(*report(content, profile, **more), None)}


def test_tables_agree():
    assert set(REASONS) | {"slow-unexplained"} == set(RULES)
    assert all(id == reason.rule.id for id, reason in REASONS.items())


@pytest.mark.parametrize(
    ("recipe", "outside", "id", "numbers"),
    [
        ("int16x8", set(TAGS), "slow-int16", "8 of 8 ms (100%)"),
        ("int4", {"CONV_2D", "DEPTHWISE_CONV_2D"}, "slow-int4", "3 of 8 ms (38%)"),
        ("int8", {"MEAN"}, "slow-outside-xnnpack", "1 of 8 ms (12%)"),
        ("int8", (), "slow-bridges", "2 of 8 ms (25%)"),
    ],
)
def test_culprits(recipe, outside, id, numbers):
    got = found(small(recipe), profiled(small(recipe), outside)[1])
    assert numbers in got[id].message
    assert got[id].message.startswith("q: ")
    others = {"slow-int16", "slow-int4", "slow-outside-xnnpack", "slow-hybrid"} - {id}
    assert not others & set(got)


def test_hybrid_outside_and_inside():
    content = hybrid()
    got = found(content, profiled(content, {"CONV_2D"})[1])
    assert "2 CONV_2D" in got["slow-hybrid"].message
    assert "slow-dynamic-range" not in got
    got = found(content, profiled(content)[1])
    assert "2 of 2 ms (100%)" in got["slow-dynamic-range"].message
    assert "slow-hybrid" not in got


def hybrid():
    """Two convolutions whose weights are integers while activations stay float."""
    model = Model.parse(chain("CONV_2D", "CONV_2D"))
    graph = model.graphs[0]
    from tfq_ext.spec import INT8_WEIGHT, QParams
    from tfq_ext.tflite import patch

    for op in graph.ops:
        weight = int(op.inputs[1])
        values = graph.constant(weight)
        patch.set_params(graph, weight, "int8", QParams(INT8_WEIGHT, 0.1, 0))
        buffer = model.tree.buffers[graph.tensors[weight].buffer]
        buffer.data = np.zeros(values.size, np.uint8)
    return model.to_bytes()


def test_float_islands():
    model = Model.parse(small("int8"))
    graph = model.graphs[0]
    k = next(k for k, op in enumerate(graph.ops) if graph.code(op) == "ADD")
    for t in [*graph.ops[k].inputs, *graph.ops[k].outputs]:
        graph.tensors[int(t)].type = 0  # float32
        graph.tensors[int(t)].quantization = None
    content = model.to_bytes()
    got = found(content, profiled(content, slow={"ADD": 9.0})[1])
    assert "ADD" in got["slow-float-islands"].message
    assert got["slow-float-islands"].severity == "warning"
    assert "slow-float-islands" not in found(small("float"), profiled(small("float"))[1])


def test_float16_files_compute_in_float():
    got = found(small("fp16"), profiled(small("fp16"))[1])
    assert "4 weights" in got["slow-float-arithmetic"].message
    assert "slow-bridges" not in got  # folded: they do not run
    assert "slow-float-arithmetic" not in found(small("float"), profiled(small("float"))[1])


def test_split_graph_names_the_splitters():
    content = chain("CONV_2D", "ABS", "CONV_2D", "ABS", "CONV_2D")
    got = found(content, profiled(content, {"ABS"})[1])
    assert "5 runs of ops, 3 of them in XNNPACK, the longest of 1 ops" in (
        got["slow-split-graph"].message
    )
    assert "2 ABS" in got["slow-split-graph"].message


def test_slower_ops_against_the_same_op_of_the_baseline():
    content = small("float")
    base = profiled(content)[1]
    mine = profiled(content, slow={"ADD": 3.0})[1]
    got = found(content, mine, base=(content, base))["slow-ops"]
    assert got.message.startswith("q: 1 of 6 ops is slower than in float, by 2 ms in all")
    assert (got.op, got.tensor, got.op_index) == ("ADD", "sum", 2)
    assert "slow-ops" not in found(content, base, base=(content, base))


def test_pairs_by_name_by_order_and_not_at_all():
    content = small("float")
    graph, profile = profiled(content)
    side = Side("a", graph, row(), profile)
    assert [(a.index, b.index) for a, b in pairs(side, side)] == [(k, k) for k in range(6)]
    other = Model.parse(content)
    for tensor in other.graphs[0].tensors:
        tensor.name = b"new_" + tensor.name
    renamed = Side("b", other.graphs[0], row(), profiled(other.to_bytes())[1])
    assert [(a.index, b.index) for a, b in pairs(side, renamed)] == [(k, k) for k in range(6)]
    strange, its = profiled(chain("ABS", "ABS", "ABS"))
    assert pairs(side, Side("c", strange, row(), its)) == []


def test_tiny_ops():
    content = small("int8")
    assert "slow-tiny-ops" not in found(content, profiled(content)[1], mine=row(median=0.1))
    got = found(content, profiled(content)[1], mine=row(median=0.008))
    assert "0.008 ms for 8 ops, 1 us each" in got["slow-tiny-ops"].message


def test_memory_bound_states_the_rate():
    content = wide(2)
    got = found(content, profiled(content)[1])["slow-memory-bound"]
    assert "to read 2.1 MB: 1.05 GB/s" in got.message
    assert "slow-memory-bound" not in found(small("float"), profiled(small("float"))[1])


@pytest.mark.parametrize(
    ("dot", "ratio", "expected"),
    [(False, 0.9, True), (False, 0.5, False), (True, 0.9, False), (None, 0.9, False)],
)
def test_no_dot_product(dot, ratio, expected):
    content = small("int8")
    profile = profiled(content)[1]
    here = Machine("Old CPU", 2, 0.1, dot_product=dot)
    base = (content, profile)
    got = found(content, profile, base=base, machine=here, mine=row(ratio=ratio))
    assert ("slow-no-dot-product" in got) is expected


def test_threads_that_do_not_help():
    content = small("int8")
    profile = profiled(content)[1]
    rows = [row(), row(threads=2, thread_ratio=0.6), row(threads=4, thread_ratio=0.97, median=0.97)]
    message = found(content, profile, rows=rows)["slow-threads"].message
    assert "4 threads take 0.97 x the time of 1 (0.97 ms against 1 ms)" in message
    rows[2] = dataclasses.replace(rows[2], thread_ratio=0.4)
    assert "slow-threads" not in found(content, profile, rows=rows)


def test_where_the_time_goes_is_always_said():
    content = small("float")
    message = found(content, profiled(content, slow={"ADD": 5.0})[1])["time-now"].message
    assert "ADD 50%" in message
    assert "longest: op 2 ADD, 5 ms (50%)" in message


def test_unexplained():
    content = chain("CONV_2D", "CONV_2D")
    profile = profiled(content)[1]
    got = found(content, profile, base=(content, profile), mine=row(ratio=1.1, median=2.0))
    assert "1.10 x the baseline" in got["slow-unexplained"].message
    got = found(content, profile, base=(content, profile), mine=row(ratio=0.5, median=2.0))
    assert "slow-unexplained" not in got


def test_without_times_counts_stand_in():
    content = small("int4")
    profile = profiled(content, {"CONV_2D", "DEPTHWISE_CONV_2D"})[1]
    blank = dataclasses.replace(
        profile,
        available=False,
        ops=tuple(dataclasses.replace(op, ms=0.0, share=0.0) for op in profile.ops),
    )
    got = found(content, blank)
    assert "are 3 of 8 ops (no times)" in got["slow-int4"].message
    assert "time-now" not in got


def test_without_any_profile_and_for_a_file_that_failed():
    content = small("int4")
    seen, models = report(content, None)
    bare = dataclasses.replace(seen, profiles={})
    assert all(f.rule.id == "slow-tiny-ops" for f in explain(bare, models, None))
    dead = dataclasses.replace(seen, rows=(row(failed="LiteRT died at invoke: SIGSEGV."),))
    assert explain(dead, models, None) == ()


def test_warnings_come_first():
    content = small("int4")
    got = explain(*report(content, profiled(content, {"CONV_2D"})[1]), None)
    grades = [f.severity for f in got]
    assert grades == sorted(grades, key=["warning", "info"].index)


def test_counted():
    content = small("float")
    ops = profiled(content)[1].ops
    assert counted(ops) == "2 CONV_2D, 1 ADD, 1 DEPTHWISE_CONV_2D and 2 others"
    assert counted(ops[:1]) == "1 CONV_2D"
    assert {op.where for op in ops} <= {XNNPACK, BUILTIN}
    assert Case is not None


def test_notes():
    seen, models = report(small("int8"), profiled(small("int8"))[1])
    assert notes_of(seen, (), models, None) == ()
    busy = dataclasses.replace(seen, machine=Machine("CPU", 2, 0.0, busy=0.4))
    assert "took 40%" in notes_of(busy, (), models, None)[0]
    loaded = dataclasses.replace(seen, machine=Machine("CPU", 2, 3.5, busy=0.1))
    assert "3.5 on 2 cores" in notes_of(loaded, (), models, None)[0]
    shaky = dataclasses.replace(seen, rows=(row(variation=0.4, threads=3),))
    threads, varied = notes_of(shaky, (), models, None)
    assert "3 threads on 2 cores" in threads
    assert "1 of 1 rows" in varied
    assert "40%" in varied
    assert "a, b were taken as 1" in notes_of(seen, ("a", "b"), models, None)[0]
