"""Shared values are the best there are, and make files that zip."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from layers_on_data import grid, inputs, total_error, weights
from one_op import Net, X
from small_nets import images, residual

import tfq_ext
from tfq_ext.errors import SpecError
from tfq_ext.numerics.sharing import best_values, to_values
from tfq_ext.rounding import Job, LayerData, parse_rounder
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.zipped import zipped_size


def cost(steps: np.ndarray, power: np.ndarray, values: np.ndarray) -> float:
    """Loop over the definition: each to its nearest value."""
    return float((power * np.abs(steps[:, None] - values).min(axis=1) ** 2).sum())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(15))
def test_no_other_choice_of_values_is_better(count, seed):
    """Brute force; every third time on the middles between codes, and beyond the ends."""
    rng = np.random.default_rng(seed)
    steps, power = rng.normal(0, 2.5, 20), rng.uniform(0, 2, 20)
    if seed % 3 == 0:
        steps = np.round(2 * steps) / 2
    values = best_values(steps, power, -4, 5, count)
    best = min(cost(steps, power, np.array(c)) for c in combinations(range(-4, 6), count))
    assert len(values) <= count
    assert cost(steps, power, values) == pytest.approx(best, abs=1e-9)
    taken = to_values(steps, values)
    assert (power * (steps - taken) ** 2).sum() == pytest.approx(best, abs=1e-9)


def lloyd(steps: np.ndarray, count: int) -> list[float]:
    """Deep Compression: centroids even over [min, max], then in turns; the error of each turn."""
    centroids, errors = np.linspace(steps.min(), steps.max(), count), []
    for _ in range(40):
        near = np.abs(steps[:, None] - centroids).argmin(axis=1)
        errors.append(float(((steps - centroids[near]) ** 2).sum()))
        centroids = np.array(
            [steps[near == k].mean() if np.any(near == k) else centroids[k] for k in range(count)]
        )
    return errors


def test_it_beats_deep_compressions_iteration_though_its_values_are_codes():
    steps = np.random.default_rng(0).standard_t(3, 4000) * 8
    steps = np.clip(steps, -127, 127)
    by_lloyd = lloyd(steps, 8)
    assert by_lloyd == sorted(by_lloyd, reverse=True)
    assert (
        cost(steps, np.ones(4000), best_values(steps, np.ones(4000), -127, 127, 8)) < by_lloyd[-1]
    )


def test_more_values_never_cost_more_and_enough_cost_nothing():
    steps = np.random.default_rng(1).integers(-20, 21, 500).astype(float)
    costs = [cost(steps, np.ones(500), best_values(steps, np.ones(500), -127, 127, k)) for k in
             (1, 2, 4, 8, 16, 41)]  # fmt: skip
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0
    assert len(best_values(steps, np.ones(500), -127, 127, 200)) == 41


def shared(weight: np.ndarray, count: float, data: LayerData | None = None) -> np.ndarray:
    rounder = parse_rounder(f"shared:{count:g}")
    return rounder.round(Job(weight, grid(weight, 8), data, argument=rounder.argument))


@pytest.mark.parametrize("count", [2, 16, 64, 255])
def test_codes_are_few_and_those_of_a_clustered_weight_stay(count):
    weight = weights(8, 60) * np.geomspace(0.1, 10, 8).astype(np.float32)[:, None]
    codes = shared(weight, count)
    assert np.unique(codes).size <= count
    kept = grid(weight, 8)
    again = shared(kept.decode(codes), count)
    if np.all(np.abs(codes).max(axis=1) == 127):  # else its largest weight makes another grid
        np.testing.assert_array_equal(again, codes)
    if count == 255:
        np.testing.assert_array_equal(codes, kept.encode(weight))


def test_with_data_the_values_lie_where_strong_inputs_need_them():
    """Weights of strong inputs are small here: without data no value is spent on them."""
    weight, x = weights(16, 40, seed=3), inputs(2000, 40, 4, correlated=False)
    weight[:, :20] *= np.float32(0.1)
    x[:, :, :20] *= 30
    data = LayerData.of(weight, x, x)
    with_data, without = (
        total_error(weight, shared(weight, 6, d), grid(weight, 8), data) for d in (data, None)
    )
    assert with_data < 0.7 * without


@pytest.mark.parametrize("count", [1, 0, -3, 4.5])
def test_impossible_counts_are_refused(count):
    with pytest.raises(SpecError, match="whole number of values"):
        shared(weights(2, 8), count)


def dense(n: int = 128) -> Model:
    """Large enough that weights are most of the file."""
    net = Net()
    net.input("x", X((1, n), -1.0, 1.0))
    net.const("w", weights(n, n, seed=9) * np.float32(2))
    net.const("b", np.zeros(n, np.float32))
    net.op("FULLY_CONNECTED", "y", "x", "w", "b", options=("FullyConnectedOptions", {}))
    return net.done("y")


def test_files_shrink_in_a_zip_with_fewer_values():
    """Of Gaussian weights 16 shared codes carry under 4 bits each, 8 bits nearly 7."""
    float_file = dense().to_bytes()
    data = np.random.default_rng(0).uniform(-1, 1, (20, 128)).astype(np.float32)
    sizes = {}
    for rounding in ("nearest", "shared", "shared:4"):
        recipe = {"base": "int8-minmax", "weights": {"rounding": rounding}}
        sizes[rounding] = zipped_size(tfq_ext.quantize(float_file, data, recipe=recipe).content)
    weight_bytes = 128 * 128
    assert sizes["nearest"] - sizes["shared"] > 0.3 * weight_bytes
    assert sizes["shared"] - sizes["shared:4"] > 0.15 * weight_bytes


def test_the_file_holds_as_few_values_as_were_asked_for():
    recipe = {"base": "int8-minmax", "weights": {"rounding": "shared:5"}}
    result = tfq_ext.quantize(residual().to_bytes(), images(16), recipe=recipe)
    graph = Model.load(result.content).graphs[0]
    layers = [op for op in graph.ops if graph.code(op) in ("CONV_2D", "FULLY_CONNECTED")]
    assert len(layers) == 3
    for op in layers:
        assert np.unique(graph.constant(int(op.inputs[1]))).size == 5
    assert all(row.notes == ("5 distinct codes",) for row in result.account.weights)
