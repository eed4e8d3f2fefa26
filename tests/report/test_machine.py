"""JSON that strict parsers take."""

import json

import numpy as np
import pytest

from tfq_ext.report.machine import dumps


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (np.array([1.0, np.nan]), [1.0, None]),
        ({"a": float("inf"), 3: (-float("inf"), True)}, {"a": None, "3": [None, True]}),
        ({"name": "Ü\x1b"}, {"name": "Ü\x1b"}),
        (None, None),
    ],
)
def test_round_trip(value, back):
    assert json.loads(dumps(value), parse_constant=pytest.fail) == back


def test_a_foreign_object_is_an_error():
    with pytest.raises(TypeError):
        dumps(object())
