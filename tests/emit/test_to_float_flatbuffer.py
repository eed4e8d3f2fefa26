"""A .tflite becomes a pivot: folded exactly, refused clearly, TensorFlow never imported."""

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from float_files import SHAPE, add_op, adds_constant, blank, run

from tfq_ext.emit.to_float import content_digest, to_float
from tfq_ext.emit.to_float.densify import dense
from tfq_ext.errors import ModelError
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec
from tfq_ext.tflite.patch import add_tensor
from tfq_ext.tflite.read import Model, digest

X = np.linspace(-2, 2, 6, dtype=np.float32).reshape(SHAPE)
HALVES = np.array([[0.1, -65504.0, 6e-8], [0.0, 1.0, 3.14159]], np.float16)
CODES = np.array([[-127, 127, 0], [1, -1, 64]], np.int8)


def _ops(model: Model) -> list[str]:
    return [name for *_, name in model.walk()]


def test_a_float_file_stays_as_it_is():
    data = adds_constant(X, "float32").model.to_bytes()
    pivot = to_float(data)
    assert (pivot.source, pivot.notes, pivot.log) == ("tflite", (), "")
    assert pivot.digest == digest(data)
    assert np.array_equal(run(pivot.model.to_bytes(), X)[0], X + X)


def test_float16_constants_are_folded_exactly(tmp_path):
    path = tmp_path / "half.tflite"
    path.write_bytes(adds_constant(HALVES, "float16").model.to_bytes())
    pivot = to_float(path)
    assert _ops(pivot.model) == ["ADD"]
    assert pivot.notes == ("1 float16 constants made float32.",)
    graph = pivot.model.graphs[0]
    assert np.array_equal(graph.constant(graph.by_name["real"]), HALVES.astype(np.float32))
    assert sorted(graph.by_name) == ["real", "x", "y"]  # the half is gone, with its bytes
    assert np.array_equal(run(pivot.model.to_bytes(), X)[0], run(path.read_bytes(), X)[0])


@pytest.mark.parametrize(
    ("params", "codes"),
    [
        (QParams(QSpec(8), 0.013), CODES),
        (QParams(INT8_ACTIVATION, 0.5, -28), CODES),
        (QParams(QSpec(8, axis=0), [0.013, 1.7]), CODES),
        (QParams(QSpec(8, axis=1), [0.013, 1.7, 3e-5]), CODES),
    ],
    ids=["per-tensor", "asymmetric", "rows", "columns"],
)
def test_integer_weights_behind_dequantize_are_folded_as_the_kernel_does(params, codes):
    data = adds_constant(codes, "int8", params=params).model.to_bytes()
    pivot = to_float(data)
    assert _ops(pivot.model) == ["ADD"]
    assert "integer weights behind DEQUANTIZE" in pivot.notes[0]
    assert np.array_equal(run(pivot.model.to_bytes(), X)[0], run(data, X)[0])


def test_tied_constants_stay_one_buffer():
    graph = adds_constant(HALVES, "float16")
    other = add_tensor(graph, "other", "float32", SHAPE)
    out = add_tensor(graph, "z", "float32", SHAPE)
    add_op(graph, "DEQUANTIZE", [graph.by_name["c"]], [other], 3)
    add_op(graph, "ADD", [graph.by_name["x"], other], [out])
    graph.tree.outputs = [*graph.outputs, out]
    folded = to_float(graph.model.to_bytes()).model.graphs[0]
    buffers = {folded.tensors[folded.by_name[n]].buffer for n in ("real", "other")}
    assert len(buffers) == 1


def _fake_quant():
    graph = blank()
    grid = QParams(INT8_ACTIVATION, 0.5, -28)
    x = add_tensor(graph, "x", "float32", SHAPE)
    q = add_tensor(graph, "q", "int8", SHAPE, params=grid)
    r = add_tensor(graph, "r", "float32", SHAPE)
    w = add_tensor(graph, "w", "int8", SHAPE, values=CODES, params=QParams(QSpec(8), 0.1))
    v = add_tensor(graph, "v", "float32", SHAPE)
    y = add_tensor(graph, "y", "float32", SHAPE)
    for name, inputs, outputs in [
        ("QUANTIZE", [x], [q]),
        ("DEQUANTIZE", [q], [r]),
        ("DEQUANTIZE", [w], [v]),
        ("ADD", [r, v], [y]),
    ]:
        add_op(graph, name, inputs, outputs, 2 if "QUANT" in name else 1)
    graph.tree.inputs, graph.tree.outputs = [x], [y]
    return graph


def test_fake_quantization_is_left_alone():
    graph = _fake_quant()
    pivot = to_float(graph.model.to_bytes())
    assert _ops(pivot.model) == ["QUANTIZE", "DEQUANTIZE", "DEQUANTIZE", "ADD"]
    assert pivot.notes == ()


def test_an_integer_that_more_than_dequantize_reads_is_refused():
    graph = _fake_quant()
    q, y = graph.by_name["q"], add_tensor(graph, "z", "int8", SHAPE, params=QParams(QSpec(8), 1.0))
    add_op(graph, "ADD", [q, q], [y])
    with pytest.raises(ModelError, match=r"it has 2 integer tensors, for example ADD writes 'z'"):
        to_float(graph.model.to_bytes())


def test_integer_weights_that_an_op_reads_directly_are_refused():
    graph = adds_constant(X, "float32")
    w = add_tensor(graph, "w", "int8", SHAPE, values=CODES, params=QParams(QSpec(8), 0.1))
    graph.ops[-1].inputs = [graph.inputs[0], w]
    with pytest.raises(ModelError, match=r"dynamic range.*ADD reads 'w' \(int8\).*float model"):
        to_float(graph.model.to_bytes())


def test_plain_integers_without_scales_are_no_quantization():
    graph = blank()
    image = add_tensor(graph, "image", "uint8", SHAPE)
    y = add_tensor(graph, "y", "float32", SHAPE)
    add_op(graph, "CAST", [image], [y])
    graph.tree.inputs, graph.tree.outputs = [image], [y]
    assert to_float(graph.model.to_bytes()).notes == ()


def test_names_become_unique_and_outputs_keep_theirs():
    graph = adds_constant(X, "float32")
    graph.tensors[1].name = b"y"  # the constant has the output's name
    empty = add_tensor(graph, "gone", "float32", SHAPE)
    graph.tensors[empty].name = b""
    out = add_tensor(graph, "z", "float32", SHAPE)
    add_op(graph, "ADD", [graph.outputs[0], graph.inputs[0]], [empty])
    add_op(graph, "ADD", [empty, empty], [out])
    graph.tree.outputs = [*graph.outputs, out]
    pivot = to_float(graph.model.to_bytes())
    names = [pivot.model.graphs[0].name(i) for i in range(5)]
    assert names == ["x", "y_1", "y", "tensor_3", "z"]
    assert pivot.notes == ("2 tensors renamed: their names were empty or taken.",)


def _with_signatures(*keys: str) -> Model:
    graph = adds_constant(X, "float32")
    for key in keys:
        definition = schema.SignatureDefT()
        definition.signatureKey, definition.subgraphIndex = key.encode(), 0
        definition.inputs, definition.outputs = [_map("in", 0)], [_map("out", 2)]
        graph.model.tree.signatureDefs.append(definition)
    return graph.model


def _map(name: str, tensor: int):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry


def test_signatures_are_chosen_and_a_miss_lists_them():
    data = _with_signatures("encode", "decode").to_bytes()
    assert list(to_float(data).model.signatures) == ["encode", "decode"]
    assert list(to_float(data, signatures=["decode"]).model.signatures) == ["decode"]
    with pytest.raises(ModelError, match=r"no signature 'x'. It has: 'encode', 'decode'"):
        to_float(data, signatures=["x"])


def test_signatures_follow_when_tensors_are_dropped():
    graph = adds_constant(HALVES, "float16")
    definition = schema.SignatureDefT()
    definition.signatureKey, definition.subgraphIndex = b"f", 0
    definition.inputs = [_map("in", graph.by_name["x"])]
    definition.outputs = [_map("out", graph.by_name["y"])]
    graph.model.tree.signatureDefs.append(definition)
    pivot = to_float(graph.model.to_bytes())
    kept = pivot.model.signatures["f"]
    assert pivot.model.graphs[0].name(kept.outputs[0].tensorIndex) == "y"


def test_custom_ops_are_noted_and_flex_ops_refused():
    for code, flex in ((b"MyOp", False), (b"FlexErf", True)):
        graph = adds_constant(X, "float32")
        entry = graph.model.tree.operatorCodes[0]
        entry.builtinCode = entry.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        entry.customCode = code
        data = graph.model.to_bytes()
        if flex:
            with pytest.raises(ModelError, match=r"kernels for tf\.Erf \(Flex"):
                to_float(data)
            assert "FLEX:Erf" in to_float(data, allow_custom_ops=True).notes[0]
        else:
            assert "CUSTOM:MyOp" in to_float(data).notes[0]


def test_the_digest_of_content_sees_constants_and_not_names():
    first, second, other = (adds_constant(v, "float32").model for v in (X, X, X + 1))
    second.graphs[0].tensors[0].name = b"renamed"
    assert content_digest(first) == content_digest(second)
    assert content_digest(first) != content_digest(other)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 3, 2)])
@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
def test_dense_undoes_a_block_encoding_written_the_slow_way(order, keep):
    rng = np.random.default_rng(3)
    block = (2, 3)
    tiles = rng.random((3, 4)) < keep
    full = rng.normal(size=(6, 12)).astype(np.float32) * np.kron(tiles, np.ones(block))
    values, sparsity = _encode(full, block, order)
    assert np.array_equal(dense(values, full.shape, sparsity), full)


def _encode(full, block, order):
    """Outer first dimension dense, the second CSR; whole blocks are stored, walked in `order`."""
    sizes = [full.shape[0] // block[0], full.shape[1] // block[1], *block]
    first, second = order[:2]
    segments, indices, values = [0], [], []
    for i in range(sizes[first]):
        for j in range(sizes[second]):
            at = {first: i, second: j}
            rows = slice(at[0] * block[0], (at[0] + 1) * block[0])
            columns = slice(at[1] * block[1], (at[1] + 1) * block[1])
            tile = full[rows, columns]
            if np.any(tile):
                indices.append(j)
                values += list((tile if order[2] == 2 else tile.T).reshape(-1))
        segments.append(len(indices))
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = list(order), [0, 1]
    sparsity.dimMetadata = [_level(sizes[first]), _level(0, segments, indices)]
    sparsity.dimMetadata += [_level(sizes[d]) for d in order[2:]]
    return np.array(values, np.float32), sparsity


def _level(size, segments=None, indices=None):
    meta = schema.DimensionMetadataT()
    meta.denseSize = size
    meta.format = schema.DimensionType.DENSE
    if segments is not None:
        meta.format = schema.DimensionType.SPARSE_CSR
        meta.arraySegments, meta.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
        meta.arraySegments.values, meta.arrayIndices.values = segments, indices
        meta.arraySegmentsType = meta.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    return meta


def test_a_sparse_constant_of_a_file_becomes_what_the_densify_kernel_makes_of_it():
    full = np.array([[0, 1.5, 0], [2.5, 0, -3]], np.float32)
    graph = adds_constant(full, "float32")
    sparse = graph.tensors[graph.by_name["c"]]
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = [0, 1], None
    sparsity.dimMetadata = [_level(2), _level(0, [0, 1, 3], [1, 0, 2])]
    sparse.sparsity = sparsity
    values = np.array([1.5, 2.5, -3], np.float32)
    graph.model.tree.buffers[sparse.buffer].data = values.view(np.uint8)
    out = add_tensor(graph, "dense", "float32", SHAPE)
    graph.ops[0].inputs = [graph.by_name["x"], out]
    add_op(graph, "DENSIFY", [graph.by_name["c"]], [out])
    graph.ops.reverse()
    data = graph.model.to_bytes()
    pivot = to_float(data)
    assert _ops(pivot.model) == ["ADD"]
    assert pivot.notes == ("1 sparse constants made dense.",)
    assert np.array_equal(run(pivot.model.to_bytes(), X)[0], X + full)
    assert np.array_equal(run(data, X)[0], X + full)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.tflite", b"", r"is empty"),
        ("m.tflite", b"just some text, no model", r"not a \.tflite"),
        ("m.txt", b"just some text, no model", r"no model that tfq_ext knows: it begins b'just"),
        ("m.onnx", b"\x08\x07\x12\x04", r"ONNX model: convert it"),
        ("m.pt", b"PK\x03\x04", r"PyTorch"),
        ("m.h5", b"not hdf5", r"no Keras file in spite of its name: it begins"),
        ("m.keras", b"text", r"no Keras file in spite of its name"),
    ],
)
def test_files_that_are_no_model(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=says):
        to_float(path)


@pytest.mark.parametrize("cut", [20, 100, 0.5, 0.9])
def test_a_truncated_file_is_refused_with_a_sentence(cut):
    data = adds_constant(X, "float32").model.to_bytes()
    short = data[: cut if isinstance(cut, int) else int(cut * len(data))]
    with pytest.raises(ModelError, match="truncated or damaged"):
        to_float(short)


def test_flipped_bytes_are_refused_with_a_sentence_or_do_not_matter():
    data = adds_constant(HALVES, "float16").model.to_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(8, len(data), 3):
            damaged[at] ^= int(rng.integers(1, 256))
        try:
            to_float(bytes(damaged))
        except ModelError:
            refused += 1
    assert refused > 100


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(ModelError, match=r"There is no .*absent\.tflite"):
        to_float(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match=r"holds: nothing.*no SavedModel"):
        to_float(str(tmp_path))


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, [], np.zeros(3)], ids=repr)
def test_objects_that_are_no_model(source):
    with pytest.raises(ModelError, match=r"which is no model\. Allowed: a Keras model"):
        to_float(source)


def test_options_that_make_no_sense():
    data = adds_constant(X, "float32").model.to_bytes()
    with pytest.raises(ModelError, match="positive"):
        to_float(data, batch=0)
    with pytest.raises(ModelError, match="has its shapes"):
        to_float(data, batch=1)
    with pytest.raises(ModelError, match=r"'package.module:Class', got 'nonsense'"):
        to_float(data, custom_objects=["nonsense"])
    with pytest.raises(ModelError, match="Cannot import the custom object 'math:nothing'"):
        to_float(data, custom_objects=["math:nothing"])


def test_a_tflite_never_imports_tensorflow(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(adds_constant(HALVES, "float16").model.to_bytes())
    code = (
        "import sys; from tfq_ext.emit.to_float import to_float; to_float(sys.argv[1]); "
        "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
