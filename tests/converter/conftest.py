"""One network and its float file for all tests of the converter."""

from __future__ import annotations

import converter_models as models
import pytest

import tfq_ext as tfq


@pytest.fixture(scope="session")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="session")
def keras(tf):
    return pytest.importorskip("keras")


@pytest.fixture(scope="session")
def network(keras):
    return models.network(keras)


@pytest.fixture(scope="session")
def float_file(network) -> bytes:
    return tfq.TFLiteConverter.from_keras_model(network).convert()


@pytest.fixture
def converter(float_file):
    return tfq.TFLiteConverter.from_tflite(float_file)
