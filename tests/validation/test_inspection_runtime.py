"""The table of releases, and what a file needs."""

from __future__ import annotations

import pytest
from one_op import EXAMPLES, build
from small_nets import residual

from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.errors import SpecError
from tfq_ext.tflite.facts import OP_CODES
from tfq_ext.validation.inspection.runtime_versions import (
    RUNTIME,
    minimum_release,
    minimum_runtime,
    precedes,
    release_key,
)


@pytest.mark.parametrize("op", sorted({op for op, _ in RUNTIME}))
def test_versions_of_an_op_never_go_back_in_time(op):
    assert op in OP_CODES
    versions = sorted(v for o, v in RUNTIME if o == op)
    assert versions == list(range(versions[0], versions[-1] + 1))
    releases = [release_key(RUNTIME[op, v]) for v in versions]
    assert releases == sorted(releases)


@pytest.mark.parametrize(
    ("op", "version", "release"),
    [
        ("CONV_2D", 1, "1.5.0"),
        ("CONV_2D", 3, "1.14.0"),
        ("CONV_2D", 5, "2.4.0"),
        ("FULLY_CONNECTED", 9, "2.3.0"),
        ("FULLY_CONNECTED", 12, "2.17.0"),
        ("DEQUANTIZE", 1, "1.13.1"),
        ("BROADCAST_TO", 1, ""),
        ("BROADCAST_TO", 2, "2.5.0"),
        ("TRANSPOSE", 7, "2.14.4"),
        ("CONV_2D", 99, ""),
        ("CUSTOM:Mine", 1, ""),
    ],
)
def test_releases_that_are_known(op, version, release):
    assert minimum_release(op, version) == release


@pytest.mark.parametrize("code", KERNELS)
def test_every_op_version_that_we_write_is_in_the_table(code):
    for version in {KERNELS[code].int8, KERNELS[code].int16} - {None}:
        assert minimum_release(code, version)


@pytest.mark.parametrize(
    ("a", "b", "older"),
    [
        ("1.9.0", "1.13.0", True),
        ("1.13.0", "1.13.0", False),
        ("1.13", "1.13.0", False),
        ("1.13.0", "1.13.1", True),
        ("2.1.0", "1.15.0", False),
        ("", "1.5.0", True),
        ("1.5.0", "", False),
        ("", "", False),
    ],
)
def test_order(a, b, older):
    assert precedes(a, b) is older


@pytest.mark.parametrize("text", ["2", "two", "2.x", "2.3.0-rc1", "", "-1.2", "2.3.0.1.2"])
def test_what_is_no_release_is_refused(text):
    with pytest.raises(SpecError, match=r"2\.11"):
        release_key(text)


def test_a_file_needs_its_newest_op():
    need = minimum_runtime(residual())
    assert (need.release, need.op, need.version) == ("1.6.0", "MEAN", 1)
    assert need.unlisted == need.custom == ()


def test_versions_beyond_the_table_are_told_apart():
    model = build("ADD", EXAMPLES["ADD"])
    model.tree.operatorCodes[0].version = 77
    need = minimum_runtime(model)
    assert (need.release, need.unlisted) == ("", (("ADD", 77),))
