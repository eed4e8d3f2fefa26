"""The documents' figures: from records, every one of them, the chart with its words as text."""

import re

import figures
import pytest
from _flow import SMALLER, STEPS
from check import ROOT

from tfq_ext.recipe.presets import PRESETS


@pytest.mark.parametrize("name", figures.FIGURES_BY_NAME)
def test_each_is_drawn_and_shown_somewhere(tmp_path, name):
    assert figures.main([name, "--out", str(tmp_path)]) == 0
    file, _ = figures.FIGURES_BY_NAME[name]
    assert (tmp_path / file).stat().st_size > 5_000
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"figures/{file}" in page.read_text(encoding="utf-8") for page in pages)


def words_of(path):
    """The lines of text in an SVG, whatever version of matplotlib drew it."""
    return sorted(re.findall(r"<text[^>]*>([^<]+)<", path.read_text(encoding="utf-8")))


def test_the_chart_is_the_one_in_the_guide_and_can_be_searched(tmp_path):
    figures.main(["choosing", "--out", str(tmp_path)])
    drawn = (tmp_path / "choosing.svg").read_text()
    assert words_of(figures.FIGURES / "choosing.svg") == words_of(tmp_path / "choosing.svg")
    for question, _, leads in (*STEPS, *SMALLER):
        for line in (*question.splitlines(), *leads.splitlines()):
            assert line.split()[0] in drawn
    assert len(words_of(tmp_path / "choosing.svg")) > 20


def test_the_chart_names_recipes_that_exist():
    words = {word for _, _, leads in STEPS for word in leads.replace(",", " ").split()}
    assert {"fp16", "dynamic", "int16x8", "fast", "int8:", "best"} <= words
    assert {word.strip(":") for word in ("fp16", "dynamic", "int16x8", "fast", "best")} <= {
        *PRESETS
    }


def test_an_unknown_figure_is_refused():
    with pytest.raises(SystemExit):
        figures.main(["absent"])
