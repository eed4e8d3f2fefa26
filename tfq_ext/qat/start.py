"""Where training starts: scales from the float weights, ranges from calibration data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import DataError
from tfq_ext.qat.batches import batches
from tfq_ext.qat.layers import qat_layers, quantizers_of
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, Quantizer
from tfq_ext.rewrite.graph import is_functional, read_flow
from tfq_ext.spec import Range

keras = need("keras", why="Quantization-aware training")
_FIXED = ACTIVATION_QUANTIZERS["fixed"]


def start_weights(model: Any) -> None:
    """Let every weight quantizer begin at its float weight: least squared error, unless told."""
    for layer in qat_layers(model):
        if isinstance(layer, Quantizer):
            continue
        for name, quantizer in layer.quantizers.items():
            quantizer.start_from(layer.weight(name))


@contextmanager
def unquantized(model: Any) -> Iterator[None]:
    """The float network inside a QAT model, for as long as the block lasts."""
    quantizers = [q for _, q in quantizers_of(model)]
    before = [q.enabled for q in quantizers]
    try:
        for q in quantizers:
            q.enabled = False
        yield
    finally:
        for q, enabled in zip(quantizers, before, strict=True):
            q.enabled = enabled


def start_ranges(model: Any, data: Any, calibrator: str) -> None:
    """Observe the float network on the data and start every activation quantizer.

    Raises:
        DataError: no samples, NaN, or shapes that do not fit.
    """
    tensors = [(layer, t) for layer, t in _observed(model) if layer.name]
    observed: dict[str, _Extremes | _Everything] = {}
    make = _Extremes if calibrator == "minmax" else _Everything
    with unquantized(model):
        probe = keras.Model(model.inputs, [t for _, t in tensors])
        for batch in batches(data):
            for (layer, _), values in zip(tensors, _run(probe, model, batch), strict=True):
                observed.setdefault(layer.name, make()).add(values)
    if not observed:
        raise DataError("The data has no samples; 100 are usual.")
    for layer, _ in tensors:
        found = observed[layer.name].range(calibrator, layer.spec)
        layer.start(found.min, found.max)


def _observed(model: Any) -> Iterator[tuple[Any, Any]]:
    """(activation quantizer, symbolic tensor that goes into it), for every call that observes."""
    assert is_functional(model)
    for operation in model.operations:
        if isinstance(operation, Quantizer) and not isinstance(operation, _FIXED):
            for node in operation._inbound_nodes:
                if node.arguments.kwargs.get("slot", 0) is not None:
                    yield operation, node.input_tensors[0]


def _run(probe: Any, model: Any, batch: Any) -> list[np.ndarray]:
    inputs = _as_inputs(model, batch)
    for tensor, array in zip(model.inputs, inputs, strict=True):
        wanted, got = tuple(tensor.shape), np.shape(array)
        if len(wanted) != len(got) or any(
            w not in (None, g) for w, g in zip(wanted[1:], got[1:], strict=True)
        ):
            raise DataError(f"Input {tensor.name!r} has shape {wanted}, the data {got}.")
    outputs = probe(inputs, training=False)
    found = keras.tree.flatten(outputs)  # a single output comes alone
    return [np.asarray(keras.ops.convert_to_numpy(y), np.float32) for y in found]


def _as_inputs(model: Any, batch: Any) -> list[Any]:
    """The batch's arrays in the order of the model's inputs, by name where it is a dict.

    Raises:
        DataError: another number of inputs, or other names.
    """
    names = [str(t.name) for t in model.inputs]
    if isinstance(batch, Mapping):
        structure = read_flow(model).inputs
        if isinstance(structure, Mapping) and set(structure) == set(batch):
            return list(keras.tree.flatten({key: batch[key] for key in structure}))
        if missing := [name for name in names if name not in batch]:
            raise DataError(f"The data has {list(batch)}, but no input {missing[0]!r}.")
        return [batch[name] for name in names]
    flat = list(keras.tree.flatten(batch))
    if len(flat) != len(names):
        raise DataError(
            f"The data has {len(flat)} arrays a batch, the model inputs {names}. Give the inputs "
            "alone, without labels."
        )
    return flat


class _Extremes:
    """Smallest and largest value."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        self.low = min(self.low, float(values.min(initial=0.0)))
        self.high = max(self.high, float(values.max(initial=0.0)))

    def range(self, calibrator: str, spec: Any) -> Range:
        """Both ends."""
        return Range.of(self.low, self.high)


class _Everything:
    """The statistics that every calibrator can choose from, sample by sample."""

    def __init__(self) -> None:
        from tfq_ext.calibrate.accumulator import Accumulator

        self.held, self.count = Accumulator(), 0

    def add(self, values: np.ndarray) -> None:
        """Take in one batch."""
        for sample in values:
            self.held.add(self.count, np.ascontiguousarray(sample))
            self.count += 1

    def range(self, calibrator: str, spec: Any) -> Range:
        """The calibrator's choice."""
        from tfq_ext.calibrate.choosers import parse

        return parse(calibrator).choose(self.held.freeze(), spec)
