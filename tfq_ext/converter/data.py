"""Representative data as TFLiteConverter reads them: lists in the order of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tfq_ext.samples import Samples, open_samples
from tfq_ext.samples.spec import InputSpec
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model, text


def representative(dataset: Any, model: Model) -> Samples:
    """Open what `representative_dataset` holds.

    Args:
        dataset: callable, tf.lite.RepresentativeDataset, or anything that quantize() takes.
        model: the float model.

    Raises:
        DataError: they do not fit the model.
    """
    specs = graph_order(model)
    keys = list(dict.fromkeys(spec.signature for spec in specs))
    if len(keys) > 1:
        dataset = _for_first(dataset, keys[0], specs)
    return open_samples(dataset, specs)


def graph_order(model: Model) -> list[InputSpec]:
    """The inputs in the order in which TFLiteConverter takes a list of arrays.

    That is the subgraph's; the signature lists them by name.
    """
    ordered: list[InputSpec] = []
    specs = input_specs(model)
    for key in dict.fromkeys(spec.signature for spec in specs):
        mine = [spec for spec in specs if spec.signature == key]
        ordered += sorted(mine, key=_position(model, key))
    return ordered


def _position(model: Model, key: str) -> Callable[[InputSpec], int]:
    signature = model.signatures.get(key)
    if signature is None:
        return lambda spec: 0  # named after the tensors, in order already
    graph = model.graph_of(key)
    tensors = {text(entry.name): int(entry.tensorIndex) for entry in signature.inputs or ()}
    return lambda spec: graph.inputs.index(tensors[spec.name])


def _for_first(dataset: Any, key: str, specs: list[InputSpec]) -> Callable[[], Iterator[object]]:
    """Items without a signature are the first one's, as TFLiteConverter has it."""
    names = [spec.name for spec in specs if spec.signature == key]
    begin = getattr(dataset, "input_gen", dataset)

    def items() -> Iterator[object]:
        for item in begin() if callable(begin) else begin:
            if isinstance(item, list):
                yield key, dict(zip(names, item, strict=True))
            else:
                yield (key, item) if isinstance(item, dict) else item

    return items
