"""A table that answers back."""

import pytest

from tfq_ext._table import Table
from tfq_ext.errors import TfqError, UnknownName

T = Table("calibrator", {"minmax": 1, "percentile": 2})


def test_a_miss_says_what_would_have_worked():
    with pytest.raises(UnknownName) as caught:
        T["percentil"]
    assert str(caught.value) == (
        "No calibrator named 'percentil'. Did you mean 'percentile'? Known: minmax, percentile."
    )


def test_a_miss_is_a_key_error_and_a_tfq_error():
    for kind in (KeyError, TfqError):
        with pytest.raises(kind):
            T["zzz"]
    assert T.get("zzz") is None


def test_a_name_is_taken_once():
    table = Table("thing", {"a": 1})
    assert table.add("b", 2) == 2
    with pytest.raises(UnknownName, match="already is a thing named 'a'"):
        table.add("a", 3)
    assert dict(table) == {"a": 1, "b": 2}
