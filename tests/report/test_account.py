"""What is said of a real quantization: the summary, the tables, the ruined concat."""

import numpy as np
import pytest
from one_op import Net, X, f32
from rich.console import Console
from small_nets import conv_options, images, residual

import tfq_ext
from tfq_ext.report import findings
from tfq_ext.report.tables import account_view

SCORES = "[red]scores[/red]"
SPREAD = 64.0  # the boxes' range over the scores'


def yolo():
    """Two heads of one image joined by a concat: boxes, and scores SPREAD times as small."""
    net = Net()
    net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
    for name, gain in ((SCORES, 1.0), ("boxes", SPREAD)):
        net.const(f"w_{name}", f32(4, 3, 3, 3, seed=5) * gain)
        net.const(f"b_{name}", f32(4, seed=6) * gain)
        parts = ("image", f"w_{name}", f"b_{name}")
        net.op("CONV_2D", name, *parts, options=conv_options(), version=1)
    net.op("CONCATENATION", "all", SCORES, "boxes", options=JOINED)
    return net.done("all")


JOINED = ("ConcatenationOptions", {"axis": 3})


def shown(result, width=80):
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(account_view(result, "out.tflite"))
    return capture.get()


@pytest.fixture(scope="module")
def ruined():
    return tfq_ext.quantize(yolo().to_bytes(), images(8), recipe="int16x8")


@pytest.fixture(scope="module")
def healthy():
    return tfq_ext.quantize(residual().to_bytes(), images(8), recipe="int16x8")


def test_the_concat_that_ruins_an_input_is_told_with_ratio_and_remedies(ruined):
    (row,) = findings.ruined_inputs(ruined.account.ranges)
    own = row.own.width
    assert (row.tensor, row.widest, row.joined) == (SCORES, "boxes", ("CONCATENATION",))
    assert row.ratio == pytest.approx(row.shared.width / own)
    assert row.ratio >= SPREAD
    assert row.bits == pytest.approx(np.log2(row.ratio))
    text = shown(ruined)
    assert "Inputs that a shared range ruins" in text
    assert f"{row.ratio:.0f} times too wide" in text
    assert "keep_float" in text
    assert "Look at this: CONCATENATION" in str(ruined)


def test_nothing_is_said_where_nothing_is_ruined(healthy):
    assert findings.ruined_inputs(healthy.account.ranges) == []
    assert "ruins" not in shown(healthy)


def test_the_summary_is_short_plain_and_true(healthy):
    text = str(healthy)
    assert 5 <= len(text.splitlines()) <= 12
    assert f"{len(healthy.content) / 1e3:.1f} kB" in text
    assert "All 6 ops are integer." in text
    assert "read back equal." in text
    assert "8 samples observed" in text
    assert "\x1b" not in text


def test_lines_fit_and_markup_in_names_is_text(ruined, healthy):
    for result in (ruined, healthy):
        assert max(map(len, shown(result).splitlines())) <= 80
    assert f"gives {SCORES} the range" in shown(ruined, 200)


def test_float_ops_are_named_with_reasons():
    rule = {"op": "ADD", "keep_float": True}
    recipe = {"base": "int16x8", "rules": [rule]}
    result = tfq_ext.quantize(residual().to_bytes(), images(4), recipe=recipe)
    assert "1 of 6 ops stayed float." in str(result)
    assert "float: ADD sum: kept float by rule 0" in str(result)
    assert "kept float by rule 0" in shown(result)


def test_relu6_release_is_counted():
    recipe = {"base": "int16x8", "relu6": "relu"}
    result = tfq_ext.quantize(residual().to_bytes(), images(4) * 4, recipe=recipe)
    line = findings.release_line(result.account)
    passing = sum(row.share > 0 for row in result.account.released)
    assert line is not None
    assert f"{passing} of 2 tensors pass 6" in line
    assert passing >= 1


def test_notes_of_weights_are_told_once(healthy):
    from dataclasses import replace

    rows = healthy.account.weights
    noted = [
        replace(rows[0], notes=("2 near-dead channels: raised",)),
        replace(rows[1], notes=("3 near-dead channels: raised", "8 bits instead")),
        replace(rows[2], notes=("no number",)),
    ]
    assert findings.gathered(noted) == [
        f"5 near-dead channels: raised ({rows[0].tensor} and 1 more).",
        f"8 bits instead ({rows[1].tensor}).",
        f"no number ({rows[2].tensor}).",
    ]


def test_notes_alike_but_for_tensor_and_numbers_are_one_line():
    from tfq_ext.emit.result import Note

    notes = [
        Note("constant", "a", "3 of 48 values are subnormal"),
        Note("bias", "", "26 of 26 corrected"),
        Note("constant", "b", "11 of 40 values are subnormal"),
        Note("constant", "c", "its largest value 7e4 is not a float16"),
        Note("constant", "d", "2 of 24 values are subnormal"),
    ]
    assert findings.alike(notes) == [
        "constant a: 3 of 48 values are subnormal (and 2 more notes like this, in --json)",
        "bias: 26 of 26 corrected",
        "constant c: its largest value 7e4 is not a float16",
    ]


@pytest.fixture(scope="module")
def learned():
    recipe = {"base": "int8-minmax", "weights": {"bits": 4, "rounding": "adaround:50"}}
    return tfq_ext.quantize(residual().to_bytes(), images(8), recipe=recipe)


def test_learned_rounding_is_accounted_for_layer_by_layer(learned, healthy):
    rows = {row.tensor: row.learned for row in learned.account.weights}
    assert all(one.steps == 50 and one.after <= one.before for one in rows.values())
    worst = max(rows, key=lambda name: rows[name].unsettled)
    assert findings.least_settled(learned.account.weights)[0][0].tensor == worst
    line = findings.learned_line(learned.account)
    assert f"at most {rows[worst].unsettled:.1%} unsettled ({worst}) after 50 steps" in line
    assert line in str(learned)
    text = shown(learned)
    assert "Learned rounding, least settled first" in text
    for name, one in rows.items():
        (row,) = (r for r in text.splitlines() if f"{one.unsettled:.1%}" in r and f" {name} " in r)
        assert f"{one.before:.2e}" in row
        assert f"{one.after:.2e}" in row
    (first, *_) = learned.to_dict()["account"]["weights"]
    assert set(first["learned"]) == {"steps", "unsettled", "before", "after"}
    assert findings.learned_line(healthy.account) is None
    assert "Learned rounding" not in shown(healthy)


def test_the_size_of_the_download_is_told(healthy):
    import io
    import zipfile

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("model.tflite", healthy.content)
    zipped = len(archive.getvalue())
    assert healthy.bytes_zipped == healthy.to_dict()["account"]["bytes_zipped"] == zipped
    assert f"; zipped {zipped / 1e3:.1f} kB" in str(healthy)
    assert f"zipped {zipped / 1e3:.1f} kB" in " ".join(shown(healthy).split())
