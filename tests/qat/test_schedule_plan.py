"""Which phase a step lies in, when the clock must be read, what counts as oscillation: no fit."""

import math

import numpy as np
import pytest

from tfq_ext.errors import SpecError, UnknownName
from tfq_ext.qat.schedule.clock import Clock
from tfq_ext.qat.schedule.oscillation import Dampen, Freeze, Pins, Trace, control
from tfq_ext.qat.schedule.plan import Outline, Phase, Plan, cosine

PLAN = Plan(
    quantize_after=10,
    freeze_ranges_after=40,
    freeze_bn_after=30,
    bits=((0, 8), (20, 5), (40, 4)),
    damping=((10, 0.1), (25, 0.2)),
    total=50,
)


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        (0, Phase(False, False, False, 8, 0.0)),
        (9, Phase(False, False, False, 8, 0.0)),
        (10, Phase(True, False, False, 8, 0.1)),
        (19, Phase(True, False, False, 8, 0.1)),
        (20, Phase(True, False, False, 5, 0.1)),
        (25, Phase(True, False, False, 5, 0.2)),
        (29, Phase(True, False, False, 5, 0.2)),
        (30, Phase(True, False, True, 5, 0.2)),
        (39, Phase(True, False, True, 5, 0.2)),
        (40, Phase(True, True, True, 4, 0.2)),
        (10**9, Phase(True, True, True, 4, 0.2)),
    ],
)
def test_phase_at_the_edges(step, phase):
    assert PLAN.at(step) == phase


def test_changes_are_announced_exactly_where_the_phase_changes():
    changes = [s for s in range(1, 60) if PLAN.at(s) != PLAN.at(s - 1)]
    announced, step = [], 0
    while (step := PLAN.next_change(step)) is not None:
        announced.append(step)
    assert announced == changes == [10, 20, 25, 30, 40]


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (10, 0.0), (30, 0.5), (50, 1.0), (99, 1.0)])
def test_progress_is_of_the_quantized_part(step, share):
    assert PLAN.progress(step) == share


def test_shares_become_steps():
    plan = Outline.of({0: 8, 0.25: 5, 60: 4}, quantize_after=0.1).resolve(200)
    assert plan.quantize_after == 20
    assert plan.bits == ((0, 8), (50, 5), (60, 4))
    assert (plan.freeze_bn_after, plan.freeze_ranges_after) == (120, 160)


def test_damping_rises_in_equal_stages_from_the_delay_to_the_end():
    plan = Outline(quantize_after=100, damping=(1.0, 2.0, 3.0, 4.0)).resolve(500)
    assert plan.damping == ((100, 1.0), (200, 2.0), (300, 3.0), (400, 4.0))
    assert plan.at(99).damping == 0
    assert plan.at(499).damping == 4.0


@pytest.mark.parametrize("value", [-1, 1.0, 0.0, 1.5, -0.5, 2000.0, True, "5", math.nan])
@pytest.mark.parametrize("name", ["quantize_after", "freeze_ranges_after", "freeze_bn_after"])
def test_what_is_no_step_is_refused(name, value):
    with pytest.raises(SpecError, match=f"{name} must be a whole number"):
        Outline(**{name: value})


@pytest.mark.parametrize("bits", [{0: 1}, {0: 17}, {-1: 4}, {1.5: 4}])
def test_bits_that_no_code_has_are_refused(bits):
    with pytest.raises(SpecError):
        Outline.of(bits)


def test_shares_of_an_unknown_length_are_refused_and_whole_numbers_are_not():
    with pytest.raises(SpecError, match=r"freeze_ranges_after=0\.8 .* steps_per_epoch"):
        Outline().resolve(None)
    with pytest.raises(SpecError, match="dampen"):
        Outline(freeze_ranges_after=5, freeze_bn_after=5, damping=(0.1,)).resolve(None)
    plan = Outline(freeze_ranges_after=5, freeze_bn_after=None).resolve(None)
    assert (plan.freeze_ranges_after, plan.freeze_bn_after) == (5, None)


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        (None, Phase(), ""),
        (None, Phase(quantize=False), "quantizers off, ranges observed"),
        (Phase(quantize=False), Phase(bits=5), "quantizers on, weights at 5 bits"),
        (Phase(), Phase(freeze_ranges=True, freeze_bn=True), "ranges frozen, BatchNorm frozen"),
        (Phase(damping=0.1), Phase(damping=0.25), "damping 0.25"),
    ],
)
def test_news_in_words(before, now, text):
    assert now.since(before) == text


@pytest.mark.parametrize(("p", "value"), [(0, 0.1), (0.5, 0.055), (1, 0.01)])
def test_cosine(p, value):
    assert cosine(0.1, 0.01, p) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize("together", [1, 4])
def test_the_clock_is_never_late_and_seldom_read(accumulated, together):
    """Acts at the first call that ends at or past the due step; reads grow with log(due)."""
    rng = np.random.default_rng(1)
    reads, batches, lost = [], 0, 0
    clock = Clock(lambda: reads.append(None) or (batches - lost) // accumulated)
    for due in (7, 8, 100, 101, 300):
        while True:
            first = batches
            batches += together
            lost += int(rng.random() < 0.1)  # an overflow of the loss scale: no step
            clock.began(first)
            clock.ended(batches - 1)
            true = (batches - lost) // accumulated
            acts = clock.reached(due) and clock.exact() >= due
            assert acts == (true >= due)
            if acts:
                break
    assert len(reads) < 0.25 * batches


def slow_trace(sequence, momentum):
    """One weight at a time, as algorithm 1 is written."""
    direction, frequency, mean, last = 0, 0.0, float(sequence[0]), sequence[0]
    for code in sequence[1:]:
        step = int(np.sign(int(code) - int(last)))
        turned = step != 0 and direction != 0 and step != direction
        frequency = momentum * turned + (1 - momentum) * frequency
        mean = momentum * code + (1 - momentum) * mean
        direction = step or direction
        last = code
    return frequency, mean


def test_trace_equals_the_loop():
    codes = np.random.default_rng(0).integers(-3, 4, (40, 5, 6)).astype(np.int8)
    trace = Trace.start(codes[0])
    for row in codes[1:]:
        trace = trace.look(row, 0.05)
    for place in np.ndindex(5, 6):
        frequency, mean = slow_trace(codes[(slice(None), *place)], 0.05)
        assert trace.frequency[place] == pytest.approx(frequency, abs=1e-6)
        assert trace.mean[place] == pytest.approx(mean, abs=1e-5)


def test_the_widest_codes_do_not_overflow():
    low, high = np.array([-128], np.int8), np.array([127], np.int8)
    trace = Trace.start(low).look(high, 0.5).look(low, 0.5)
    assert trace.turned.tolist() == [True]
    assert trace.changed.tolist() == [True]


def test_flips_freeze_when_the_closed_form_says_and_drift_never_does():
    """One turn a look: f after k turns is 1 - (1 - m)^k; the first change is no turn."""
    momentum, threshold = 0.1, 0.3
    needed = math.floor(math.log(1 - threshold) / math.log(1 - momentum)) + 1
    pins = Pins.start(np.array([0, 0, 0]))
    for look in range(1, 30):
        pins = pins.look(np.array([look % 2, look, 0]), momentum, threshold)
        assert pins.frozen.tolist() == [look - 1 >= needed, False, False], look


def test_a_frozen_weight_stays_on_the_integer_where_it_was_most():
    pins = Pins.start(np.array([5]))
    for code in [5, 5, 4] * 20:
        pins = pins.look(np.array([code]), 0.05, 0.3)
    assert pins.frozen.all()
    assert pins.integers.tolist() == [5]
    assert pins.look(np.array([-7]), 0.5, 0.0).integers.tolist() == [5]


def test_names_and_numbers_of_controls():
    assert control("dampen") == Dampen()
    assert control("freeze") == Freeze(0.1, 0.01)
    with pytest.raises(UnknownName, match="Did you mean 'freeze'"):
        control("freez")
    with pytest.raises(SpecError, match="oscillation must be one of"):
        control(0.1)
    for bad in (
        lambda: Dampen(strength=0),
        lambda: Dampen(stages=0),
        lambda: Freeze(start=0.01, end=0.1),
        lambda: Freeze(every=0),
        lambda: Freeze(momentum=0),
    ):
        with pytest.raises(SpecError):
            bad()
