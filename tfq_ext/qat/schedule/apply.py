"""Put a phase into a model's layers, and make its functions anew."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.layers import qat_layers, quantizers_of
from tfq_ext.qat.schedule.plan import Phase
from tfq_ext.qat.schedule.weights import student_of, weights_of

keras = need("keras", why="Quantization-aware training")


def put(model: Any, phase: Phase, descending: Collection[str] = ()) -> bool:
    """Set the attributes that the phase asks for.

    Args:
        model: a QAT model or a Distiller.
        phase: what to set.
        descending: names of the weights ("conv1/kernel") whose bits follow the phase.

    Returns:
        Whether any attribute was another before.
    """
    changed = False
    for quantizer in quantizers(model):
        changed |= _set(quantizer, enabled=phase.quantize, frozen=phase.freeze_ranges)
    for layer in qat_layers(student_of(model)):
        if isinstance(layer, FoldedBatchNorm):
            changed |= _set(layer, frozen=phase.freeze_bn)
    if phase.bits is not None:
        for weight in weights_of(model):
            if weight.name in descending:
                changed |= _set(weight.quantizer, bits=phase.bits)
    return changed


def quantizers(model: Any) -> list[Any]:
    """Every quantizer once, those that several layers share too."""
    return list(dict.fromkeys(quantizer for _, quantizer in quantizers_of(student_of(model))))


def _set(target: Any, **values: Any) -> bool:
    new = {name: value for name, value in values.items() if getattr(target, name) != value}
    for name, value in new.items():
        setattr(target, name, value)
    return bool(new)


def retrace(model: Any) -> None:
    """Forget compiled functions: they hold the attributes of the time when they were traced."""
    for each in {id(m): m for m in (model, student_of(model))}.values():
        each.test_function = each.predict_function = None
        if each is not model:
            each.train_function = None
    if getattr(model, "train_function", None) is not None:
        model.make_train_function(force=True)


@contextmanager
def switched(model: Any, enabled: bool) -> Iterator[None]:
    """All quantizers on or off inside the block, for eager calls; then as they were."""
    before = [(quantizer, quantizer.enabled) for quantizer in quantizers(model)]
    try:
        for quantizer, _ in before:
            quantizer.enabled = enabled
        yield
    finally:
        for quantizer, was in before:
            quantizer.enabled = was


def descends(model: Any, bits: tuple[tuple[int, int], ...], step: int, keep: Any) -> list[str]:
    """Names of the weights whose bits follow the schedule.

    A weight follows if it was built with the last number of bits, or already has those of now
    (a run that goes on), unless `keep` names it or its layer.
    """
    if not bits:
        return []
    now = next((b for first, b in reversed(bits) if first <= step), None)
    return [
        weight.name
        for weight in weights_of(model)
        if weight.quantizer.bits in (now if step else None, bits[-1][1])
        and not {weight.name, weight.owner.name} & set(keep)
    ]


def expect_no_gradient(model: Any) -> None:
    """Silence Keras' warning about gradients where it lists quantizers' variables only.

    A quantizer that is off has none, and its owner knows.
    """
    paths = [v.path for quantizer in quantizers(model) for v in quantizer.trainable_variables]
    if paths:
        one = "|".join(re.escape(repr(path)) for path in paths)
        pattern = rf"Gradients do not exist for variables \[(({one})(, )?)+\]"
        warnings.filterwarnings("ignore", message=pattern)
