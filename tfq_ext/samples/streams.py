"""Data that come one after the other: generators, callables, lists, tf.data, keras PyDataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tfq_ext.errors import DataError
from tfq_ext.samples.adapt import samples_of
from tfq_ext.samples.request import Request
from tfq_ext.samples.source import Stream
from tfq_ext.samples.spec import Sample


def from_callable(data: Callable[[], Iterable], request: Request) -> Stream:
    """A function without arguments that begins a pass each time, as TFLiteConverter takes it."""
    return _stream(data, request, what=f"function {getattr(data, '__name__', 'dataset')}")


def from_iterable(data: Iterable, request: Request) -> Stream:
    """A list or other collection of samples, or a generator object, which has one pass only."""
    once = iter(data) is data
    what = f"the {type(data).__name__}" if once else f"{type(data).__name__} of samples"
    return _stream(lambda: data, request, what=what, one_shot=once)


def from_tf_data(data: object, request: Request) -> Stream:
    """A tf.data.Dataset; batches are taken apart unless the model's batch is fixed."""
    return _stream(
        data.as_numpy_iterator,  # type: ignore[attr-defined]
        request,
        what="tf.data.Dataset",
        split=True,
    )


def from_pydataset(data: object, request: Request) -> Stream:
    """A keras PyDataset (or old Sequence): batches 0 .. len - 1, `on_epoch_end` never called."""

    def batches() -> Iterator[object]:
        count = getattr(data, "num_batches", None) or _length(data)
        for index in range(count):
            yield data[index]  # type: ignore[index]

    return _stream(batches, request, what=f"PyDataset {type(data).__name__}", split=True)


def _length(data: object) -> int:
    try:
        return len(data)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        raise DataError(
            f"PyDataset {type(data).__name__} has no length; give it __len__, or pass a function "
            "that yields as many batches as you want."
        ) from None


def _stream(
    begin: Callable[[], Iterable],
    request: Request,
    *,
    what: str,
    split: bool = False,
    one_shot: bool = False,
) -> Stream:
    def start() -> Iterator[Sample]:
        items = begin()
        if not isinstance(items, Iterable):
            raise DataError(
                f"{what} gave {type(items).__name__}; it must give samples one after the other "
                "(a generator function: use yield)."
            )
        return samples_of(_located(items, what), request.inputs, split=split, what=what)

    return Stream(what, start, one_shot=one_shot)


def _located(items: Iterable, what: str) -> Iterator[object]:
    """The items; an exception of the user's own code keeps its type and learns where it was."""
    number, source = 0, iter(items)
    while True:
        try:
            item = next(source)
        except StopIteration:
            return
        except Exception as error:
            error.add_note(f"tfq_ext: while reading item {number} of {what}.")
            raise
        yield item
        number += 1
