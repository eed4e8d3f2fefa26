"""What LiteRT and drivers write, as it was caught; and how far outputs lie apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfq_ext.validation.delegates.gap import (
    fits_fp16,
    output_errors,
    same_numbers,
    top1_agreement,
)
from tfq_ext.validation.delegates.log import read_log
from tfq_ext.validation.delegates.values import RefusedOp

ADAPTER = (
    "I0000 00:00:1795264358.516640   13464 environment.cc:532] Selected adapter: "
    "llvmpipe (LLVM 15.0.6, 256 bits), arch=software, vendor=mesa, backend=Vulkan, "
    "adapterType=CPU / Software\n"
)
INT16 = """\
ERROR: Following operations are not supported by GPU delegate:
CONV_2D: Tensor type(INT16) is not supported. a
CONV_2D: Tensor type(INT16) is not supported. image/int16
DEQUANTIZE: Unsupported dequantization type.
STRIDED_SLICE: some reason [box/slice]
1 operations will run on the GPU, and the remaining 7 operations will run on the CPU.
"""
NONE = """\
ERROR: Following operations are not supported by GPU delegate:
GATHER_ND: Operation is not supported.
No operations will run on the GPU, and all 1 operations will run on the CPU.
"""
UNSAID = """\
ERROR: Following operations are not supported by GPU delegate:
No operations will run on the GPU, and all 1 operations will run on the CPU.
"""
NO_ADAPTER = """\
ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found
E0000 00:00:1795264606.326725   16233 delegate_webgpu.cc:736] Failed to get or create delegate WebGPU environment: INTERNAL: Failed to initialize WebGPU environment
"""  # noqa: E501
NOT_RUN = """\
E0000 00:00:1795264482.150515   15540 environment.cc:105] Validation error: Binding size is zero.
 - While calling [Device].CreateBindGroup([BindGroupDescriptor]).
E0000 00:00:1795264482.174423   15540 environment.cc:105] Validation error: [Invalid CommandBuffer] is invalid due to a previous error.
"""  # noqa: E501


def test_the_adapter_is_named_without_its_type():
    assert read_log(ADAPTER).adapter == (
        "llvmpipe (LLVM 15.0.6, 256 bits), arch=software, vendor=mesa, backend=Vulkan"
    )
    assert read_log(ADAPTER).no_adapter == ""


def test_refused_ops_keep_their_reason_and_the_tensor_where_one_is_named():
    log = read_log(ADAPTER + INT16, ["a", "image/int16", "int16", "box/slice"])
    assert log.refused == (
        RefusedOp("CONV_2D", "a", "Tensor type(INT16) is not supported"),
        RefusedOp("CONV_2D", "image/int16", "Tensor type(INT16) is not supported"),
        RefusedOp("DEQUANTIZE", "", "Unsupported dequantization type"),
        RefusedOp("STRIDED_SLICE", "box/slice", "some reason"),
    )
    assert (log.on_gpu, log.on_cpu) == (1, 7)


@pytest.mark.parametrize(("text", "named"), [(NONE, 1), (UNSAID, 0)])
def test_all_on_the_cpu_is_seen_even_where_no_op_is_named(text, named):
    log = read_log(text)
    assert (log.on_gpu, log.on_cpu, len(log.refused)) == (0, 1, named)


def test_nothing_said_about_counts_is_not_zero():
    assert read_log(ADAPTER).on_gpu is None


def test_no_adapter_is_told_in_the_plainest_words():
    log = read_log(NO_ADAPTER)
    assert log.adapter == ""
    assert log.no_adapter == "No adapters found"


def test_commands_that_were_not_executed_are_noticed():
    assert read_log(ADAPTER).executed
    log = read_log(ADAPTER + NOT_RUN)
    assert not log.executed
    assert log.said[0] == "Validation error: Binding size is zero."


def test_an_empty_log_says_nothing():
    log = read_log("")
    assert (log.adapter, log.refused, log.said, log.executed) == ("", (), (), True)


def one(x):
    return {"y": np.asarray(x, np.float32)}


def test_error_of_an_output_by_hand():
    (row,) = output_errors([one([[3.0, 4.0]])], [one([[3.0, 4.5]])])
    assert row.relative_l2 == pytest.approx(0.1)
    assert row.max_abs == 0.5
    assert row.sqnr_db == pytest.approx(20.0)


def test_samples_add_up_before_the_ratio():
    (row,) = output_errors([one([3.0]), one([4.0])], [one([3.0]), one([4.5])])
    assert row.relative_l2 == pytest.approx(0.1)


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_a_lost_value_is_infinitely_wrong(lost):
    (row,) = output_errors([one([1.0, 2.0])], [one([1.0, lost])])
    assert math.isinf(row.relative_l2)
    assert row.not_finite == 0.5


def test_a_value_that_the_cpu_lost_too_does_not_count():
    (row,) = output_errors([one([1.0, np.nan])], [one([1.0, np.nan])])
    assert row.relative_l2 == 0.0


@pytest.mark.parametrize(("gpu", "error"), [(0.0, 0.0), (1e-9, math.inf)])
def test_zeros_have_no_scale(gpu, error):
    (row,) = output_errors([{"y": np.float64([0.0])}], [{"y": np.float64([gpu])}])
    assert row.relative_l2 == error


def test_another_shape_is_wrong_altogether():
    (row,) = output_errors([one([1.0, 2.0])], [one([1.0])])
    assert math.isinf(row.relative_l2)


def test_agreement_is_about_scores_only():
    assert top1_agreement([one([[0, 1], [1, 0]])], [one([[0, 2], [0, 1]])]) == 0.5
    assert top1_agreement([one([[0, 1]])], [one([[np.nan, 2]])]) == 0.0
    assert top1_agreement([one([[1.0]])], [one([[1.0]])]) is None
    assert top1_agreement([one(np.ones((1, 2, 2, 3)))], [one(np.ones((1, 2, 2, 3)))]) is None


def test_one_bit_tells_two_precisions_apart():
    x = np.float32([[1.0, 2.0]])
    assert same_numbers([{"y": x}], [{"y": x.copy()}])
    assert not same_numbers([{"y": x}], [{"y": np.nextafter(x, np.float32(9))}])
    assert fits_fp16([{"y": x}])
    assert not fits_fp16([{"y": np.nextafter(x, np.float32(9))}])
    assert fits_fp16([{"ids": np.int32([70000])}])
