"""From a budget to a recipe, and from the recipe to the very file that was measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from search_nets import CONTENT, DATA, RECIPE, labelled, study

import tfq_ext
from tfq_ext.errors import DataError, RecipeError
from tfq_ext.repair.watch import unwatched
from tfq_ext.samples import Sample
from tfq_ext.search import meter
from tfq_ext.search.costs import CostTable
from tfq_ext.search.find import search
from tfq_ext.search.goal import Goal

QUICK = {"recipe": RECIPE, "points": 3, "show_progress": False}


def found(goal, names=("w4", "w8", "float"), *, rounds=5, points=0, table=None):
    options = {"points": points, "rounds": rounds, "limit": None, "watch": unwatched}
    return search(study(), goal, names, table=table, **options)


def sizes():
    """Of the files with 4 and with 8 bits throughout."""
    files = (
        study().materials.content(study().materials.uniform(b, 8), packed=True) for b in (4, 8)
    )
    return tuple(map(len, files))


@pytest.mark.tf
def test_with_tensorflow_the_recipe_makes_the_measured_file_too(tmp_path):
    pytest.importorskip("tensorflow")
    test_a_size_budget_holds_and_the_recipe_makes_the_measured_file(tmp_path)


def test_a_size_budget_holds_and_the_recipe_makes_the_measured_file(tmp_path):
    small, large = sizes()
    budget = (small + large) // 2
    end = tfq_ext.find_recipe(CONTENT, DATA, max_size=budget, **QUICK)
    assert end.measured.size <= budget
    path = end.save(tmp_path / "mixed.toml")
    made = tfq_ext.quantize(CONTENT, DATA, recipe=path)
    assert len(made.content) == end.measured.size
    again = tfq_ext.quantize(CONTENT, DATA, recipe=end.save(tmp_path / "mixed.json"))
    assert made.content == again.content
    bits = {row.tensor: row.bits for row in made.account.weights}
    chosen = {row.layer: row.width for row in end.layers if row.elements}
    assert {"w4", "w8"} == set(chosen.values())
    assert bits == {name: int(width[1:]) for name, width in chosen.items()}


def test_the_cut_where_the_least_is_lost():
    """Of two budgets the larger one is never worse; both beat 4 bits throughout."""
    small, large = sizes()
    ends = [found(Goal(max_size=int(small + (large - small) * k))) for k in (0.3, 0.7)]
    four = study().file(study().materials.uniform(4, 8)).sqnr_db
    assert ends[1].forecast.sqnr_db >= ends[0].forecast.sqnr_db
    assert min(end.measured.sqnr_db for end in ends) > four
    assert all(e.greedy is None or e.forecast.sqnr_db >= e.greedy.sqnr_db - 0.01 for e in ends)


@pytest.mark.parametrize("least", [23.0, 26.0, 38.0])
def test_a_bound_on_the_loss_holds_with_few_bytes(least):
    end = found(Goal(min_sqnr=least))
    assert end.measured.sqnr_db >= least
    assert end.measured.size <= end.base.size + 900
    if least < 30:
        assert end.measured.size < end.base.size


def test_wide_activations_are_chosen_where_only_they_help():
    with pytest.raises(DataError, match="No choice met at least 45"):
        found(Goal(min_sqnr=45.0), ("w8",))
    end = found(Goal(min_sqnr=40.5), ("w8", "a16"))
    assert end.measured.sqnr_db >= 40.5
    assert "a16" in {row.width for row in end.layers}


def test_a_drop_is_kept_on_labelled_samples():
    x, y = labelled()
    end = tfq_ext.find_recipe(
        CONTENT, DATA, max_drop="5%", evaluation=x, labels=y, measure_on=None, **QUICK
    )
    assert end.main == "top1"
    assert end.measured.drop <= 0.05
    assert end.measured.size < end.base.size


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, RecipeError, "needs a budget"),
        ({"max_size": "a lot"}, RecipeError, "max_size: 'a lot' is no bound"),
        ({"max_size": "1kB"}, DataError, r"the smallest possible has about \d\.\d kB"),
        ({"min_sqnr": 20, "max_drop": "1%"}, RecipeError, "keep one"),
        ({"max_drop": "1%"}, DataError, "labelled samples"),
        ({"max_size": "4kB", "choices": ("w3",)}, RecipeError, "allowed: w4, w8, a16, float"),
        ({"max_size": "4kB", "choices": ("float",)}, RecipeError, "w8 or w4"),
        ({"max_size": "4kB", "costs": "none.json"}, DataError, "no table of costs"),
        ({"min_sqnr": 90, "choices": ("w4", "w8")}, DataError, "No choice met at least 90.0 dB"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, error, said):
    with pytest.raises(error, match=said) as raised:
        tfq_ext.find_recipe(CONTENT, DATA, **QUICK, **options)
    assert "\n" not in str(raised.value)


def test_a_table_of_times_decides(tmp_path):
    """A phone on which 4 bits are slow but for one layer: only that gets them."""
    rows = {}
    for unit in study().materials.units:
        rows[unit.name] = {w.name: 1.0 for w in unit.widths} | {"float": 9.0}
        if unit.weight:
            rows[unit.name]["w4"] = 0.25 if unit.name == "branch" else 2.0
    path = CostTable(0.5, rows).save(tmp_path / "costs.json")
    table = CostTable.load(path)
    assert table.rows == rows
    everything = 0.5 + len(rows)
    end = found(Goal(max_latency=everything - 0.5), table=table)
    assert {r.layer for r in end.layers if r.width == "w4"} == {"branch"}
    assert end.forecast.ms == pytest.approx(everything - 0.75)
    assert end.measured.ms is None, "it is not this machine's time"
    with pytest.raises(DataError, match="No run fits"):
        found(Goal(max_latency=1.0), table=table)


def test_times_measured_here_are_kept_to():
    generous = found(Goal(max_latency="50ms"), ("w4", "w8"))
    assert generous.measured.ms <= 50.0
    assert {row.width for row in generous.layers if row.elements} == {"w8"}, "least noise"
    assert set(generous.costs.rows) == {row.layer for row in generous.layers}


def test_the_curve_rises_and_is_drawn_and_told(tmp_path):
    small, large = sizes()
    end = found(Goal(max_size=(small + large) // 2), points=5)
    forecast = [point.forecast.sqnr_db for point in end.points]
    assert forecast == sorted(forecast)
    assert {"w4 throughout", "w8 throughout", "found"} <= {point.label for point in end.points}
    assert all(p.greedy_db is None or p.greedy_db <= p.forecast.sqnr_db + 0.01 for p in end.points)
    assert end.plot(tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    text = str(end)
    assert text.startswith("Goal: at most ")
    assert "w4 throughout" in text
    assert json.loads(end.to_json())["recipe"] == end.recipe.to_dict()


def test_an_untouched_network_gives_an_unchanged_recipe():
    end = found(Goal(max_size="1MB"), ("w4", "w8"))
    assert end.recipe.rules == study().recipe.rules


SCRIPT = """
import sys
sys.modules["tensorflow"] = None  # as in conftest.py
import numpy as np
from search_nets import CONTENT, DATA, RECIPE
import tfq_ext
end = tfq_ext.find_recipe(
    CONTENT, DATA, min_sqnr=26.0, recipe=RECIPE, points=3, show_progress=False,
    checkpoint=sys.argv[1] + "/run",
)
end.save(sys.argv[1] + "/" + sys.argv[2])
"""


def started(folder, name):
    helpers = Path(__file__).parents[1] / "helpers"
    places = [str(helpers), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), name], env=env)


def test_a_killed_run_goes_on_and_ends_in_the_same_recipe(tmp_path):
    """kill -9 once some measurements are on disk; the second run makes only the others."""
    notes = tmp_path / "run.jsonl"
    first = started(tmp_path, "first.toml")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and first.poll() is None:
        if notes.exists() and notes.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    before = notes.read_bytes()
    assert not (tmp_path / "first.toml").exists()
    assert started(tmp_path, "second.toml").wait() == 0
    whole = before[: before.rfind(b"\n") + 1]
    after = notes.read_bytes()
    assert after.startswith(whole)
    named = [json.loads(line)["what"] for line in after.splitlines()]
    assert len(named) == len(set(named)), "nothing was measured twice"
    direct = found(Goal(min_sqnr=26.0), points=3).recipe
    assert (tmp_path / "second.toml").read_text() == direct.to_toml()


def test_readings_do_not_depend_on_what_fits_into_memory(monkeypatch):
    """Too many outputs to keep: the float model runs anew beside each file."""
    s = study()
    content = s.materials.content(s.materials.uniform(4, 8))
    kept = meter.Meter(CONTENT, (Sample(k, {"image": x[None]}) for k, x in enumerate(DATA)))
    monkeypatch.setattr(meter, "KEPT", 0)
    anew = meter.Meter(CONTENT, [Sample(k, {"image": x[None]}) for k, x in enumerate(DATA)])
    assert anew(content) == kept(content) == s.meter(content)
    assert np.isfinite(kept(content).sqnr_db)
