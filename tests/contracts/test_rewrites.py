"""The laws of every rewriting, over the table itself and a zoo of models."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras
from rewrite_nets import NETS, batch, outputs, relative, shaken

from tfq_ext.errors import DataError, ModelError
from tfq_ext.rewrite import REWRITES
from tfq_ext.rewrite.graph import is_functional

pytestmark = pytest.mark.tf

EXACT = 1e-5  # of the greatest output: float32 rounding over a dozen layers
# A BatchNormalization that is called again on what it gave itself: new statistics change its own
# second input, so a second estimate differs.
FEEDS_ITSELF = {("reestimate_batch_norm", "shared"), ("reestimate_batch_norm", "nested")}


def _zoo() -> dict[str, Any]:
    """The end-to-end tests' models, as strangers bring them."""
    path = Path(__file__).parents[1] / "e2e" / "keras_zoo.py"
    spec = importlib.util.spec_from_file_location("keras_zoo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {f"zoo_{name}": build for name, (build, _) in module.FULLY_INTEGER.items()}


ZOO = _zoo()
QUICK = {"zoo_siamese", "zoo_masked"}
MODELS = {**NETS, **ZOO}
CASES = [
    pytest.param(
        rewriting, model, marks=[] if model in NETS or model in QUICK else pytest.mark.slow
    )
    for model in MODELS
    for rewriting in REWRITES
]


def _made(name: str) -> tuple[Any, Any]:
    """A compiled model with random weights, and a batch."""
    keras.utils.set_random_seed(7)
    model = MODELS[name]()
    if name in NETS:
        shaken(model)
    if getattr(model, "inputs", None) and is_functional(model):
        data = batch(model)
    else:
        shape = model.get_build_config()["input_shape"][1:]
        data = np.random.default_rng(1).normal(size=(6, *shape)).astype("float32")
        data = np.abs(data).astype("int32") if name == "zoo_tied" else data
    model.compile("sgd", loss="mse")
    return model, data


def _applied(rewriting: str, model: Any, data: Any) -> Any:
    entry = REWRITES[rewriting]
    return entry.function(model, data) if entry.needs_data else entry.function(model)


def _state(model: Any) -> tuple[list[bytes], Any, bool, list[int]]:
    """Weights, optimizer, compile state, and how often each layer has been called."""
    layers = [x for x in model._flatten_layers() if x is not model]
    weights = [np.asarray(keras.ops.convert_to_numpy(w.value)).tobytes() for w in model.weights]
    return weights, model.optimizer, model.compiled, [len(x._inbound_nodes) for x in layers]


@pytest.mark.parametrize(("rewriting", "name"), CASES)
def test_laws(rewriting: str, name: str, tmp_path: Path) -> None:
    model, data = _made(name)
    before, state = outputs(model, data), _state(model)
    new, report = _applied(rewriting, model, data)

    # the original is as it was, and shares nothing with the new one
    assert _state(model) == state
    assert relative(before, outputs(model, data)) == 0
    assert not {id(w) for w in model.weights} & {id(w) for w in new.weights}

    # the new one is functional, not compiled, and says what was done
    assert is_functional(new)
    assert not new.compiled
    assert str(report).strip()
    assert "None" not in str(report)
    after = outputs(new, data)
    if REWRITES[rewriting].exact:
        assert relative(before, after) < EXACT

    # it survives a file
    path = tmp_path / "new.keras"
    new.save(path)
    loaded = keras.models.load_model(path, safe_mode=False)
    assert relative(after, outputs(loaded, data)) == 0

    # a second time there is nothing to do
    again, _ = _applied(rewriting, new, data)
    if (rewriting, name) not in FEEDS_ITSELF:
        assert relative(after, outputs(again, data)) < EXACT
    assert [layer.name for layer in again.layers] == [layer.name for layer in new.layers]


@pytest.mark.parametrize("rewriting", REWRITES)
def test_a_path_is_as_good_as_a_model(rewriting: str, tmp_path: Path) -> None:
    model, data = _made("mobilenet_like")
    path = tmp_path / "model.keras"
    model.save(path)
    direct = outputs(_applied(rewriting, model, data).model, data)
    assert relative(direct, outputs(_applied(rewriting, path, data).model, data)) == 0
    assert relative(direct, outputs(_applied(rewriting, str(path), data).model, data)) == 0


@pytest.mark.parametrize("rewriting", REWRITES)
@pytest.mark.parametrize("given", [None, 3, "no_such_file.keras"])
def test_no_model_is_a_clear_error(rewriting: str, given: Any) -> None:
    with pytest.raises(ModelError, match=r"Keras"):
        _applied(rewriting, given, np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("rewriting", REWRITES)
def test_bad_data_are_a_clear_error(rewriting: str) -> None:
    options = {"relu6": "keep"} if rewriting == "equalize" else {}
    model, data = _made("mobilenet_like")
    function = REWRITES[rewriting].function
    if rewriting == "fold_batch_norm":
        pytest.skip("takes no data")
    nan = np.array(data)
    nan[2, 3, 4, 1] = np.nan
    with pytest.raises(DataError, match="NaN"):
        function(model, nan, **options)
    with pytest.raises(DataError, match=r"\(\?, 16, 16, 3\)|16, 16, 3"):
        function(model, data[:, :5], **options)
    with pytest.raises(DataError):
        function(model, data[:0], **options)


class NoConfig(keras.Model):
    """Subclassed, with an argument that get_config does not know."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, x: Any) -> Any:
        return self.dense(x)


@pytest.mark.parametrize("rewriting", REWRITES)
def test_a_model_that_cannot_be_copied_says_so_in_one_sentence(rewriting: str) -> None:
    model = NoConfig(3)
    model(np.zeros((1, 4), np.float32))
    with pytest.raises(ModelError, match="cannot be copied"):
        _applied(rewriting, model, np.zeros((2, 4), np.float32))


def test_every_entry_is_reachable_by_name() -> None:
    import tfq_ext.rewrite

    for name, entry in REWRITES.items():
        assert getattr(tfq_ext.rewrite, name) is entry.function
        assert entry.doc
