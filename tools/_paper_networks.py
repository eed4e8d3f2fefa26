"""Networks and images of reproduce_whitepaper: bundled, shared, ImageNet, CIFAR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from _bench_images import PREPROCESS, ending, label_of

from tfq_ext import demo
from tfq_ext._optional import need
from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.samples import Preprocess, Samples, open_samples
from tfq_ext.samples.select import among, subset
from tfq_ext.tflite.inputs import input_specs

Judge = Iterator[tuple[dict[str, np.ndarray], Any]]
CALIBRATE = 100  # samples, as the whitepaper's section 3.1 has mini-batches
BATCH = 100
TRAINED = 1500  # bundled test images, the first ones, on which networks are trained further
CIFAR = {"resnet20-1-relu6": "ResNet-20"}  # of bench_qat's; MobileNets there are enough elsewhere
LARGE = 5e6  # bytes of the .keras; what rounds on data then takes minutes a file


class Network:
    """A float network with samples that calibrate and others that judge.

    Args:
        id: in the log: tells the network, and how many images judge.
        name: in tables.
        about: what the images are, and how many.
        source: a .keras file.
        data: (pivot) -> (samples that calibrate, a function that gives those that judge).
    """

    def __init__(
        self,
        id: str,
        name: str,
        about: str,
        source: Path,
        data: Callable[[Pivot], tuple[Any, Callable[[], Judge]]],
    ):
        self.id, self.name, self.about, self.source = id, name, about, source
        self.data = data

    @property
    def large(self) -> bool:
        """Whether it has millions of weights."""
        return self.source.stat().st_size > LARGE

    @property
    def slow(self) -> bool:
        """Whether simulating it takes a minute a file; it is in the tables of 8 bits alone."""
        return self.id.startswith(SLOW)

    @cached_property
    def keras(self) -> Any:
        """The Keras model."""
        keras = need("keras", why="tools/reproduce_whitepaper.py")
        return keras.models.load_model(self.source, compile=False)

    @cached_property
    def pivot(self) -> Pivot:
        """The float .tflite."""
        return to_float(self.keras)

    @cached_property
    def samples(self) -> tuple[Any, Callable[[], Judge]]:
        """Opened once."""
        return self.data(self.pivot)

    @property
    def calibration(self) -> Any:
        """What `quantize` takes as data."""
        return self.samples[0]

    def judges(self) -> Judge:
        """(inputs, labels), as `evaluate` takes them."""
        return self.samples[1]()


def bundled(count: int) -> Network:
    """The network and images that the package ships; the first test images are for training."""
    x, y = (part[TRAINED : TRAINED + count] for part in demo.evaluation())
    arrays = (demo.calibration()[:CALIBRATE], x, y)
    about = f"{len(y)} bundled Fashion-MNIST test images, {CALIBRATE} training images calibrate"
    source = demo.model_path()
    return Network(f"bundled-{len(y)}", "bundled", about, source, partial(_arrays, *arrays))


def cifar(data: Path, qat: Path, count: int) -> Iterator[Network]:
    """The float networks of a finished bench_qat whose models are there."""
    with np.load(data, allow_pickle=False) as archive:
        x, y = archive["x_test"][:count], np.asarray(archive["y_test"]).ravel()[:count]
        first = archive["x_train"][:CALIBRATE]
    arrays = (_normalized(first), _normalized(x), y)
    about = f"the first {count} CIFAR-10 test images, {CALIBRATE} training images calibrate"
    for id, name in CIFAR.items():
        source = qat / "models" / f"{id}-s0.keras"
        if source.exists():
            yield of_arrays(f"{id}-{count}", f"{name}, CIFAR-10", about, source, arrays)


def _normalized(pixels: np.ndarray) -> np.ndarray:
    from _qat_data import normalized

    return normalized(pixels)


def of_arrays(
    id: str, name: str, about: str, source: Path, arrays: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Network:
    """A network with (calibration, images, labels) in memory."""
    return Network(id, name, about, source, partial(_arrays, *arrays))


def _arrays(
    calibration: np.ndarray, x: np.ndarray, y: np.ndarray, pivot: Pivot
) -> tuple[Any, Callable[[], Judge]]:
    (spec,) = input_specs(pivot.model)

    def judges() -> Judge:
        for k in range(0, len(x), BATCH):
            yield {spec.name: x[k : k + BATCH]}, np.asarray(y[k : k + BATCH], np.int64)

    return calibration, judges


SLOW = ("efficientnet_lite0",)  # left out where MobileNetV2 tells the same
SHARED = {"MobileNetV2": "mobilenet_v2", "EfficientNet-Lite0": "efficientnet_lite0"}
SEED = 0  # of the choice of ImageNet images
VALIDATION = "resize=256,crop=224"  # of ImageNet's validation images, of any size


@dataclass(frozen=True)
class Folder:
    """Images in a folder, and who gets which.

    Args:
        path: of the folder.
        preprocess: from pixels to the network's input.
        labels: file name -> class, or a file of them; None: subfolders are classes.
        choose: (names of the files) -> (keys that calibrate, keys that judge).
    """

    path: Path
    preprocess: str
    labels: Any
    choose: Callable[[Sequence[str]], tuple[Iterable[int], Iterable[int]]]

    def __call__(self, pivot: Pivot) -> tuple[Samples, Callable[[], Judge]]:
        """As `Network` wants its data."""
        specs = input_specs(pivot.model)
        opened = open_samples(
            self.path, specs, preprocess=Preprocess.parse(self.preprocess), labels=self.labels
        )
        names = tuple(getattr(opened.source, "names", ()))
        calibrate, judge = (
            opened.narrowed(among(partial(frozenset, keys))) for keys in self.choose(names)
        )

        def judges() -> Judge:
            for sample in judge.ahead(2):
                yield dict(sample.inputs), np.asarray([sample.label], np.int64)

        return calibrate, judges


def shared(folder: Path) -> Iterator[Network]:
    """The two ImageNet networks and 300 images of a shared folder."""
    images = folder / "data" / "imagenet_dev"
    for name, stem in SHARED.items():
        source = folder / "models" / f"{stem}_imagenet.keras"
        if source.exists() and images.is_dir():
            labels = {file.name: label_of(file) for file in ending(images, "0123456789")}
            count = len(ending(images, "37"))
            about = (
                f"{count} ImageNet images, one a class, {len(ending(images, '0'))} others calibrate"
            )
            data = Folder(images, PREPROCESS[stem], labels, _by_ending)
            yield Network(f"{stem}-{count}", name, about, source, data)


def _by_ending(names: Sequence[str]) -> tuple[list[int], list[int]]:
    last = [Path(name).stem[-1] for name in names]
    return [k for k, c in enumerate(last) if c == "0"], [k for k, c in enumerate(last) if c in "37"]


def imagenet(
    folder: Path, sources: Sequence[Network], labels: Path | None, limit: int
) -> Iterator[Network]:
    """The same networks on somebody's ImageNet validation images.

    Args:
        folder: class subfolders, or images with a file of labels.
        sources: of `shared`, or given by the user.
        labels: that file.
        limit: images that judge; those that calibrate are others.
    """
    for source in sources:
        given = getattr(source.data, "preprocess", "")
        data = Folder(folder, f"{VALIDATION},{given}", labels, partial(_at_random, limit))
        about = f"at most {limit} images of {folder.name}, {CALIBRATE} others calibrate"
        id = f"{source.id.rpartition('-')[0]}-imagenet-{limit}"
        yield Network(id, f"{source.name}, ImageNet", about, source.source, data)


def _at_random(limit: int, names: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    keys = range(len(names))
    calibrate = subset(keys, min(CALIBRATE, len(names) // 2), SEED)
    rest = [key for key in keys if key not in calibrate]
    return calibrate, subset(rest, limit, SEED)
