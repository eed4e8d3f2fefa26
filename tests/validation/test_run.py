"""validate() as a whole: what runs when, what is imported, what each part is given."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from small_nets import images, residual

import tfq_ext as tfq
from tfq_ext.errors import DataError, ModelError, RecipeError, UnknownName
from tfq_ext.validation.catalogue import catalogue
from tfq_ext.validation.finding import Finding, Rule, worst
from tfq_ext.validation.sections import SECTIONS
from tfq_ext.validation.verdict import SECTIONS as FIELDS


@pytest.fixture(scope="module")
def content():
    return residual().to_bytes()


def test_sections_and_fields_are_the_same_list():
    assert tuple(SECTIONS) == FIELDS


def test_tensorflow_stays_out(tmp_path, content):
    (tmp_path / "m.tflite").write_bytes(content)
    np.savez(tmp_path / "x.npz", image=images(8))
    code = f"""
import sys, tfq_ext
found = tfq_ext.validate({str(tmp_path / "m.tflite")!r}, reference={str(tmp_path / "m.tflite")!r},
                         data={str(tmp_path / "x.npz")!r}, runs=2, workers=1, bit_exact=True)
assert found.exit_code == 0, str(found)
found.to_html(), found.to_json()
bad = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")]
assert not bad, bad[:5]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_file_against_itself_loses_nothing(content):
    found = tfq.validate(
        content,
        reference=content,
        data=(images(40), np.arange(40) % 5),
        gates={"sqnr_db": 100, "layer_sqnr_db": 100},
        runs=2,
        workers=1,
    )
    assert found.passed, str(found)
    assert found.accuracy.agreement == 1
    assert all(row.sqnr_db > 100 for row in found.comparison.rows)
    assert found.origin.samples == 40
    assert found.origin.sha256 == found.origin.reference_sha256


def test_gates_switch_on_the_checks_that_they_need(content):
    found = tfq.validate(content, gates={"bit_exact": True}, runs=2)
    assert found.missing("integers") is None
    (gate,) = [g for g in found.gates if g.name == "bit_exact"]
    assert gate.verdict == "cannot judge"  # a float file has no integer op
    assert "no integer op" in gate.detail


def test_arguments_win_over_the_settings_file(content, tmp_path):
    config = tmp_path / "tfq.toml"
    config.write_text('[gates]\nsize = "1kB"\n[validate]\nruns = 2\nseed = 7\n')
    assert tfq.validate(content, config=config).exit_code == 1
    found = tfq.validate(content, config=config, gates={"size": "1MB"}, seed=8)
    assert found.exit_code == 0
    assert found.origin.seed == 8


def test_one_shot_data_serve_every_check(content):
    stream = ({"image": x[None]} for x in images(12))
    found = tfq.validate(content, reference=content, data=stream, runs=2, workers=1)
    assert found.missing("accuracy") is None
    assert found.missing("comparison") is None
    assert found.origin.samples == 12


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"gates": {"sise": 1}}, UnknownName, "Did you mean 'size'"),
        ({"gates": {"size": "large"}}, RecipeError, "no bound"),
        ({"gpus": True}, DataError, "gpus"),
        ({"task": "guess"}, UnknownName, "guess"),
        ({"signature": "other"}, ModelError, "no signature 'other'"),
        ({"data": np.zeros((3, 5, 5, 3), np.float32)}, DataError, "image"),
        ({"data": np.full((3, 8, 8, 3), np.nan, np.float32)}, DataError, "NaN"),
        ({"reference": b"nothing"}, ModelError, "not a .tflite"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_verdict(content, arguments, error, told):
    with pytest.raises(error, match=told):
        tfq.validate(content, runs=2, **arguments)


def test_every_rule_has_one_id():
    table = catalogue()
    assert len(table) > 90
    for name, rule in table.items():
        assert rule.id == name
        assert rule.why.endswith(".")
        assert rule.remedy.endswith(".")
        assert rule.source


def test_the_worst_severity_counts_what_is_not_suppressed():
    rules = [Rule(s, s, "w.", "w.", "r.", "s") for s in ("info", "error")]
    assert worst(()) == ""
    assert worst((rules[0].at("a."), rules[1].at("b."))) == "error"
    assert worst((rules[0].at("a."), Finding(rules[1], "b.", suppressed="why"))) == "info"
