"""Ternary rounders: groups where they should be, magnitudes on the grid, the files they end in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from layers_on_data import inputs, weights
from small_nets import images, residual

import tfq_ext
from tfq_ext.errors import SpecError
from tfq_ext.numerics.ternary import best_alpha, ternarize
from tfq_ext.rounding import ROUNDERS, Job, LayerData, parse_rounder, weight_params
from tfq_ext.spec import QSpec
from tfq_ext.tflite.read import Model

TAPS, CIN = 9, 10


def rounded(text: str, weight: np.ndarray, bits: int = 8, axis: int | None = 0, **more):
    """(codes, reals) of a rounder by its name in a recipe."""
    rounder = parse_rounder(text)
    params = weight_params(weight, QSpec(bits, narrow=True, axis=axis))
    job = Job(weight, params, argument=rounder.argument, **more)
    job = replace(job, params=rounder.grid(job))
    codes = rounder.round(job)
    return codes, job.params.decode(codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_twn_is_the_least_squares_ternary_weight(bits):
    weight = weights(6, 50)
    codes, reals = rounded("twn", weight, bits)
    assert set(np.unique(codes)) == {-1, 0, 1}
    np.testing.assert_allclose(reals, ternarize(weight, best_alpha(weight)), rtol=1e-6)


def test_twn_with_one_scale_has_one_magnitude():
    weight = weights(6, 50)
    _, reals = rounded("twn", weight, axis=None)
    alpha = best_alpha(weight.reshape(1, -1))
    np.testing.assert_allclose(reals.ravel(), ternarize(weight.reshape(1, -1), alpha)[0], rtol=1e-6)


@pytest.mark.parametrize("size", [2, 4, 10, 16])
def test_a_group_is_some_input_channels_at_one_tap(size):
    """10 input channels: the last group of a tap is cut short, none runs into the next tap."""
    weight = weights(5, TAPS * CIN, seed=1)
    codes, reals = rounded(f"fgq:{size}", weight, taps=TAPS)
    top = 0.0
    for tap in range(TAPS):
        for start in range(0, CIN, size):
            at = slice(tap * CIN + start, tap * CIN + min(start + size, CIN))
            alpha = best_alpha(weight[:, at])
            step = np.abs(reals[:, at]).max(axis=1)
            scale = np.abs(reals / np.where(codes == 0, 1, codes)).max(axis=1)
            assert np.all(np.abs(step - alpha) <= scale * 0.501)
            np.testing.assert_array_equal(
                np.sign(codes[:, at]), np.sign(ternarize(weight[:, at], alpha))
            )
            top = np.maximum(top, np.abs(codes[:, at]).max(axis=1))
    assert np.all(top == 127)


def test_fgq_of_single_weights_is_nearest_rounding():
    weight = weights(5, TAPS * CIN, seed=2)
    codes, _ = rounded("fgq:1", weight, taps=TAPS)
    params = weight_params(weight, QSpec(8, narrow=True, axis=0))
    assert np.abs(codes - params.encode(weight)).max() <= 1  # the scales differ by an ulp
    assert np.mean(codes != params.encode(weight)) < 0.01


def test_larger_groups_lose_more_and_a_second_threshold_less():
    weight = weights(8, TAPS * 64, seed=3)

    def error(text: str) -> float:
        return float(np.square(rounded(text, weight, taps=TAPS)[1] - weight).sum())

    found = [error(f"fgq:{size}") for size in (1, 2, 4, 8, 16, 64)] + [error("fgq:0")]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(error("twn"), rel=1e-3)
    for size in (4, 16):
        assert error(f"fgq_two:{size}") < 0.95 * error(f"fgq:{size}")


def test_two_thresholds_give_each_side_its_magnitude():
    weight = np.abs(weights(4, 64)) * np.float32(3)
    weight[:, ::2] *= np.float32(-0.2)
    _, reals = rounded("fgq_two:0", weight)
    for row, given in zip(reals, weight, strict=True):
        assert len(np.unique(row[row > 0])) == len(np.unique(row[row < 0])) == 1
        assert row.max() == pytest.approx(best_alpha(np.maximum(given, 0)[None])[0], rel=0.01)
        assert -row.min() == pytest.approx(best_alpha(np.minimum(given, 0)[None])[0], rel=0.05)


def test_depthwise_groups_run_along_the_taps():
    weight = weights(6, TAPS, seed=4)
    codes, _ = rounded("fgq:3", weight, taps=TAPS)
    for start in range(0, TAPS, 3):
        group = np.abs(codes[:, start : start + 3])
        assert all(len(np.unique(row[row > 0])) == 1 for row in group)
    assert not np.array_equal(codes, rounded("fgq:1", weight, taps=TAPS)[0])


@pytest.mark.parametrize("text", ["twn", "fgq:4", "fgq_two:8"])
@pytest.mark.parametrize("patches", [True, False])
def test_with_data_the_output_varies_as_the_float_layers(text, patches):
    """The mean squares agree where there are no patches to tell the mean from."""
    weight, x = weights(12, 40, seed=5), inputs(3000, 40, 6)
    data = LayerData.of(weight, x, x)
    data = data if patches else replace(data, patches=None)

    def spread(reals: np.ndarray) -> np.ndarray:
        y = x[:, 0].astype(np.float64) @ reals.T.astype(np.float64)
        return y.var(axis=0) if patches else np.square(y).mean(axis=0)

    plain, matched = (spread(rounded(text, weight, data=d)[1]) for d in (None, data))
    wanted = spread(weight)
    off = np.abs(np.log(matched / wanted))
    assert np.median(off) < 0.02  # magnitudes lie on the grid
    assert np.median(off) < 0.2 * np.median(np.abs(np.log(plain / wanted)))


def test_a_channel_that_hardly_varies_is_not_blown_up():
    weight, x = weights(3, 16), inputs(200, 16, 1)
    weight[1] = 0.0
    x[:, :, :8] = 0
    weight[2, 8:] = 1e-3 * weight[2, 8:]  # its kept weights meet zeros only
    codes, reals = rounded("twn", weight, data=LayerData.of(weight, x, x))
    assert np.all(np.isfinite(reals))
    assert not codes[1].any()
    assert np.abs(reals).max() < 4 * np.abs(weight).max()


@pytest.mark.parametrize("size", ["-1", "2.5"])
def test_impossible_groups_are_refused(size):
    with pytest.raises(SpecError, match="whole number"):
        rounded(f"fgq:{size}", weights(2, 8))


FLOAT = residual()


def layers(base: str, rounding: str):
    """(taps, stored type, codes[C, n], scales[C], float rows) of each layer of the file."""
    recipe = {"base": base, "weights": {"rounding": rounding}}
    result = tfq_ext.quantize(FLOAT.to_bytes(), images(16), recipe=recipe)
    notes = [note for row in result.account.weights for note in row.notes]
    assert len(notes) == 4
    assert all(note.startswith("ternary, ") for note in notes)
    pivot, graph = FLOAT.graphs[0], Model.load(result.content).graphs[0]
    for k in range(1, 5):
        real = pivot.constant(pivot.by_name[f"w{k}"])
        names = (f"w{k}/int8", f"w{k}/codes", f"w{k}")
        t = next(graph.by_name[name] for name in names if name in graph.by_name)
        grid = graph.tensors[t].quantization
        rows, codes = (
            np.moveaxis(w, grid.quantizedDimension, 0).reshape(len(grid.scale), -1)
            for w in (real, graph.constant(t))
        )
        yield 9 if k < 4 else 1, graph.dtype(t), codes, np.asarray(grid.scale)[:, None], rows


@pytest.mark.parametrize("rounding", ["fgq:4", "fgq_two:4", "fgq:0"])
def test_a_file_with_float_activations_holds_the_weights_own_ternary_codes(rounding):
    """Bit for bit what the rounder makes without data."""
    for taps, stored, codes, scale, rows in layers("weight_only", rounding):
        wanted, reals = rounded(rounding, rows, taps=taps)
        assert stored == "int8"
        np.testing.assert_array_equal(codes, wanted)
        np.testing.assert_allclose(codes * scale, reals, rtol=1e-6)


@pytest.mark.parametrize("rounding", ["twn", "fgq:4", "fgq_two:4"])
def test_an_integer_file_holds_ternary_weights_fitted_to_its_inputs(rounding):
    size = {"twn": 10**6, "fgq:4": 4, "fgq_two:4": 4}[rounding]
    same = []
    for taps, stored, codes, _, rows in layers("int8-minmax", rounding):
        assert stored == ("int4" if rounding == "twn" else "int8")
        channels, n = codes.shape
        taps = 1 if n == taps or rounding == "twn" else taps
        for tap in codes.reshape(channels, taps, -1).transpose(1, 0, 2):
            for start in range(0, tap.shape[1], size):
                group = tap[:, start : start + size]
                sides = (np.maximum(group, 0), np.maximum(-group, 0))
                for side in sides if rounding == "fgq_two:4" else (np.abs(group),):
                    assert all(np.unique(row[row > 0]).size <= 1 for row in side)
        if rounding == "twn":
            assert set(np.unique(codes)) == {-1, 0, 1}
        same.append(np.array_equal(codes, rounded(rounding, rows, taps=taps)[0]))
    assert not all(same), "the inputs made no difference"


def test_every_ternary_rounder_is_tested_here():
    found = {name for name, row in ROUNDERS.items() if row.trades == "ternary codes"}
    assert found == {"twn", "fgq", "fgq_two"}
