"""The text of a bench: columns at 80 and 120, hostile names, files that failed."""

from __future__ import annotations

import dataclasses
import math

import pytest
from bench_made import profiled, report, row
from bench_nets import small

from tfq_ext.report.bench_text import as_text, number, ratio
from tfq_ext.validation.latency.explain import explain


def made(**more):
    base = profiled(small("float"))[1]
    mine = profiled(small("int4"), {"CONV_2D", "DEPTHWISE_CONV_2D"}, slow={"CONV_2D": 4.0})[1]
    seen, models = report(small("int4"), mine, base=(small("float"), base), **more)
    return dataclasses.replace(seen, reasons=explain(seen, models, None))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width):
    rows = [row(), row(threads=2), row(kernels="builtin", median=1234.5)]
    text = as_text(made(rows=rows), width)
    assert max(map(len, text.splitlines())) <= width
    assert "x base" in text
    assert "1234" in text or "1235" in text


def test_wide_terminals_show_more():
    narrow, wide = (as_text(made(), width).splitlines()[1] for width in (62, 140))
    assert set(narrow.split()) < set(wide.split())
    assert "file MB" in wide


def test_sections():
    text = as_text(made(), 100)
    assert "Not faster than float (1.20 x its time)" in text
    assert "Outside XNNPACK: 2 CONV_2D (4-bit weights" in text
    assert "An Edge TPU's or NPU's compiler would stop at op" in text
    assert text.index("warning: 2 CONV_2D, 1 DEPTHWISE") < text.index("info: ")
    assert "base ms" in text


def test_top():
    all_ops, none = as_text(made(), 100, top=99), as_text(made(), 100, top=0)
    assert all_ops.count("XNNPACK\n") >= 5
    assert "base ms" not in none
    assert "XNNPACK ran" in none


def test_faster_and_alone():
    assert "Faster than float (0.50 x its time)" in as_text(made(mine=row(ratio=0.5)), 100)
    seen, models = report(small("int8"), profiled(small("int8"))[1])
    text = as_text(dataclasses.replace(seen, reasons=explain(seen, models, None)), 100)
    assert "Where the time goes" in text
    assert "x base" not in text


def test_a_file_that_failed():
    nan = math.nan
    dead = row(
        *(),
        median=nan,
        ratio=nan,
        thread_ratio=nan,
        failed="LiteRT died at invoke: SIGSEGV.",
        interval_ms=(nan, nan),
        ratio_interval=(nan, nan),
        model_bytes=0,
        load_ms=nan,
        first_ms=nan,
        p90_ms=nan,
        variation=nan,
    )
    text = as_text(made(mine=dead), 100)
    assert "q: LiteRT died at invoke: SIGSEGV." in text
    assert "nan" not in text


def test_names_cannot_steer_the_terminal():
    evil = "\x1b[31m[red]x\nNote: all is well\r"
    seen = made()
    rows = tuple(dataclasses.replace(r, name=evil) if r.name == "q" else r for r in seen.rows)
    reasons = tuple(
        dataclasses.replace(f, message=f.message.replace("q: ", f"{evil}: ", 1))
        for f in seen.reasons
    )
    profile = seen.profiles["q"]
    ops = tuple(dataclasses.replace(op, tensor=evil) for op in profile.ops)
    profiles = {evil: dataclasses.replace(profile, ops=ops), "float": seen.profiles["float"]}
    notes = (f"{evil} has several signatures",)
    text = as_text(
        dataclasses.replace(seen, rows=rows, profiles=profiles, reasons=reasons, notes=notes), 120
    )
    assert "\x1b" not in text
    assert "\r" not in text
    assert not any(line.startswith("Note: all is well") for line in text.splitlines())
    assert "[red]" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123, "0.00123"), (1.2345, "1.23"), (99.96, "100"), (1234.5, "1234"), (math.nan, "-")],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.494, "0.49"), (12.3, "12"), (math.nan, "-")])
def test_ratio(value, text):
    assert ratio(value) == text
