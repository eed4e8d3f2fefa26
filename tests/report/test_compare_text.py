"""A comparison as people read it, at 80 and at 120 columns."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tfq_ext.report.compare_text import show, to_text
from tfq_ext.validation.comparison import Comparison, LayerRow, Shift, Unmatched
from tfq_ext.validation.comparison.causes import judged
from tfq_ext.validation.comparison.values import Part

VALUES: dict = {
    "index": 3,
    "subgraph": 0,
    "op": "DEPTHWISE_CONV_2D",
    "matched_by": "name",
    "shape": (1, 8, 8, 4),
    "arithmetic": "integer",
    "dtype": "int8",
    "scale": 0.1,
    "zero_point": 0,
    "grid": (-12.8, 12.7),
    "range": (-40.0, 30.0),
    "wasted_bits": 0.0,
    "sqnr_db": 9.5,
    "own_sqnr_db": 12.0,
    "own_reason": "",
    "grid_sqnr_db": 12.1,
    "cosine": 0.97,
    "mean_error_lsb": 3.2,
    "max_error_lsb": 272.0,
    "mean_error": 0.32,
    "max_error": 27.2,
    "clipped_low": 0.02,
    "clipped_high": 0.05,
    "shift": Shift(2, -0.3, -3.0, 0.2),
    "own_shift": Shift(2, -0.3, -3.0, 0.2),
    "weight_bits": 8,
    "weight_scales": 4,
    "weight_sqnr_db": 41.0,
    "weight_spread": 3.0,
    "parts": (Part("clipping", 0.9), Part("output grid", 0.95)),
    "rms": 3.0,
}


def row(label: str = "conv", **fields: object) -> LayerRow:
    names = {"tensor": label, "label": label, "reference_tensor": label}
    return LayerRow(**{**VALUES, **names, **fields})


def comparison(rows, **fields: object) -> Comparison:
    values: dict = {
        "reference": "float.tflite",
        "candidate": "int8.tflite",
        "data": "x.npy",
        "preprocess": "",
        "signature": "",
        "rows": judged(rows),
        "outputs": (row("logits", sqnr_db=9.0, own_sqnr_db=None, own_reason="an output"),),
        "unmatched": (Unmatched("pad", "PAD", "candidate", "the reference has no PAD"),),
        "samples": 16,
    }
    return Comparison(**{**values, **fields})


FOUND = comparison(
    [
        row("block_13/expand/a_rather_long_name_of_a_layer"),
        row("late", own_sqnr_db=40.0, sqnr_db=9.0, parts=(), clipped_low=0.0, clipped_high=0.0),
        row("input", own_sqnr_db=float("inf"), sqnr_db=float("inf"), scale=None, grid=None),
    ]
)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_and_says_what_matters(width):
    text = to_text(FOUND, width=width)
    told = [line for line in text.splitlines() if "tfq quantize" not in line]
    assert max(map(len, told)) <= width
    flat = " ".join(text.split())
    assert flat.startswith("Output against the reference: 9.0 dB (logits).")
    assert "Most is lost at DEPTHWISE_CONV_2D" in flat
    assert "clipping: 7.0% of the values lie beyond both ends of its grid [-12.8, 12.7]" in flat
    assert "victim: 40.0 dB on exact inputs, 9.0 dB with the errors before it" in flat
    assert "16 samples, 3 tensors matched (3 by name) - not matched: 1 of the candidate" in flat
    assert "tfq quantize float.tflite --data CALIBRATION_SAMPLES --set calibrator=auto" in flat


def test_the_worst_comes_first_and_top_cuts():
    text = to_text(FOUND, width=120, top=1)
    table = text.split("Layers, worst first")[1]
    assert table.startswith(", 2 more (--all)")
    assert "block_13/expan" in table.splitlines()[2]
    assert "late" not in table


def test_in_order_and_everything():
    file = StringIO()
    show(FOUND, Console(file=file, width=100), top=1, in_order=True, everything=True)
    assert "Layers, in order" in file.getvalue()
    assert "late" in file.getvalue()


def test_hostile_names_are_text():
    evil = "[red]\x1b[31m;\n" + "x" * 80
    found = comparison([row(label="?", tensor=evil)])
    text = to_text(
        comparison(
            [row(label="[bold]b[/bold]", tensor=evil)],
            unmatched=(Unmatched(evil, "PAD", "candidate", "why"),),
        )
    )
    assert "\x1b" not in text + to_text(found)
    assert "[bold]b[/bold]" in text


def test_an_exact_file_has_little_to_say():
    exact = row(own_sqnr_db=float("inf"), sqnr_db=float("inf"), parts=(), clipped_low=0.0)
    found = comparison([exact], outputs=(exact,), unmatched=())
    text = to_text(found)
    assert "exact" in text
    assert "Why" not in text
    assert "What to do" not in text


def test_no_rows_and_no_outputs_are_fine():
    text = to_text(comparison([], outputs=()))
    assert "No output holds reals" in text
