"""The laws of every calibrator, over the table itself."""

import numpy as np
import pytest

from tfq_ext.calibrate.accumulator import Accumulator
from tfq_ext.calibrate.choosers import AUTO_CANDIDATES, CHOOSERS, parse
from tfq_ext.calibrate.stats import TensorStats
from tfq_ext.errors import StatsError
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, QSpec, Range

TEXTS = sorted({*CHOOSERS, *AUTO_CANDIDATES, "lp:1", "lp:6", "percentile:90", "ema:0", "ema:0.5"})
SPECS = [INT8_ACTIVATION, INT16_ACTIVATION, QSpec(8), QSpec(8, narrow=True), QSpec(4, False)]
SHAPE = (12, 400)  # samples, values


def _data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    normal = rng.normal(size=SHAPE)
    return {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "relu6": np.clip(4 * normal, 0, 6),
        "swish": 3 * normal / (1 + np.exp(-3 * normal)),
        "negative": -np.abs(rng.laplace(size=SHAPE)),
        "heavy": rng.standard_t(2, SHAPE),
        "outlier": np.where(np.arange(SHAPE[1]) == 5, 1000.0, normal),
        "shifted": 7 + 0.5 * normal,
        "constant": np.full(SHAPE, 5.3),
        "constant_negative": np.full(SHAPE, -0.7),
        "zero": np.zeros(SHAPE),
        "two_values": np.where(normal > 0, 1.0, -3.0),
        "tiny": 1e-30 * normal,
        "huge": 1e30 * normal,
        "largest": np.where(normal > 0, 1.6e38, -1.6e38),
    }


def _stats(samples: np.ndarray) -> TensorStats:
    accumulator = Accumulator()
    for key, x in enumerate(samples.astype(np.float32)):
        accumulator.add(key, x)
    return accumulator.freeze()


DATA = {name: samples.astype(np.float32) for name, samples in _data().items()}
STATS = {name: _stats(samples) for name, samples in DATA.items()}
ONE = {"one_value": np.float32([[2.5]]), "one_negative": np.float32([[-1e-3]])}
STATS |= {name: _stats(samples) for name, samples in ONE.items()}

every_text = pytest.mark.parametrize("text", TEXTS)
every_tensor = pytest.mark.parametrize("name", STATS)


@every_text
@every_tensor
def test_contains_zero_is_finite_and_lies_inside_min_max(text, name):
    chooser, stats = parse(text), STATS[name]
    full = Range.of(stats.min, stats.max)
    for spec in SPECS:
        chosen = chooser.choose(stats, spec)
        assert full.min <= chosen.min <= 0 <= chosen.max <= full.max
        assert (chosen.width > 0) == (full.width > 0)
        assert np.isfinite(QParams.from_range(spec, chosen).scale)
        ends = np.float32([chosen.min, chosen.max])
        assert ends.tolist() == [chosen.min, chosen.max]  # a file keeps float32


SEARCHING = [text for text in TEXTS if parse(text).criterion is not None]


@pytest.mark.parametrize("text", SEARCHING)
@every_tensor
def test_never_worse_by_its_own_criterion_than_min_max(text, name):
    chooser, stats = parse(text), STATS[name]
    full = Range.of(stats.min, stats.max)
    for spec in SPECS:
        chosen = chooser.choose(stats, spec)
        worst = chooser.criterion(stats, spec, full)
        assert np.isfinite(worst)
        assert chooser.criterion(stats, spec, chosen) <= worst


def test_what_has_no_criterion_is_a_formula_that_searches_nothing():
    formulas = {"minmax", "ema", "percentile", "aciq"}
    assert {name for name in CHOOSERS if CHOOSERS[name].criterion is None} == formulas


@every_text
@pytest.mark.parametrize("name", ["normal", "relu", "swish", "negative", "heavy", "two_values"])
@pytest.mark.parametrize("power", [-6, 5])
def test_scales_exactly_with_powers_of_two(text, name, power):
    chooser, times = parse(text), _stats(np.ldexp(DATA[name], power))
    for spec in SPECS:
        chosen = chooser.choose(STATS[name], spec)
        assert chooser.choose(times, spec) == chosen.scaled(2.0**power)


@every_text
@pytest.mark.parametrize("name", ["normal", "relu", "negative"])
def test_scales_nearly_with_other_factors(text, name):
    # Bins move against the values by up to 0.8 %, which shifts flat optima by some per cent.
    chooser = parse(text)
    chosen = chooser.choose(STATS[name], INT8_ACTIVATION).scaled(3.7)
    scaled = chooser.choose(_stats(3.7 * DATA[name]), INT8_ACTIVATION)
    tolerance = 0.12 * chosen.width
    assert scaled.min == pytest.approx(chosen.min, abs=tolerance)
    assert scaled.max == pytest.approx(chosen.max, abs=tolerance)


@every_text
@every_tensor
def test_deterministic(text, name):
    stats = STATS[name]
    assert parse(text).choose(stats, INT8_ACTIVATION) == parse(text).choose(stats, INT8_ACTIVATION)


@every_text
def test_order_of_samples_matters_only_where_the_entry_says_so(text):
    samples = DATA["normal"] * np.linspace(1, 3, SHAPE[0], dtype=np.float32)[:, None]
    chooser = parse(text)
    forth, back = (
        chooser.choose(_stats(s), INT8_ACTIVATION)
        for s in (samples, np.ascontiguousarray(samples[::-1]))
    )
    assert (forth != back) == chooser.order_dependent


@every_text
@pytest.mark.parametrize("name", ["normal", "negative"])
def test_mirrored_values_give_the_mirrored_bound_on_a_symmetric_grid(text, name):
    chooser = parse(text)
    chosen = chooser.choose(STATS[name], INT16_ACTIVATION)
    mirrored = chooser.choose(_stats(-DATA[name]), INT16_ACTIVATION)
    assert (mirrored.min, mirrored.max) == pytest.approx((-chosen.max, -chosen.min), rel=1e-6)


@every_text
def test_nothing_observed_is_an_error_that_says_so(text):
    with pytest.raises(StatsError, match="no finite value"):
        parse(text).choose(TensorStats.empty(), INT8_ACTIVATION)


@pytest.mark.parametrize("name", CHOOSERS)
def test_text_parses_back_and_doc_is_one_line(name):
    bound = parse(name)
    assert parse(bound.text).text == bound.text
    assert bound.name == name
    assert "\n" not in bound.doc
    assert 5 < len(bound.doc) < 80
