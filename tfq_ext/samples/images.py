"""Image files: one, or a folder with one subfolder a class; decoded one at a time."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples.adapt import warn_of_rest
from tfq_ext.samples.arrays import row_labels
from tfq_ext.samples.preprocess import Preprocess, Size
from tfq_ext.samples.request import Request
from tfq_ext.samples.source import Indexed
from tfq_ext.samples.spec import InputSpec, Sample, show_shape

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
# What Pillow's decoders raise on damaged files (UnidentifiedImageError is an OSError).
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
)
_MODE_OF = {1: "L", 3: "RGB", 4: "RGBA"}


def from_folder(path: Path, request: Request) -> Indexed:
    """Every image under a folder, recursively, in sorted order.

    With two subfolders or more and no image beside them, the subfolder is the label: its index
    in sorted order (`.classes` has the names). Without `preprocess` an image is resized to the
    model's height and width, aspect not kept, and its pixels stay 0..255 (the caller warns).
    """
    files = _image_files(path)
    if not files:
        raise DataError(f"{path} holds no image ({', '.join(sorted(SUFFIXES))}).")
    classes, labels = _class_labels(path, files)
    made = _from_files(files, request, what=f"folder {path.name}", labels=labels, classes=classes)
    used = len(made.index) * request.inputs[0].batch
    return replace(made, names=tuple(os.path.relpath(file, path) for file in files[:used]))


def from_image(path: Path, request: Request) -> Indexed:
    """One image file: one sample."""
    return _from_files([str(path)], request, what=path.name)


def image_row(
    data: bytes | str | os.PathLike, spec: InputSpec, pre: Preprocess | None, what: str
) -> np.ndarray:
    """One decoded and preprocessed image: number[H, W, C], or [C, H, W] where the model says so.

    EXIF orientation is applied, alpha and colour are dropped or made as the mode says.

    Args:
        data: encoded bytes, or a path.
        spec: the image input.
        pre: options; None resizes to the model's size and leaves 0..255.
        what: the image, for messages.

    Raises:
        DataError: names the image.
    """
    try:
        pre = pre or Preprocess()
        axis = pre.channel_axis(spec.shape)
        pixels = _pixels(_decode(data, what), spec, pre, axis)
        values = pre.values(pixels, axis=-1, dtype=spec.dtype)
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    return np.moveaxis(values, -1, 0) if axis == 1 else values


def _from_files(
    files: Sequence[str],
    request: Request,
    *,
    what: str,
    labels: Sequence[int] | None = None,
    classes: tuple[str, ...] = (),
) -> Indexed:
    spec = request.image_input(what)
    batch, count = spec.batch, len(files) // spec.batch
    warn_of_rest(len(files) - count * batch, batch, count, what)

    def read(key: int) -> Sample:
        mine = files[key * batch : (key + 1) * batch]
        rows = [image_row(file, spec, request.preprocess, file) for file in mine]
        if len({row.shape for row in rows}) > 1:
            raise DataError(f"{what}: images {mine} differ in size; give resize and crop.")
        truth = None if label is None else label(key)
        return Sample(key, {spec.name: np.stack(rows)}, spec.signature, truth)

    if request.preprocess is None and spec.dtype.startswith("float"):
        warnings.warn(
            f"{what}: no preprocessing is stated, so the {spec.dtype} input gets pixels 0..255. If "
            "the model wants other values, state them: preprocess='scale=1/255'; if it takes "
            "0..255, say so with preprocess=Preprocess().",
            TfqWarning,
            stacklevel=4,
        )
    label: Callable[[int], object] | None = None
    if labels is not None:
        label = row_labels(labels, batch, None, what)
    return Indexed(what, range(count), read, label, classes, preprocessed=True)


def _image_files(root: Path) -> list[str]:
    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back, or a second one to the same folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [f for f in folders if not f.startswith((".", "__"))]
        found += [
            os.path.join(folder, name)
            for name in names
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
        ]
    return sorted(found)


def _class_labels(root: Path, files: Sequence[str]) -> tuple[tuple[str, ...], list[int] | None]:
    parts = [Path(file).relative_to(root).parts for file in files]
    if any(len(part) < 2 for part in parts):
        return (), None
    classes = tuple(sorted({part[0] for part in parts}))
    if len(classes) < 2:  # images/*.jpg is a folder in a folder, not a problem of one class
        return (), None
    index = {name: label for label, name in enumerate(classes)}
    return classes, [index[part[0]] for part in parts]


def _decode(data: bytes | str | os.PathLike, what: str) -> Image:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS as error:
        raise DataError(f"no readable image ({error}). Remove or repair it.") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"too large to decode safely ({error}).") from None


def _pixels(image: Image, spec: InputSpec, pre: Preprocess, axis: int) -> np.ndarray:
    """uint8[H, W, C] of the size and mode that the options and the model ask for."""
    channels, sides = spec.shape[axis], spec.shape[1:3] if axis == -1 else spec.shape[2:]
    mode = pre.mode or _MODE_OF.get(channels)
    if mode is None and channels >= 0:
        raise DataError(
            f"an image gives 1, 3 or 4 channels, the model takes {channels} "
            f"in {show_shape(spec.shape)}. Set layout if the channels are elsewhere."
        )
    image = _eight_bits(image).convert(mode or "RGB")
    resize = pre.resize
    if resize is None and pre.crop is None and min(sides) > 0:
        resize = (sides[0], sides[1])
    image = _cropped(_resized(image, resize), pre.crop)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _eight_bits(image: Image) -> Image:
    """16-bit grayscale scaled down to 8; Pillow's own convert would clip it at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(wide // 257, 0, 255).astype(np.uint8))


def _resized(image: Image, size: Size) -> Image:
    from PIL import Image

    if size is None:
        return image
    width, height = image.size
    if isinstance(size, int):
        short = min(width, height)
        target = (max(round(width * size / short), 1), max(round(height * size / short), 1))
    else:
        target = (size[1], size[0])
    if target == image.size:
        return image
    return image.resize(target, Image.Resampling.BILINEAR)


def _cropped(image: Image, size: Size) -> Image:
    if size is None:
        return image
    height, width = (size, size) if isinstance(size, int) else size
    if width > image.width or height > image.height:
        raise DataError(
            f"a crop of {height}x{width} does not fit into {image.height}x{image.width} pixels; "
            "resize first."
        )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
