"""From the attributes of a TFLiteConverter to the mode that they ask for: one table.

Source: `QuantizationMode` in tensorflow/lite/python/lite.py, TensorFlow 2.18 to 2.21.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfq_ext._optional import need

INT8_OPS = "TFLITE_BUILTINS_INT8"
INT16_OPS = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
FLOAT_OPS = frozenset({"TFLITE_BUILTINS", "SELECT_TF_OPS"})
QUANTIZE = frozenset({"DEFAULT", "OPTIMIZE_FOR_SIZE", "OPTIMIZE_FOR_LATENCY"})
BYTES = {"int8": 1, "uint8": 1, "int16": 2, "float16": 2, "bfloat16": 2}  # all others: more


@dataclass(frozen=True)
class Asked:
    """What the attributes say, as plain names.

    Args:
        optimizations: names of `tf.lite.Optimize`.
        ops: names of `tf.lite.OpsSet`.
        types: names of `target_spec.supported_types`.
        input_type, output_type: of the file's inputs and outputs.
        has_data: a representative dataset is set.
    """

    optimizations: frozenset[str]
    ops: frozenset[str]
    types: frozenset[str]
    input_type: str
    output_type: str
    has_data: bool

    @classmethod
    def of(cls, settings: Any) -> Asked:
        """Read a TFLiteConverter.

        Raises:
            TypeError, AttributeError: values that TFLiteConverter would not take either.
        """
        as_dtype = need("tensorflow", why="TFLiteConverter").as_dtype
        spec = settings.target_spec
        return cls(
            frozenset(o.name for o in settings.optimizations),
            frozenset(o.name for o in spec.supported_ops),
            frozenset(as_dtype(t).name for t in spec.supported_types),
            as_dtype(settings.inference_input_type).name,
            as_dtype(settings.inference_output_type).name,
            settings.representative_dataset is not None,
        )

    @property
    def quantizes(self) -> bool:
        """Is any optimization on that quantizes?"""
        return bool(self.optimizations & QUANTIZE)

    @property
    def allows_float(self) -> bool:
        """May ops stay float? supported_types = {int8} means builtin int8 ops only."""
        return self.types != {"int8"} and bool(self.ops & FLOAT_OPS)

    @property
    def wants_int8(self) -> bool:
        """Are int8 ops asked for by name?"""
        return INT8_OPS in self.ops or self.types == {"int8"}

    @property
    def wants_int16(self) -> bool:
        """Are 16-bit activations asked for?"""
        return INT16_OPS in self.ops and self.types != {"int8"}

    @property
    def smallest(self) -> int:
        """Bytes of the smallest supported type; nothing said means int8."""
        return min((BYTES.get(t, 4) for t in self.types), default=1)

    @property
    def contradicts(self) -> bool:
        """int8 ops without data, or with other types: TFLiteConverter raises ValueError."""
        if not self.wants_int8:
            return False
        return not self.has_data or (self.ops == {INT8_OPS} and not self.types <= {"int8"})

    @property
    def is_int8(self) -> bool:
        """Integer activations of 8 bits, with or without float ops beside them."""
        return self.has_data and (self.smallest == 1 if self.allows_float else self.wants_int8)


@dataclass(frozen=True)
class Mode:
    """One kind of file.

    Args:
        name: for messages, and the key into `METADATA`.
        asked: recognises it.
        recipe: our preset for it; None: the plain converter's business.
        io: types that inputs and outputs may have.
        why: for the warning, where the plain converter does what we do not.
    """

    name: str
    asked: Callable[[Asked], bool]
    recipe: str | None = None
    io: tuple[str, ...] = ("float32",)
    why: str = ""


REFUSED = Mode("refused", lambda a: True)  # TFLiteConverter raises, and says it best
# Read from the top; the order is that of QuantizationMode.converter_flags.
MODES: tuple[Mode, ...] = (
    Mode("refused", lambda a: a.contradicts),
    Mode("float", lambda a: not a.quantizes),
    Mode(
        "sparse",
        lambda a: "EXPERIMENTAL_SPARSITY" in a.optimizations,
        io=("float32", "int8", "uint8", "int16"),
        why="EXPERIMENTAL_SPARSITY encodes pruned weights, which tfq_ext does not",
    ),
    Mode("int16x8", lambda a: a.has_data and a.wants_int16, "int16x8", ("float32", "int16")),
    Mode("int8", lambda a: a.is_int8, "int8", ("float32", "int8", "uint8")),
    Mode("dynamic", lambda a: not a.has_data and a.smallest == 1, "dynamic"),
    Mode("fp16", lambda a: a.smallest == 2 and "float16" in a.types, "fp16"),
    Mode(
        "bfloat16",
        lambda a: a.smallest == 2 and "bfloat16" in a.types,
        why="supported_types holds bfloat16, which tfq_ext does not write",
    ),
    Mode("float", lambda a: True),
)
_INT16_BORDER = Mode(
    "int8", lambda a: True, why="an int8 file with int16 inputs or outputs is not what tfq_ext has"
)


def mode_of(asked: Asked) -> Mode:
    """The mode that the attributes ask for."""
    mode = next(m for m in MODES if m.asked(asked))
    border = {asked.input_type, asked.output_type}
    if border <= set(mode.io):
        return mode
    takes_int16 = mode.name == "int8" and border <= {*mode.io, "int16"}
    return _INT16_BORDER if takes_int16 else REFUSED


@dataclass(frozen=True)
class Extra:
    """An attribute that we do not follow, unless it has its usual value.

    Args:
        name: of the attribute; a dot goes into `target_spec`.
        usual: value that changes nothing.
        modes: where it matters; empty: everywhere.
    """

    name: str
    usual: object
    modes: tuple[str, ...] = ()


EXTRAS: tuple[Extra, ...] = (
    Extra("_experimental_calibrate_only", False, ("int8", "int16x8")),
    Extra("experimental_new_quantizer", True, ("int8", "int16x8")),
    Extra("experimental_use_stablehlo_quantizer", False),
    Extra("_experimental_quantization_options", None),
    Extra("_experimental_variable_quantization", False, ("int8", "int16x8")),
    Extra("_experimental_full_integer_quantization_bias_type", None),
    Extra("_experimental_strict_qdq", False),
    Extra("_experimental_qdq_conversion_mode", None),
    Extra("_experimental_use_buffer_offset", False),
    Extra("_experimental_sparsify_model", False),
    Extra("target_spec._experimental_supported_accumulation_type", None, ("fp16",)),
)


def unfollowed(settings: Any, mode: str) -> list[str]:
    """ "name = value" of every attribute that asks for something that we do not do."""
    found = []
    for extra in EXTRAS:
        value = settings
        for part in extra.name.split("."):
            value = getattr(value, part, extra.usual)
        if value != extra.usual and (not extra.modes or mode in extra.modes):
            found.append(f"{extra.name} = {value!r}")
    return found
