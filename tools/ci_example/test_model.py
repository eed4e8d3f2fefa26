"""The gate as a test: `pytest test_model.py`."""

from tfq_ext.testing import assert_ships


def test_model_ships() -> None:
    result = assert_ships("model.tflite", config="tfq.toml", html="report.html")
    assert not result.inspection.custom_ops
