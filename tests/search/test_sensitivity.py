"""What each layer costs alone, against the slow way; sums against the whole."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from search_nets import CONTENT, DATA, RECIPE, labelled, study
from small_nets import images

import tfq_ext
from tfq_ext.errors import DataError, RecipeError
from tfq_ext.repair.watch import unwatched
from tfq_ext.search.meter import decibel
from tfq_ext.search.sensitivity import measure
from tfq_ext.search.units import FLOAT
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

whole = partial(measure, bits=(8, 4), scopes=("only", "all but"), watch=unwatched)


@pytest.fixture(scope="module")
def found():
    return whole(study(), activations=(8, 16))


def outputs(content, x):
    run = Runner(content)
    return np.concatenate([next(iter(run({"image": row[None]}).values())) for row in x])


def level(content, x):
    wanted = outputs(CONTENT, x).astype(np.float64)
    return -10 * np.log10(np.square(outputs(content, x) - wanted).sum() / np.square(wanted).sum())


def samples():
    """Those that the study measures on: it holds none back, for min-max judges nothing."""
    return DATA


@pytest.mark.parametrize("bits", [8, 4])
def test_only_one_weight_is_what_replacing_it_by_hand_gives(found, bits):
    codes = study().materials.codes[bits]["w2"]
    model = Model.parse(CONTENT)
    tensor = model.graphs[0].by_name["w2"]
    reals = np.ascontiguousarray(codes.params.decode(codes.codes)).reshape(-1).view(np.uint8)
    model.graphs[0].tensors[tensor].buffer = patch.add_buffer(model, reals)
    row = found.find("branch", "only", weights=bits)
    assert row.sqnr_db == pytest.approx(level(model.to_bytes(), samples()), abs=1e-6)


def test_4_bit_codes_are_4_bits_and_8_bit_codes_8():
    for bits, most in ((8, 127), (4, 7)):
        for codes in study().materials.codes[bits].values():
            assert np.abs(codes.codes).max() == most


def test_every_layer_has_every_row(found):
    assert found.layers == ("a", "branch", "sum", "deep", "mean", "logits")
    weighted = {"a", "branch", "deep", "logits"}
    for layer in found.layers:
        for bits in (8, 4):
            assert (found.find(layer, "only", weights=bits) is not None) == (layer in weighted)
            for acts in (8, 16):
                assert found.find(layer, "all but", weights=bits, activations=acts) is not None
        assert found.find(layer, "only", activations=8) is not None


def test_more_bits_are_nearer(found):
    for layer in found.layers:
        narrow, wide = (found.find(layer, "only", activations=a) for a in (8, 16))
        assert wide.sqnr_db > narrow.sqnr_db + 20, "256 times finer, less the margin of 4"
        if found.elements[layer]:
            four, eight = (found.find(layer, "only", weights=b) for b in (4, 8))
            assert eight.sqnr_db > four.sqnr_db + 15, "18 times finer: 25 dB, less what MSE gains"
            assert eight.kl < four.kl


def test_noise_powers_add(found):
    """The additive model against the integer file; sums ignore biases and related roundings."""
    for bits, slack in ((8, 2.0), (4, 2.5)):
        units = study().materials.units
        alone = [study().only_weights(u, bits).noise for u in units if u.weight]
        grids = sorted(frozenset().union(*(u.grids for u in units)))
        alone += [study().only_grid(k, 8).noise for k in grids]
        total = found.find("", "all", weights=bits, activations=8)
        assert decibel(sum(alone)) == pytest.approx(total.sqnr_db, abs=slack)


def test_all_but_a_layer_is_the_file_with_that_layer_float(found):
    s = study()
    content = s.materials.content({**s.materials.uniform(4, 8), "logits": FLOAT}, packed=True)
    row = found.find("logits", "all but", weights=4, activations=8)
    assert row.sqnr_db == pytest.approx(level(content, samples()), abs=0.2), (
        "4-bit kernels round elsewhere"
    )
    codes = {g.code(op) for g, _, op, _ in Model.parse(content).walk() if g.is_entry}
    assert "DEQUANTIZE" in codes


def test_freeing_the_worst_layer_gains_most_at_4_bits(found):
    whole = found.find("", "all", weights=4, activations=8).sqnr_db
    weighted = [n for n in found.layers if found.elements[n]]
    gains = {
        n: found.find(n, "all but", weights=4, activations=8).sqnr_db - whole for n in weighted
    }
    alone = {n: found.find(n, "only", weights=4).sqnr_db for n in weighted}
    assert gains[min(alone, key=alone.get)] > 0.5


def test_labels_give_the_tasks_metric():
    x, y = labelled()
    found = tfq_ext.sensitivity(
        CONTENT,
        DATA,
        recipe=RECIPE,
        bits=(4,),
        scopes=("only",),
        evaluation=x,
        labels=y,
        measure_on=None,
        show_progress=False,
    )
    assert found.samples == len(x)
    assert found.float_metrics == {"top1": 1.0}
    assert all(0.5 <= row.metrics["top1"] <= 1.0 for row in found.rows)
    agreeing = [(row.metrics["top1"], row.agreement) for row in found.rows]
    assert all(top1 == pytest.approx(agreed) for top1, agreed in agreeing)


def test_it_is_plain_json_and_a_table(found):
    read = json.loads(found.to_json())
    assert len(read["rows"]) == len(found.rows)
    text = str(found)
    assert text.startswith("6 layers, measured on 24 samples.")
    body = [line.split()[0] for line in text.splitlines() if "CONV" in line or "CONNECTED" in line]
    assert body[0] == "logits", "worst first"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_it_is_drawn(found, tmp_path, suffix):
    path = found.plot(tmp_path / f"plot{suffix}")
    magic = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(magic)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_names_are_text_in_table_and_plot(found, tmp_path):
    from dataclasses import replace

    evil = "$\\frac{a}$[red]\x1b[31m<b>&名"
    rows = tuple(replace(r, layer=evil if r.layer == "a" else r.layer) for r in found.rows)
    elements = {evil if n == "a" else n: e for n, e in found.elements.items()}
    named = replace(found, rows=rows, elements=elements)
    assert "\x1b" not in str(named)
    assert "[red]" in str(named)
    svg = named.plot(tmp_path / "x.svg").read_text(encoding="utf-8")
    assert "\x1b" not in svg
    assert "<b>" not in svg


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"bits": (3,)}, DataError, "bits: got 3; allowed: 8, 4."),
        ({"activations": (4,)}, DataError, "allowed: 8, 16"),
        ({"scopes": ("none",)}, DataError, "only, all but"),
        ({"recipe": "fp16"}, RecipeError, "mode = 'fp16'"),
        ({"recipe": "int16x8"}, RecipeError, "16-bit activations"),
        ({"task": "classification"}, DataError, "needs labels"),
    ],
)
def test_what_cannot_be_is_one_sentence(change, error, said):
    options = {"recipe": RECIPE, "show_progress": False, **change}
    data = DATA if options["recipe"] != "fp16" else None
    with pytest.raises(error, match=said.replace("(", r"\(")):
        tfq_ext.sensitivity(CONTENT, data, **options)


def test_a_sample_of_the_whole_does_not_reorder_the_layers():
    """Two disjoint sets of samples agree on which weight suffers most in 4 bits."""
    orders = []
    for seed in (1, 2):
        found = tfq_ext.sensitivity(
            CONTENT,
            DATA,
            recipe=RECIPE,
            bits=(4,),
            scopes=("only",),
            evaluation=images(12, seed=seed),
            show_progress=False,
        )
        levels = {r.layer: r.sqnr_db for r in found.rows if r.weights}
        orders.append(min(levels, key=levels.get))
    assert orders[0] == orders[1] == "logits"
