"""Integer kernels without TensorFlow: int16x8, int8, and float beside them in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.emit.patched import edit
from tfq_ext.emit.patched.assign import Node, assign, pinned
from tfq_ext.emit.patched.io import retype_model
from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.emit.patched.treat import Treatment, note, treat
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.emit.result import Emitted, Note
from tfq_ext.spec import QParams, round_half_away
from tfq_ext.tflite import patch
from tfq_ext.tflite.facts import SAME_GRID, WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph, Model

# activations -> (bias type, largest bias code); the accumulator is 32 or 64 bits wide
_BIAS = {"int8": ("int32", 2**31 - 1), "int16": ("int64", 2**62)}
_INT4_VERSION = {
    ("FULLY_CONNECTED", "int8"): 10,
    ("FULLY_CONNECTED", "int16"): 13,
    ("CONV_2D", "int8"): 7,
    ("CONV_2D", "int16"): 8,
    ("DEPTHWISE_CONV_2D", "int8"): 7,
}


def emit(pivot: Model, plan: Plan) -> Emitted:
    """Write the plan as integer ops; activations of `plan.int16` ops 16 bits, the rest 8.

    An op without a kernel, codes or ranges stays float between DEQUANTIZE and QUANTIZE, with a
    row that says why. Tensors keep their names; where one exists in two types the second is
    called name/int8, name/int16 or name/float32.

    Args:
        pivot: float model, not changed.
        plan: codes, ranges, and which op gets which type.

    Returns:
        The file, and the ops left float.
    """
    model = pivot.copy()
    notes: list[Note] = []
    names: list[tuple[Graph, int, str]] = []
    for graph in model.graphs:
        treatment = treat(graph, plan)
        grids, treatment = assign(graph, treatment, plan)
        rewrite = Rewrite(graph, plan, treatment, grids)
        rewrite.run()
        notes += [*treatment.notes, *rewrite.notes]
        names += rewrite.names
    notes += retype_model(model, plan.input_type, plan.output_type)
    edit.sweep(model, names)
    return Emitted(model.to_bytes(), tuple(notes))


@dataclass
class Rewrite:
    """One subgraph on its way from float to integers; ops are handled in execution order.

    `home` is the type in which a tensor is first written, `made` the index of each (tensor,
    type) that exists so far, `names` what constants may be called after the sweep.
    """

    graph: Graph
    plan: Plan
    treatment: Treatment
    grids: Mapping[Node, QParams]
    notes: list[Note] = field(default_factory=list)
    names: list[tuple[Graph, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pins = pinned(self.graph, self.treatment, self.plan)
        self.faces = set(self.graph.inputs) | set(self.graph.outputs)  # float at the border
        count = range(len(self.graph.tensors))
        self.real = {t for t in count if self.graph.dtype(t) == "float32"}  # in the pivot
        self.home: dict[int, str] = {}
        self.made: dict[Node, int] = {}
        self.constants: dict[object, int] = {}
        self.position = 0

    def run(self) -> None:
        """Rewrite every op, then bring the subgraph's outputs back to float."""
        ops = list(enumerate(self.graph.ops))
        for k, op in ops:
            self.position = next(i for i, o in enumerate(self.graph.ops) if o is op)
            dtype = self.treatment.dtype.get(k)
            if dtype is None:
                op.inputs = [self.version(int(t), "float32") for t in op.inputs]
            else:
                self.integer_op(op, dtype)
        self.position = len(self.graph.ops)
        for tensor in self.graph.outputs:
            self.version(tensor, "float32")
        self.graph.changed()

    def version(self, tensor: int, dtype: str) -> int:
        """Index of `tensor` in type `dtype`, converting right before the current op if needed."""
        home = self.home.get(tensor, "float32")
        if tensor < 0 or (home == "float32" and dtype == "float32"):
            return tensor
        if (tensor, dtype) not in self.made:
            source = self.made[tensor, home] if home != "float32" else tensor
            target = self.make(tensor, dtype)
            convert = edit.dequantize if dtype == "float32" else edit.quantize
            convert(self.graph, self.position, source, target)
            self.position += 1
        return self.made[tensor, dtype]

    def make(self, tensor: int, dtype: str) -> int:
        """The tensor that shall hold `tensor` in type `dtype`: itself if nothing else may be."""
        own = "float32" if tensor in self.faces else self.home.get(tensor, "float32")
        index = tensor
        if dtype != own:
            index = patch.like(self.graph, tensor, f"/{dtype}", dtype=dtype)
        if dtype != "float32":
            patch.set_params(self.graph, index, dtype, self.grids[tensor, dtype])
        self.made[tensor, dtype] = index
        return index

    def integer_op(self, op: Any, dtype: str) -> None:
        """Rewrite inputs, outputs, version and options of one op."""
        graph, code = self.graph, self.graph.code(op)
        fact = WEIGHTS.get(code)
        skipped = () if fact is None else (fact.weight, fact.bias)
        inputs = [int(t) for t in op.inputs]
        for k, tensor in enumerate(inputs):
            if k in skipped or tensor not in self.real:
                continue
            if graph.is_constant(tensor):
                inputs[k] = self.constant(op, tensor, dtype)
            else:
                inputs[k] = self.version(tensor, dtype)
        version = KERNELS[code].version(dtype) or 1
        if fact is not None:
            inputs, version = self.weighted(op, fact, inputs, dtype, version)
        op.inputs = inputs
        op.outputs = [self.output(op, int(t), dtype) for t in op.outputs]
        edit.set_version(graph.model, op, code, version)
        if hasattr(op.builtinOptions, "potScaleInt16"):
            op.builtinOptions.potScaleInt16 = False  # else scales must be powers of two

    def output(self, op: Any, tensor: int, dtype: str) -> int:
        """Where the op writes: its tensor, or a pinned one that is requantized into it."""
        if tensor not in self.real:
            return tensor
        self.home[tensor] = dtype
        home = self.make(tensor, dtype)
        pin_type, pin = self.pins.get(tensor, (dtype, self.grids[tensor, dtype]))
        grid = self.grids[tensor, dtype]
        if pin_type == dtype and pin.scale == grid.scale and pin.zero_point == grid.zero_point:
            return home
        raw = patch.like(self.graph, tensor, "/prescribed", dtype=pin_type)
        patch.set_params(self.graph, raw, pin_type, pin)
        after = next(i for i, o in enumerate(self.graph.ops) if o is op) + 1
        edit.quantize(self.graph, after, raw, home)
        return raw

    def constant(self, op: Any, tensor: int, dtype: str) -> int:
        """An operand's constant as codes: the chosen ones, else on its group's grid."""
        graph, code = self.graph, self.graph.code(op)
        chosen = self.plan.weights.get(graph.name(tensor))
        if chosen is not None and code == "GATHER":
            return self._store(tensor, "int8", chosen.codes, chosen.params)
        if chosen is not None and code not in SAME_GRID:
            return self._store(tensor, dtype, chosen.codes, chosen.params)
        if chosen is not None:
            why = f"the codes of {graph.name(tensor)} are not used: {code} wants one shared grid"
            self.notes.append(note(graph, op, why))
        owner = int(op.outputs[0]) if KERNELS[code].clips else tensor
        grid = self.grids[owner, dtype]
        bounds = grid.range  # encode would turn an infinite value into a warning
        values = np.clip(np.asarray(graph.constant(tensor)), bounds.min, bounds.max)
        return self._store(tensor, dtype, grid.encode(values), grid)

    def _store(self, tensor: int, dtype: str, codes: np.ndarray, params: QParams) -> int:
        key = (tensor, dtype, params.scale.tobytes(), params.zero_point.tobytes())
        if key not in self.constants:
            new = edit.store_codes(self.graph, tensor, f"/{dtype}", dtype, codes, params)
            self.constants[key] = new
            self.names.append((self.graph, new, self.graph.name(tensor)))
        return self.constants[key]

    def weighted(
        self, op: Any, fact: WeightFact, inputs: list[int], dtype: str, version: int
    ) -> tuple[list[int], int]:
        """Codes for the weight, and the bias on the accumulator's grid s_x s_w."""
        code = self.graph.code(op)
        weight, s_x = inputs[fact.weight], self.grids[int(op.inputs[fact.data]), dtype].scale
        chosen = self.plan.weights[self.graph.name(weight)]
        stored = chosen.stored
        if stored == "int4":
            if (code, dtype) in _INT4_VERSION:
                version = _INT4_VERSION[code, dtype]
            else:
                stored = "int8"
                why = f"{code} with {dtype} activations has no int4 kernel: codes stored as int8"
                self.notes.append(note(self.graph, op, why))
        inputs[fact.weight] = self._store(weight, stored, chosen.codes, chosen.params)
        if fact.bias is not None and len(inputs) > fact.bias and inputs[fact.bias] >= 0:
            inputs[fact.bias] = self._bias(op, inputs[fact.bias], float(s_x), chosen, dtype)
        return inputs, version

    def _bias(self, op: Any, bias: int, s_x: float, weight: WeightCodes, dtype: str) -> int:
        """Bias codes round(b / (s_x s_w)), one scale per channel as the weight has."""
        values = self.graph.constant(bias)
        assert values is not None
        stored, limit = _BIAS[dtype]
        s = np.float32(s_x) * weight.params.scale
        exact = round_half_away(values.astype(np.float64) / s.astype(np.float64))
        lost = int(np.sum(np.abs(exact) > limit))
        if lost:
            why = f"{lost} bias codes exceed {stored} (near-dead channels) and are clipped"
            self.notes.append(note(self.graph, op, why))
        codes = np.clip(exact, -limit, limit).astype(np.int64)
        key = (bias, stored, s.tobytes())
        if key not in self.constants:
            new = edit.store_codes(self.graph, bias, f"/{stored}", stored, codes, None)
            self.graph.tensors[new].quantization = _bias_quantization(s)
            self.constants[key] = new
            self.names.append((self.graph, new, self.graph.name(bias)))
        return self.constants[key]


def _bias_quantization(scale: np.ndarray) -> Any:
    """Scales of a bias; QParams does not apply, its codes have 32 or 64 bits."""
    q = schema.QuantizationParametersT()
    q.scale = [float(s) for s in np.atleast_1d(scale)]
    q.zeroPoint = [0] * len(q.scale)
    q.quantizedDimension = 0
    return q
