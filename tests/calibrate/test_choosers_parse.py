"""The text form of calibrators and its errors."""

import pytest

from tfq_ext.calibrate.choosers import AUTO_CANDIDATES, CHOOSER_NAMES, CHOOSERS, parse
from tfq_ext.errors import RecipeError, UnknownName


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("minmax", "minmax"),
        ("ema", "ema:0.99"),
        ("ema:0.9", "ema:0.9"),
        ("percentile", "percentile:99.99"),
        (" percentile:99.999 ", "percentile:99.999"),
        ("percentile:100.0", "percentile:100"),
        ("lp", "lp:2.4"),
        ("lp:1", "lp:1"),
    ],
)
def test_defaults_are_spelled_out(written, text):
    assert parse(written).text == text
    assert str(parse(text)) == text


@pytest.mark.parametrize("name", ["percentil", "", "MSE", "entropy:1"])
def test_unknown_name_lists_what_is_known(name):
    with pytest.raises(UnknownName, match=r"Known: minmax, .*cosine, auto"):
        parse(name)


def test_near_miss_is_guessed():
    with pytest.raises(UnknownName, match="Did you mean 'percentile'"):
        parse("percentil:99.9")


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("percentile:50", r"\(50, 100\]"),
        ("percentile:100.1", r"\(50, 100\]"),
        ("percentile:", r"\(50, 100\]"),
        ("percentile:high", r"\(50, 100\]"),
        ("percentile:nan", r"\(50, 100\]"),
        ("ema:1", r"\[0, 0.9999\]"),
        ("ema:-0.1", r"\[0, 0.9999\]"),
        ("lp:0.9", r"\[1, 6\]"),
        ("lp:inf", r"\[1, 6\]"),
    ],
)
def test_wrong_parameter_names_the_interval(text, interval):
    with pytest.raises(RecipeError, match=interval):
        parse(text)


@pytest.mark.parametrize("text", ["minmax:1", "mse:2", "kl:128", "minmax:"])
def test_parameter_where_none_is_taken(text):
    with pytest.raises(RecipeError, match="takes no parameter"):
        parse(text)


@pytest.mark.parametrize("text", ["auto", "auto:3"])
def test_auto_needs_the_graph(text):
    with pytest.raises(RecipeError, match="graph"):
        parse(text)


def test_names_and_candidates():
    assert {*CHOOSERS, "auto"} == set(CHOOSER_NAMES)
    assert AUTO_CANDIDATES[0] == "minmax"
    assert not any(parse(text).order_dependent for text in AUTO_CANDIDATES)
    assert len({parse(text).text for text in AUTO_CANDIDATES}) == len(AUTO_CANDIDATES)
