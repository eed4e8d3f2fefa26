"""Profiles of real files under LiteRT: sums, order, every op accounted for. No time is judged."""

from __future__ import annotations

import ctypes.util
import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from bench_nets import chain, custom, small
from tiny_models import add_model, cast_model, dense_model, rnn_model, two_signatures

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.validation.profile import BUILTIN, FOLDED, FUSED, XNNPACK, profile_model
from tfq_ext.validation.profile.capi import PROTOTYPES, Library, Unavailable, library_path
from tfq_ext.validation.sandbox import Child

ZOO = Path(os.environ.get("TFQ_ZOO", "/nowhere"))
W = np.eye(2, 3, dtype=np.float32)


def check(profile, content):
    """What holds for every profile with times."""
    graph = Model.parse(content).graphs[profile.ops[0].subgraph]
    assert profile.available, profile.why_not
    assert profile.why_not == ""
    assert [op.index for op in profile.ops] == list(range(len(graph.ops)))
    assert [op.op for op in profile.ops] == [graph.code(op) for op in graph.ops]
    assert all(op.ms >= 0 for op in profile.ops)
    total = sum(op.ms for op in profile.ops)
    assert total <= profile.total_ms
    if total > 0:
        assert sum(op.share for op in profile.ops) == pytest.approx(1)
        assert profile.covered_share == pytest.approx(
            (total + profile.unmapped_ms) / profile.total_ms
        )
    inside = [k for part in profile.partitions for k in part.ops]
    ran = [op.index for op in profile.ops if op.where != FOLDED]
    assert sorted(inside) == ran  # each op in one partition
    for part in profile.partitions:
        wheres = {profile.ops[k].where for k in part.ops}
        assert wheres <= ({XNNPACK, FUSED} if part.where == "XNNPACK" else {BUILTIN})
    neighbours = [part.where for part in profile.partitions]
    assert all(a != b for a, b in itertools.pairwise(neighbours))
    for op in profile.ops:
        assert bool(op.kernel) == (op.where == XNNPACK)
        assert op.ms == 0 or op.where in (XNNPACK, BUILTIN)
    assert profile.unmapped_ms == 0
    slowest = [op.ms for op in profile.slowest]
    assert slowest == sorted(slowest, reverse=True)


def where(profile):
    return [(op.op, op.where) for op in profile.ops]


@pytest.mark.parametrize("recipe", ["float", "fp16", "dynamic", "int8", "int4", "int16x8"])
def test_every_precision(recipe):
    content = small(recipe)
    check(profile_model(content, runs=4), content)


def test_int4_convolutions_split_the_graph():
    profile = profile_model(small("int4"), runs=2)
    outside = [op.op for op in profile.ops if op.where == BUILTIN]
    assert outside == ["CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D"]
    assert len(profile.partitions) >= 4
    breaks = [b for b in profile.breaks if b.stops == "XNNPACK"]
    assert [b.op for b in breaks] == outside
    assert all("4-bit weights" in b.why for b in breaks)
    assert all(
        b.index == op.index
        for b, op in zip(breaks, [op for op in profile.ops if op.where == BUILTIN], strict=True)
    )


def test_16_bit_files_run_outside_altogether():
    profile = profile_model(small("int16x8"), runs=2)
    assert {op.where for op in profile.ops} == {BUILTIN}
    assert [part.where for part in profile.partitions] == ["builtin"]
    assert profile.xnnpack_share == 0


def test_float16_weights_are_folded():
    profile = profile_model(small("fp16"), runs=2)
    assert {op.op for op in profile.ops if op.where == FOLDED} == {"DEQUANTIZE"}
    assert {op.where for op in profile.ops if op.op == "CONV_2D"} == {XNNPACK}


def test_an_op_that_xnnpack_does_not_take():
    content = chain("CONV_2D", "RELU_0_TO_1", "CONV_2D", "ABS")
    profile = profile_model(content, runs=2)
    check(profile, content)
    assert where(profile)[1] == ("RELU_0_TO_1", BUILTIN)
    assert [part.ops for part in profile.partitions] == [(0,), (1,), (2, 3)]


def test_builtin_kernels():
    content = small("int8")
    profile = profile_model(content, kernels="builtin", runs=2)
    check(profile, content)
    assert {op.where for op in profile.ops} == {BUILTIN}
    assert profile.kernels == "builtin"


def test_reference_kernels_have_no_times_and_say_so():
    profile = profile_model(small("int8"), kernels="reference")
    assert not profile.available
    assert "reference" in profile.why_not


def test_both_witnesses_agree_on_what_xnnpack_took():
    """The profiler's (compiled model) and the interpreter's own list of nodes."""
    for recipe in ("float", "int4", "dynamic"):
        timed = profile_model(small(recipe), runs=1)
        listed = profile_model(small(recipe), library="/nowhere/libLiteRt.so")
        assert timed.available
        assert not listed.available
        as_listed = [op.where.replace(FUSED, XNNPACK) for op in timed.ops]
        assert as_listed == [op.where for op in listed.ops], recipe
        assert timed.partitions == listed.partitions
        assert timed.breaks == listed.breaks


def test_second_signature():
    content = two_signatures(W, np.eye(4, 3, dtype=np.float32))
    profile = profile_model(content, signature="second", runs=2)
    check(profile, content)
    assert {op.subgraph for op in profile.ops} == {1}
    assert where(profile) == [("FULLY_CONNECTED", XNNPACK)]


@pytest.mark.parametrize("content", [add_model(), cast_model(), dense_model(W)])
def test_two_inputs_ids_open_batch(content):
    check(profile_model(content, runs=2), content)


def test_what_the_compiled_model_does_not_support_is_told():
    profile = profile_model(rnn_model())  # variable tensors
    assert profile.why_not == (
        "per-op times not available: LiteRtCreateModelFromBuffer says: unsupported"
    )
    assert where(profile) == [("UNIDIRECTIONAL_SEQUENCE_RNN", BUILTIN)]


def test_open_dimensions_follow_the_sample():
    x = {"x": np.zeros((7, 3), np.float32)}
    check(profile_model(dense_model(W), inputs=x, runs=2), dense_model(W))


def test_a_custom_op_that_litert_does_not_know():
    profile = profile_model(custom())
    assert not profile.available
    assert "\n" not in profile.why_not
    assert "Nobody" in profile.why_not
    assert [op.where for op in profile.ops] == ["unknown"] * 3
    assert [b.op for b in profile.breaks] == ["ADD"]  # nothing integer: the first stop only
    assert math.isnan(profile.total_ms)


def test_no_library(tmp_path):
    profile = profile_model(small("float"), library=str(tmp_path / "libLiteRt.so"))
    assert not profile.available
    assert profile.why_not.startswith("per-op times not available: libLiteRt.so cannot be loaded")
    assert {op.where for op in profile.ops} == {XNNPACK}  # known without the library
    assert all(op.ms == 0 for op in profile.ops)


def test_a_library_without_the_functions():
    other = ctypes.util.find_library("m")
    profile = profile_model(small("float"), library=other)
    assert "has no function LiteRtCreateEnvironment" in profile.why_not


def test_a_crash_of_the_profiler_is_told(tmp_path):
    # A library with our names whose functions jump into nothing would need a compiler; a text
    # file is what a damaged installation looks like.
    (tmp_path / "libLiteRt.so").write_bytes(b"\x7fELF" + bytes(200))
    profile = profile_model(small("float"), library=str(tmp_path / "libLiteRt.so"))
    assert not profile.available
    assert "cannot be loaded" in profile.why_not


def test_the_wheels_library_has_every_function():
    assert library_path().is_file()
    Library()
    assert len(PROTOTYPES) == len(set(PROTOTYPES))


def test_a_bad_status_has_a_word(tmp_path):
    (tmp_path / "m.tflite").write_bytes(small("float"))
    wrong = {"one": np.zeros(1, np.float32), "two": np.zeros(1, np.float32)}
    record = "tfq_ext.validation.profile.session:record"
    with Child() as child:
        with pytest.raises(Unavailable, match="calls the inputs in_0"):
            child.call(record, str(tmp_path / "m.tflite"), wrong)
        with pytest.raises(Unavailable, match="does not see signature 'x'"):
            child.call(record, str(tmp_path / "m.tflite"), {}, signature="x")


def test_no_tflite():
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        profile_model(b"this is a text of more than 16 bytes")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "outside"),
    [
        (
            "ssd_mobilenet",
            ["CONCATENATION", "CONCATENATION", "CUSTOM:TFLite_Detection_PostProcess"],
        ),
        ("visual_wake_words_visual_wake_words", ["AVERAGE_POOL_2D", "SOFTMAX"]),
        ("deeplabv3_257_mv_gpu", []),
        ("hey_jarvis", ["CALL_ONCE", "QUANTIZE"]),
    ],
)
def test_zoo(name, outside):
    found = sorted(ZOO.glob(f"*{name}.tflite"))
    if not found:
        pytest.skip("TFQ_ZOO has no such file")
    content = found[0].read_bytes()
    profile = profile_model(content, runs=3)
    check(profile, content)
    assert [op.op for op in profile.ops if op.where == BUILTIN] == outside


@pytest.mark.slow
@pytest.mark.data
def test_the_whole_zoo():
    files = sorted(ZOO.glob("*.tflite"))
    if not files:
        pytest.skip("TFQ_ZOO has no files")
    refused = []
    for path in files:
        profile = profile_model(path, runs=2)
        if profile.available:
            check(profile, path.read_bytes())
        else:
            refused.append(profile.why_not)
    assert all("unresolved custom op" in why for why in refused), refused
    assert len(refused) <= len(files) // 10
