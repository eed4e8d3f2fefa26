"""The table of emitters: (pivot, plan) to a finished file, and how each is read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from tfq_ext._table import Table
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.result import Emitted
from tfq_ext.tflite.read import Model

Emit = Callable[..., Emitted]


@dataclass(frozen=True)
class Emitter:
    """One way to make a file.

    Args:
        where: "module:function", imported on first use.
        static: activations are integers in the file, so that grids are read back too.
        tensorflow: needs TensorFlow.
        doc: one line.
    """

    where: str
    static: bool
    tensorflow: bool
    doc: str

    def load(self) -> Emit:
        """The function emit(pivot, plan) -> Emitted."""
        module, _, name = self.where.partition(":")
        function: Emit = getattr(import_module(f"tfq_ext.emit.{module}"), name)
        return function


EMITTERS: Table[Emitter] = Table(
    "emitter",
    {
        "mlir": Emitter("finish:emit", True, True, "int8 by TensorFlow's own quantizer"),
        "patched": Emitter("patched.static:emit", True, False, "int8, int16x8 and mixed"),
        "dynamic": Emitter("patched.constants:emit_dynamic", False, False, "hybrid kernels"),
        "weight_only": Emitter(
            "patched.constants:emit_weight_only", False, False, "integer constants, float kernels"
        ),
        "fp16": Emitter("patched.constants:emit_fp16", False, False, "float16 constants"),
        "simulate": Emitter("simulate:emit", False, False, "FAKE_QUANT ops in the float model"),
    },
)


def emitter_for(mode: str, plan: Plan) -> str:
    """Name of the emitter for a recipe's mode.

    Static int8 goes through TensorFlow's quantizer; 16-bit activations, and machines without
    TensorFlow, through our own patch of the same flatbuffer.
    """
    if mode != "static":
        return mode
    return "patched" if plan.int16 or find_spec("tensorflow") is None else "mlir"


def emit(name: str, pivot: Model, plan: Plan, **options: object) -> Emitted:
    """Run one emitter."""
    return EMITTERS[name].load()(pivot, plan, **options)
