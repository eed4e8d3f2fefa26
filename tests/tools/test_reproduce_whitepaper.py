"""tools/reproduce_whitepaper.py: its parts by closed forms, and one section from end to end."""

import json
import subprocess
import sys
from pathlib import Path

import _figures as figures
import numpy as np
import pytest
from _paper import Claim, Found, Grid, Lab, Published, beside
from _paper_folding import _levels
from _paper_networks import Folder, _at_random, _by_ending
from _paper_ptq import ALL, FOUR, FOUR_ACTIVATIONS, WEIGHTS
from _paper_report import outcome, page
from _paper_sections import SECTIONS
from _paper_ternary import FORMS, _groups, _ideal
from one_op import add_signature
from small_nets import residual

from tfq_ext.emit.to_float import Pivot
from tfq_ext.recipe import load_recipe

TOOL = Path(__file__).parents[2] / "tools" / "reproduce_whitepaper.py"


def test_a_table_refuses_a_row_of_another_width():
    with pytest.raises(ValueError, match="2 columns"):
        Grid("t", ("a", "b"), (("1",),))


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_says_what_is_published_and_what_differs(name):
    section = SECTIONS[name]
    assert section.published.source
    assert section.published.says.endswith(".")
    assert section.differs
    for row in section.published.rows.values():
        assert len(row) == len(section.published.columns)


def test_published_numbers_stand_before_ours():
    published = Published("p", "s.", ("float", "int8"), {"net": (0.5, None)})
    grid = beside(published, [("mine", "60.0", "59.0", "x")], "t", ["more"])
    assert grid.rows == (("net (paper)", "50.0", "", ""), ("mine", "60.0", "59.0", "x"))


def test_only_a_claim_that_must_hold_decides_the_exit_code():
    soft = Claim("a", "b", holds=False, must=False)
    hard = Claim("a", "b", holds=False)
    assert outcome({"x": Found(claims=(soft, Claim("a", "b", holds=True)))}) == 0
    assert outcome({"x": Found(claims=(soft, hard))}) == 1
    assert [c.word for c in (soft, hard)] == ["not here", "FAILS"]


def test_a_row_that_is_known_is_not_computed_again(tmp_path):
    asked = []

    def work():
        asked.append(1)
        return {"value": 3}

    assert Lab(tmp_path, quick=True).known("kind", "name", work)["value"] == 3
    assert Lab(tmp_path, quick=True).known("kind", "name", work)["value"] == 3
    assert len(asked) == 1


def test_every_scheme_has_a_name_of_its_own():
    schemes = {*WEIGHTS.values(), *ALL.values(), *FOUR.values(), *FOUR_ACTIVATIONS.values()}
    assert len({scheme.name for scheme in schemes}) == len(schemes)
    for scheme in schemes:
        assert scheme.recipe().mode == "simulate"


@pytest.mark.parametrize("name", FORMS)
def test_every_ternary_recipe_is_valid(name):
    assert load_recipe(FORMS[name]).bias == "match"


def test_levels_of_a_channel_by_hand():
    rows = np.array([[127.0, 0.25], [0.25, 0.25], [0.0, 0.0]], np.float32)
    by_layer, by_channel = _levels(rows, None), _levels(rows, 0)
    # One scale of 1: 0.25 becomes 0, all of the second channel is lost; the dead one has no SQNR.
    assert by_layer == pytest.approx([10 * np.log10((127**2 + 0.25**2) / 0.25**2), 0.0])
    assert len(by_channel) == 2
    assert by_channel[1] == pytest.approx(120.0, abs=25)  # on its own grid but for float32


@pytest.mark.parametrize(
    ("name", "shape", "groups"),
    [
        ("fgq:4", (8, 9, 16), 8 * 9 * 4),
        ("fgq:4", (8, 9, 6), 8 * 9 * 2),  # the last group has two
        ("fgq:4", (8, 9, 1), 8 * 3),  # depthwise: positions
        ("fgq:1", (8, 9, 16), 8 * 9 * 16),
        ("twn", (8, 9, 16), 8),
    ],
)
def test_groups_of_a_layer(name, shape, groups):
    assert _groups(name, *shape) == groups


def test_packed_bytes_by_hand():
    weights = [(2, 9, 1), (8, 1, 16), (4, 1, 8)]
    packed, products = _ideal("fgq:4", weights)
    assert packed == 18 + (2 * 128 + 8 * 32) / 8 + 32
    assert products == 32 / 128
    assert _ideal("w8", weights) == (18 + 128 + 32, None)


def test_looks_differ_in_colour_and_in_shape():
    for part in ("color", "marker", "hatch"):
        assert len({getattr(look, part) for look in figures.LOOKS}) == len(figures.LOOKS)


def test_figures_are_written_whole_and_alike(tmp_path):
    def draw(path):
        with figures.figure(path) as figure:
            left, right = figure.subplots(1, 2)
            figures.bars(left, ["a", "b"], {"x": [1, None], "y": [2, 3]}, "dB")
            figures.lines(right, {"x": ([1, 2], [3, 4])}, "steps", "%")
            figures.legend(left)

    draw(tmp_path / "one.png")
    draw(tmp_path / "two.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "two.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_page_has_claims_and_reasons(tmp_path):
    claim = Claim("by channel is better", "40 dB, 8 dB", holds=True)
    found = {"table2": Found((Grid("t", ("a",), (("1",),)),), (claim,))}
    text = "\n".join(page(Lab(tmp_path, quick=True), SECTIONS, found, 1.0))
    assert "| by channel is better | 40 dB, 8 dB | holds |" in text
    title = "Table 2: weights in 8 bits, nothing trained"
    assert f"| [{title}](#table-2-weights-in-8-bits-nothing-trained) | 1 | 0 | 0 |" in text
    assert f"## {title}" in text
    for sentence in SECTIONS["table2"].differs:
        assert f"* {sentence}" in text


@pytest.fixture
def pictures(tmp_path):
    """Two classes of ten pictures of noise, from 0 to 99 and from 100 to 199."""
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the images")
    for k in range(20):
        folder = tmp_path / "images" / f"n{k % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(100 * (k % 2), 100 * (k % 2) + 100, (9, 9, 3))
        image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k:03}.png")
    return tmp_path / "images"


def test_images_that_judge_never_calibrate(pictures):
    model = residual()
    add_signature(model)
    seen = []

    def choose(names):
        seen.append(_at_random(4, names))
        return seen[0]

    data = Folder(pictures, "crop=8", None, choose)
    calibrate, judges = data(Pivot(model, "tflite", ""))
    rows = list(judges())
    assert not set(seen[0][0]) & set(seen[0][1])
    assert len(list(calibrate)) == 10
    assert len(rows) == 4
    for inputs, label in rows:
        (values,) = inputs.values()
        assert values.shape == (1, 8, 8, 3)
        assert set(np.unique(values // 100)) == {label[0]}


def test_shared_images_go_by_the_ends_of_their_names():
    names = [f"{k:04}.jpg" for k in range(20)]
    assert _by_ending(names) == ([0, 10], [3, 7, 13, 17])


def tool(*words):
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)


def test_an_unknown_section_is_named():
    done = tool("table9")
    assert done.returncode == 2
    assert "no section table9; known: table2" in done.stderr


@pytest.mark.slow
@pytest.mark.tf
def test_sections_from_end_to_end_and_again(tmp_path):
    out, docs = tmp_path / "out", tmp_path / "docs"
    docs.mkdir()
    done = tool("table2", "folding", "--quick", "--out", out, "--docs", docs)
    assert done.returncode == 0, done.stderr
    text = (docs / "whitepaper.md").read_text()
    assert "FAILS" not in text
    for name in ("table2_top1", "folding_channels"):
        assert f"](whitepaper_{name}.png)" in text
        assert (docs / f"whitepaper_{name}.png").exists()
        assert (out / f"{name}.png").exists()
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"float", "file", "folded"}
    again = tool("table2", "--quick", "--out", out)
    assert again.returncode == 0
    assert len((out / "log.jsonl").read_text().splitlines()) == len(rows)
