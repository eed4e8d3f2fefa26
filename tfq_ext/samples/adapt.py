"""From what people yield (list, tuple, dict, pair with a signature, bare array) to samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples.spec import InputSpec, Sample, by_signature, common_batch, describe

Groups = Mapping[str, tuple[InputSpec, ...]]


@dataclass(frozen=True)
class Item:
    """One item of a source, its parts named: arrays as they came, batch axis or not."""

    signature: str
    arrays: Mapping[str, np.ndarray]
    label: object | None = None


def samples_of(
    items: Iterable[object], inputs: Sequence[InputSpec], *, split: bool, what: str
) -> Iterator[Sample]:
    """Samples in order, keys counting from 0.

    Args:
        items: what the user's source yields.
        inputs: the model's.
        split: take batches apart where the model's batch axis is free (tf.data, PyDataset);
            else an item that fits is one call of the model, as TFLiteConverter has it.
        what: the source, for messages.
    """
    groups, key = by_signature(inputs), 0
    waiting: dict[str, list[Item]] = {}
    for number, value in enumerate(items):
        try:
            item = unpack(value, groups)
        except DataError as error:
            raise DataError(f"Item {number} of {what}: {error}") from None
        for whole in _whole(item, groups[item.signature], split, waiting):
            yield Sample(key, whole.arrays, whole.signature, whole.label)
            key += 1
    _leftover(waiting, groups, key, what)


def unpack(value: object, groups: Groups) -> Item:
    """Name the parts of one item.

    A tuple is `(signature, {name: array})`, or the model's inputs in order if there are as many
    (and more than one), else Keras' `(x, y)` or `(x, y, weights)`, of which y is the label.

    Raises:
        DataError: the parts do not match the model's inputs.
    """
    if pair := _signature_pair(value):
        return _named(pair[1], pair[0], None, groups)
    label = None
    if isinstance(value, tuple) and _is_labelled(value, groups):
        value, label = value[:2]
    if isinstance(value, Mapping):
        return _named(value, None, label, groups)
    return _positional(value, label, groups)


def array_of(value: object, name: str) -> np.ndarray:
    """The value as an array; tensors of TensorFlow, PyTorch or JAX included."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"input {name}: {type(value).__name__} is no array of one shape ({error}). "
            "Give a numpy array, or something that np.asarray takes."
        ) from None


def warn_of_rest(rest: int, batch: int, made: int, what: str) -> None:
    """Warn of rows that do not fill a fixed batch; refuse if there is no other sample."""
    text = f"{what}: the last {rest} row(s) do not fill the model's batch of {batch}"
    if rest and not made:
        raise DataError(f"{text}; give at least {batch} rows.")
    if rest:
        warnings.warn(f"{text} and are left out.", TfqWarning, stacklevel=4)


def _signature_pair(value: object) -> tuple[str | None, Mapping] | None:
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    signature, mapping = value
    named = signature is None or isinstance(signature, str)
    return (signature, mapping) if named and isinstance(mapping, Mapping) else None


def _is_labelled(value: tuple, groups: Groups) -> bool:
    if len(value) not in (2, 3):
        return False
    wanted = len(next(iter(groups.values()))) if len(groups) == 1 else 0
    return len(value) != wanted or isinstance(value[0], Mapping | list | tuple)


def _named(mapping: Mapping, signature: str | None, label: object, groups: Groups) -> Item:
    if signature is None:
        signature = _signature_for(mapping, groups)
    elif signature not in groups:
        known = ", ".join(map(repr, groups))
        if set(groups) != {""}:  # a model with one signature may leave it unnamed
            raise DataError(f"signature {signature!r} came; the model has {known}.")
        signature = ""
    return Item(signature, _match_names(mapping, groups[signature]), label)


def _signature_for(mapping: Mapping, groups: Groups) -> str:
    if len(groups) == 1:
        return next(iter(groups))
    plain = {_short(str(name)) for name in mapping}
    fits = [key for key, specs in groups.items() if {_short(s.name) for s in specs} == plain]
    if len(fits) != 1:
        known = "; ".join(f"{key!r}: {describe(specs)}" for key, specs in groups.items())
        raise DataError(
            f"inputs {sorted(mapping)} fit {len(fits)} of the model's signatures ({known}). "
            "Yield (signature, {name: array})."
        )
    return fits[0]


def _match_names(mapping: Mapping, specs: Sequence[InputSpec]) -> dict[str, np.ndarray]:
    by_short = {_short(str(name)): value for name, value in mapping.items()}
    arrays = {}
    for spec in specs:
        if spec.name not in mapping and _short(spec.name) not in by_short:
            raise DataError(
                f"no array for input {spec.name!r} among {sorted(map(str, mapping))}. "
                f"The model takes {describe(specs)}."
            )
        value = mapping[spec.name] if spec.name in mapping else by_short[_short(spec.name)]
        arrays[spec.name] = array_of(value, spec.name)
    extra = {_short(str(name)) for name in mapping} - {_short(spec.name) for spec in specs}
    if extra:
        raise DataError(
            f"{', '.join(sorted(extra))}: no such input. The model takes {describe(specs)}."
        )
    return arrays


def _positional(value: object, label: object, groups: Groups) -> Item:
    if len(groups) != 1:
        raise DataError(
            f"arrays without a signature came, the model has {', '.join(map(repr, groups))}. "
            "Yield (signature, {name: array})."
        )
    signature, specs = next(iter(groups.items()))
    parts = list(value) if isinstance(value, list | tuple) else [value]
    if parts and len(parts) != len(specs) and all(isinstance(p, int | float) for p in parts):
        parts = [parts]  # a list of plain numbers is one array
    if len(parts) != len(specs):
        raise DataError(
            f"{len(parts)} array(s) came, the model has {len(specs)} input(s): {describe(specs)}."
        )
    arrays = {s.name: array_of(p, s.name) for s, p in zip(specs, parts, strict=True)}
    return Item(signature, arrays, label)


def _short(name: str) -> str:
    """`serving_default_image:0` and `image` are one name to people."""
    return name.removeprefix("serving_default_").partition(":")[0]


def _whole(
    item: Item, specs: Sequence[InputSpec], split: bool, waiting: dict[str, list[Item]]
) -> Iterator[Item]:
    """The samples that this item completes."""
    arrays = {
        spec.name: array[None] if spec.fits_row(array.shape) else array
        for spec in specs
        for array in (item.arrays[spec.name],)
    }
    fits = all(spec.fits(arrays[spec.name].shape) for spec in specs)
    free = all(not spec.shape or spec.shape[0] < 0 for spec in specs)
    batch = common_batch(specs)
    rows = _common_rows(arrays, specs)
    if (
        batch is None
        or rows is None
        or (fits and not (split and free) and not waiting.get(item.signature))
    ):
        yield Item(item.signature, arrays, _label(item.label, rows, batch))
        return
    pending = waiting.setdefault(item.signature, [])
    for index in range(rows):
        cut = {n: a[index : index + 1] if a.ndim else a for n, a in arrays.items()}
        if batch > 1:  # waits for others, and the user may refill the buffer meanwhile
            cut = {name: array.copy() for name, array in cut.items()}
        pending.append(Item(item.signature, cut, _row_label(item.label, index, rows)))
        if len(pending) == batch:
            yield pending[0] if batch == 1 else _joined(pending)
            pending.clear()


def _common_rows(arrays: Mapping[str, np.ndarray], specs: Sequence[InputSpec]) -> int | None:
    """Rows per array where all ranks are the model's and the counts agree, else None."""
    if any(arrays[spec.name].ndim != len(spec.shape) for spec in specs):
        return None  # the shape check will explain
    counts = {array.shape[0] for array in arrays.values() if array.ndim}
    return counts.pop() if len(counts) == 1 else None


def _label(label: object, rows: int | None, batch: int | None) -> object:
    single = rows == 1 and batch == 1
    if isinstance(label, np.generic):
        return label.item()
    return _row_label(label, 0, 1) if single else label


def _row_label(label: object, index: int, rows: int) -> object:
    if label is None or isinstance(label, Mapping | str | bytes):
        return label
    values = np.asarray(label)
    if values.ndim == 0 or len(values) != rows:
        return label
    row = values[index]
    return row.item() if np.ndim(row) == 0 else row


def _joined(items: Sequence[Item]) -> Item:
    names = items[0].arrays
    arrays = {
        n: np.concatenate([i.arrays[n] for i in items]) if names[n].ndim else names[n]
        for n in names
    }
    labels = [item.label for item in items]
    known = all(label is not None for label in labels)
    return Item(items[0].signature, arrays, np.asarray(labels) if known else None)


def _leftover(waiting: Mapping[str, list[Item]], groups: Groups, made: int, what: str) -> None:
    for signature, items in waiting.items():
        warn_of_rest(len(items), common_batch(groups[signature]) or 1, made, what)
