"""Functions and SavedModels become pivots, one subgraph for each signature."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import ModelError

pytestmark = pytest.mark.tf
tf = pytest.importorskip("tensorflow")
X = np.arange(4, dtype=np.float32).reshape(1, 4)


def _spec(*shape):
    return tf.TensorSpec(shape)


class Two(tf.Module):
    """Two signatures that share a variable."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))

    @tf.function(input_signature=[_spec(None, 4)])
    def encode(self, x):
        return {"code": x @ self.kernel}

    @tf.function(input_signature=[_spec(None, 3)])
    def decode(self, code):
        return {"back": code @ tf.transpose(self.kernel), "same": code}


@pytest.fixture(scope="module")
def two():
    return Two()


@pytest.fixture(scope="module")
def folder(two, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    tf.saved_model.save(two, str(path), signatures={"encode": two.encode, "decode": two.decode})
    return path


def _run(pivot, key, **inputs):
    interpreter = Interpreter(model_content=pivot.model.to_bytes())
    return interpreter.get_signature_runner(key)(**inputs)


def _function(body, *shape):
    return tf.function(body, input_signature=[_spec(*shape)])


def test_several_signatures_of_a_saved_model(folder, two):
    pivot = to_float(folder)
    assert (pivot.source, pivot.notes) == ("saved_model", ())
    assert sorted(pivot.model.signatures) == ["decode", "encode"]
    assert len(pivot.model.graphs) == 2
    code = X @ two.kernel.numpy()
    assert np.array_equal(_run(pivot, "encode", x=X)["code"], code)
    back = _run(pivot, "decode", code=code)
    assert np.array_equal(back["back"], code @ two.kernel.numpy().T)
    assert np.array_equal(back["same"], code)
    names = [g.name(i) for g in pivot.model.graphs for i in range(len(g.tensors))]
    assert len(set(names)) == len(names)


def test_one_signature_is_chosen_and_a_miss_lists_them(folder):
    assert list(to_float(str(folder), signatures=["encode"]).model.signatures) == ["encode"]
    with pytest.raises(ModelError, match=r"no signature 'run'. It has: 'decode', 'encode'"):
        to_float(folder, signatures=["run"])


def test_a_saved_model_with_a_given_batch(folder):
    pivot = to_float(folder, signatures=["encode"], batch=2)
    graph = pivot.model.graph_of("encode")
    assert graph.shape(graph.inputs[0]) == (2, 4)
    x = np.concatenate([X, -X])
    assert _run(pivot, "encode", x=x)["code"].shape == (2, 3)


def test_the_digest_follows_the_files(folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert to_float(copy).digest == to_float(folder).digest
    (copy / "assets").mkdir(exist_ok=True)
    (copy / "assets" / "labels.txt").write_text("new")
    assert to_float(copy).digest != to_float(folder).digest


def test_keras_export_counts_its_twin_signature_once(tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
    model.export(tmp_path / "m", verbose=False)
    pivot = to_float(tmp_path / "m")
    assert list(pivot.model.signatures) == ["serving_default"]
    assert "Signature 'serve' left out" in pivot.notes[0]
    assert list(to_float(tmp_path / "m", signatures=["serve"]).model.signatures) == ["serve"]


def test_damaged_and_unsigned_saved_models(two, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(ModelError, match="has no signature, so nobody knows its inputs"):
        to_float(tmp_path / "none")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "saved_model.pb").write_bytes(b"\xff not a protobuf")
    with pytest.raises(ModelError, match=r"cannot be read.*truncated or damaged"):
        to_float(tmp_path / "bad")


def test_one_function_keeps_its_names(two):
    for source in (two.decode, two.decode.get_concrete_function()):
        pivot = to_float(source)
        assert pivot.source == "function"
        out = _run(pivot, "serving_default", code=np.ones((1, 3), np.float32))
        assert sorted(out) == ["back", "same"]
        assert "VAR_HANDLE" not in [name for *_, name in pivot.model.walk()]


def test_several_functions_are_keyed_by_name_or_by_the_dict(two):
    assert sorted(to_float([two.encode, two.decode]).model.signatures) == ["decode", "encode"]
    traced = [two.encode.get_concrete_function(), two.decode]
    assert sorted(to_float(traced).model.signatures) == ["decode", "encode"]
    assert list(to_float({"go": two.encode}).model.signatures) == ["go"]
    with pytest.raises(ModelError, match="Two functions are called 'encode'"):
        to_float([two.encode, two.encode])


def test_a_function_of_a_keras_model_is_frozen():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    pivot = to_float(_function(lambda x: model(x), None, 4))
    assert [name for *_, name in pivot.model.walk()] == ["FULLY_CONNECTED"]
    out = _run(pivot, "serving_default", x=X)["output_0"]
    np.testing.assert_allclose(out, model(X).numpy(), rtol=1e-6)


def test_a_batch_for_functions(two):
    graph = to_float(two.encode, batch=3).model.graphs[0]
    assert graph.shape(graph.inputs[0]) == (3, 4)
    with pytest.raises(ModelError, match=r"fixed shape \[2, 4\]; batch=3 is not it"):
        to_float(_function(lambda x: x + 1.0, 2, 4), batch=3)


def test_a_function_without_shapes_and_a_module(two):
    with pytest.raises(ModelError, match=r"does not say which shapes.*input_signature"):
        to_float(tf.function(lambda x: x))
    with pytest.raises(ModelError, match=r"Got a tf\.Module .*Give its tf\.function"):
        to_float(two)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (tf.math.bessel_i0, r"uses tf\.BesselI0, for which TFLite has no builtin.*replace it"),
        (tf.math.erf, r"uses tf\.Erf, .*approximate=True"),
        (
            lambda x: tf.math.bessel_i0(x) + tf.raw_ops.Erfinv(x=x),
            r"uses tf\.BesselI0, tf\.Erfinv, .*replace them",
        ),
        (
            lambda x: tf.py_function(lambda v: v, [x], tf.float32),
            r"uses tf\.EagerPyFunc.*Python code cannot be stored",
        ),
    ],
    ids=["bessel", "erf", "two ops", "python"],
)
def test_ops_without_kernels_are_named_with_a_remedy(body, says, capfd):
    with pytest.raises(ModelError, match=says) as raised:
        to_float(_function(body, 2, 4))
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None  # no screenful of compiler talk behind the sentence
    assert capfd.readouterr() == ("", "")


def test_such_ops_can_be_let_through():
    pivot = to_float(_function(tf.math.bessel_i0, 2, 4), allow_custom_ops=True)
    assert "CUSTOM:BesselI0" in pivot.notes[-1]


def test_loops_with_an_open_batch_say_what_to_do(tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.GRU(3)])
    model.export(tmp_path / "m", verbose=False)
    with pytest.raises(ModelError, match=r"batch size is open.*traced again"):
        to_float(tmp_path / "m")


def test_tables_that_nobody_owns_are_explained():
    words = tf.constant(["a", "b"])
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(words, tf.constant([1.0, 2.0])), 0.0
    )
    lookup = tf.function(table.lookup, input_signature=[tf.TensorSpec([None], tf.string)])
    with pytest.raises(ModelError, match=r"tf\.saved_model\.save\(module|TFLite"):
        to_float(lookup)
