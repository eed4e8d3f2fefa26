"""The demo's sentences say what the numbers say, whichever way they come out."""

from dataclasses import replace

import pytest
from rich.console import Console

from tfq_ext.numerics.intervals import PairedDrop
from tfq_ext.report.comparison import Roles, Row, comparison_table, sentences
from tfq_ext.validation.accuracy import Accuracy
from tfq_ext.validation.latency import Latency

ROLES = Roles(rival="TF", ours="tfq")


def row(name, sqnr, agree=0.99, drop=0.001, lo=-0.001, hi=0.003, size=1000, ratio=0.5):
    lost = None if name == "float" else PairedDrop(drop, lo, hi, 0.5)
    accuracy = Accuracy(1000, 1000, 0.9, (0.88, 0.92), agree, (0.98, 1.0), sqnr, lost)
    latency = Latency(1.25 * ratio, (1.0, 2.0), 50, 1, ratio, (ratio, ratio))
    return Row(name, f"{name}.tflite", size, accuracy, latency)


FLOAT = row("float", float("inf"), 1.0, ratio=1.0)


def test_better_and_worse_are_told_apart():
    said = sentences([FLOAT, row("TF", 20.0, 0.98), row("tfq", 23.5)], ROLES)[0]
    assert "3.5 dB nearer to" in said
    assert "10 of 1000 answers change instead of 20" in said
    said = sentences([FLOAT, row("TF", 23.5), row("tfq", 20.0)], ROLES)[0]
    assert "3.5 dB farther from" in said


@pytest.mark.parametrize(
    ("drop", "lo", "hi", "words"),
    [
        (0.001, -0.001, 0.003, ("loses 0.10", "no difference")),
        (0.02, 0.01, 0.03, ("loses 2.00", "more than chance")),
        (-0.02, -0.03, -0.01, ("gains 2.00", "more than chance")),
    ],
)
def test_the_drop_is_judged_by_its_interval(drop, lo, hi, words):
    said = sentences([FLOAT, row("TF", 20.0), row("tfq", 21.0, 0.99, drop, lo, hi)], ROLES)[1]
    assert all(word in said for word in words)


def test_extremes_are_named():
    rows = [
        FLOAT,
        row("TF", 20.0, size=800, ratio=0.9),
        row("tfq", 21.0, size=900, ratio=0.4),
        row("wide", 60.0, size=1500, ratio=48.2),
    ]
    said = sentences(rows, ROLES)[2]
    assert "Nearest to float: wide (60.0 dB, 48 x its time)" in said
    assert "Smallest: TF (0.8 kB, 0.90 x)" in said
    assert "Fastest here: tfq (0.40 x)" in said


def test_without_labels():
    def blind(r):
        return replace(r, accuracy=replace(r.accuracy, top1=None, top1_interval=None, drop=None))

    rows = [blind(r) for r in (FLOAT, row("TF", 20.0), row("tfq", 21.0))]
    assert "Without labels" in sentences(rows, ROLES)[1]
    assert table(rows)[1].split() == ["float", "1.0", "1.25", "1.00"]
    assert table(rows)[2].split() == ["TF", "1.0", "99.0", "20.0", "0.625", "0.50"]


def test_the_table():
    lines = table([FLOAT, row("TF", 20.04)])
    assert lines[1].split() == ["float", "1.0", "90.0", "(88.0-92.0)", "1.25", "1.00"]
    assert lines[2].split() == ["TF", "1.0", "90.0", "(88.0-92.0)", "99.0", "20.0", "0.625", "0.50"]


def table(rows):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(comparison_table(rows))
    return capture.get().splitlines()
