"""Hostile and damaged structure is refused before it costs time or memory; honest files pass."""

import os
import re
import struct
import time
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import small_nets
from ai_edge_litert import schema_py_generated as schema
from bad_models import calls_itself, crash, endless_loop
from tiny_models import Builder, dense_model, two_signatures

from tfq_ext.errors import ModelError
from tfq_ext.tflite.guard import TABLES, guard
from tfq_ext.tflite.read import Model

ZOO = Path(os.environ.get("TFQ_ZOO", "does-not-exist"))
FILES = sorted(ZOO.glob("*.tflite"))
W = np.ones((2, 3), np.float32)


def finish(builder: flatbuffers.Builder, subgraphs: list[int], buffers: list[int]) -> bytes:
    """A Model around finished tables."""
    graphs, bytes_ = vector(builder, subgraphs), vector(builder, buffers)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, bytes_)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def vector(builder: flatbuffers.Builder, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def tensor(builder: flatbuffers.Builder, **fields: int) -> int:
    schema.TensorStart(builder)
    for name, value in fields.items():
        getattr(schema, f"TensorAdd{name}")(builder, value)
    return schema.TensorEnd(builder)


def graph(builder: flatbuffers.Builder, tensors: list[int]) -> int:
    tables = vector(builder, tensors)
    nothing = vector(builder, [])
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tables)
    schema.SubGraphAddOperators(builder, nothing)
    return schema.SubGraphEnd(builder)


def empty_buffer(builder: flatbuffers.Builder) -> int:
    schema.BufferStart(builder)
    return schema.BufferEnd(builder)


def one_tensor_many_times() -> bytes:
    b = flatbuffers.Builder(0)
    t = tensor(b, Name=b.CreateString("t"))
    return finish(b, [graph(b, [t] * 40_000)], [empty_buffer(b)])


def one_subgraph_many_times() -> bytes:
    """3000 x 3000 tensors in 24 kB."""
    b = flatbuffers.Builder(0)
    g = graph(b, [tensor(b, Name=b.CreateString("t"))] * 3000)
    return finish(b, [g] * 3000, [empty_buffer(b)])


def one_name_for_all() -> bytes:
    """3000 tensors called the same 4 MB: 12 GB of names."""
    b = flatbuffers.Builder(0)
    name = b.CreateString("n" * 4_000_000)
    return finish(b, [graph(b, [tensor(b, Name=name) for _ in range(3000)])], [empty_buffer(b)])


def one_shape_for_all() -> bytes:
    b = flatbuffers.Builder(0)
    shape = b.CreateNumpyVector(np.ones(1_000_000, np.int32))
    tensors = [tensor(b, Shape=shape, Buffer=0) for _ in range(3000)]
    return finish(b, [graph(b, tensors)], [empty_buffer(b)])


def one_constant_for_all() -> bytes:
    b = flatbuffers.Builder(0)
    data = b.CreateNumpyVector(np.ones(4_000_000, np.uint8))
    buffers = []
    for _ in range(3000):
        schema.BufferStart(b)
        schema.BufferAddData(b, data)
        buffers.append(schema.BufferEnd(b))
    return finish(b, [graph(b, [tensor(b, Buffer=1)])], buffers)


def bytes_behind(offset: int, size: int, times: int = 1) -> bytes:
    """Buffers whose bytes lie behind the flatbuffer."""
    b = flatbuffers.Builder(0)
    buffers = [empty_buffer(b)]
    for _ in range(times):
        schema.BufferStart(b)
        schema.BufferAddOffset(b, offset)
        schema.BufferAddSize(b, size)
        buffers.append(schema.BufferEnd(b))
    return finish(b, [graph(b, [tensor(b, Buffer=1)])], buffers) + bytes(1_000_000)


BOMBS = {
    "one tensor many times": one_tensor_many_times,
    "one subgraph many times": one_subgraph_many_times,
    "one name for all": one_name_for_all,
    "one shape for all": one_shape_for_all,
    "one constant for all": one_constant_for_all,
    "bytes behind, shared": lambda: bytes_behind(500_000, 400_000, 3000),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_costs_anything(make):
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"damaged or hostile: its \d+ bytes claim more than"):
            guard(data)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(ModelError, match=r"evil\.tflite is damaged or hostile"):
        Model.parse(data, source="evil.tflite")


@pytest.mark.parametrize(
    ("offset", "size"), [(10, 2**40), (2**63, 8), (2**32, 1), (10, 2**64 - 1), (900_000, 200_000)]
)
def test_bytes_behind_the_end(offset, size):
    with pytest.raises(ModelError, match="truncated or damaged: the end of the data"):
        Model.parse(bytes_behind(offset, size))


def test_bytes_behind_the_flatbuffer_are_read():
    data = bytes_behind(500_000, 16)
    assert Model.parse(data).tree.buffers[1].data == data[500_000:500_016]


def words(data: bytes, word: int, value: int) -> list[bytes]:
    """Copies of the file with each aligned word `word` replaced."""
    found = [
        at for at in range(0, len(data) - 3, 4) if struct.unpack_from("<I", data, at)[0] == word
    ]
    return [data[:at] + struct.pack("<I", value) + data[at + 4 :] for at in found]


@pytest.mark.parametrize("claimed", [2**30, 2**31 - 1, 2**32 - 1])
def test_lists_that_claim_billions(claimed):
    refused = 0
    for data in words(dense_model(W), 3, claimed):  # vectors of three: shapes, names, ...
        try:
            Model.parse(data)
        except ModelError as error:
            refused += "damaged" in str(error)
    assert refused >= 2


def test_every_truncation_is_refused_with_a_sentence():
    data = small_nets.residual().to_bytes()
    for end in [*range(200), *range(200, len(data), 97)]:
        with pytest.raises(ModelError, match=r"^cut\.tflite (is|has)") as caught:
            Model.parse(data[:end], source="cut.tflite")
        assert len(str(caught.value)) < 300


def edited(edit, data: bytes | None = None) -> bytes:
    """The bytes of a small net after `edit(tree)`."""
    model = Model.parse(data or dense_model(W))
    edit(model.tree)
    return model.to_bytes()


def _set(path: str, value):
    """ "subgraphs.0.inputs.0" = value, on a tree."""

    def edit(tree) -> None:
        *way, last = path.split(".")
        for step in way:
            tree = tree[int(step)] if step.isdigit() else getattr(tree, step)
        if last.isdigit():
            tree[int(last)] = value
        else:
            setattr(tree, last, value)

    return edit


G, T, OP = "subgraphs.0", "subgraphs.0.tensors.0", "subgraphs.0.operators.0"
WRONG = [
    (f"{G}.inputs.0", 99, "subgraph 0: inputs point to tensor 99, but there are 3"),
    (f"{G}.inputs.0", -1, "inputs point to tensor -1"),
    (f"{G}.outputs.0", 3, "outputs point to tensor 3"),
    (f"{OP}.inputs.1", 2**31 - 1, "op 0: inputs point to tensor 2147483647"),
    (f"{OP}.inputs.1", -2, "inputs point to tensor -2"),
    (f"{OP}.outputs.0", 3, "op 0: outputs point to tensor 3"),
    (f"{OP}.intermediates", [7], "intermediates point to tensor 7"),
    (f"{OP}.opcodeIndex", 1, "op 0: it point to op code 1"),
    ("operatorCodes", [], "op code 0, but there are 0"),
    (f"{T}.buffer", 2**32 - 1, "Tensor.* in buffer 4294967295"),
    (f"{T}.shape", [2**31 - 1] * 4, "tensor 0 has the impossible shape"),
    (f"{T}.shape", [1, -5], "impossible shape"),
    (f"{T}.shape", [1] * 40, "40 dimensions"),
    (f"{T}.shapeSignature", [-1, 2**31 - 1, 2**31 - 1], "impossible shape"),
    ("signatureDefs.0.subgraphIndex", 5, "signature 0: it point to subgraph 5"),
    ("signatureDefs.0.inputs.0.tensorIndex", 77, "signature 0: names point to tensor 77"),
]


@pytest.mark.parametrize(
    ("path", "value", "sentence"), WRONG, ids=[f"{p}={v}" for p, v, _ in WRONG]
)
def test_indices_and_shapes_that_point_nowhere(path, value, sentence):
    with pytest.raises(ModelError, match=sentence):
        Model.parse(edited(_set(path, value)))


@pytest.mark.parametrize("field", ["condSubgraphIndex", "bodySubgraphIndex"])
@pytest.mark.parametrize("index", [-1, 3, 2**31 - 1])
def test_control_flow_to_nowhere(field, index):
    data = edited(_set(f"{OP}.builtinOptions.{field}", index), endless_loop())
    with pytest.raises(ModelError, match=f"op 0: options point to subgraph {index}"):
        Model.parse(data)


@pytest.mark.parametrize("ring", [1, 2, 3, 70])
def test_subgraphs_that_call_each_other_for_ever(ring):
    with pytest.raises(ModelError, match="calls itself"):
        Model.parse(calls_itself(ring))


def chain(length: int) -> bytes:
    b = Builder()
    for k in range(length):
        if k:
            b.begin()
        x, y = b.tensor("x", (1,)), b.tensor("y", (1,))
        if k + 1 < length:
            b.op("IF", [x, x], [y], "IfOptions")
            options = b.graph.operators[0].builtinOptions
            options.thenSubgraphIndex = options.elseSubgraphIndex = k + 1
        b.end([x], [y])
    return b.bytes()


def test_subgraphs_nested_deep():
    assert len(Model.parse(chain(65)).graphs) == 65
    with pytest.raises(ModelError, match="nested more than 64 deep"):
        Model.parse(chain(70))


def zipped(data: bytes) -> bytes:
    """With an associated file packed behind it, as metadata writers do."""
    box = BytesIO(data)
    with zipfile.ZipFile(box, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    return box.getvalue()


HONEST = {
    "dynamic": lambda: dense_model(W),
    "two subgraphs": lambda: two_signatures(W, W),
    "loop": endless_loop,
    "sparse": crash,  # its structure is sound; only its values are not
    "zip behind": lambda: zipped(dense_model(W)),
    "network": lambda: small_nets.residual().to_bytes(),
    "shape -1": lambda: edited(_set(f"{T}.shape", [-1, 3])),
    "optional input": lambda: edited(_set(f"{OP}.inputs.2", -1)),
}


@pytest.mark.parametrize("make", HONEST.values(), ids=HONEST)
def test_honest_files_pass_and_stay_as_they_are(make):
    model = Model.parse(make())
    assert Model.parse(model.to_bytes()).to_bytes() == model.to_bytes()
    for g in model.graphs:
        assert g.producer is not None
        assert len(g.by_name) == len(g.tensors)


@pytest.mark.parametrize("name", ["tensors", "operators"])
def test_a_subgraph_without_its_lists_is_no_subgraph(name):
    """LiteRT refuses those too."""
    with pytest.raises(ModelError, match="subgraph without"):
        Model.parse(edited(_set(f"{G}.{name}", None)))


@pytest.mark.parametrize("name", ["subgraphs", "buffers"])
def test_a_model_without_its_lists_is_no_model(name):
    b = flatbuffers.Builder(0)
    some = vector(b, [])
    schema.ModelStart(b)
    getattr(schema, f"ModelAdd{name.title()}")(b, some)
    b.Finish(schema.ModelEnd(b), file_identifier=b"TFL3")
    with pytest.raises(ModelError, match="without subgraphs or without buffers"):
        Model.parse(bytes(b.Output()))


def test_lists_that_are_left_out_are_empty():
    data = Model.parse(edited(lambda tree: setattr(tree.subgraphs[0].operators[0], "inputs", None)))
    assert data.graphs[0].ops[0].inputs == []
    assert data.graphs[0].consumers == {}


METHOD = re.compile(r"^class (\w+)\(object\)|^    def (\w+)\(self.*\):\n((?:        .*\n)+)", re.M)


def test_the_tables_name_every_vector_string_and_table_of_the_schema():
    """Slot numbers read from the generated code itself."""
    wanted: dict[str, set[int]] = {}
    for cls, _, body in _methods():
        offset = re.search(r"_tab\.Offset\((\d+)\)", body)
        if offset and re.search(r"\.(Vector|VectorLen|String|Indirect|Union)\(", body):
            wanted.setdefault(cls, set()).add((int(offset[1]) - 4) // 2)
    assert len(wanted) > 30
    assert {kind: set(fields) for kind, fields in TABLES.items()} == wanted


def _methods():
    cls = ""
    for found in METHOD.finditer(Path(schema.__file__).read_text()):
        cls = found[1] or cls
        if found[2]:
            yield cls, found[2], found[3]


@pytest.mark.data
@pytest.mark.skipif(not FILES, reason="set TFQ_ZOO to a folder of third-party models")
def test_the_whole_zoo_passes():
    spent = {"guard": 0.0, "parse": 0.0}
    for path in FILES:
        data = path.read_bytes()
        start = time.perf_counter()
        guard(data, path.name)
        middle = time.perf_counter()
        Model.parse(data, source=path.name)
        spent["guard"] += middle - start
        spent["parse"] += time.perf_counter() - middle
    print(f"{len(FILES)} files, {spent}")
    assert len(FILES) >= 10
