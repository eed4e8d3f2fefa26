"""Recipes with budgets: widths found, the file within the budget, the recipe making it again."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from search_nets import CONTENT, DATA
from small_nets import images, residual

import tfq_ext
from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import DataError, RecipeError
from tfq_ext.pipeline import calibrate, finish
from tfq_ext.recipe import Search, load_recipe
from tfq_ext.repair.variants import variants
from tfq_ext.search import settle
from tfq_ext.search.found import Worth

PLAIN = {"base": "int8-minmax"}


def recipe(**search):
    return load_recipe({**PLAIN, "search": search})


@cache
def made(**search):
    wanted = "mixed" if not search else recipe(**search)
    return tfq_ext.quantize(CONTENT, DATA, recipe=wanted, show_progress=False)


@cache
def eight():
    return tfq_ext.quantize(CONTENT, DATA, recipe=PLAIN, show_progress=False)


def level(content):
    """SQNR of the logits on the samples, dB, by the runner: an independent loop."""
    from tfq_ext.tflite.runner import Runner

    noise, signal = 0.0, 0.0
    real, file = Runner(CONTENT), Runner(content)
    for row in DATA:
        (x,), (y,) = (run({"image": row[None]}).values() for run in (real, file))
        noise += float(np.square(x.astype(np.float64) - y).sum())
        signal += float(np.square(x, dtype=np.float64).sum())
    return 10 * np.log10(signal / noise)


def widths(result):
    return {row.tensor: row.bits for row in result.account.weights}


@pytest.mark.parametrize("loss", [2.0, 6.0, 12.0])
def test_the_loss_is_kept_to_with_fewer_bytes(loss):
    result = made(max_loss=loss, choices=("w4", "w8"))
    assert level(result.content) >= level(eight().content) - loss - 0.1
    assert set(widths(eight()).values()) == {8}
    if loss == 12.0:
        assert set(widths(result).values()) == {4, 8}
        assert len(result.content) < len(eight().content)


def test_enough_is_enough():
    """12 dB more are lost than `max_loss` allows, for 26 dB suffice."""
    result = made(max_loss=1.0, enough=26.0, choices=("w4", "w8"))
    assert 26.0 <= level(result.content) < level(eight().content) - 1.0
    assert len(result.content) < len(eight().content)


def test_the_preset_is_smaller_than_int8_and_within_its_budget():
    result = made()
    base = tfq_ext.quantize(
        CONTENT, DATA, recipe=load_recipe("mixed").changed(search=None), show_progress=False
    )
    assert len(result.content) < len(base.content)
    assert level(result.content) >= min(level(base.content) - 3.0, 30.0) - 0.1
    assert set(widths(result).values()) == {4, 8}


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_the_written_recipe_makes_the_same_bytes(suffix, tmp_path):
    result = made()
    assert result.recipe.search is None
    path = result.recipe.save(tmp_path / f"widths{suffix}")
    again = tfq_ext.quantize(CONTENT, DATA, recipe=path, show_progress=False)
    assert again.content == result.content
    assert again.recipe == result.recipe
    by_rules = {rule.tensor for rule in result.recipe.rules if rule.weight_bits == 4}
    assert by_rules == {name for name, bits in widths(result).items() if bits == 4}


def test_what_was_chosen_is_told():
    result = made()
    (note,) = (note for note in result.account.notes if note.op == "search")
    bits = list(widths(result).values())
    assert f"{bits.count(4)} w4" in note.reason
    assert f"{bits.count(8)} w8" in note.reason
    assert "8 bits throughout" in note.reason
    assert f"{bits.count(4)} weights in 4 bits and {bits.count(8)} weights in 8 bits" in str(result)


def test_a_share_of_the_bytes_is_kept_to():
    share = 0.96
    result = made(max_size=share, choices=("w4", "w8"))
    assert len(result.content) <= share * len(eight().content)
    with pytest.raises(DataError, match="the smallest possible has about"):
        made(max_size=0.3, choices=("w4", "w8"))


def test_where_nothing_keeps_to_the_loss_8_bits_stay(monkeypatch):
    """The forecast is good, every file measured is bad."""
    bad = Worth(1.0, -50.0)
    monkeypatch.setattr(settle.Rounds, "measured", lambda self, recipe: bad)
    result = tfq_ext.quantize(CONTENT, DATA, recipe=recipe(max_loss=3.0), show_progress=False)
    assert result.content == eight().content
    again = tfq_ext.quantize(CONTENT, DATA, recipe=result.recipe, show_progress=False)
    assert again.content == result.content
    assert result.account.notes[0].reason.startswith(settle.KEPT)
    with pytest.raises(DataError, match="No choice met"):
        tfq_ext.quantize(
            CONTENT, DATA, recipe=recipe(max_loss=3.0, max_size=1.0), show_progress=False
        )


def test_a_recipe_that_starts_at_4_bits_keeps_8_where_it_must(monkeypatch):
    monkeypatch.setattr(settle.Rounds, "measured", lambda self, recipe: Worth(1.0, -50.0))
    wanted = recipe(max_loss=3.0).changed(weights={"bits": 4})
    result = tfq_ext.quantize(CONTENT, DATA, recipe=wanted, show_progress=False)
    assert result.content == eight().content
    assert set(widths(result).values()) == {8}


def test_measurements_are_kept_for_a_run_that_goes_on(tmp_path):
    options = {"recipe": recipe(max_loss=12.0), "show_progress": False}
    first = tfq_ext.quantize(CONTENT, DATA, checkpoint=tmp_path / "c", **options)
    notebook = tmp_path / "c-codes.jsonl"
    lines = notebook.read_text().splitlines()
    again = tfq_ext.quantize(CONTENT, DATA, checkpoint=tmp_path / "c", **options)
    assert again.content == first.content
    assert notebook.read_text().splitlines() == lines
    assert len(lines) > 8


@pytest.mark.parametrize("verb", ["find_recipe", "sensitivity"])
def test_a_search_of_ones_own_takes_the_rest_of_the_recipe(verb):
    """`tfq search --recipe mixed --min-sqnr ...`: the budget given counts, not the preset's."""
    budget = {"min_sqnr": 20.0, "points": 0} if verb == "find_recipe" else {}
    found = getattr(tfq_ext, verb)(CONTENT, DATA, recipe="mixed", show_progress=False, **budget)
    if verb == "find_recipe":
        assert found.recipe.search is None
        assert found.recipe.weights.rounding == "gptq"
    else:
        assert len(found.rows) >= len(widths(eight()))


def test_a_model_without_weights_is_just_quantized():
    from one_op import Net, X

    net = Net()
    net.input("image", X((1, 4), -1.0, 1.0))
    content = net.done(net.op("TANH", "y", "image")).to_bytes()
    data = np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype(np.float32)
    result = tfq_ext.quantize(content, data, recipe="mixed", show_progress=False)
    assert not result.account.weights
    assert result.recipe.search is None


def test_at_least_names_one_file():
    calibrated = calibrate(to_float(residual().to_bytes()), images(4), load_recipe(PLAIN))
    with pytest.raises(RecipeError, match="'mixed', which searches the widths"):
        list(variants(calibrated, load_recipe(PLAIN).changed(at_least="mixed")))
    assert finish(calibrated, load_recipe(PLAIN), show_progress=False).recipe.search is None


def test_choices_bound_the_widths():
    assert Search(max_loss=1.0).choices == ("w4", "w8", "float")
    result = made(max_loss=30.0, choices=("w8", "float"))
    assert set(widths(result).values()) == {8}
