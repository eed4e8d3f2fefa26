"""inspect(): sizes, work, arithmetic, islands and weights against counts made by hand."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from one_op import EXAMPLES, Net, X, add_signature, build, f32
from small_nets import residual

from tfq_ext.errors import ModelError
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec
from tfq_ext.tflite.patch import add_tensor, insert_op
from tfq_ext.tflite.read import Model
from tfq_ext.validation.inspection import inspect

GRID = QParams(INT8_ACTIVATION, 0.5, -28)
OTHER = QParams(INT8_ACTIVATION, 0.25, 3)
BY_CHANNEL = QSpec(8, axis=0)


def seen(model: Model | bytes, **more):
    return inspect(model if isinstance(model, bytes) else model.to_bytes(), **more)


def chain(*steps, name=None) -> Model:
    """One tensor [1, 8] through ops of one input: (code, dtype, grid) each."""
    net = Net()
    net.input("x", X((1, 8)))
    graph, last = net.graph, 0
    for k, (code, dtype, grid) in enumerate(steps):
        made = add_tensor(graph, name or f"t{k}", dtype, (1, 8), params=grid)
        insert_op(graph, len(graph.ops), code, [last], [made], version=1)
        last = made
    graph.tree.outputs = [last]
    return net.model


# Windows x channels, written out: SAME convolutions count their padding.
WORK = {
    "CONV_2D": 6 * 6 * 5 * (3 * 3 * 4),
    "DEPTHWISE_CONV_2D": 6 * 6 * 4 * (3 * 3),
    "FULLY_CONNECTED": 2 * 5 * 8,
    "TRANSPOSE_CONV": 6 * 6 * 4 * (2 * 2 * 5),
    "BATCH_MATMUL": 2 * 3 * 5 * 4,
    "ADD": 0,
    "AVERAGE_POOL_2D": 0,
    "SOFTMAX": 0,
}


@pytest.mark.parametrize("code", WORK)
def test_macs_are_those_counted_by_hand(code):
    (row,) = seen(build(code, EXAMPLES[code])).ops
    assert row.macs == WORK[code]


def test_a_slow_loop_counts_the_same_for_a_convolution():
    """Every product of a valid convolution with stride 2, one by one."""
    image, kernel, stride = (1, 7, 6, 3), (4, 3, 2, 3), 2
    options = ("Conv2DOptions", {"padding": 1, "strideW": stride, "strideH": stride})
    net = Net()
    net.input("x", X(image))
    net.const("w", f32(*kernel))
    net.const("b", f32(4))
    net.op("CONV_2D", "y", "x", "w", "b", options=options)
    count = sum(
        1
        for top in range(0, image[1] - kernel[1] + 1, stride)
        for left in range(0, image[2] - kernel[2] + 1, stride)
        for _ in np.ndindex(kernel)
        if top + kernel[1] <= image[1] and left + kernel[2] <= image[2]
    )
    assert seen(net.done("y")).macs == count


def test_recurrent_ops_multiply_every_matrix_once_a_step():
    (row,) = seen(tiny_models.rnn_model()).ops
    assert row.macs == 2  # one unit: input weight and recurrent weight
    assert row.parameters == 2  # one constant serves as both of them; and the bias


def test_parameters_count_shared_constants_once():
    net = Net()
    net.input("x", X((2, 8)))
    net.const("w", f32(8, 8))
    net.op("FULLY_CONNECTED", "a", "x", "w", options=("FullyConnectedOptions", {}))
    net.op("FULLY_CONNECTED", "b", "a", "w", options=("FullyConnectedOptions", {}))
    found = seen(net.done("b"))
    assert [row.parameters for row in found.ops] == [64, 64]
    assert found.parameters == 64


def test_buffers_of_several_tensors_are_counted_once_and_listed():
    model = residual()
    graph = model.graphs[0]
    twin = add_tensor(graph, "twin", "float32", (8, 3, 3, 8))
    graph.tensors[twin].buffer = graph.tensors[graph.by_name["w2"]].buffer
    found = seen(model)
    (shared,) = found.shared
    assert shared.tensors == ("w2", "twin")
    assert shared.size == 8 * 3 * 3 * 8 * 4
    assert sum(found.parts.values()) == found.size_bytes
    assert found.parts["float32 weights"] == 4 * (8 * 27 + 8 * 72 + 72 + 40)


def test_parts_sum_to_the_file_with_an_archive_behind_it():
    content = residual().to_bytes()
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    found = inspect(packed.getvalue())
    assert [(f.name, f.size) for f in found.associated_files] == [("labels.txt", 8)]
    assert found.parts["associated files"] == len(packed.getvalue()) - len(content)
    assert sum(found.parts.values()) == len(packed.getvalue())


def test_bytes_that_only_end_like_an_archive_are_no_files():
    content = residual().to_bytes() + b"PK\x05\x06" + b"\xff" * 30
    found = inspect(content)
    assert found.associated_files == ()
    assert sum(found.parts.values()) == len(content)


def test_a_buffer_that_nothing_uses_is_named():
    model = residual()
    spare = schema.BufferT()
    spare.data = np.zeros(1000, np.uint8)
    model.tree.buffers.append(spare)
    assert seen(model).parts["buffers that nothing uses"] == 1000


def test_a_float_file_says_so_once_for_every_op():
    found = seen(residual())
    assert found.kind == "float32"
    assert {row.reason for row in found.ops} == {"nothing in the file is quantized"}
    assert found.coverage.share_ops == 0
    assert found.islands == ()


def test_an_island_has_ends_bridges_and_a_cause():
    model = chain(
        ("QUANTIZE", "int8", GRID),
        ("RELU", "int8", GRID),
        ("DEQUANTIZE", "float32", None),
        ("SIN", "float32", None),
        ("ABS", "float32", None),
        ("QUANTIZE", "int8", OTHER),
        ("RELU", "int8", OTHER),
    )
    found = seen(model)
    (island,) = found.islands
    assert island.members == (3, 4)
    assert (island.first, island.last) == ("SIN t3", "ABS t4")
    assert (island.entered, island.left) == (1, 1)
    assert island.causes == ("SIN: TFLite has no int8 kernel for SIN",)
    assert found.ops[4].reason.startswith("TFLite has an int8 kernel")
    assert [row.arithmetic for row in found.ops].count("integer") == 2
    assert found.coverage.share_ops == 0.5
    assert [b.kind for b in found.bridges] == ["border", "inside", "inside"]


def test_two_islands_apart_are_two():
    inside = [("DEQUANTIZE", "float32", None), ("SIN", "float32", None), ("QUANTIZE", "int8", GRID)]
    found = seen(chain(("QUANTIZE", "int8", GRID), *inside, ("RELU", "int8", GRID), *inside))
    assert [island.members for island in found.islands] == [(2,), (6,)]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([("DEQUANTIZE", "float32", None), ("QUANTIZE", "int8", GRID)], "changes nothing"),
        ([("DEQUANTIZE", "float32", None), ("QUANTIZE", "int8", OTHER)], "between the two grids"),
        ([("QUANTIZE", "int8", GRID)], "to the same grid"),
        ([("QUANTIZE", "int8", OTHER)], ""),
    ],
)
def test_bridges_that_could_go(steps, said):
    before = [("QUANTIZE", "int8", GRID), ("RELU", "int8", GRID)]
    found = seen(chain(*before, *steps, ("RELU", "int8", steps[-1][2])))
    last = found.bridges[-1]
    assert said in last.removable
    assert bool(last.removable) == bool(said)


def test_a_pair_that_only_rounds_is_found():
    found = seen(
        chain(
            ("ABS", "float32", None), ("QUANTIZE", "int8", GRID), ("DEQUANTIZE", "float32", None),
            ("ABS", "float32", None),
        )
    )  # fmt: skip
    assert found.bridges[-1].removable == "behind a QUANTIZE of floats: the pair only rounds"


def weighted(values: np.ndarray, dtype: str, params: QParams | None, out="float32") -> Model:
    """FULLY_CONNECTED with a constant of any type."""
    net = Net()
    net.input("x", X((1, values.shape[1])))
    graph = net.graph
    w = add_tensor(graph, "w", dtype, values.shape, values=values, params=params)
    y = add_tensor(graph, "y", out, (1, len(values)))
    insert_op(graph, 0, "FULLY_CONNECTED", [0, w, -1], [y], version=1)
    graph.tree.outputs = [y]
    return net.model


def test_weights_in_reals_channel_by_channel():
    codes = np.array([[-127, 5, 0], [0, 0, 0], [2, -1, 127]], np.int8)
    scales = np.array([0.5, 1.0, 0.25], np.float32)
    params = QParams(BY_CHANNEL, scales)
    (row,) = seen(weighted(codes, "int8", params)).weights
    assert row.low == (-63.5, 0.0, -0.25)
    assert row.high == (2.5, 0.0, 31.75)
    assert row.dead == (1,)
    assert (row.faint, row.zeros, row.ends) == ((), 4 / 9, 1 / 9)
    assert row.spread == 2.0


@pytest.mark.parametrize(("level", "fits"), [(1e-5, True), (1.01e-5, False), (0.0, False)])
def test_faint_channels_end_at_one_hundred_thousandth(level, fits):
    values = np.ones((2, 4), np.float32)
    values[1] = level
    (row,) = seen(weighted(values, "float32", None)).weights
    assert row.faint == ((1,) if fits else ())
    assert row.dead == ((1,) if level == 0 else ())


def test_hybrid_and_packed_weights():
    codes = np.arange(-8, 8, dtype=np.int8).reshape(2, 8)
    params = QParams(BY_CHANNEL, np.full(2, 0.5, np.float32))
    found = seen(weighted(codes, "int4", params))
    (row,) = found.ops
    assert (row.arithmetic, row.weight_bits, row.types) == ("hybrid", 4, "float32 x int4")
    assert found.kind == "dynamic range"
    assert found.weights[0].low == (-4.0, 0.0)
    assert found.parts["int4 weights"] == 8


def test_fp16_weights_belong_to_the_op_that_multiplies():
    net = Net()
    net.input("x", X((1, 4)))
    graph = net.graph
    w = add_tensor(graph, "w", "float16", (2, 4), values=np.ones((2, 4), np.float16))
    wide = add_tensor(graph, "wide", "float32", (2, 4))
    y = add_tensor(graph, "y", "float32", (1, 2))
    insert_op(graph, 0, "DEQUANTIZE", [w], [wide], version=2)
    insert_op(graph, 1, "FULLY_CONNECTED", [0, wide, -1], [y], version=1)
    graph.tree.outputs = [y]
    found = seen(net.model)
    unpack, dense = found.ops
    assert (unpack.arithmetic, unpack.parameters) == ("bridge", 0)
    assert (dense.weight_bits, dense.parameters) == (16, 8)
    assert found.kind == "float32 with float16 weights"
    assert found.bridges[0].kind == "unpack"
    assert found.parts["float16 weights"] == 16


def test_custom_ops_are_known_by_name_and_their_work_is_not():
    model = chain(("ABS", "float32", None))
    entry = model.tree.operatorCodes[0]
    entry.builtinCode = entry.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    entry.customCode = b"Mine"
    found = seen(model)
    assert found.custom_ops[0].code == "CUSTOM:Mine"
    assert found.custom_ops[0].macs is None
    assert found.coverage.unknown_macs == 1
    assert found.runtime.custom == ("CUSTOM:Mine",)


def test_signatures_subgraphs_and_interfaces():
    found = inspect(tiny_models.two_signatures(np.ones((2, 3)), np.ones((4, 5))))
    assert [s.key for s in found.signatures] == ["first", "second"]
    assert [s.subgraph for s in found.signatures] == [0, 1]
    assert [g.role for g in found.subgraphs] == ["entry", "entry"]
    assert [g.macs for g in found.subgraphs] == [6, 20]
    assert [row.name for row in found.inputs] == ["in_first"]


def test_open_dimensions_count_as_one():
    found = inspect(tiny_models.dense_model(np.ones((2, 3))))
    assert found.inputs[0].shape == (-1, 3)
    assert found.macs == 6
    assert found.subgraphs[0].open_tensors == 2
    assert found.subgraphs[0].peak_bytes == 4 * (3 + 2)


def test_peak_memory_is_what_lives_at_once():
    """x[8] lives until ADD, so with its two other tensors; floats of 4 bytes."""
    net = Net()
    net.input("x", X((1, 8)))
    net.op("ABS", "a", "x")
    net.op("ABS", "b", "a")
    net.op("ADD", "c", "x", "b", options=("AddOptions", {}))
    found = seen(net.done("c"))
    assert found.subgraphs[0].peak_bytes == 4 * 8 * 3
    assert found.subgraphs[0].peak_op in (1, 2)


def test_selection_by_globs():
    found = seen(residual())
    assert [row.tensor for row in found.select("*conv*")] == ["a", "branch", "deep"]
    assert [row.tensor for row in found.select("CONV_2D", "b*")] == ["branch"]
    assert found.select("conv_3d") == ()
    assert {row.name for row in found.select_tensors("ADD")} == {"a", "branch", "sum"}
    assert [row.tensor for row in found.select_weights("*CONV*", "w*")] == ["w1", "w2", "w3"]
    assert [row.tensor for row in found.select_weights(name="logits")] == ["w4"]


def test_everything_is_plain_and_frozen():
    model = residual()
    add_signature(model)
    found = seen(model)
    values = json.loads(found.to_json())
    assert values["parts"] == dict(found.parts)
    assert values["ops"][0]["macs"] == found.ops[0].macs
    assert values["coverage"]["share_macs"] == 0
    with pytest.raises(FrozenInstanceError):
        found.ops = ()
    with pytest.raises(FrozenInstanceError):
        found.ops[0].macs = 1


def test_weights_can_be_left_unread():
    assert seen(residual(), weights=False).weights == ()


@pytest.mark.parametrize("content", [b"", b"nothing at all, but long enough", b"\0" * 64])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(ModelError):
        inspect(content)


def test_a_weight_with_too_few_bytes_has_no_row():
    model = weighted(np.ones((4, 4), np.float32), "float32", None)
    graph = model.graphs[0]
    graph.tensors[graph.by_name["w"]].shape = [400, 4]
    found = seen(model)
    assert found.weights == ()
    assert sum(found.parts.values()) == found.size_bytes
