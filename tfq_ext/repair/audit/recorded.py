"""The ranges that TFLiteConverter's own calibrator records, and how the wrong ones came about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfq_ext._optional import SUPPORTED_TENSORFLOW, need
from tfq_ext.emit.quiet import quiet
from tfq_ext.errors import MissingDependency, ModelError
from tfq_ext.repair.audit.values import Leak
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import Range
from tfq_ext.tflite.facts import CONTROL
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import input_tensors

DEPTH = 3  # ops that one buffer may pass through in place
_MODULE = "tensorflow.lite.python.optimize.calibrator"


def record(pivot: Model, samples: Iterable[Sample], *, verbose: bool = False) -> dict[str, Range]:
    """Let TensorFlow's calibrator see the samples and read what it wrote.

    These are the calls of `TFLiteConverter._quantize`, up to its quantizer.

    Args:
        pivot: the float model as it was converted.
        samples: checked ones: an infinity would end the process (tensorflow#120295).
        verbose: print what TensorFlow says.

    Returns:
        Tensor name -> range, widened to contain 0 as the quantizer does.

    Raises:
        MissingDependency: no TensorFlow, or one without this entry point.
        ModelError: the calibrator refuses the model.
    """
    _refuse_what_crashes(pivot)
    with quiet(verbose=verbose):
        module = need(_MODULE, why="Auditing TFLiteConverter's calibrator")
    if not hasattr(module, "add_intermediate_tensors") or not hasattr(module, "Calibrator"):
        raise MissingDependency(
            f"The installed TensorFlow has no {_MODULE}.Calibrator as it was; tfq_ext supports "
            f"TensorFlow {SUPPORTED_TENSORFLOW}."
        )
    try:
        with quiet(verbose=verbose):
            calibrator = module.Calibrator(module.add_intermediate_tensors(pivot.to_bytes()))
            content = calibrator.calibrate(lambda: _fed(pivot, samples))
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"TFLiteConverter's calibrator refuses this model: {error}. `tfq quantize` does not "
            "need it."
        ) from None
    return dict(_ranges(Model.parse(bytes(content), source="the calibrator's result")))


def _refuse_what_crashes(pivot: Model) -> None:
    """TF 2.21's calibrator ends the process on loops and variables: no exception to catch."""
    found = sorted({code for *_, code in pivot.walk() if code in CONTROL})
    if found:
        raise ModelError(
            f"The model has {', '.join(found)}: TFLiteConverter's own calibrator crashes on loops "
            "and variables, so there is nothing to audit. `tfq quantize` treats the rest of it."
        )


def converter_version() -> str:
    """TensorFlow's version, as it says itself."""
    with quiet():
        return str(need("tensorflow", why="Auditing TFLiteConverter's calibrator").__version__)


def _fed(pivot: Model, samples: Iterable[Sample]) -> Iterator[Any]:
    """Samples as a representative_dataset yields them: lists, or (signature, dict) for several."""
    for sample in samples:
        if len(pivot.signatures) > 1 and sample.signature:
            yield sample.signature, dict(sample.inputs)
            continue
        tensors = input_tensors(pivot, sample.signature or None)
        by_tensor = {t: np.asarray(sample.inputs[name]) for name, t in tensors.items()}
        yield [by_tensor[t] for t in pivot.graph_of(sample.signature or None).inputs]


def _ranges(model: Model) -> Iterator[tuple[str, Range]]:
    for graph in model.graphs:
        for t, tensor in enumerate(graph.tensors):
            q = tensor.quantization
            if q is None or q.min is None or q.max is None or not len(q.min) or not len(q.max):
                continue
            lo, hi = float(q.min[0]), float(q.max[0])
            if np.isfinite([lo, hi]).all() and lo <= hi:
                yield graph.name(t), Range.of(lo, hi)


def explain(
    graph: Graph,
    tensor: int,
    given: Range,
    own: Range,
    outputs: Mapping[str, Range],
    labels: Mapping[str, str],
    *,
    tolerance: float,
) -> Leak | None:
    """The nearest op behind `tensor` whose output, joined with its own values, gives `given`.

    An op that works in place writes its output into the buffer of its input, and a calibrator
    that looks at the buffer afterwards takes the output's extremes for the input's.

    Args:
        graph, tensor: the victim.
        given: the range that is too wide.
        own: what it should be.
        outputs: tensor name -> range that may have leaked in.
        labels: short names.
        tolerance: of both ends, as a share of the width.
    """
    reached = [(tensor, own)]
    for _ in range(DEPTH):
        behind = []
        for t, union in reached:
            for code, out in _results(graph, t):
                if graph.name(out) not in outputs:
                    behind.append((out, union))
                    continue
                joined = union | outputs[graph.name(out)]
                if joined != own and _alike(joined, given, tolerance):
                    name = graph.name(out)
                    return Leak(code, name, labels.get(name, name))
                behind.append((out, joined))
        reached = behind
    return None


def _results(graph: Graph, tensor: int) -> Iterator[tuple[str, int]]:
    for k in graph.consumers.get(tensor, ()):
        op = graph.ops[k]
        yield from ((graph.code(op), int(o)) for o in op.outputs if graph.dtype(o) == "float32")


def _alike(a: Range, b: Range, tolerance: float) -> bool:
    slack = tolerance * max(a.width, b.width)
    return abs(a.min - b.min) <= slack and abs(a.max - b.max) <= slack
