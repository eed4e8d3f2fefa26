"""What one model input accepts, and one sample that is ready for the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfq_ext.errors import DataError

STRINGS = frozenset({"string", "str", "bytes", "bytes_", "object", "object_", "S", "|S0", "|O"})


@dataclass(frozen=True)
class InputSpec:
    """One input of the model.

    Args:
        name: as the model's signature (or tensor) calls it.
        shape: with the batch axis first; -1 is an axis that the caller may choose.
        dtype: numpy name ("float32", "int32", ...), or "string".
        signature: the signature that this input belongs to; "" when the model has only one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    signature: str = ""

    def __post_init__(self) -> None:
        if any(axis < -1 for axis in self.shape):
            raise DataError(f"Input {self.name}: shape {self.shape}; axes are >= 0, or -1 (free).")
        try:
            _ = self.is_text or np.dtype(self.dtype)
        except TypeError:
            raise DataError(f"Input {self.name}: {self.dtype!r} is no numpy dtype.") from None

    @property
    def is_text(self) -> bool:
        """Whether the input holds strings."""
        return self.dtype in STRINGS

    @property
    def is_image(self) -> bool:
        """Whether preprocessing of pixels can apply: four axes, numbers."""
        return len(self.shape) == 4 and not self.is_text

    @property
    def batch(self) -> int:
        """Rows of one sample: the fixed batch, else 1."""
        return max(self.shape[0], 1) if self.shape else 1

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape (batch axis included) can be fed."""
        return len(shape) == len(self.shape) and _agree(self.shape, shape)

    def fits_row(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is one sample without its batch axis."""
        return len(shape) == len(self.shape) - 1 and _agree(self.shape[1:], shape)


@dataclass(frozen=True, eq=False)
class Sample:
    """One call of the model.

    Args:
        key: position in the whole source, before any limit, shuffle or split.
        inputs: every input of one signature by name, with the batch axis.
        signature: which signature; "" for the only one.
        label: whatever the source knows about the truth; an array when the batch is over 1.
    """

    key: int
    inputs: Mapping[str, np.ndarray]
    signature: str = ""
    label: object | None = None


def owned(sample: Sample) -> Sample:
    """A copy that stays what it is when a generator fills the same array again."""
    inputs = {name: np.array(values) for name, values in sample.inputs.items()}
    return replace(sample, inputs=inputs)


def by_signature(inputs: Sequence[InputSpec]) -> dict[str, tuple[InputSpec, ...]]:
    """The inputs grouped by signature, both in the order given."""
    groups: dict[str, list[InputSpec]] = {}
    for spec in inputs:
        groups.setdefault(spec.signature, []).append(spec)
    return {name: tuple(specs) for name, specs in groups.items()}


def common_batch(specs: Sequence[InputSpec]) -> int | None:
    """The batch that all inputs share (a free axis counts as 1), None if they differ."""
    sizes = {spec.batch for spec in specs if spec.shape}
    return sizes.pop() if len(sizes) == 1 else None if sizes else 1


def describe(specs: Sequence[InputSpec]) -> str:
    """The inputs as error messages show them: `image float32 (1, 224, 224, 3)`."""
    return ", ".join(f"{spec.name} {spec.dtype} {show_shape(spec.shape)}" for spec in specs)


def show_shape(shape: Sequence[int]) -> str:
    """A shape with `?` for free axes."""
    axes = ["?" if axis < 0 else str(axis) for axis in shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _agree(wanted: Sequence[int], shape: Sequence[int]) -> bool:
    return all(w in (-1, s) for w, s in zip(wanted, shape, strict=True))
