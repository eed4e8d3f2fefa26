"""TFMOT (tf_keras): a scheme with a scale per channel, 4-bit weights and calibrated ranges.

    import tensorflow_model_optimization as tfmot
    from tfq_ext.qat.tfmot import scheme, scope, start_ranges

    with scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        qat = tfmot.quantization.keras.quantize_apply(annotated, scheme(weight_bits=4))
    start_ranges(qat, model, x_train[:256])
    qat.compile(...); qat.fit(...)
    result = tfq.quantize(qat)                       # the integers that were trained

TFMOT switches tf.keras to tf_keras, so it is imported inside these functions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.calibrate.accumulator import Accumulator
from tfq_ext.calibrate.choosers import parse
from tfq_ext.errors import ModelError, SpecError
from tfq_ext.spec import INT8_ACTIVATION, Range

BITS = (4, 8)
_BATCH = 64
_ATTRIBUTES = ("kernel", "depthwise_kernel")
# variables of a wrapper -> where in its layer the range is observed
_PLACES = {"output": "output", "post_activation": "output", "pre_activation": "before activation"}


def scheme(weight_bits: int = 8) -> Any:
    """A QuantizeScheme for `tfmot.quantization.keras.quantize_apply`.

    Conv2D, DepthwiseConv2D and Dense kernels get one symmetric, narrow grid per output channel.
    TFMOT's own depthwise grid is per tensor: its range has the kernel's last axis, which is the
    depth multiplier, 1 as a rule. `tfq_ext.quantize` makes the file; TFLiteConverter alone fails
    on a Dense kernel with a scale per channel ("mismatched quantized axes").

    Args:
        weight_bits: 8 or 4; Conv2DTranspose stays at 8, for LiteRT has no 4-bit kernel of it.

    Raises:
        SpecError: other widths.
    """
    if weight_bits not in BITS:
        raise SpecError(f"weight_bits must be 4 or 8, got {weight_bits}.")
    return _classes()["ChannelScheme"](weight_bits)


def scope() -> Any:
    """The context in which models of `scheme` are made and loaded."""
    tfmot = _tfmot()
    return tfmot.quantization.keras.quantize_scope(dict(_classes()))


def start_ranges(
    qat: Any,
    model: Any,
    data: np.ndarray | None = None,
    *,
    calibrator: str = "minmax",
    ranges: Mapping[str, Range | tuple[float, float]] | None = None,
) -> dict[str, Range]:
    """Set where the activation ranges start, in place; TFMOT starts all of them at [-6, 6].

    Args:
        qat: from `quantize_apply`.
        model: the float tf_keras model that it was made of.
        data: float32[N, ...] samples for a model with one input; None: only `ranges`.
        calibrator: how ranges are chosen, as in a recipe ("minmax", "percentile:99.99", ...).
        ranges: layer name in `model` -> range of its output; wins over `data`.

    Returns:
        QAT layer name -> the range that it starts from.

    Raises:
        ModelError: a layer in `ranges` that has no quantizer.
    """
    given = {name: _range(r) for name, r in (ranges or {}).items()}
    places = list(_places(qat))
    unknown = set(given) - {_own_name(layer) for layer, *_ in places}
    if unknown:
        known = ", ".join(sorted(_own_name(layer) for layer, *_ in places))
        raise ModelError(
            f"No activation quantizer at {', '.join(sorted(unknown))}. Known: {known}."
        )
    if data is not None:
        wanted = {(_own_name(layer), place) for layer, place, *_ in places}
        given = _observed(model, wanted, np.asarray(data), calibrator) | given
    started = {}
    for layer, _, low, high in places:
        chosen = given.get(_own_name(layer))
        if chosen is not None and chosen.width:
            low.assign(chosen.min)
            high.assign(chosen.max)
            started[layer.name] = chosen
    return started


def _range(r: Range | tuple[float, float]) -> Range:
    return r if isinstance(r, Range) else Range.of(*r)


def _places(qat: Any) -> Iterator[tuple[Any, str, Any, Any]]:
    """Every activation quantizer: (layer, where in it, min variable, max variable)."""
    for layer in qat.layers:
        variables = {v.name.split("/")[-1].split(":")[0]: v for v in layer.weights}
        own = {**_PLACES, "quantize_layer": "input"}
        for prefix, place in own.items():
            if f"{prefix}_min" in variables and f"{prefix}_max" in variables:
                yield layer, place, variables[f"{prefix}_min"], variables[f"{prefix}_max"]


def _own_name(layer: Any) -> str:
    inner = getattr(layer, "layer", None)
    return layer.name if inner is None else inner.name


def _observed(
    model: Any, wanted: set[tuple[str, str]], data: np.ndarray, calibrator: str
) -> dict[str, Range]:
    """Layer name -> the range chosen from what the float model computes there."""
    keras = need("tf_keras", why="TFMOT models")
    there = {layer.name: layer for layer in model.layers}
    tensors = {}
    for name, place in sorted(wanted):
        if place == "input":
            tensors[name] = model.inputs[0]
        elif name in there:
            layer = there[name]
            tensors[name] = layer.output if place == "output" else _before(keras, layer)
    probe = keras.Model(model.inputs, tensors)
    seen = {name: Accumulator() for name in tensors}
    for start in range(0, len(data), _BATCH):
        for name, values in probe(data[start : start + _BATCH], training=False).items():
            for k, sample in enumerate(np.asarray(values)):
                seen[name].add(start + k, sample)
    choose = parse(calibrator).choose
    return {name: choose(row.freeze(), INT8_ACTIVATION) for name, row in seen.items()}


def _before(keras: Any, layer: Any) -> Any:
    """The layer's result before its activation."""
    config = {**layer.get_config(), "activation": None, "name": f"{layer.name}_before"}
    twin = type(layer).from_config(config)
    result = twin(layer.input)
    twin.set_weights(layer.get_weights())
    return result


def _tfmot() -> Any:
    return need("tensorflow_model_optimization", why="TFMOT schemes")


@cache
def _classes() -> Mapping[str, Any]:
    """The classes that derive from TFMOT's, by name; made on first use."""
    _tfmot()
    from tfq_ext.qat.tfmot_classes import CLASSES

    return CLASSES
