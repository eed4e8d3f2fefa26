"""What is verified on every sample before native code sees it, and what is watched over a pass."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples.cast import cast
from tfq_ext.samples.preprocess import Preprocess
from tfq_ext.samples.spec import InputSpec, Sample, describe, show_shape


def checked(
    sample: Sample,
    specs: Sequence[InputSpec],
    preprocess: Preprocess | None,
    note: Callable[[str], None],
) -> Sample:
    """The sample with every input preprocessed, cast and found feedable.

    Args:
        sample: as it came from the source.
        specs: the inputs of the sample's signature.
        preprocess: its map of values is applied to image inputs; None leaves values alone.
        note: takes remarks that are worth a line in the report.

    Raises:
        DataError: names the sample's key, the input, and what to do.
    """
    names = {spec.name for spec in specs}
    if names != set(sample.inputs):
        raise DataError(
            f"Sample {sample.key} has inputs {sorted(sample.inputs)}; "
            f"the model takes {describe(specs)}."
        )
    ready = {}
    for spec in specs:
        try:
            ready[spec.name] = _input(sample.inputs[spec.name], spec, preprocess, note)
        except DataError as error:
            raise DataError(f"Sample {sample.key}, input {spec.name}: {error}") from None
    return replace(sample, inputs=ready)


def _input(
    array: np.ndarray, spec: InputSpec, pre: Preprocess | None, note: Callable[[str], None]
) -> np.ndarray:
    if not spec.fits(array.shape):
        raise DataError(explain(array.shape, spec))
    if array.size == 0:
        raise DataError(f"empty, shape {array.shape}; every axis must have at least one element.")
    if pre is not None and spec.is_image:
        array = pre.values(array, axis=pre.channel_axis(spec.shape), dtype=spec.dtype)
    array = cast(array, spec, note)
    finite(array)
    return np.ascontiguousarray(array) if array.ndim else array


def finite(array: np.ndarray) -> None:
    """Refuse NaN and infinity: the converter's calibrator crashes on -inf (tensorflow#120295)."""
    if array.dtype.kind != "f":
        return
    good = np.isfinite(array)
    if good.all():
        return
    nan = int(np.isnan(array).sum())
    infinite = int(good.size - good.sum()) - nan
    where = tuple(int(axis[0]) for axis in np.nonzero(~good))
    raise DataError(
        f"{nan} NaN and {infinite} infinite of {array.size} values, the first at index {where}. "
        "Clean the data (np.isfinite tells which) or drop the sample."
    )


def explain(shape: tuple[int, ...], spec: InputSpec) -> str:
    """Why an array of this shape cannot be fed, with the likely remedy."""
    remedy = next(text for applies, text in _REMEDIES if applies(shape, spec))
    return f"shape {show_shape(shape)} came, {show_shape(spec.shape)} is expected. {remedy}"


def _lacks_channel(shape: tuple[int, ...], spec: InputSpec) -> bool:
    return bool(spec.shape) and spec.shape[-1] == 1 and spec.fits((*shape, 1))


def _rows_lack_channel(shape: tuple[int, ...], spec: InputSpec) -> bool:
    return bool(shape and spec.shape) and spec.shape[-1] == 1 and spec.fits_row((*shape[1:], 1))


def _moved(shape: tuple[int, ...], spec: InputSpec, source: int, target: int) -> bool:
    if len(shape) < 3 or len(shape) not in (len(spec.shape), len(spec.shape) - 1):
        return False
    axes = list(shape[-3:])
    axes.insert(target % 3, axes.pop(source % 3))
    return spec.fits_row(tuple(axes)) and not spec.fits_row(tuple(shape[-3:]))


def _other_size(shape: tuple[int, ...], spec: InputSpec) -> bool:
    return spec.is_image and len(shape) in (3, 4) and shape[-1] == spec.shape[-1]


_REMEDIES: tuple[tuple[Callable[[tuple[int, ...], InputSpec], bool], str], ...] = (
    (_lacks_channel, "The channel axis is missing: pass x[..., None]."),
    (_rows_lack_channel, "The channel axis is missing: pass x[..., None]."),
    (lambda s, i: i.fits_row(s), "The batch axis is missing: pass x[None]."),
    (lambda s, i: _moved(s, i, -3, -1), "It looks channels first: pass np.moveaxis(x, -3, -1)."),
    (lambda s, i: _moved(s, i, -1, -3), "It looks channels last: pass np.moveaxis(x, -1, -3)."),
    (_other_size, "The image size differs: resize or crop to the model's height and width."),
    (lambda s, i: True, "The first axis counts samples; the others must equal the model's."),
)


@dataclass
class Account:
    """Remarks on one source: notes are kept for the report, warnings are given once."""

    notes: dict[str, None] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Remember a remark, once."""
        self.notes[text] = None

    def warn(self, text: str) -> None:
        """Give a warning, once."""
        if text not in self.warned:
            self.warned.add(text)
            warnings.warn(text, TfqWarning, stacklevel=3)


@dataclass
class Watch:
    """Notices, over one pass, inputs without variation: blank images, one sample repeated."""

    samples: int = 0
    constant: dict[str, int] = field(default_factory=dict)  # float inputs: samples of one value
    identical: bool = True
    _first: int | None = None

    def see(self, sample: Sample) -> None:
        """Take one checked sample into account."""
        self.samples += 1
        for name, array in sample.inputs.items():
            if array.dtype.kind == "f" and array.size > 1:
                flat = bool(array.min() == array.max())
                self.constant[name] = self.constant.get(name, 0) + flat
        if self.identical:
            mark = _checksum(sample.inputs)
            self._first = mark if self._first is None else self._first
            self.identical = mark == self._first

    def report(self, account: Account) -> None:
        """Say at the end of a pass what was found."""
        n = self.samples
        if n > 1 and self.identical:
            account.warn(f"All {n} samples are identical: the data teach nothing beyond the first.")
        for name, count in self.constant.items():
            text = f"Input {name} is constant (one value everywhere) in {count} of {n} samples"
            if count == n:
                account.warn(f"{text}: blank images, or a decoder that failed? Ranges mean little.")
            elif count:
                account.note(f"{text}.")


def _checksum(inputs: Mapping[str, np.ndarray]) -> int:
    mark = 0
    for array in inputs.values():
        mark = zlib.crc32(repr(array.shape).encode(), mark)
        data = repr(array.tolist()).encode() if array.dtype.kind in "OT" else array.tobytes()
        mark = zlib.crc32(data, mark)
    return mark
