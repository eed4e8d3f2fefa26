"""Measurements that survive: appended, keyed, half lines dropped."""

from __future__ import annotations

import json

import pytest

from tfq_ext.errors import OutputError, StatsError
from tfq_ext.search.notebook import Notebook, run_key


def never():
    raise AssertionError("measured again")


def test_what_is_there_is_not_measured_again(tmp_path):
    path = tmp_path / "n.jsonl"
    assert Notebook(path, "r").get("x", lambda: 0.1) == 0.1
    again = Notebook(path, "r")
    assert again.get("x", never) == 0.1
    assert again.reused == 1
    with pytest.raises(AssertionError):
        again.get("y", never)


def test_another_run_sees_nothing_and_destroys_nothing(tmp_path):
    path = tmp_path / "n.jsonl"
    Notebook(path, "r").get("x", lambda: 1)
    assert Notebook(path, "other").get("x", lambda: 2) == 2
    assert Notebook(path, "r").get("x", never) == 1


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_a_line_is_dropped(tmp_path, cut):
    path = tmp_path / "n.jsonl"
    book = Notebook(path, "r")
    book.get("x", lambda: 1)
    whole = path.read_bytes()
    book.get("y", lambda: 2)
    path.write_bytes(path.read_bytes()[:-cut])
    again = Notebook(path, "r")
    assert path.read_bytes() == whole
    assert again.get("x", never) == 1
    assert again.get("y", lambda: 3) == 3
    assert [json.loads(line)["value"] for line in path.read_text().splitlines()] == [1, 3]


def test_infinite_noise_and_odd_names_come_back(tmp_path):
    path = tmp_path / "n.jsonl"
    name = 'only w4 a\n"b"\u2028名\udc80'
    assert Notebook(path, "r").get(name, lambda: float("inf")) == float("inf")
    assert Notebook(path, "r").get(name, never) == float("inf")
    assert path.read_text().count("\n") == 1


@pytest.mark.parametrize("text", ["[]\n", "hello\n", '{"format": "tfq search 0"}\n'])
def test_a_file_of_something_else_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "n.jsonl"
    path.write_text(text)
    with pytest.raises(StatsError, match="no measurements of this version"):
        Notebook(path, "r")
    assert path.read_text() == text


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="Cannot write"):
        Notebook(tmp_path / "no" / "n.jsonl", "r").get("x", lambda: 1)


def test_the_key_tells_every_part():
    assert run_key("a", "b") != run_key("ab", "") != run_key("", "ab")
    assert len(run_key("a")) == 16
