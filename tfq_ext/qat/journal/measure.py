"""The numbers of a journal: looks at a model's quantizers and leaves them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import DataError, ModelError
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.qat.journal.rows import NAN, Row
from tfq_ext.qat.layers import qat_layers
from tfq_ext.qat.quantizers import Quantizer
from tfq_ext.qat.schedule.apply import switched
from tfq_ext.qat.schedule.oscillation import Trace
from tfq_ext.qat.schedule.weights import Weight, student_of, weights_of
from tfq_ext.rewrite.graph import Node, read_flow, splice

keras = need("keras", why="Quantization-aware training")


class Meter:
    """Looks at the quantizers of one model; remembers the codes that it saw last.

    Args:
        model: a QAT model or a Distiller.
        data: a small batch, as `model` takes it; None: no SQNR of activations.
    """

    def __init__(self, model: Any, data: Any = None):
        self.model, self.data = model, data
        self.traces: dict[str, tuple[int, Trace]] = {}
        self.probe = None if data is None else Probe(student_of(model))

    def rows(self, step: int, epoch: int) -> list[Row]:
        """A row for every quantizer."""
        noise = self.probe.sqnr(self.data) if self.probe else {}
        found = list(self._activations(step, epoch, noise))
        weights = [self._weight(weight, step, epoch) for weight in weights_of(self.model)]
        return found + [row for row in weights if row is not None]

    def _activations(self, step: int, epoch: int, noise: dict[str, float]) -> Iterator[Row]:
        for layer in dict.fromkeys(qat_layers(student_of(self.model))):
            if isinstance(layer, Quantizer):
                low, high = layer.range()
                scale = float(np.max(layer.grid()[0]))
                row = _row(layer, step, epoch, layer.name, "activation")
                db = noise.get(layer.name, NAN)
                yield replace(
                    row, low=low, high=high, scale_low=scale, scale_high=scale, sqnr_db=db
                )

    def _weight(self, weight: Weight, step: int, epoch: int) -> Row | None:
        real, quantizer = weight.read(), weight.quantizer
        try:
            with switched(self.model, True):  # during the delay: what it would be
                codes = quantizer.codes(real)
        except ModelError:
            return None  # on no grid yet, or no longer: nothing to say about its codes
        bits, trace = self.traces.get(weight.name, (quantizer.bits, None))
        known = trace is not None and bits == quantizer.bits
        trace = trace.look(codes, 0.1) if trace is not None and known else Trace.start(codes)
        self.traces[weight.name] = quantizer.bits, trace
        scale = np.asarray(quantizer.grid(real)[0])
        return replace(
            _row(quantizer, step, epoch, weight.name, "weight"),
            low=float(real.min()),
            high=float(real.max()),
            scale_low=float(scale.min()),
            scale_high=float(scale.max()),
            sqnr_db=_sqnr(real, weight.middles(codes, real)),
            changed=float(trace.changed.mean()) if known else NAN,
            turned=float(trace.turned.mean()) if known else NAN,
        )


def _row(quantizer: Any, step: int, epoch: int, name: str, kind: str) -> Row:
    """Who and how, no numbers yet."""
    bits, enabled, frozen = quantizer.bits, quantizer.enabled, quantizer.frozen
    return Row(step, epoch, name, kind, int(bits), int(enabled), int(frozen))


def _sqnr(reference: np.ndarray, candidate: np.ndarray) -> float:
    try:
        return sqnr_db(reference, candidate)
    except DataError:  # NaN or inf in the network: no ratio
        return NAN


class Probe:
    """What leaves the activation quantizers of a model, with quantizers on and off.

    Args:
        model: a functional QAT model.
    """

    def __init__(self, model: Any):
        self.model, self.flow = model, read_flow(model)

    def sqnr(self, data: Any) -> dict[str, float]:
        """Quantizer's name -> dB over all its calls."""
        loud, quiet = (self._run(data, enabled) for enabled in (False, True))
        return {name: _sqnr(loud[name], quiet[name]) for name in loud}

    def _run(self, data: Any, enabled: bool) -> dict[str, np.ndarray]:
        """Every call of the model made once, eagerly; quantizer's name -> its outputs, flat."""
        seen: dict[str, list[np.ndarray]] = {}

        def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            result = node.operation(*args, **kwargs)
            if isinstance(node.operation, Quantizer):
                values = np.asarray(keras.ops.convert_to_numpy(result), np.float32)
                seen.setdefault(node.operation.name, []).append(values.ravel())
            return result

        with switched(self.model, enabled):
            splice(self.flow, keras.tree.map_structure(keras.ops.convert_to_tensor, data), call)
        return {name: np.concatenate(parts) for name, parts in seen.items()}
