"""What the float model answers, and how near a file comes to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfq_ext.numerics.metrics import SqnrAccumulator
from tfq_ext.samples.spec import Sample
from tfq_ext.tflite.runner import Runner


class Reference:
    """The float model's outputs for some samples.

    Args:
        content: of the float model.
        samples: on which files are compared with it.
        threads: for LiteRT.
    """

    def __init__(self, content: bytes, samples: Sequence[Sample], *, threads: int = 2) -> None:
        self._samples, self._threads, self.size = samples, threads, len(content)
        self._wanted = self._outputs(content)

    def sqnr(self, content: bytes) -> float:
        """SQNR of a file's outputs, mean over the outputs, dB; -inf for NaN and inf."""
        got = self._outputs(content)
        values = []
        for name in self._wanted:
            total = SqnrAccumulator()
            for wanted, found in zip(self._wanted[name], got[name], strict=True):
                if wanted.shape != found.shape or not np.all(np.isfinite(wanted)):
                    continue  # the float model itself gives no number to come near to
                if not np.all(np.isfinite(found)):
                    return float("-inf")
                total = total.add(wanted, found)
            values.append(total.value)
        finite = [v for v in values if np.isfinite(v)]
        return float(np.mean(finite)) if finite else float("inf")

    def _outputs(self, content: bytes) -> dict[tuple[str, str], list[np.ndarray]]:
        """(signature, output) -> one array a sample; float outputs only."""
        runners: dict[str, Runner] = {}
        rows: dict[tuple[str, str], list[np.ndarray]] = {}
        for sample in self._samples:
            key = sample.signature
            if key not in runners:
                runners[key] = Runner(content, threads=self._threads, signature=key or None)
            for name, value in runners[key](sample.inputs).items():
                if value.dtype == np.float32:
                    rows.setdefault((key, name), []).append(value)
        return rows
