"""tools/bench_rounding.py from end to end on a small network, and its parts. No time is judged."""

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from _bench import in_child, measured
from _bench_files import FLOAT, Contender, Ground, make_all, ours, row
from _bench_halves import HALVES, Stability, stability
from _bench_litert import ALGORITHMS, PLAIN, by_algorithm, reach
from bench_rounding import COMMON, PEAK_MB, SECONDS, contenders, recipe_of, rows_of, verdicts
from one_op import add_signature
from small_nets import residual

from tfq_ext.errors import UnknownName
from tfq_ext.recipe import load_recipe
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Model

TOOLS = Path(__file__).parents[2] / "tools"
MINMAX = {"base": "int8-minmax"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A float .tflite, and 40 pictures of noise with labels of no meaning."""
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the images")
    made = tmp_path_factory.mktemp("bench")
    model = residual(spread=8.0)
    add_signature(model)
    (made / "net.tflite").write_bytes(model.to_bytes())
    (made / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    for k, picture in enumerate(pixels):
        image.fromarray(picture).save(made / "images" / f"{k % 5}_{k:04d}.png")
    return made


def ground(folder, scratch):
    return Ground.of(
        Namespace(
            model=folder / "net.tflite",
            images=folder / "images",
            preprocess="scale=1/127.5,mean=1",
            calibrate_ending="01245689",
            evaluate_ending="37",
        ),
        scratch,
    )


def asleep():
    time.sleep(600)


def held(megabytes):
    return np.ones(megabytes << 17).size


def test_a_process_that_takes_too_long_is_ended():
    with pytest.raises(RuntimeError, match=r"not ready after 1\.5 s"):
        in_child(asleep, limit=1.5)


def test_memory_is_that_of_the_child():
    small, large = measured(held, 1), measured(held, 300)
    assert large.value == 300 << 17
    assert large.seconds > 0
    assert 250 < large.peak_mb - small.peak_mb < 400


@pytest.mark.slow
def test_who_fails_does_not_stop_the_others(folder, tmp_path):
    place = ground(folder, tmp_path)
    who = [Contender("bad", ours, ("no such recipe",)), Contender("good", ours, (MINMAX,))]
    made, failed = make_all(place.job, who, 300)
    assert list(made) == ["good"]
    assert "No recipe named 'no such recipe'" in failed["bad"]
    assert made["good"].content == ours(place.job, MINMAX)
    assert made["good"].peak_mb > 50
    judged = place.judged({FLOAT: place.float.content, "good": made["good"].content})
    line = row("good", judged["good"], made["good"])
    assert line["bytes"] == len(made["good"].content) != line["zipped_bytes"]
    assert line["drop"]["lo"] <= line["drop"]["drop"] <= line["drop"]["hi"]
    (first, second) = rows_of(place, {FLOAT: place.float, "good": made["good"]})
    assert (first["ratio"], second["ratio"]) == (None, 1.0)


@pytest.mark.slow
def test_halves_are_other_images_and_other_files(folder, tmp_path):
    place = ground(folder, tmp_path)
    (found,), failed = stability(place, [Contender("minmax", ours, (MINMAX,))], 300)
    assert not failed
    kept = [{p.name for p in (tmp_path / f"half_{k}").iterdir()} for k in (0, 1)]
    assert kept[0].isdisjoint(kept[1])
    assert kept[0] | kept[1] == {p.name for p in place.calibrate}
    assert 20 < found.between_db < 100, HALVES
    assert found.first_db > 20
    assert found.second_db > 20
    assert found.stable == (found.between_db > max(found.first_db, found.second_db))


@pytest.mark.parametrize(("between", "stable"), [(20.1, True), (20.0, False), (15.0, False)])
def test_stable_means_nearer_to_each_other_than_to_float(between, stable):
    assert Stability("x", between, 18.0, 20.0).stable is stable


@pytest.mark.parametrize("bits", COMMON)
@pytest.mark.parametrize("rounding", ["nearest", "gptq:0.1", "adaround", "gpfq"])
def test_our_rounders_differ_in_the_rounding_alone(rounding, bits):
    recipe, plain = (load_recipe(recipe_of(name, bits)) for name in (rounding, "nearest"))
    weights = {**plain.weights.model_dump(), "rounding": rounding}
    assert recipe == plain.changed(weights=weights)
    assert (recipe.weights.bits, recipe.calibrator) == (int(bits), "percentile:99.99")


@pytest.mark.parametrize("preset", SECONDS)
def test_presets_are_held_to_their_time_and_memory(preset):
    rows = [
        {"name": f"tfq_ext preset {preset}", "seconds": SECONDS[preset] + late, "peak_mb": PEAK_MB}
        for late in (0.0, 0.1)
    ]
    rows += [{"name": "litert-quantizer GPTQ, int8", "seconds": 1e9, "peak_mb": 1e9}]
    rows += [{"name": "tfq_ext gptq, int8", "seconds": 1e9, "peak_mb": PEAK_MB + 1}]
    met, missed, memory = verdicts(rows)
    assert (met[-3:], missed[-6:], memory[-6:]) == ("met", "MISSED", "MISSED")
    assert "gptq, int8 <= 6000 MB" in memory


@pytest.mark.parametrize("option", ["roundings", "presets", "rivals", "bits"])
def test_unknown_names_are_refused_before_anything_runs(option):
    given = {"roundings": "nearest", "presets": "fast", "rivals": "GPTQ", "bits": "8"}
    assert len(contenders(Namespace(**given))) == 3
    with pytest.raises(UnknownName, match="nonsense"):
        contenders(Namespace(**{**given, option: "nonsense"}))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_litert_quantizer_rounds_by_the_algorithm(folder, tmp_path, name, bits):
    """Its file has integers of that width where `reach` says so, and other ones than min-max."""
    pytest.importorskip("litert_quantizer")
    place = ground(folder, tmp_path)
    content = by_algorithm(place.job, ALGORITHMS[name], bits)
    told = reach(ALGORITHMS[name], bits)
    narrow = told.partition("bits: ")[2].split(", ")
    found = {}
    for graph, _, op, code in Model.parse(content).walk():
        if code in WEIGHTS:
            tensor = int(op.inputs[WEIGHTS[code].weight])
            codes = graph.constant(tensor)
            found[code] = codes
            assert graph.dtype(tensor) == (f"int{bits}" if code in narrow else "int8"), code
            assert codes.size == np.prod(graph.shape(tensor))
    plain = by_algorithm(place.job, ALGORITHMS["min-max"], bits)
    assert (content == plain) == (ALGORITHMS[name].key == PLAIN)
    assert set(found) == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


@pytest.mark.slow
def test_the_benchmark_runs(folder, tmp_path):
    pytest.importorskip("litert_quantizer")
    figures = tmp_path / "figures.json"
    options = {
        "--model": folder / "net.tflite",
        "--images": folder / "images",
        "--preprocess": "scale=1/127.5,mean=1",
        "--bits": "4",
        "--roundings": "nearest,gptq,adaround",
        "--presets": "fast",
        "--rivals": "min-max,GPTQ",
        "--json": figures,
    }
    done = subprocess.run(
        [sys.executable, TOOLS / "bench_rounding.py", *(p for o in options.items() for p in o)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["out"] == {}
    rows = {r["name"]: r for r in found["rows"]}
    best = rows["tfq_ext gptq, int4"]["sqnr_db"]
    assert best > rows["tfq_ext nearest, int4"]["sqnr_db"] > 5
    assert set(rows) > {"float", "tfq_ext preset fast", "litert-quantizer GPTQ, int4"}
    assert "the algorithm takes FULLY_CONNECTED" in done.stdout
    assert "paired 95 %" in done.stdout
