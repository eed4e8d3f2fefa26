"""The whole audit with TensorFlow's own calibrator and quantizer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from planned_files import concat, planned, seen
from small_nets import images, residual

import tfq_ext
from tfq_ext import demo
from tfq_ext.emit.emitters import emit
from tfq_ext.errors import ModelError
from tfq_ext.repair.audit.recorded import record
from tfq_ext.repair.audit.tensors import true_ranges
from tfq_ext.repair.audit.values import CONVERTER, EXACT, FILE
from tfq_ext.report.audit_text import to_text

tensorflow = pytest.importorskip("tensorflow")
VERSION = tuple(int(part) for part in tensorflow.__version__.split(".")[:2])
pytestmark = pytest.mark.tf
DATA = images(36)


def test_the_calibrators_ranges_contain_the_true_ones_and_differ_only_behind_in_place_ops():
    """The bug, against TensorFlow as installed: 2.14 to 2.21 widen what an ADD reads."""
    model = residual()
    samples, stats = seen(model)
    recorded, true = record(model, samples), true_ranges(stats)
    assert recorded.keys() >= true.keys()
    outside = {"a", "branch"}  # what the ADD reads
    for name, r in true.items():
        got, slack = recorded[name], 1e-5 * r.width
        assert got.min <= r.min + slack
        assert got.max >= r.max - slack
        if name not in outside:
            assert got.width == pytest.approx(r.width, rel=1e-5), name


def test_a_residual_branch_is_named_with_the_op_that_leaked():
    found = tfq_ext.audit(residual().to_bytes(), DATA, fast=True, show_progress=False)
    assert [v.name for v in found.variants] == [CONVERTER, EXACT]
    assert (found.samples, found.judges) == (24, 12)
    assert bool(found.wide) == (VERSION <= (2, 21))  # 2.14 to 2.21 are wrong; a later one may heal
    for row in found.wide:
        assert row.op == "CONV_2D"
        assert row.leak is not None
        assert (row.leak.op, row.leak.tensor) == ("ADD", "sum")
    assert found.waterfall is not None
    assert found.waterfall.together == found.variants[0].sqnr_db


def test_without_in_place_ops_the_calibrator_is_found_right():
    found = tfq_ext.audit(concat(1.0).to_bytes(), DATA, fast=True, show_progress=False)
    assert found.wide == ()
    assert "records all 5 ranges right" in found.headline
    first, exact = found.variants
    assert first.sqnr_db == pytest.approx(exact.sqnr_db, abs=0.5)


def test_a_concat_that_ruins_a_branch_dominates_and_is_named():
    found = tfq_ext.audit(concat(40.0).to_bytes(), DATA, fast=True, show_progress=False)
    (row,) = found.shared
    assert row.label == "quiet"
    assert found.waterfall is not None
    assert found.waterfall.dominant is not None
    assert found.waterfall.dominant.name == "shared"
    assert "CONCATENATION gives quiet a grid" in to_text(found)


def test_the_recipes_own_file_is_judged_too():
    content = residual(spread=30.0).to_bytes()
    found = tfq_ext.audit(content, DATA, show_progress=False)
    assert [v.name for v in found.variants] == [CONVERTER, EXACT, "auto"]
    assert "with auto" in found.headline


def test_a_file_is_audited_against_its_float_model():
    """One grid is made three times too wide; the rest are exact."""
    model = residual()
    _, stats = seen(model, 30)
    _, plan = planned(model, stats)
    wide = {**plan.ranges, "deep": plan.ranges["deep"].scaled(3.0)}
    content = emit("mlir", model, type(plan)(wide, plan.weights)).content
    found = tfq_ext.audit(content, DATA, reference=model.to_bytes(), fast=True, show_progress=False)
    assert [row.tensor for row in found.wide] == ["deep"]
    assert found.wide[0].ratio == pytest.approx(3.0, rel=0.1)
    assert [v.name for v in found.variants] == [FILE, EXACT]
    assert found.variants[1].sqnr_db > found.variants[0].sqnr_db
    assert found.file is not None
    assert (found.file.weights, found.file.float_ops, found.file.unmatched) == (4, (), ())
    assert "Weights: 4 with a scale per channel, 0 with one scale for all." in to_text(found)
    values = json.loads(found.to_json())
    assert values["subject"] == "file"


def test_separate_evaluation_samples_leave_all_data_to_calibrate():
    found = tfq_ext.audit(
        residual().to_bytes(), DATA, evaluation=images(5, seed=9), fast=True, show_progress=False
    )
    assert (found.samples, found.judges) == (len(DATA), 5)


def test_true_ranges_of_the_audit_are_those_of_all_calibration_samples():
    """With `auto` some samples are held back; for min and max they count like any other."""
    model, few = residual(), images(12, seed=3)
    found = tfq_ext.audit(
        model.to_bytes(), few, evaluation=images(4, seed=4), fast=True, show_progress=False
    )
    row = next(r for r in found.tensors if r.label in ("image", "image (input)"))
    assert row.true.max == np.float32(few.max())
    assert row.true.min == np.float32(few.min())


@pytest.mark.slow
def test_the_demo_network_loses_residual_branches():
    found = tfq_ext.audit(demo.model_path(), demo.calibration(), fast=True, show_progress=False)
    adds = {row.leak.label for row in found.wide if row.leak}
    assert adds == {"block2_add", "block4_add", "block5_add", "block7_add"}
    assert {row.label for row in found.wide} == {f"block{k}_project_bn" for k in (2, 4, 5, 7)}
    exact, recorded = found.variant(EXACT), found.variant(CONVERTER)
    assert exact is not None
    assert recorded is not None
    assert exact.sqnr_db > recorded.sqnr_db


def test_loops_are_refused_before_the_calibrator_can_crash_on_them():
    """A Keras LSTM: TF 2.21's calibrator ends the process with SIGSEGV."""
    keras = pytest.importorskip("keras")
    layers = [keras.Input((6, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)]
    data = np.random.default_rng(0).normal(size=(6, 6, 3)).astype(np.float32)
    with pytest.raises(ModelError, match="WHILE: TFLiteConverter's own calibrator crashes"):
        tfq_ext.audit(keras.Sequential(layers), data, fast=True)
