"""For your own test suite: a .tflite that must pass its gates before it ships.

from tfq_ext.testing import assert_ships

def test_model_ships():
    assert_ships("model.tflite", reference="model.keras", data="test.npz",
                 gates={"top1_drop": "0.5%", "float_ops": 0})
"""

from __future__ import annotations

import os
from typing import Any

from tfq_ext.validation.verdict import Validation


def assert_ships(
    model: bytes | str | os.PathLike[str],
    *,
    html: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> Validation:
    """Run `validate`, and fail the test unless every gate passed.

    Args:
        model: path or bytes of a .tflite.
        html: write the report here, whatever the verdict.
        **arguments: of `tfq_ext.validate`: reference, data, gates, config, ...

    Returns:
        The Validation, for further assertions.

    Raises:
        AssertionError: a gate failed or could not be judged; the message is the summary.
    """
    __tracebackhide__ = True  # pytest then shows the test's own line
    from tfq_ext.validation.run import validate

    result = validate(model, **arguments)
    if html is not None:
        result.save_html(html)
    if not result.passed:
        raise AssertionError(str(result))
    return result
