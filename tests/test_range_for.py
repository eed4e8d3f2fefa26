"""`range_for` is the inverse of `QParams.from_range`, bit for bit wherever float32 allows it."""

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.spec import INT8_ACTIVATION, INT8_WEIGHT, INT16_ACTIVATION, QParams, range_for

RNG = np.random.default_rng(0)
SCALES = [
    *np.exp2(RNG.uniform(-26, 60, 1200)).astype(np.float32),
    *np.float32(2.0) ** np.arange(-26, 60, dtype=np.float32),
    np.float32(1 / 256),
    np.float32(1 / 255),
    np.float32(1e-9),
]


def _reachable(scale, steps):
    """Whether some float32 width divided by `steps` gives the scale: looked for the slow way."""
    middle = np.float32(float(scale) * steps).view(np.int32)
    widths = (middle + np.arange(-8, 9, dtype=np.int32)).view(np.float32)
    return np.any(widths / np.float32(steps) == scale)


def test_every_zero_point_and_scale_comes_back():
    missed = 0
    for k, scale in enumerate(SCALES):
        grid = QParams(INT8_ACTIVATION, scale, k % 256 - 128)
        back = QParams.from_range(INT8_ACTIVATION, range_for(grid))
        assert back.zero_point == grid.zero_point
        if back.scale != grid.scale:
            missed += 1
            assert not _reachable(scale, 255)
            assert abs(back.scale.view(np.int32) - grid.scale.view(np.int32)) == 1
    assert missed < 0.01 * len(SCALES)


def test_all_zero_points_of_one_scale():
    for zero in range(-128, 128):
        grid = QParams(INT8_ACTIVATION, np.float32(0.0235), zero)
        back = QParams.from_range(INT8_ACTIVATION, range_for(grid))
        assert (back.scale, back.zero_point) == (grid.scale, grid.zero_point)


def test_symmetric_16_bits():
    for scale in SCALES[:300]:
        back = QParams.from_range(INT16_ACTIVATION, range_for(QParams(INT16_ACTIVATION, scale)))
        assert abs(int(back.scale.view(np.int32)) - int(np.float32(scale).view(np.int32))) <= 1


@pytest.mark.parametrize(
    ("spec", "scale"), [(INT8_WEIGHT.on(0), [0.1, 0.2]), (INT8_ACTIVATION, 1e-12)]
)
def test_what_no_range_makes(spec, scale):
    with pytest.raises(SpecError, match="one scale, at least"):
        range_for(QParams(spec, scale))
