"""Numbers and names as people read them."""

import math

import pytest

from tfq_ext.report import words
from tfq_ext.spec import Range


@pytest.mark.parametrize(
    ("name", "width", "shown"),
    [
        ("logits", 10, "logits"),
        ("model/block1/conv/Relu6", 30, "model/block1/conv/Relu6"),
        ("model/block1/conv/Relu6", 20, "block1/conv/Relu6"),
        ("model/block1/conv/Relu6", 12, "block1/co..."),
        ("model/a;model/b;model/c", 30, "model/a"),
        ("evil\x1b[31m\n", 20, "evil?[31m?"),
        ("[bold]x[/bold]", 20, "[bold]x[/bold]"),
    ],
)
def test_short_names(name, width, shown):
    assert words.short(name, width) == shown
    assert len(shown) <= width


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.0 kB"), (999_949, "999.9 kB"), (1_000_000, "1.00 MB")]
)
def test_sizes(count, text):
    assert words.size(count) == text


def test_levels():
    assert words.decibel(0.01) == pytest.approx(20.0)
    assert words.db(words.decibel(0.0)) == "exact"
    assert words.db(19.96) == "20.0 dB"
    assert words.db(-math.inf) == "-inf dB"


def test_the_rest():
    assert words.interval(Range(-1.2345, 6.0)) == "[-1.23, 6]"
    assert [words.count(n, "op") for n in (0, 1, 2)] == ["0 ops", "1 op", "2 ops"]
