"""--set: TOML values, plain text, nesting, contradictions."""

import pytest

from tfq_ext.cli.options import parse_settings
from tfq_ext.errors import RecipeError


@pytest.mark.parametrize(
    ("settings", "table"),
    [
        ([], {}),
        (["seed=3"], {"seed": 3}),
        (["hold_back = 0.1"], {"hold_back": 0.1}),
        (["strict=true"], {"strict": True}),
        (["calibrator=mse"], {"calibrator": "mse"}),
        (['calibrator="mse"'], {"calibrator": "mse"}),
        (["calibrator=percentile:99.99"], {"calibrator": "percentile:99.99"}),
        (["weights.bits=4", "weights.scale=mse"], {"weights": {"bits": 4, "scale": "mse"}}),
        (['rules=[{op="SIN", keep_float=true}]'], {"rules": [{"op": "SIN", "keep_float": True}]}),
    ],
)
def test_settings_become_a_table(settings, table):
    assert parse_settings(settings) == table


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["seed"], "FIELD=VALUE"),
        (["=3"], "FIELD=VALUE"),
        (["a b=3"], "cannot be read"),
        (["seed=1", "seed=2"], "set twice"),
        (["weights.bits=4", "weights=8"], "set twice"),
        (["base=int4"], "--recipe"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(RecipeError, match=words):
        parse_settings(settings)
