"""TFLiteConverter writes into each file how it was made; ours must not call itself float."""

from __future__ import annotations

import flatbuffers
import numpy as np

from tfq_ext._optional import need
from tfq_ext.tflite.read import Model, text

NAME = "CONVERSION_METADATA"
# Mode -> ModelOptimizationMode in TensorFlow's conversion_metadata.fbs.
OPTIMIZATION = {"fp16": 1001, "dynamic": 1002, "int8": 1003, "int16x8": 1004}


def with_mode(content: bytes, mode: str) -> bytes:
    """The file with its conversion metadata saying `mode`; the same bytes where there are none.

    Args:
        content: a float .tflite as TFLiteConverter wrote it.
        mode: key of OPTIMIZATION; others change nothing.
    """
    model = Model.parse(content, source="the converted model")
    entries = [m for m in model.tree.metadata or () if text(m.name) == NAME]
    if not entries or mode not in OPTIMIZATION:
        return content
    schema = need(
        "tensorflow.lite.python.conversion_metadata_schema_py_generated",
        why="Writing conversion metadata",
    )
    buffer = model.tree.buffers[entries[0].buffer]
    known = schema.ConversionMetadataT.InitFromPackedBuf(bytes(np.asarray(buffer.data, np.uint8)))
    if known.options is None:
        return content
    known.options.modelOptimizationModes = [OPTIMIZATION[mode]]
    builder = flatbuffers.Builder(0)
    builder.Finish(known.Pack(builder))
    buffer.data = np.frombuffer(bytes(builder.Output()), np.uint8)
    return model.to_bytes()
