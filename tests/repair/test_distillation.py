"""Scales and biases learned from the float network: on small networks in real LiteRT."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from equalize_nets import inverted, spaces
from small_nets import images, residual

import tfq_ext as tfq
from tfq_ext.errors import RecipeError
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.repair.distill.mixtures import mixture
from tfq_ext.repair.layerwise import with_constants
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

tf = pytest.importorskip("tensorflow")
FOUR = {"base": "int4-fast", "weights": {"bits": 4}, "calibrator": "mse", "bias": "keep"}


def batches(model: Model, count: int, seed: int = 0) -> list[np.ndarray]:
    """Images with a colour each; the networks take two at a time."""
    shape = model.graphs[0].shape(model.graphs[0].inputs[0])
    rng = np.random.default_rng(seed)
    colour = rng.normal(size=(count, shape[0], 1, 1, shape[-1]))
    return list((colour + 0.5 * rng.normal(size=(count, *shape))).astype(np.float32))


def outputs(content: bytes, x: list[np.ndarray]) -> np.ndarray:
    runner = Runner(content)
    (name,) = runner.inputs
    return np.concatenate([next(iter(runner({name: row}).values())) for row in x])


@pytest.fixture(scope="module")
def both():
    """A network in 4 bits as rounded, and distilled."""
    model = inverted(scale=2.0)
    x = batches(model, 48)
    content = model.to_bytes()
    plain, learned = (
        tfq.quantize(content, x, recipe={**FOUR, "distill": passes}) for passes in (0, 40)
    )
    return content, x, plain, learned


def test_new_samples_come_nearer_to_float(both):
    content, _, plain, learned = both
    new = batches(Model.parse(content), 64, seed=9)
    wanted = outputs(content, new)
    before, after = (sqnr_db(wanted, outputs(r.content, new)) for r in (plain, learned))
    assert after > before + 1.0
    assert learned.account.end_to_end["distilled"] > before


def test_grids_stay_and_equal_inputs_give_equal_bytes(both):
    content, x, plain, learned = both
    again = tfq.quantize(content, x, recipe={**FOUR, "distill": 40})
    assert again.content == learned.content
    kinds = [
        [g.dtype(t) for g in Model.parse(r.content).graphs for t in range(len(g.tensors))]
        for r in (plain, learned)
    ]
    assert kinds[0] == kinds[1]


def test_what_makes_it_no_better_is_not_kept():
    model = residual()
    x = images(24)
    recipe = {"base": "int8", "activations": "int16", "distill": 1}
    plain = tfq.quantize(model.to_bytes(), x, recipe={**recipe, "distill": 0})
    made = tfq.quantize(model.to_bytes(), x, recipe=recipe)
    told = [n.reason for n in made.account.notes if n.op == "distill"]
    assert ("distilled" in made.account.end_to_end) != bool(told)
    if told:
        assert "no nearer to float" in told[0]
        assert made.content == plain.content


def test_pruned_weights_and_ternary_codes_stay_what_they_are():
    model = inverted(scale=2.0)
    graph = model.graphs[0]
    values = np.array(graph.constant(graph.by_name["e1/w"]))
    values[::2] = 0.0
    pruned = with_constants(model, {"e1/w": values})
    x = batches(model, 32)
    for rounding in ("gptq", "twn"):
        recipe = {**FOUR, "weights": {"bits": 4, "rounding": rounding}, "distill": 20}
        made = Model.parse(tfq.quantize(pruned.to_bytes(), x, recipe=recipe).content).graphs[0]
        constants = (made.constant(t) for t in range(len(made.tensors)))
        (found,) = [c for c in constants if c is not None and c.shape == values.shape]
        assert not found[::2].any()
        if rounding == "twn":
            assert len(np.unique(found)) <= 3


def test_a_network_with_an_op_outside_the_table_is_left_alone():
    model = spaces()
    made = tfq.quantize(model.to_bytes(), batches(model, 16), recipe={**FOUR, "distill": 3})
    told = [note.reason for note in made.account.notes if note.op == "distill"]
    assert told == ["not distilled: DEPTH_TO_SPACE, SPACE_TO_DEPTH: not in the table"]
    assert "distilled" not in made.account.end_to_end


def test_without_tensorflow_it_says_what_to_install(tmp_path):
    (tmp_path / "m.tflite").write_bytes(residual().to_bytes())
    np.save(tmp_path / "x.npy", images(12))
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"  # what Python does for an absent package
        "import numpy as np, tfq_ext as tfq\n"
        "made = tfq.quantize('m.tflite', np.load('x.npy'), recipe={'base': 'fast', 'distill': 2})\n"
        "print([n.reason for n in made.account.notes if n.op == 'distill'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert 'pip install "tfq_ext[tensorflow]"' in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"distill": -1}, "distill"),
        ({"mode": "dynamic", "distill": 1}, "no effect"),
        ({"base": "mixed", "distill": 1}, "search"),
        ({"base": "data-free", "distill": 1}, "samples"),
    ],
)
def test_recipes_that_cannot_be(fields, said):
    with pytest.raises(RecipeError, match=said):
        tfq.load_recipe(fields)


def test_mixtures_keep_shapes_and_integers():
    rng = np.random.default_rng(0)
    one, other = ({0: rng.normal(size=(1, 32, 24, 3)).astype(np.float32)} for _ in range(2))
    made = [mixture(one, other, np.random.default_rng(k))[0] for k in range(40)]
    low = min(one[0].min(), other[0].min())
    high = max(one[0].max(), other[0].max())
    assert all(x.shape == one[0].shape and x.dtype == np.float32 for x in made)
    assert all(low <= x.min() and x.max() <= high for x in made)  # nothing is extrapolated
    assert len({x.tobytes() for x in made}) == 40
    tokens = {0: np.array([[3, 5, 7]]), 1: np.ones((1, 3), np.float32)}
    assert mixture(tokens, {0: tokens[0] * 0, 1: tokens[1] * 0}, rng)[0].tolist() == [[3, 5, 7]]
    vector = {0: np.ones((1, 4), np.float32)}
    blended = mixture(vector, {0: np.zeros((1, 4), np.float32)}, np.random.default_rng(1))[0]
    assert np.all((blended >= 0.5) & (blended <= 1.0))


def test_a_sample_that_overflows_leaves_the_file_as_it_was():
    model = inverted(scale=2.0, cap=1)
    x = batches(model, 24)
    x[5] = x[5] * np.float32(1e25)  # finite, but its squares are not
    plain, made = (
        tfq.quantize(model.to_bytes(), x, recipe={"base": "fast", "distill": passes})
        for passes in (0, 2)
    )
    told = [n.reason for n in made.account.notes if n.op == "distill"]
    assert told
    assert "distilled" not in made.account.end_to_end
    assert len(made.content) == len(plain.content)
