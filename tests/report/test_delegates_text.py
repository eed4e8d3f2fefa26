"""The report on delegates at 80 and at 120 columns, names that try to steer included."""

from __future__ import annotations

import math

import pytest

from tfq_ext.report.delegates_text import to_text
from tfq_ext.validation.delegates import (
    RULES,
    BadOp,
    Bisection,
    DelegateReport,
    Fp16Risk,
    GpuRow,
    OutputError,
    Probe,
    RefusedOp,
    TensorRisk,
    XnnpackCoverage,
)
from tfq_ext.validation.delegates.values import XnnpackOp

EVIL = "\x1b[31m[bold]evil\nname" + "x" * 60
LLVMPIPE = "llvmpipe (LLVM 15.0.6, 256 bits), arch=software, vendor=mesa, backend=Vulkan"


def gpu_row(precision, status, **more):
    values = {
        "adapter": LLVMPIPE,
        "outputs": (OutputError("y", 2.05e-3, 0.21, 53.8),),
        "limit": 0.05,
        "top1_agreement": 0.875,
        "on_gpu": 68,
        "ops": 69,
        "load_ms": 342.0,
        "first_ms": 34834.8,
        "steady_ms": 360.9,
        "cpu_ms": 8.9,
        "samples": 8,
    }
    return GpuRow(precision, status, **(values | more))


def full():
    died = gpu_row("fp32", "died", reason=f"LiteRT died at compile: SIGILL {EVIL}", outputs=())
    refused = (RefusedOp("L2_NORMALIZATION", EVIL, "Operation is not supported"),) * 2
    wrong = gpu_row("fp16", "wrong", reason="Too far.", refused=refused, really_fp16=True)
    risk = Fp16Risk(
        (
            TensorRisk(3, "DEPTHWISE_CONV_2D", EVIL, 1.5e5, 0.5, 0.01, 0.001, 1e-3, 10, 4608,
                       math.inf, math.inf, 0.5),
            TensorRisk(-1, "CONST", "epsilon", 1e-12, 0.0, 1.0, 1.0, 1.0, 1),
        ),
        (OutputError("y", 5e-3, 0.1, 46.0),),
        samples=8,
    )  # fmt: skip
    found = Bisection(
        "fp16",
        0.05,
        BadOp(3, "DEPTHWISE_CONV_2D", EVIL, 1e-3, math.inf, 0.4, 2e-3, "SIGSEGV"),
        "Op 3 is to blame.",
        (Probe("first", 3, math.inf),) * 7,
    )
    left = (XnnpackOp(4, "L2_NORMALIZATION", EVIL),)
    finding = RULES["gpu-fp16-overflow"].at("Its largest value is 1.5e+05.", tensor=EVIL)
    return DelegateReport(
        XnnpackCoverage(68, 69, 0.97, 3, left), (died, wrong), risk, found, (finding,) * 5, 8
    )


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_fits_and_no_name_steers(width):
    text = to_text(full(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "[bold]" in text  # shown as it is, not as markup


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_the_gpu_is_whole(width):
    lines = to_text(full(), width=width).splitlines()
    (row,) = [line for line in lines if line.strip().startswith("fp16      wrong")]
    assert row.split()[2:] == [
        *("0.0021", "0.05", "0.21", "88%", "34.8", "s", "361", "ms", "8.9", "ms", "68/69"),
    ]


def test_headline_status_and_adapter():
    text = to_text(full())
    assert text.startswith(
        "GPU delegate: fp32 died, fp16 wrong on llvmpipe (LLVM 15.0.6, 256 bits)\n"
    )
    assert "XNNPACK on one CPU thread" in text
    assert "68 of 69 ops, 97% of the time; 3 partitions." in text


def test_the_bad_op_has_its_numbers():
    text = to_text(full())
    part = text[text.index("Bisection in fp16, 7 runs") : text.index("XNNPACK\n")]
    words = [line.split() for line in part.splitlines()]
    assert ["the", "ops", "before", "it", "on", "the", "GPU", "0.001"] in words
    assert ["it", "as", "well", "died"] in words
    assert ["all", "ops", "but", "it", "0.002"] in words


def test_findings_are_grouped_with_one_remedy():
    text = to_text(full())
    assert text.count("gpu-fp16-overflow (5)") == 1
    assert "and 2 more" in text
    assert "setPrecisionLossAllowed(false)" in text


def test_nothing_known_is_said_so():
    report = DelegateReport(
        XnnpackCoverage(why_not="no profiler"), (), None, None, (), 1, ("A note.",)
    )
    text = to_text(report, width=80)
    assert text.startswith("GPU delegate: not asked for\n")
    assert "not known: no profiler" in text
    assert "Note: A note." in text


def test_json_has_no_infinity():
    assert "Infinity" not in full().to_json()
    assert '"error": null' in full().to_json()
