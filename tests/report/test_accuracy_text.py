"""What the terminal says about accuracy."""

import math
from dataclasses import replace

from tfq_ext.report import machine
from tfq_ext.report.accuracy_text import between, difference, headline, nearness, number, to_text
from tfq_ext.validation.accuracy.values import AccuracyReport, Changed, ClassRow, MetricRow

TOP1 = MetricRow("top1", "share", 0.8697, (0.863, 0.8762), 0.88, (0.0103, 0.004, 0.016), 2e-5, True)
MAE = MetricRow("mae", "", 1.5, None, 1.25, (0.25, -math.inf, math.inf), None, False)
REPORT = AccuracyReport(
    n=1000,
    labelled=900,
    task="classification",
    output="y",
    metrics=(TOP1, MAE),
    agreement=0.95,
    agreement_interval=(0.94, 0.96),
    sqnr_db=math.inf,
    kl=0.0123,
    classes=tuple(
        ClassRow(k, f"class {k}", 100, 0.9 - k / 100, (0.8, 0.95), 0.9) for k in range(9)
    ),
    changed=tuple(Changed(k, k + 1, 20 - k, 2, 1, "cat\x1b[31m", "[bold]dog") for k in range(12)),
    notes=("a name \x1b[2J from the file",),
    seconds=2.0,
    samples_per_second=11469.6,
    workers=2,
    stopped_early=True,
)


def test_everything_is_on_the_page():
    text = to_text(REPORT)
    for part in (
        "1000 samples, 900 with labels, classification, stopped early; 2 workers, 11470 samples/s",
        "top-1",
        "86.97 %",
        "86.30 .. 87.62",
        "+1.03 pp",
        "+0.40 .. +1.60",
        "< 1e-4",
        "unknown",
        "Agrees with the reference on 95.00% (94.00 .. 96.00); output SQNR exact",
        "174 samples",
        "and 2 more",
        "and 1 more",
        "most lost first",
    ):
        assert part in text, part


def test_names_cannot_steer_the_terminal():
    text = to_text(REPORT)
    assert "\x1b" not in text
    assert "[bold]dog" in text


def test_the_class_that_lost_most_comes_first():
    lines = to_text(REPORT).splitlines()
    at = next(k for k, line in enumerate(lines) if "most lost" in line)
    assert lines[at + 2].split()[0] == "8"


def test_without_reference_and_labels():
    bare = replace(
        REPORT, metrics=(), classes=(), changed=(), agreement=None, sqnr_db=None, kl=None, notes=()
    )
    assert to_text(bare).splitlines() == [headline(bare)]
    assert nearness(bare) == ""
    alone = replace(bare, metrics=(replace(TOP1, reference=None, drop=None),), labelled=1000)
    assert "lost" not in to_text(alone)


def test_numbers():
    assert (number(0.5, "share"), number(1234.5678, ""), number(2.0, "ms")) == (
        "50.00 %",
        "1235",
        "2 ms",
    )
    assert (difference(-0.001, "share"), difference(2.0, "")) == ("-0.10 pp", "+2")
    assert between((-0.01, math.inf), "share") == "unknown"


def test_report_is_json():
    text = machine.dumps(REPORT.to_dict())
    assert '"sqnr_db": null' in text
    assert '"name": "top1"' in text
