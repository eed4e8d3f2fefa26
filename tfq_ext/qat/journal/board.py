"""The journal's numbers as TensorBoard curves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.journal.rows import NUMBERS, Row


class Board:
    """Writes each number of each quantizer as "sqnr_db/conv1/kernel" and so on.

    Args:
        folder: TensorBoard's --logdir.

    Raises:
        MissingDependency: no TensorFlow, whose writer this is; whatever backend Keras trains on.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.tf: Any = need("tensorflow", why="Journal(tensorboard=...)")
        self.writer: Any = self.tf.summary.create_file_writer(os.fspath(folder))
        # tf.summary.scalar needs the package tensorboard; what it writes is this, and does not.
        self.scalar: Any = self.tf.compat.v1.SummaryMetadata(data_class=1)
        self.scalar.plugin_data.plugin_name = "scalars"

    def write(self, rows: Iterable[Row]) -> None:
        """One point for every number that there is."""
        with self.writer.as_default():
            for row in rows:
                values = asdict(row)
                for column in (*NUMBERS, "bits"):
                    if math.isfinite(values[column]):
                        tag = f"{column}/{row.name}"
                        value = self.tf.constant(values[column], self.tf.float32)
                        self.tf.summary.write(tag, value, step=row.step, metadata=self.scalar)
        self.writer.flush()
