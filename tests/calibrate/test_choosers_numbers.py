"""Calibrators against closed forms, published constants and the slow way."""

import numpy as np
import pytest
from scipy.stats import norm

from tfq_ext.calibrate.accumulator import Accumulator
from tfq_ext.calibrate.choosers import choose_logits, cross_entropy, logit_candidates, parse
from tfq_ext.calibrate.choosers.analytic import aciq_constant, octav_step
from tfq_ext.calibrate.choosers.entropy import BINS, _divergences, linear_counts
from tfq_ext.calibrate.choosers.entry import bins_of
from tfq_ext.errors import DataError
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, QSpec, Range

INT4 = QSpec(4, symmetric=True)


def stats_of(x, samples=1):
    accumulator = Accumulator()
    for key, part in enumerate(np.split(np.asarray(x, np.float32), samples)):
        accumulator.add(key, part)
    return accumulator.freeze()


def real_mse(x, spec, chosen):
    back = QParams.from_range(spec, chosen).fake_quant(x.astype(np.float32))
    return np.mean((x.astype(np.float32).astype(np.float64) - back) ** 2)


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(3).normal(size=400_000)


# percentile and ema


def test_percentile_against_numpy(normal):
    chosen = parse("percentile:99.9").choose(stats_of(normal), INT8_ACTIVATION)
    lo, hi = np.percentile(normal, [0.1, 99.9])
    assert chosen.min == pytest.approx(lo, rel=5e-3)
    assert chosen.max == pytest.approx(hi, rel=5e-3)


def test_percentile_100_is_minmax(normal):
    stats = stats_of(normal)
    assert parse("percentile:100").choose(stats, INT8_ACTIVATION) == Range(stats.min, stats.max)


def test_percentile_after_relu_loses_only_the_top(normal):
    relu = np.maximum(normal, 0)
    chosen = parse("percentile:99").choose(stats_of(relu), INT8_ACTIVATION)
    assert chosen.min == 0
    assert chosen.max == pytest.approx(np.percentile(relu, 99), rel=5e-3)


def test_ema_against_the_loop(normal):
    samples = normal[:4000].reshape(40, 100).astype(np.float32)
    lo, hi = float(samples[0].min()), float(samples[0].max())
    for sample in samples[1:]:
        lo = 0.9 * lo + 0.1 * float(sample.min())
        hi = 0.9 * hi + 0.1 * float(sample.max())
    chosen = parse("ema:0.9").choose(stats_of(samples.ravel(), 40), INT8_ACTIVATION)
    assert (chosen.min, chosen.max) == pytest.approx((lo, hi), rel=1e-6)


def test_ema_of_decay_zero_is_the_last_sample():
    chosen = parse("ema:0").choose(stats_of([-9, 9, -1, 2, -3, 4], 3), INT8_ACTIVATION)
    assert chosen == Range(-3, 4)


# mse


@pytest.mark.parametrize("spec", [INT8_ACTIVATION, INT4, QSpec(4, symmetric=False)], ids=str)
@pytest.mark.parametrize("shape", ["normal", "relu", "laplace"])
def test_mse_is_within_two_percent_of_a_fine_search_on_the_raw_values(spec, shape, normal):
    rng = np.random.default_rng(5)
    x = {
        "normal": normal[:50_000],
        "relu": np.maximum(normal[:50_000], 0),
        "laplace": rng.laplace(size=50_000),
    }[shape].astype(np.float32)
    full = Range.of(x.min(), x.max())
    best = min(real_mse(x, spec, full.scaled(f)) for f in np.linspace(0.2, 1, 161))
    chosen = parse("mse").choose(stats_of(x), spec)
    assert real_mse(x, spec, chosen) <= 1.02 * best


def test_mse_cuts_each_end_on_its_own():
    # Negative values reach -1 and matter; one outlier at +60 does not.
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1, 1, 500_000), [60.0]])
    chosen = parse("mse").choose(stats_of(x), INT4)
    assert chosen.max < 30
    asymmetric = parse("mse").choose(stats_of(x), QSpec(4, symmetric=False))
    assert asymmetric.min < -0.5
    assert asymmetric.max < 30


@pytest.mark.parametrize(
    ("text", "bits", "clip"),
    [
        ("octav", 4, 2.562),
        ("octav", 8, 3.96),
        ("aciq", 4, 2.559),
        ("aciq", 8, 3.924),
        ("mse", 4, 7 * 0.338),  # the real grid has 15 codes around 0 and one more below
        ("mse", 8, 127 * 0.0310),
    ],
)
def test_gaussian_clips_match_theory(text, bits, clip, normal):
    # At 8 bits the optimum is flat, and 400,000 values have few beyond 4 sigma.
    chosen = parse(text).choose(stats_of(normal), QSpec(bits))
    assert chosen.max == pytest.approx(clip, rel=0.01 if bits == 4 else 0.03)


@pytest.mark.parametrize("text", ["minmax", "mse", "lp:2.4", "kl", "octav", "cosine"])
def test_sixteen_bits_keep_nearly_everything(text, normal):
    stats = stats_of(normal)
    chosen = parse(text).choose(stats, INT16_ACTIVATION)
    assert chosen.width >= 0.99 * (stats.max - stats.min)


# aciq, octav

GAUSS = {2: 1.711, 3: 2.152, 4: 2.559, 5: 2.936, 6: 3.287, 7: 3.615, 8: 3.924}
LAPLACE = {2: 2.831, 3: 3.897, 4: 5.029, 5: 6.205, 6: 7.413, 7: 8.646, 8: 9.897}


@pytest.mark.parametrize(
    ("shape", "bits", "constant"),
    [("gauss", b, c) for b, c in GAUSS.items()] + [("laplace", b, c) for b, c in LAPLACE.items()],
)
def test_aciq_constants_are_the_published_ones(shape, bits, constant):
    assert aciq_constant(shape, bits) == pytest.approx(constant, abs=0.005)


@pytest.mark.parametrize("bits", [2, 4, 8, 9, 16])
def test_aciq_gauss_minimises_its_objective(bits):
    def noise(a):
        clipping = 2 * ((1 + a * a) * norm.sf(a) - a * norm.pdf(a))
        return clipping + a * a / (3 * 4.0**bits)

    a = aciq_constant("gauss", bits)
    assert noise(a) < min(noise(a * 1.01), noise(a * 0.99))


def test_aciq_tells_gauss_from_laplace(normal):
    laplace = np.random.default_rng(1).laplace(size=400_000)
    assert parse("aciq").choose(stats_of(normal), INT4).max == pytest.approx(2.559, rel=0.01)
    assert parse("aciq").choose(stats_of(laplace), INT4).max == pytest.approx(5.029, rel=0.01)


def test_aciq_after_relu_has_one_bit_more(normal):
    stats = stats_of(np.maximum(normal, 0))
    chosen = parse("aciq").choose(stats, QSpec(4, symmetric=False))
    assert chosen == Range(0.0, chosen.max)
    assert chosen.max == pytest.approx(GAUSS[5], rel=0.01)
    assert parse("aciq").choose(stats, INT4).max == pytest.approx(GAUSS[4], rel=0.01)


@pytest.mark.parametrize("bits", [4, 8])
def test_octav_is_a_fixed_point(bits, normal):
    stats = stats_of(normal)
    s = parse("octav").choose(stats, QSpec(bits)).max
    step = octav_step(s, bins_of(stats).magnitudes(), 4.0**-bits / 3)
    assert abs(step - s) / s < 1e-4


def test_octav_after_relu_has_one_bit_more(normal):
    chosen = parse("octav").choose(stats_of(np.maximum(normal, 0)), QSpec(4, symmetric=False))
    assert chosen == Range(0.0, chosen.max)
    assert chosen.max == pytest.approx(GAUSS[5], rel=0.01)


def test_octav_step_against_raw_values(normal):
    x = np.abs(normal)
    noise = 4.0**-4 / 3
    raw = x[x > 2].sum() / (noise * (x <= 2).sum() + (x > 2).sum())
    assert octav_step(2.0, bins_of(stats_of(normal)).magnitudes(), noise) == pytest.approx(
        raw, rel=2e-3
    )


# kl


def slow_kl(p, kept, levels, smoothing=1e-6):
    """KL(P || Q) for one threshold as the pseudocode has it, bin by bin."""
    reference = p[:kept].copy()
    reference[-1] += p[kept:].sum()
    q = np.zeros(kept)
    for g in range(levels):
        a, b = kept * g // levels, kept * (g + 1) // levels
        occupied = reference[a:b] > 0
        if occupied.any():
            q[a:b][occupied] = p[a:b].sum() / occupied.sum()
    q = (1 - smoothing) * q / q.sum() + smoothing / kept
    reference /= reference.sum()
    some = reference > 0
    return float((reference[some] * np.log(reference[some] / q[some])).sum())


@pytest.mark.parametrize("levels", [8, 128, 256])
def test_kl_against_the_slow_way(levels):
    rng = np.random.default_rng(2)
    p = rng.poisson(3000 * np.exp(-np.arange(BINS) / 150)).astype(float)
    fast = _divergences(p, levels)
    for kept in (levels, levels + 1, 300, 777, 1500, BINS - 1, BINS):
        assert fast[kept - 1] == pytest.approx(slow_kl(p, kept, levels), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("spec", [INT8_ACTIVATION, QSpec(8), INT4], ids=str)
def test_kl_of_a_uniform_histogram_keeps_the_full_range(spec):
    x = np.linspace(0, 1, 1_000_001)
    assert parse("kl").choose(stats_of(x), spec) == Range(0.0, 1.0)


def test_kl_does_not_see_the_spike_of_zeros(normal):
    positive = normal[normal > 0]
    spiked = np.concatenate([positive, np.zeros(10 * len(positive))])
    assert parse("kl").choose(stats_of(spiked), INT8_ACTIVATION) == parse("kl").choose(
        stats_of(np.concatenate([positive, [0.0]])), INT8_ACTIVATION
    )


def test_kl_cuts_far_outliers(normal):
    x = np.concatenate([normal, np.full(4, 100.0)])
    assert parse("kl").choose(stats_of(x), QSpec(8)).max < 30


def test_linear_counts_against_numpy(normal):
    top = float(np.abs(normal.astype(np.float32)).max())
    counts = linear_counts(bins_of(stats_of(normal)), top)
    raw, _ = np.histogram(np.abs(normal.astype(np.float32)), 64, (0.0, top))
    coarse = counts.reshape(64, -1).sum(1)
    assert counts.sum() == pytest.approx(len(normal), rel=1e-6)
    # Log bins straddle linear ones; at the middle of the mass that moves well under 1 %.
    np.testing.assert_allclose(coarse, raw, atol=0.02 * raw.max())


# cosine


def test_cosine_distance_against_raw_values(normal):
    x = normal[:100_000].astype(np.float32)
    chooser, stats = parse("cosine"), stats_of(x)
    for chosen in (Range(-3, 3), Range(-1, 2), chooser.choose(stats, INT4)):
        back = QParams.from_range(INT4, chosen).fake_quant(x).astype(np.float64)
        raw = 1 - (x @ back) / np.sqrt(np.sum(x.astype(float) ** 2) * np.sum(back**2))
        assert chooser.criterion(stats, INT4, chosen) == pytest.approx(raw, rel=0.01)


def test_cosine_does_not_trade_away_the_mse():
    # Ternary codes: every scale below 0.65 maps both values to s, with one and the same cosine,
    # better than min-max's (which zeroes 0.325); at s = 0.64, the first tried, MSE is worse.
    x, spec = np.float32([1.0, 0.325, 0.325, 0.325, 0.325]), QSpec(2, narrow=True)
    chosen = parse("cosine").choose(stats_of(x), spec)
    assert chosen.max < 0.64
    assert real_mse(x, spec, chosen) <= real_mse(x, spec, Range(0.0, 1.0))
    assert real_mse(x, spec, Range(0.0, 0.64)) > real_mse(x, spec, Range(0.0, 1.0))


# logits


def test_logits_beat_minmax_and_the_others_tried():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(64, 50)).astype(np.float32)
    logits[0, 0] = -60.0  # far below: worth nothing to any softmax
    spec = INT8_ACTIVATION
    chosen = choose_logits(logits, spec)
    full = Range.of(logits.min(), logits.max())
    costs = [cross_entropy(logits, spec, r) for r in (full, *logit_candidates(logits))]
    assert cross_entropy(logits, spec, chosen) == min(costs)
    assert min(costs) < costs[0]


def test_logits_never_take_a_worse_candidate():
    logits = np.random.default_rng(0).normal(size=(16, 10)).astype(np.float32)
    chosen = choose_logits(logits, INT8_ACTIVATION, [Range(-0.01, 0.01)])
    assert chosen == Range.of(logits.min(), logits.max())


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((3, 1)), np.full((2, 3), np.nan)])
def test_logits_of_a_wrong_kind(bad):
    with pytest.raises(DataError):
        choose_logits(bad, INT8_ACTIVATION)
