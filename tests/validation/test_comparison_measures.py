"""Every measure against the slow way; several inputs, outputs, signatures; what cannot be run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from one_op import Net, X, add_signature, f32, weights_of
from planned_files import integer
from small_nets import conv_options, images, residual
from tiny_models import Builder, dense_model, quantized_io_model, rnn_model, two_signatures

from tfq_ext.emit.emitters import emit
from tfq_ext.emit.plan import Plan
from tfq_ext.errors import DataError, ModelError
from tfq_ext.numerics import differences
from tfq_ext.recipe import load_recipe
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import Keeper
from tfq_ext.validation.comparison import RULES, compare
from tfq_ext.validation.comparison.sums import Sums
from tfq_ext.validation.comparison.tensors import FLOAT, Grid, constant_real, grid_of
from tfq_ext.validation.sandbox import Child

GRID = Grid(0.5, -28, -128, 127, stored=True)  # covers [-50, 77.5]


@pytest.fixture(scope="module")
def run():
    """compare() in a child that all tests of this file share."""
    with Child() as child:

        def go(reference, candidate, data, **options):
            both = (m.to_bytes() if isinstance(m, Model) else m for m in (reference, candidate))
            return compare(*both, data, show_progress=False, child=child, **options)

        yield go


@pytest.mark.parametrize("channels", [1, 3, 64, 100])
def test_sums_are_those_of_a_slow_loop(channels):
    rng = np.random.default_rng(channels)
    r = rng.normal(0, 40, (2, 5, channels)).astype(np.float32)
    r.reshape(-1)[:4] = -60.0, 90.0, -50.2, 77.8  # two outside, two within half a code of the ends
    codes = rng.integers(-128, 128, r.shape).astype(np.int8)
    sums = Sums(GRID)
    sums.add(r[:1], codes[:1])
    sums.add(r[1:], codes[1:])
    real = (codes.astype(np.float64) + 28) * 0.5
    x, e = r.astype(np.float64), real - r
    grid = np.clip(np.round(x / 0.5 - 28), -128, 127)
    off = (grid + 28) * 0.5 - x
    beyond = (x < -50.25) | (x > 77.75)
    assert sums.sqnr_db == pytest.approx(10 * np.log10(np.sum(x**2) / np.sum(e**2)))
    assert sums.cosine == pytest.approx(np.sum(x * real) / np.sqrt(np.sum(x**2) * np.sum(real**2)))
    assert sums.mean_error == pytest.approx(np.abs(e).mean())
    assert sums.max_error == pytest.approx(np.abs(e).max())
    assert sums.grid_noise == pytest.approx(np.sum(off**2), rel=1e-5)
    assert sums.clip_noise == pytest.approx(np.sum(off[beyond] ** 2))
    assert sum(sums.clipped) == pytest.approx(beyond.mean())
    assert min(sums.clipped) > 0
    mean = e.reshape(-1, channels).mean(axis=0)
    worst = int(np.argmax(np.abs(mean)))
    assert sums.shift().channel == worst
    assert sums.shift().real == pytest.approx(mean[worst])
    assert sums.shift().lsb == pytest.approx(mean[worst] / 0.5)
    assert sum(sums.histogram()) == r.size
    assert (sums.lo, sums.hi) == (r.min(), r.max())


@pytest.mark.parametrize(
    ("real", "code"),
    [
        *((-51.0, -128), (-50.0, -128), (-49.76, -128), (-49.74, -127), (0.0, -28), (0.26, -27)),
        *((77.24, 126), (77.26, 127), (78.0, 127), (0.25, -27), (-0.25, -29)),
    ],
)
def test_encode_at_the_edges(real, code):
    stored = GRID.encode(np.float32([real]), np.dtype(np.int8))
    assert stored[0] == code
    assert GRID.decode(stored)[0] == np.float32((code + 28) * 0.5)


def test_16_bit_codes_are_exact():
    grid = Grid(1e-3, 0, -32768, 32767, stored=True)
    codes = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(grid.encode(grid.decode(codes), np.dtype(np.int16)), codes)


def test_channels_that_vary_from_sample_to_sample_are_pooled():
    sums = Sums(FLOAT)
    for n in (3, 5):
        sums.add(np.zeros((1, n), np.float32), np.full((1, n), 2, np.float32))
    assert sums.values == 8
    assert sums.max_error == 2
    assert sums.shift().real == pytest.approx(2)
    assert differences.folded(differences.empty(3), 3).shape == (differences.ROWS, 3)


def test_rows_hold_what_two_interpreters_say(run):
    reference = residual()
    candidate, x = integer(reference), images(6)
    found = run(reference, candidate, x)
    keepers = [Keeper(m) for m in (reference, candidate)]
    for row in found.rows:
        a = reference.graphs[0].by_name[row.reference_tensor]
        b = candidate.graphs[0].by_name[row.tensor]
        grid = grid_of(candidate.graphs[0], b) or FLOAT
        pairs = []
        for image in x:
            fed = [{next(iter(k._names)): image[None]} for k in keepers]
            reads = [k.invoke(f) for k, f in zip(keepers, fed, strict=True)]
            pairs.append((np.array(reads[0](a)), grid.decode(np.array(reads[1](b)))))
            del reads
        r, c = (np.concatenate(p).astype(np.float64) for p in zip(*pairs, strict=True))
        noise = np.sum((r - c) ** 2)
        if row.dtype == "float32" and noise == 0:
            assert row.sqnr_db == float("inf")
            continue
        assert row.sqnr_db == pytest.approx(10 * np.log10(np.sum(r**2) / noise), abs=1e-3)
        assert row.range == (r.min(), r.max())
        if row.scale:
            assert row.mean_error_lsb == pytest.approx(np.abs(r - c).mean() / row.scale, rel=1e-4)
    assert found.samples == 6
    assert found.outputs[0].sqnr_db == pytest.approx(found.rows[-1].sqnr_db)


def test_the_own_error_of_a_sound_op_does_not_depend_on_what_comes_before(run):
    reference = residual()
    candidate = integer(reference)
    graph = candidate.graphs[0]
    before = {r.label: r.own_sqnr_db for r in run(reference, candidate, images(6)).rows}
    w = int(graph.ops[[graph.code(o) for o in graph.ops].index("CONV_2D")].inputs[1])
    candidate.tree.buffers[graph.tensors[w].buffer].data[::2] = 0
    after = {r.label: r.own_sqnr_db for r in run(reference, candidate, images(6)).rows}
    changed = {k for k in before if before[k] != after[k]}
    assert changed == {"a"}


def test_without_own_there_are_no_culprits_to_tell(run):
    found = run(residual(), integer(residual()), images(3), own=False)
    assert all(r.own_sqnr_db is None and r.own_reason for r in found.rows if r.op != "input")
    assert not found.culprits


@pytest.mark.parametrize("name", ["dynamic", "weight_only", "fp16", "int16x8"])
def test_other_kinds_of_files(run, name):
    """Hybrid kernels, constants behind DEQUANTIZE, 16 bits: all layers found and run alone."""
    reference = residual()
    if name == "int16x8":
        made: Model | bytes = integer(reference, load_recipe(name))
    else:
        made = emit(name, reference, Plan(weights=weights_of(reference))).content
    found = run(reference, made, images(4))
    layers = {r.label: r for r in found.rows if r.op not in ("input", "QUANTIZE")}
    assert set(layers) == {"a", "branch", "sum", "deep", "mean", "logits"}
    assert all(r.own_sqnr_db is not None and r.own_sqnr_db > 25 for r in layers.values())
    assert not [u for u in found.unmatched if u.side == "candidate"]
    assert layers["branch"].weight_bits == {"fp16": 16}.get(name, 8)
    assert layers["branch"].weight_sqnr_db > (60 if name == "fp16" else 35)
    if name == "dynamic":
        assert layers["branch"].arithmetic == "hybrid"


def test_a_file_against_itself_is_exact(run):
    model = residual()
    found = run(model, model, images(3))
    assert {r.sqnr_db for r in (*found.rows, *found.outputs)} == {float("inf")}
    assert {r.own_sqnr_db for r in found.rows if r.own_sqnr_db is not None} == {float("inf")}
    assert not found.findings
    assert "exact" in found.headline


def two_in_two_out() -> Model:
    net = Net()
    net.input("left", X((1, 6, 6, 3), -1.0, 1.0)), net.input("right", X((1, 6, 6, 4), -1.0, 1.0))
    net.const("w", f32(4, 3, 3, 3)), net.const("b", f32(4))
    net.op("CONV_2D", "c", "left", "w", "b", options=conv_options())
    net.op("ADD", "s", "c", "right", options=("AddOptions", {}))
    net.op("LOGISTIC", "p", "s")
    model = net.done("s", "p")
    add_signature(model)
    return model


def test_two_inputs_and_two_outputs(run):
    model, rng = two_in_two_out(), np.random.default_rng(0)
    data = {
        "in_0": rng.uniform(-1, 1, (6, 6, 6, 3)).astype(np.float32),
        "in_1": rng.uniform(-1, 1, (6, 6, 6, 4)).astype(np.float32),
    }
    found = run(model, integer(model, data=data), data)
    assert [r.tensor for r in found.outputs] == ["out_0", "out_1"]
    assert all(r.sqnr_db > 25 for r in found.outputs)
    assert {r.label for r in found.rows if r.op == "input"} == {"left", "right"}
    assert "out_1" in found.headline


def test_quantized_inputs_and_outputs_take_reals(run):
    w = f32(3, 4)
    candidate = quantized_io_model(w, ("uint8", 0.02, 128), ("int8", 0.1, 3))
    x = np.random.default_rng(0).uniform(-2, 2, (8, 4)).astype(np.float32)
    found = run(dense_model(w, batch=1), candidate, x)
    assert found.outputs[0].dtype == "int8"
    assert found.outputs[0].sqnr_db > 25
    source = next(r for r in found.rows if r.op == "input")
    assert source.own_sqnr_db == source.sqnr_db > 30
    assert source.max_error_lsb <= 0.51


def test_an_input_beyond_a_quantized_input_is_clipping(run):
    w = f32(3, 4)
    candidate = quantized_io_model(w, ("uint8", 0.004, 0), ("int8", 0.1, 3))
    x = np.random.default_rng(0).uniform(-2, 2, (8, 4)).astype(np.float32)
    found = run(dense_model(w, batch=1), candidate, x)
    source = next(r for r in found.rows if r.op == "input")
    assert source.causes[0] == "clipping" or "compare-clipping" in _ids(found)
    assert source.clipped_low == pytest.approx(np.mean(x < -0.002))
    assert source.clipped_high == pytest.approx(np.mean(x > 1.022))


def _ids(found):
    return {f.rule.id for f in found.findings}


def test_an_open_batch_against_a_fixed_one(run):
    w = f32(3, 4)
    x = np.random.default_rng(0).uniform(-2, 2, (6, 4)).astype(np.float32)
    found = run(dense_model(w, batch=-1), dense_model(w, batch=2), x)
    assert found.samples == 3
    assert found.outputs[0].sqnr_db == float("inf")


def test_one_signature_at_a_time(run):
    first, second = f32(3, 4), f32(2, 5)
    model, other = two_signatures(first, second), two_signatures(first, second * 1.01)
    x = np.random.default_rng(0).uniform(-2, 2, (6, 4)).astype(np.float32)
    found = run(model, other, x)
    assert found.signature == "first"
    assert found.outputs[0].sqnr_db == float("inf")
    assert any("second" in note for note in found.notes)
    y = np.random.default_rng(0).uniform(-2, 2, (6, 5)).astype(np.float32)
    found = run(model, other, y, signature="second")
    assert found.outputs[0].sqnr_db == pytest.approx(40, abs=0.1)
    with pytest.raises(ModelError, match=r"signature 'third'.*first, second"):
        run(model, other, x, signature="third")


def test_a_stateful_model_starts_afresh_for_every_sample(run):
    x = np.float32([[[1]], [[2]], [[3]]])
    found = run(rnn_model(), rnn_model(), x)
    assert found.outputs[0].sqnr_db == float("inf")
    row = next(r for r in found.rows if r.op != "input")
    assert "state" in row.own_reason
    assert row.range == (1.0, 3.0)  # no memory of the sample before


def while_model(step: float) -> bytes:
    """x + step, three times, in a WHILE."""
    b = Builder()
    i, x = b.tensor("i", (), "int32"), b.tensor("x", (1, 2))
    zero = b.tensor("zero", (), "int32", values=np.int32([0]))
    done = [b.tensor("i_end", (), "int32"), b.tensor("x_end", (1, 2))]
    b.op("WHILE", [zero, x], done, "WhileOptions")
    b.graph.operators[0].builtinOptions.condSubgraphIndex = 1
    b.graph.operators[0].builtinOptions.bodySubgraphIndex = 2
    y = b.tensor("y", (1, 2))
    b.op("NEG", [done[1]], [y], "NegOptions")
    b.end([x], [y], "serve")
    b.begin()
    i, x = b.tensor("ci", (), "int32"), b.tensor("cx", (1, 2))
    three = b.tensor("three", (), "int32", values=np.int32([3]))
    less = b.tensor("less", (), "int32")
    b.graph.tensors[less].type = 6  # BOOL
    b.op("LESS", [i, three], [less], "LessOptions")
    b.end([i, x], [less])
    b.begin()
    i, x = b.tensor("bi", (), "int32"), b.tensor("bx", (1, 2))
    one = b.tensor("one", (), "int32", values=np.int32([1]))
    s = b.tensor("s", (1, 2), values=np.float32([[step, step]]))
    j, y = b.tensor("bj", (), "int32"), b.tensor("by", (1, 2))
    b.op("ADD", [i, one], [j], "AddOptions")
    b.op("ADD", [x, s], [y], "AddOptions")
    b.end([i, x], [j, y])
    return b.bytes()


def test_a_loop_is_compared_by_its_result_and_its_body_is_told(run):
    x = np.random.default_rng(0).uniform(-2, 2, (4, 2)).astype(np.float32)
    found = run(while_model(1.0), while_model(1.001), x)
    assert 40 < found.outputs[0].sqnr_db < 80
    assert sum("body of a loop" in u.why for u in found.unmatched) == 2
    loop = [r for r in found.rows if r.op == "WHILE"]
    assert all("control flow" in r.own_reason for r in loop)


@pytest.mark.parametrize("who", ["reference", "candidate"])
def test_nan_is_an_error_that_names_tensor_and_sample(run, who):
    def net(code: str) -> bytes:
        net = Net()
        net.input("x", X((1, 2), 0.5, 4.0))
        net.op(code, "root", "x")
        return net.done("root").to_bytes()

    x = np.ones((3, 2), np.float32)
    x[2] = -1  # whose root is NaN
    files = {"reference": (net("SQRT"), net("SQRT")), "candidate": (net("ABS"), net("SQRT"))}[who]
    with pytest.raises(DataError, match=rf"Sample 2: tensor 'root' holds NaN.* in the {who}"):
        run(*files, x)


def test_infinity_in_a_sample_is_an_error(run):
    x = images(2)
    x[1, 0, 0, 0] = np.inf
    with pytest.raises(DataError):
        run(residual(), residual(), x)


def test_damaged_files_and_missing_data_are_clear(run, tmp_path):
    with pytest.raises(DataError, match="data"):
        run(residual(), residual(), None)
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        compare(residual().to_bytes(), b"x" * 64, images(2))
    with pytest.raises(ModelError, match=r"none\.tflite"):
        compare(residual().to_bytes(), str(tmp_path / "none.tflite"), images(2))
    with pytest.raises(ModelError, match=r"none\.tflite"):
        compare(str(tmp_path / "none.tflite"), residual().to_bytes(), images(2))


def test_an_integer_reference_is_told(run):
    candidate = integer(residual())
    found = run(candidate, candidate, images(2))
    assert any("reference itself" in note for note in found.notes)
    assert found.outputs[0].sqnr_db == float("inf")


def test_constants_in_reals():
    model = integer(residual(), load_recipe("int8-minmax"))
    graph = model.graphs[0]
    for op in graph.ops:
        if graph.code(op) == "CONV_2D":
            w = int(op.inputs[1])
            q, codes = graph.tensors[w].quantization, np.array(graph.constant(w), np.float64)
            slow = np.stack([c * s for c, s in zip(codes, q.scale, strict=True)])
            assert np.allclose(constant_real(graph, w), slow, rtol=1e-6)


def test_json_is_strict_and_whole(run):
    found = run(residual(), integer(residual()), images(3))
    read = json.loads(found.to_json())
    assert read["samples"] == 3
    assert len(read["rows"]) == len(found.rows)
    assert read["rows"][0]["sqnr_db"] is None  # inf
    assert set(read["rows"][0]) >= {"verdict", "causes", "histogram", "own_sqnr_db", "matched_by"}
    assert read["headline"] == found.headline
    assert len(read["rows"][1]["histogram"]) == 64


def test_rules_have_a_source_and_a_remedy():
    for name, rule in RULES.items():
        assert name == rule.id
        assert rule.source
        assert rule.remedy
        assert name.startswith("compare-")


def test_memory_does_not_grow_with_the_samples():
    """What is kept of a tensor has the same size after 2 and after 20 samples."""
    from tfq_ext.validation.comparison.session import Session

    model = residual()
    session = Session(model.to_bytes(), integer(model).to_bytes())

    def size() -> int:
        arrays = [a for s in session.sums.values() for a in vars(s).values()]
        return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray)) + len(session._kept)

    for k, image in enumerate(images(20)):
        session.add({"image": image[None]}, k)
        if k == 3:
            before = size()
    assert size() == before
