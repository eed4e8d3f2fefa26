"""litert-quantizer by the algorithm that rounds its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from _bench import litert_quantizer
from _bench_files import Job

from tfq_ext._optional import need
from tfq_ext._table import Table

# Name here -> litert_quantizer's own (AlgorithmName); those left out change the graph (Hadamard
# rotations), or only recover weights that were quantized before.
ALGORITHMS: Table[str] = Table(
    "algorithm of litert-quantizer",
    {
        "min-max": "min_max_uniform_quantize",
        "OCTAV": "OCTAV",
        "MSE": "MSE",
        "GPTQ": "GPTQ",
        "OSCAR": "OSCAR",
    },
)
PLAIN = ALGORITHMS["min-max"]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED")


def by_algorithm(job: Job, algorithm: str, bits: int) -> bytes:
    """Static int8 activations, weights in so many bits, rounded by the algorithm where it can."""
    quantizer = litert_quantizer(job.pivot.read_bytes())  # static_wi8_ai8: all ops, min-max
    for op, chosen, width in _settings(algorithm, bits):
        quantizer.add_static_config(
            ".*", op, activation_num_bits=8, weight_num_bits=width, algorithm_key=chosen
        )
    signature = job.samples().inputs[0].signature or None
    ranges = quantizer.calibrate({signature: job.rows()}, num_threads=2)
    return bytes(quantizer.quantize(ranges).quantized_model)


def reach(algorithm: str, bits: int) -> str:
    """Which ops the algorithm and the width reach, in words."""
    rows = list(_settings(algorithm, bits))
    by_name = ", ".join(op for op, chosen, _ in rows if chosen == algorithm) or "no op"
    narrow = ", ".join(op for op, _, width in rows if width == bits) or "no op"
    return f"the algorithm takes {by_name}; {bits} bits: {narrow}"


def _settings(algorithm: str, bits: int) -> Iterator[tuple[str, str, int]]:
    """(op, algorithm, width) of every op with weights, as near to what was asked as it goes."""
    for op in WEIGHTED:
        wanted = ((algorithm, bits), (PLAIN, bits), (algorithm, 8), (PLAIN, 8))
        yield op, *next(pair for pair in wanted if _takes(op, *pair))


def _takes(op: str, algorithm: str, bits: int) -> bool:
    """Whether litert-quantizer accepts the setting; its own check says so by raising."""
    rival = need("litert_quantizer", why="the comparison with litert-quantizer")
    manager: Any = rival.algorithm_manager
    name = rival.qtyping.TFLOperationName(op)
    if not manager.is_op_registered(algorithm, name):
        return False
    probe = rival.recipe_manager.RecipeManager()
    try:
        probe.add_static_config(".*", name, 8, bits, algorithm_key=algorithm)
    except ValueError:
        return False
    return True
