"""litert-quantizer by the algorithm that rounds its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from _bench import litert_quantizer
from _bench_files import Job

from tfq_ext._optional import need
from tfq_ext._table import Table


class Algorithm(NamedTuple):
    """One of litert_quantizer's.

    Args:
        key: its AlgorithmName.
        on_data: whether it wants more of a layer's inputs than their ends.
    """

    key: str
    on_data: bool = False


# Those left out change the graph (Hadamard rotations), or only recover weights that were quantized
# before.
ALGORITHMS: Table[Algorithm] = Table(
    "algorithm of litert-quantizer",
    {
        "min-max": Algorithm("min_max_uniform_quantize"),
        "OCTAV": Algorithm("OCTAV"),
        "MSE": Algorithm("MSE"),
        "GPTQ": Algorithm("GPTQ", on_data=True),
        "OSCAR": Algorithm("OSCAR", on_data=True),
    },
)
PLAIN = ALGORITHMS["min-max"].key
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED")


def by_algorithm(job: Job, algorithm: Algorithm, bits: int) -> bytes:
    """Static int8 activations, weights in so many bits, rounded by the algorithm where it can.

    The tensor between two ops is observed by the first one's algorithm alone, so that in 0.11 GPTQ
    behind a min-max op finds no second moments and leaves the float bytes under an int8 weight.
    We calibrate once more for the algorithm's own ops and join what both observed.
    """
    quantizer = litert_quantizer(job.pivot.read_bytes())  # static_wi8_ai8: all ops, min-max
    for op, key, width in _settings(algorithm, bits):
        quantizer.add_static_config(".*", op, 8, width, algorithm_key=key)
    signature = job.samples().inputs[0].signature or None
    rows = {signature: job.rows()}
    ranges = quantizer.calibrate(rows, num_threads=2)
    if algorithm.on_data:
        alone = litert_quantizer(job.pivot.read_bytes(), recipe=[])
        for op, key, width in _settings(algorithm, bits):
            if key == algorithm.key:
                alone.add_static_config(".*", op, 8, width, algorithm_key=key)
        for name, seen in alone.calibrate(rows, num_threads=2).items():
            ranges[name] = {**seen, **ranges.get(name, {})}
    return bytes(quantizer.quantize(ranges).quantized_model)


def reach(algorithm: Algorithm, bits: int) -> str:
    """Which ops the algorithm and the width reach, in words."""
    rows = list(_settings(algorithm, bits))
    by_name = ", ".join(op for op, key, _ in rows if key == algorithm.key) or "no op"
    narrow = ", ".join(op for op, _, width in rows if width == bits) or "no op"
    return f"the algorithm takes {by_name}; {bits} bits: {narrow}"


def _settings(algorithm: Algorithm, bits: int) -> Iterator[tuple[str, str, int]]:
    """(op, its key, width) of every op with weights, as near to what was asked as it goes."""
    for op in WEIGHTED:
        wanted = ((algorithm.key, bits), (PLAIN, bits), (algorithm.key, 8), (PLAIN, 8))
        yield op, *next(pair for pair in wanted if _takes(op, *pair))


def _takes(op: str, key: str, bits: int) -> bool:
    """Whether litert-quantizer accepts the setting; its own check says so by raising."""
    rival = need("litert_quantizer", why="the comparison with litert-quantizer")
    manager: Any = rival.algorithm_manager
    name = rival.qtyping.TFLOperationName(op)
    if not manager.is_op_registered(key, name):
        return False
    probe = rival.recipe_manager.RecipeManager()
    try:
        probe.add_static_config(".*", name, 8, bits, algorithm_key=key)
    except ValueError:
        return False
    return True
