"""A machine without TensorFlow, which the README allows for a float .tflite: our own emitter."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _without_tensorflow(request, monkeypatch):
    """Its import takes longer than these tests; those marked tf have it."""
    if request.node.get_closest_marker("tf") is None:
        monkeypatch.setitem(sys.modules, "tensorflow", None)
