"""The networks of keras.applications, untrained: integer to the last op, every weight read back."""

from __future__ import annotations

import pytest
from apart import in_a_process

pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytestmark = [pytest.mark.slow, pytest.mark.tf]

# name -> (smallest input that it takes without pain, weights in the file).
NETWORKS = {
    "MobileNetV3Small": (96, 54),
    "EfficientNetB0": (96, 82),
    "EfficientNetV2B0": (96, 92),
    "ConvNeXtTiny": (64, 59),
    "ResNet50V2": (64, 54),
    "DenseNet121": (64, 121),
    "InceptionV3": (96, 95),
    "NASNetMobile": (96, 357),
    "Xception": (96, 75),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_op_stays_float(name):
    size, weights = NETWORKS[name]
    answer = in_a_process(f"keras:{name}@{size}", "int8-minmax", timeout=600)
    assert answer["outcome"] == "done", answer
    assert answer["islands"] == {}
    assert f"{weights} weight tensors" in answer["read_back"]
    # Measured 24 (NASNet) to 40 dB on the samples that gave the ranges: softmax over 10 classes of
    # an untrained network is nearly flat, so a wrong grid shows as less than 15.
    assert answer["sqnr"] > 18
