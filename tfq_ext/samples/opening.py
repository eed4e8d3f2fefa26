"""open_samples: from whatever the user has to Samples, through one table."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples import arrays, images, records, streams
from tfq_ext.samples.labels import by_name, indexed, read_labels
from tfq_ext.samples.preprocess import Preprocess
from tfq_ext.samples.request import Labels, Request
from tfq_ext.samples.samples import Samples
from tfq_ext.samples.select import among, first, subset
from tfq_ext.samples.source import Indexed, Source
from tfq_ext.samples.spec import InputSpec


@dataclass(frozen=True)
class Opener:
    """One kind of data: how it is called, recognised and opened."""

    noun: str
    accepts: Callable[[Any, Request], bool]
    open: Callable[[Any, Request], Source]


def open_samples(
    data: object,
    inputs: Sequence[InputSpec],
    *,
    limit: int | None = None,
    seed: int = 0,
    shuffle: bool = False,
    preprocess: Preprocess | str | None = None,
    labels: Labels | np.ndarray | Path | Mapping[str, object] = None,
) -> Samples:
    """Open representative or evaluation data for a model.

    Args:
        data: anything in OPENERS (arrays, paths, tf.data, PyDataset, generators), or Samples,
            which keep the options they were opened with and take a further limit only.
        inputs: what the model takes; `InputSpec.signature` tells signatures apart.
        limit: use at most so many samples: the first ones, or with `shuffle` a random subset.
        seed: of that subset; the same keys and seed give the same subset for every source.
        shuffle: choose the subset at random (order stays). A stream of unknown length is
            counted by a first pass; a one-shot generator is kept on disk for it.
        preprocess: from 8-bit pixels to values; its text form is fine. For arrays only scale,
            mean and std apply.
        labels: one per row (array, list, .npy, .txt or .csv path), file name -> label (a mapping,
            or a .csv or .txt of such pairs; images only), True for those beside the data in a
            .npz, or the name of the member or feature that holds them.

    Raises:
        DataError: data of no known kind, or that do not fit the model.
    """
    if isinstance(data, Samples):
        return data if limit is None else _limited(data, limit, seed, shuffle)
    if not inputs:
        raise DataError("The model has no inputs, so there is nothing to feed.")
    pre = Preprocess.parse(preprocess) if isinstance(preprocess, str) else preprocess
    beside = labels if labels is True or isinstance(labels, str) else None
    request = Request(tuple(inputs), pre, beside)
    source = _opener(data, request).open(data, request)
    if pre is not None and not source.preprocessed and (pre.resize or pre.crop):
        raise DataError(
            f"{source.what}: resize and crop work on image files; resize the arrays yourself."
        )
    truth, source = _truth(labels, source, request)
    samples = Samples(source, inputs, preprocess=pre, label=truth)
    if limit is None:
        return samples
    return _limited(samples, limit, seed, shuffle)


def _limited(samples: Samples, limit: int, seed: int, shuffle: bool) -> Samples:
    if not shuffle:
        _warn_of_missing_classes(samples, limit)
        return samples.limit(limit)
    first(limit)  # refuses limits under 1 before any pass
    kept = samples.reusable()
    return kept.narrowed(among(lambda: subset(kept.keys(), limit, seed)))


def _warn_of_missing_classes(samples: Samples, limit: int) -> None:
    total, taken = samples.labels, samples.limit(limit).labels
    if samples.classes and total and taken and len({*map(str, taken)}) < len({*map(str, total)}):
        warnings.warn(
            f"{samples.source.what}: the first {limit} of {len(total)} images show "
            f"{len({*map(str, taken)})} of {len(samples.classes)} classes. Pass shuffle=True.",
            TfqWarning,
            stacklevel=4,
        )


def _opener(data: object, request: Request) -> Opener:
    for opener in OPENERS:
        if opener.accepts(data, request):
            return opener
    if isinstance(data, str | Path) and not Path(data).exists():
        raise DataError(f"There is no file or folder {data} (no such file).")
    raise DataError(
        f"{_shown(data)} is no data that can be opened. Known: "
        f"{', '.join(opener.noun for opener in OPENERS)}."
    )


def _shown(data: object) -> str:
    if not isinstance(data, str | Path):
        return f"A {type(data).__name__}"
    return f"{data} ({'exists' if Path(data).exists() else 'no such file'})"


def _truth(
    labels: object, source: Source, request: Request
) -> tuple[Callable[[int], object] | None, Source]:
    """Labels by key in place of the source's own, and the source, with the classes' names."""
    if labels is None or labels is False:
        return None, source
    named = isinstance(labels, str | Path) and not Path(labels).is_file()
    if labels is True or named:
        unread = labels is True and source.keys() is None  # items may bring labels
        if not (source.labelled or unread):
            raise DataError(
                f"{source.what} has no labels {'' if labels is True else f'named {labels!r} '}"
                "beside the data. Give one per row: an array, a list, a .npy, .txt or .csv file."
            )
        return None, source
    values: Any = read_labels(Path(labels)) if isinstance(labels, str | Path) else labels
    if isinstance(values, Mapping):
        values = by_name(values, _names(source), source.what)
    if not isinstance(labels, list | tuple | np.ndarray):  # words of the user's own stay words
        values, words = (values, ()) if isinstance(values, np.ndarray) else indexed(values)
        if words and isinstance(source, Indexed):
            source = replace(source, classes=words)
    keys, batch = source.keys(), max(spec.batch for spec in request.inputs)
    count = None if keys is None else len(keys)
    return arrays.row_labels(values, batch, count, f"labels of {source.what}"), source


def _names(source: Source) -> Sequence[str]:
    """File names in the order of the rows."""
    if not isinstance(source, Indexed) or not source.names:
        raise DataError(
            f"{source.what}: labels by file name need a folder of images. Give one label per row."
        )
    return source.names


def _suffix(*suffixes: str) -> Callable[[Any, Request], bool]:
    def accepts(data: Any, request: Request) -> bool:
        return (
            isinstance(data, str | Path)
            and Path(data).is_file()
            and (Path(data).suffix.lower() in suffixes)
        )

    return accepts


def _path(opener: Callable[[Path, Request], Source]) -> Callable[[Any, Request], Source]:
    return lambda data, request: opener(Path(data), request)


def _record_paths(data: object) -> list[Path]:
    """TFRecord files that a path, a pattern or a folder of them stands for."""
    if not isinstance(data, str | Path):
        return []
    path = Path(data)
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.is_file()]
    else:
        found = [path] if path.is_file() else [Path(name) for name in glob.glob(str(data))]
    return sorted(entry for entry in found if _names_records(entry.name.lower()))


def _names_records(name: str) -> bool:
    return ".tfrec" in name or name.endswith((".record", ".records"))


def _are_arrays(data: Any, request: Request) -> bool:
    if isinstance(data, dict | tuple):  # by name; inputs in order, or (x, y)
        return True
    if isinstance(data, list):
        return len(data) == len(request.inputs) and all(map(_array_like, data))
    return _array_like(data)


def _array_like(data: object) -> bool:
    return hasattr(data, "__array__") and not hasattr(data, "as_numpy_iterator")


# The first that accepts wins: arrays are iterable, and callables may have other faces too.
OPENERS: tuple[Opener, ...] = (
    Opener("tf.data.Dataset", lambda d, _: hasattr(d, "as_numpy_iterator"), streams.from_tf_data),
    Opener(
        "tf.lite.RepresentativeDataset",
        lambda d, _: callable(getattr(d, "input_gen", None)),
        lambda d, request: streams.from_callable(d.input_gen, request),
    ),
    Opener(
        "keras PyDataset",
        lambda d, _: hasattr(d, "on_epoch_end") and hasattr(d, "__getitem__"),
        streams.from_pydataset,
    ),
    Opener("array, dict of arrays, tuple or list of arrays", _are_arrays, arrays.from_arrays),
    Opener(".npy", _suffix(".npy"), _path(arrays.from_npy)),
    Opener(".npz", _suffix(".npz"), _path(arrays.from_npz)),
    Opener(
        "TFRecord file, folder or pattern",
        lambda d, _: bool(_record_paths(d)),
        lambda d, request: records.from_tfrecord(_record_paths(d), request),
    ),
    Opener("image file", _suffix(*images.SUFFIXES), _path(images.from_image)),
    Opener(
        "image folder",
        lambda d, _: isinstance(d, str | Path) and Path(d).is_dir(),
        _path(images.from_folder),
    ),
    Opener(
        "function that gives samples (as TFLiteConverter takes it)",
        lambda d, _: callable(d),
        streams.from_callable,
    ),
    Opener(
        "list or generator of samples",
        lambda d, _: isinstance(d, Iterable) and not isinstance(d, str | bytes | Path),
        streams.from_iterable,
    ),
)
