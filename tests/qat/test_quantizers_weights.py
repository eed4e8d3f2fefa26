"""What single weight quantizers promise beyond the laws: starts, ternary, bounds, chance."""

import keras
import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.numerics import accumulator_bound as bound
from tfq_ext.numerics.ternary import ternary
from tfq_ext.qat.quantizers import WEIGHT_QUANTIZERS
from tfq_ext.qat.quantizers.starts import SCALE_STARTS, squared_error

ops = keras.ops


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_the_best_start_has_the_least_error_of_all_rules(bits):
    w = np.random.default_rng(0).standard_t(3, (3, 3, 16, 12)).astype(np.float32)
    q = WEIGHT_QUANTIZERS["lsq"](bits=bits, axes=(3,))
    rows = q.rows(w)
    errors = {
        k: squared_error(rows, rule(rows, q.spec), q.spec) for k, rule in SCALE_STARTS.items()
    }
    for name, error in errors.items():
        assert np.all(errors["best"] <= error + 1e-12), name
    assert errors["best"].sum() < (0.8 if bits < 8 else 1.001) * errors["max"].sum()


@pytest.mark.parametrize("settings", [{}, {"thresholds": 2}, {"group": 4}, {"group": 5, "bits": 4}])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((3, 3, 10, 6), (3,)), ((3, 3, 6, 2), (2, 3)), ((2, 2, 6, 10), (2,)), ((20, 7), (1,))],
)
def test_ternary_layers_and_numpy_find_the_same_codes(settings, shape, axes):
    w = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    q = WEIGHT_QUANTIZERS["twn"](axes=axes, **settings)
    wanted = ternary(w, q.layout(w.shape), two_sided=q.thresholds == 2)
    codes = q.codes(w)
    np.testing.assert_allclose(q.grid(w)[0], wanted.scale, rtol=1e-6)
    # float32 against float64 sums: a magnitude may land on the other side of half a code
    assert np.abs(codes.astype(int) - wanted.codes).max() <= 1
    assert np.mean(codes != wanted.codes) < 0.01


def test_fgq_loses_less_than_twn():
    w = np.random.default_rng(4).normal(size=(3, 3, 32, 8)).astype(np.float32)
    errors = []
    for name, settings in (("fgq", {}), ("twn", {"thresholds": 2}), ("twn", {})):
        q = WEIGHT_QUANTIZERS[name](axes=(3,), **settings)
        errors.append(np.square(ops.convert_to_numpy(q(w)) - w).sum())
    assert errors == sorted(errors)


@pytest.mark.parametrize(
    ("bits", "n", "signed", "centered"),
    [(16, 8, False, False), (16, 9, True, False), (14, 8, False, True), (12, 8, True, False)],
)
@pytest.mark.parametrize("weights", [4, 8])
def test_a2q_never_overflows_however_it_is_trained(bits, n, signed, centered, weights):
    """Random numbers for scale, norm and kernel stand for any training at all."""
    rng = np.random.default_rng(5)
    settings = {"accumulator_bits": bits, "input_bits": n, "input_signed": signed}
    q = WEIGHT_QUANTIZERS["a2q"](bits=weights, axes=(3,), centered=centered, **settings)
    w = rng.standard_t(3, (3, 3, 2, 16)).astype(np.float32)
    q.build(w.shape)
    q.start_from(w)
    inputs = bound.Inputs.of(n, signed=signed)
    filled = 0.0
    for _ in range(5):
        codes = q.codes(w).reshape(-1, 16)
        assert np.all(bound.fits(codes, inputs, bits))
        filled = max(filled, np.abs(codes).sum(axis=0).max() / q.bound)
        q.scale.set(q.scale.numpy(False) * rng.uniform(0.3, 1.5, 16))
        q.norm.set(q.norm.numpy(False) * rng.uniform(0.5, 4, 16))
        w = w + rng.normal(size=w.shape).astype(np.float32)
    assert filled > 0.5 or weights == 4  # the bound is used, not avoided; 4 bits may not reach it


def test_a2q_with_room_is_rounding_towards_zero():
    w = np.random.default_rng(6).normal(size=(20, 5)).astype(np.float32)
    q = WEIGHT_QUANTIZERS["a2q"](axes=(1,))
    q.build(w.shape)
    q.start_from(w)
    scale = q.grid(w)[0]
    u = w / scale
    clear = np.abs(u - np.rint(u)) > 1e-4  # on an edge the norm's last bit decides
    np.testing.assert_array_equal(q.codes(w)[clear], np.clip(np.trunc(u), -127, 127)[clear])
    q(w, training=True)
    assert float(q.losses[0]) == 0.0


def test_a2q_penalises_norms_beyond_the_bound():
    w = np.random.default_rng(7).normal(size=(200, 3)).astype(np.float32)
    q = WEIGHT_QUANTIZERS["a2q"](axes=(1,), accumulator_bits=12, penalty=0.5)
    q.build(w.shape)
    q.start_from(w)
    q(w, training=True)
    over = np.log2(q.norm.numpy(False)) - np.log2(q.scale.numpy(False) * q.bound)
    np.testing.assert_allclose(float(q.losses[0]), 0.5 * np.maximum(over, 0).sum(), rtol=1e-4)
    assert over.max() > 0


def test_a2q_refuses_what_cannot_be():
    with pytest.raises(SpecError, match="hold no product"):
        WEIGHT_QUANTIZERS["a2q"](accumulator_bits=8)
    with pytest.raises(SpecError, match="unsigned inputs"):
        WEIGHT_QUANTIZERS["a2q"](centered=True, input_signed=True)


def test_stochastic_rounding_is_unbiased_and_only_in_training():
    w = np.random.default_rng(8).uniform(-1, 1, (40, 3)).astype(np.float32)
    q = WEIGHT_QUANTIZERS["stochastic"](bits=3, axes=(1,))
    draws = np.stack([ops.convert_to_numpy(q(w, training=True)) for _ in range(400)])
    scale = q.grid(w)[0]
    # the mean of 400 draws with a deviation of at most half a step: 5 standard errors
    assert np.abs(draws.mean(axis=0) - w).max() <= 5 * scale.max() / 2 / np.sqrt(400)
    assert len(np.unique(draws[:, 0, 0])) == 2
    calm = ops.convert_to_numpy(q(w))
    np.testing.assert_array_equal(calm, ops.convert_to_numpy(q(w)))
    assert np.abs(calm - w).max() <= scale.max() * 0.5001


@pytest.mark.parametrize("axes", [(3,), (2, 3), None])
def test_asymmetric_weights_have_zero_points(axes):
    w = np.random.default_rng(9).uniform(-0.2, 1, (3, 3, 4, 5)).astype(np.float32)
    q = WEIGHT_QUANTIZERS["max"](symmetric=False, axes=axes)
    scale, zero = q.grid(w)
    assert np.all(zero < 0)
    codes = q.codes(w).astype(np.float32) - np.asarray(q.spread(zero, 4), np.float32)
    np.testing.assert_array_equal(codes * np.asarray(q.spread(scale, 4)), q(w))
    narrow = WEIGHT_QUANTIZERS["max"](axes=axes)
    loss = [np.square(ops.convert_to_numpy(each(w)) - w).sum() for each in (q, narrow)]
    assert loss[0] < loss[1]  # 256 codes for what there is, not for its mirror image too
