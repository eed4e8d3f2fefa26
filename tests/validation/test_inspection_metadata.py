"""Metadata of known and unknown form, whole and damaged."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_nets import residual

from tfq_ext.validation.inspection import inspect


def with_entry(name: bytes, content: bytes) -> bytes:
    model = residual()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.tree.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.tree.buffers) - 1
    model.tree.metadata = [entry]
    return model.to_bytes()


def said(name: bytes, content: bytes) -> str:
    (row,) = inspect(with_entry(name, content)).metadata
    assert (row.name, row.size) == (name.decode(), len(content))
    return row.text


def described() -> bytes:
    """ModelMetadata {name, description, ..., license} by field numbers."""
    builder = flatbuffers.Builder(64)
    texts = {k: builder.CreateString(t) for k, t in {0: "Net", 1: "Finds cats", 5: "MIT"}.items()}
    builder.StartObject(8)
    for field, text in texts.items():
        builder.PrependUOffsetTRelativeSlot(field, text, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def test_short_texts_are_shown_and_bytes_are_not():
    assert said(b"min_runtime_version", b"2.3.0" + b"\0" * 11) == "2.3.0"
    assert said(b"fp16", b"fp16accfp32") == "fp16accfp32"
    assert said(b"mine", b"\x80\x81\xff") == ""
    assert said(b"mine", b"two\nlines") == ""


def test_what_the_file_says_it_needs_is_kept_apart_from_what_it_needs():
    found = inspect(with_entry(b"min_runtime_version", b"9.9.9" + b"\0" * 11))
    assert found.stated_runtime == "9.9.9"
    assert found.runtime.release == "1.6.0"
    assert "the file itself says 9.9.9" in str(found)


def test_the_library_s_metadata_is_read():
    assert (
        said(b"TFLITE_METADATA", described()) == "name: Net, description: Finds cats, license: MIT"
    )


@pytest.mark.parametrize("seed", range(40))
def test_damaged_tables_say_something_or_nothing_but_never_fail(seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(described())
    for k in rng.integers(0, len(raw), 3):
        raw[k] = int(rng.integers(256))
    for name in (b"TFLITE_METADATA", b"CONVERSION_METADATA"):
        assert len(said(name, bytes(raw[: rng.integers(1, len(raw) + 1)]))) <= 400


def test_an_entry_without_a_buffer_is_named():
    model = residual()
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"empty", 0
    model.tree.metadata = [entry]
    (row,) = inspect(model.to_bytes()).metadata
    assert (row.name, row.size, row.text) == ("empty", 0, "")
