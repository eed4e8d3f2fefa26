"""Which dtypes may be fed to which input: widening and checked narrowing, never a silent loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.spec import InputSpec

EXACT_IN_FLOAT32 = 1 << 24  # every integer up to here has its own float32
_LOSSLESS = {"float16": 1 << 11, "float32": EXACT_IN_FLOAT32, "float64": 1 << 53}


def cast(array: np.ndarray, spec: InputSpec, note: Callable[[str], None]) -> np.ndarray:
    """The array in the input's dtype, values unchanged (up to float rounding).

    Args:
        array: any dtype and shape.
        spec: the input it is meant for.
        note: called with a sentence when integers become floats.

    Raises:
        DataError: a cast that would change the values (fractions or range lost, text, objects).
    """
    if spec.is_text:
        if array.dtype.kind not in "SUOT":
            raise _refusal(array, spec, "The input takes text.")
        return array
    target = np.dtype(spec.dtype)
    if array.dtype == target:
        return array
    rule = _RULES.get((_family(array.dtype), _family(target)))
    if rule is None:
        raise _refusal(array, spec, _advice(array.dtype, target))
    rule(array, target, spec)
    if rule is _int_to_float:
        note(_unscaled(spec.name, array.dtype, target))
    return array.astype(target)


@cache  # naming a dtype takes numpy as long as checking an image
def _unscaled(name: str, came: np.dtype, target: np.dtype) -> str:
    return (
        f"input {name}: {came} values are fed as {target}, unscaled. If the model was trained on "
        "scaled ones, give preprocess, such as scale=1/127.5,mean=1."
    )


def _family(dtype: np.dtype) -> str:
    if dtype.kind == "V" and dtype.name == "bfloat16":  # ml_dtypes: float by nature
        return "f"
    return {"f": "f", "i": "i", "u": "i", "b": "b"}.get(dtype.kind, dtype.kind)


def _free(array: np.ndarray, target: np.dtype, spec: InputSpec) -> None:
    """Always exact: bool to any number."""


def _float_to_float(array: np.ndarray, target: np.dtype, spec: InputSpec) -> None:
    if target.itemsize >= array.dtype.itemsize or not array.size:
        return
    top = float(np.finfo(target).max)
    finite = np.abs(array[np.isfinite(array)])
    if finite.size and float(finite.max()) > top:
        raise _refusal(array, spec, f"Values up to {finite.max():.4g} exceed {target} ({top:.4g}).")


def _int_to_int(array: np.ndarray, target: np.dtype, spec: InputSpec) -> None:
    _within(array, int(np.iinfo(target).min), int(np.iinfo(target).max), spec)


def _int_to_float(array: np.ndarray, target: np.dtype, spec: InputSpec) -> None:
    bound = _LOSSLESS.get(target.name, EXACT_IN_FLOAT32)
    _within(array, -bound, bound, spec)


def _within(array: np.ndarray, lo: int, hi: int, spec: InputSpec) -> None:
    if not array.size:
        return
    least, most = int(array.min()), int(array.max())
    if least < lo or most > hi:
        raise _refusal(
            array,
            spec,
            f"Values {least}..{most} do not fit: {spec.dtype} holds {lo}..{hi} exactly.",
        )


_RULES: dict[tuple[str, str], Callable[[np.ndarray, np.dtype, InputSpec], None]] = {
    ("f", "f"): _float_to_float,
    ("i", "i"): _int_to_int,
    ("i", "f"): _int_to_float,
    ("b", "f"): _free,
    ("b", "i"): _free,
}


def _advice(came: np.dtype, target: np.dtype) -> str:
    if _family(came) == "f" and _family(target) == "i":
        return (
            f"Fractions would be lost; if they are whole numbers, pass x.astype({target.name!r})."
        )
    if came.kind == "O":
        return "Python objects (ragged lists, None) are no tensor; give arrays of one shape."
    return "Floats, integers and bools can be cast where no value changes; convert it yourself."


def _refusal(array: np.ndarray, spec: InputSpec, advice: str) -> DataError:
    return DataError(f"dtype {array.dtype} cannot be fed to {spec.name} ({spec.dtype}). {advice}")
