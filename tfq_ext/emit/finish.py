"""Integers and ranges into the pivot, then TensorFlow's own quantizer makes integer kernels."""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import SUPPORTED_TENSORFLOW, need
from tfq_ext.emit.disguise import disguise, reveal
from tfq_ext.emit.names import END, mark, unmark
from tfq_ext.emit.patched.io import retype
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.quiet import quiet
from tfq_ext.emit.result import Emitted
from tfq_ext.errors import EmissionError, MissingDependency
from tfq_ext.tflite import patch
from tfq_ext.tflite.passes.untie import duplicate
from tfq_ext.tflite.read import Graph, Model


def emit(pivot: Model, plan: Plan) -> Emitted:
    """Write the plan into a copy of the pivot and finish it as an int8 file.

    Ranges go where TFLiteConverter's calibrator would have put them (min/max of each
    activation); weights become constants of codes followed by DEQUANTIZE, which the quantizer
    folds without touching the codes.

    Raises:
        EmissionError: TensorFlow's quantizer refused the graph.
        MissingDependency: no TensorFlow, or one whose private entry point has moved.
    """
    model = annotate(pivot, plan)
    turned = disguise(model, plan.keep_float)
    mark(model)
    content = mlir_quantize(model.to_bytes(), {name + END for name in plan.keep_float})
    file = Model.parse(content, source="the emitted file")
    unmark(file)
    if turned:
        reveal(file)
    return Emitted(retype(file.to_bytes(), plan.input_type, plan.output_type))


def annotate(pivot: Model, plan: Plan) -> Model:
    """A copy of the pivot that carries the plan's codes and ranges."""
    model = pivot.copy()
    for graph in model.graphs:
        for name, codes in plan.weights.items():
            tensor = graph.by_name.get(name)
            if tensor is not None and graph.is_constant(tensor):
                _spare_float_readers(graph, tensor, plan)
                patch.dequantize_weight(
                    graph, tensor, codes.codes, codes.params, dtype=codes.stored
                )
        for name, r in plan.ranges.items():
            tensor = graph.by_name.get(name)
            if tensor is not None:
                patch.set_range(graph, tensor, r)
    return model


def _spare_float_readers(graph: Graph, tensor: int, plan: Plan) -> None:
    """Ops that are kept float read the float weight even where integer ops share it."""
    kept = [
        graph.ops[k]
        for k in graph.consumers.get(tensor, ())
        if graph.name(graph.ops[k].outputs[0]) in plan.keep_float
    ]
    if kept:
        twin = duplicate(graph, tensor)
        for op in kept:
            patch.replace_input(op, tensor, twin)
        graph.changed()


def mlir_quantize(content: bytes, keep_float: Any = ()) -> bytes:
    """TFLiteConverter's finisher on a float flatbuffer that carries ranges; float inputs/outputs.

    Args:
        content: the annotated flatbuffer.
        keep_float: output tensor names of the ops that shall stay float.
    """
    with quiet():  # TensorFlow's banner, where this is its first import
        convert = need("tensorflow.lite.python.convert", why="Emitting an int8 file")
    if not hasattr(convert, "mlir_quantize"):
        raise MissingDependency(
            "The installed TensorFlow has no tensorflow.lite.python.convert.mlir_quantize; "
            f"tfq_ext supports TensorFlow {SUPPORTED_TENSORFLOW}."
        )
    try:
        with quiet() as said:
            return bytes(convert.mlir_quantize(content, denylisted_nodes=set(keep_float) or None))
    except Exception as error:  # ConverterError, RuntimeError, TypeError after a version change
        detail = str(error).strip().splitlines()
        raise EmissionError(
            "TensorFlow's quantizer refused the annotated model: "
            f"{detail[0] if detail else type(error).__name__} {_last_error(said.text)}"
            "Keep the op that it names float with a recipe rule (keep_float = true)."
        ) from None


def _last_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if "error:" in line.lower()]
    return f"({lines[-1][:300]}) " if lines else ""
