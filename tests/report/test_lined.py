"""Plain tables: only names are cut, in the middle, and spare columns go first."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tfq_ext.report.console import text_of
from tfq_ext.report.lined import Lined

ROWS = [["net/block_1/conv", "1", "x"], ["net/block_22/conv", "1000", "y"]]


def printed(width: int, **more) -> list[str]:
    table = Lined(["name", "n", "note"], ["name", "right", "left"], ROWS, **more)
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_there_is_room():
    assert printed(80) == [
        "name                  n  note",
        "net/block_1/conv      1  x",
        "net/block_22/conv  1000  y",
    ]


def test_common_folders_go_to_the_title():
    assert printed(25)[1:] == ["block_1/conv      1  x", "block_22/conv  1000  y"]
    assert printed(25)[0].startswith("name in net")


def test_names_are_cut_in_the_middle():
    assert printed(22)[2] == "block_2…onv  1000  y" or "…" in printed(22)[2]
    assert all(len(line) <= 22 for line in printed(22))


def test_spare_columns_go_before_more_is_cut():
    lines = printed(16, spare=("note",))
    assert "note" not in lines[0]
    assert lines[2].endswith("1000")


@pytest.mark.parametrize("width", [1, 5, 12, 20])
def test_it_never_breaks_a_line(width):
    assert len(printed(width)) == 3


def test_wide_characters_keep_the_columns():
    table = Lined(["a", "b"], ["name", "left"], [["漢字漢字漢字漢字", "1"], ["short", "2"]])
    file = StringIO()
    Console(file=file, width=14, color_system=None).print(table)
    assert "1" in file.getvalue()
    assert "2" in file.getvalue()


def test_a_spare_column_goes_before_names_are_cut_alike():
    names = ["block1_project_1", "block2_project_1", "block3_project_1"]
    rows = [[name, "DEPTHWISE_CONV_2D", "1.0 dB"] for name in names]
    table = Lined(["layer", "op", "w8"], ["name", "left", "right"], rows, spare=["op"])
    text = text_of(lambda console: console.print(table), 38)
    assert all(name in text for name in names)
    assert "DEPTHWISE_CONV_2D" not in text
