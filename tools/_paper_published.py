"""Numbers of the papers: top-1 as shares, as printed there."""

from __future__ import annotations

from _paper import Published

KRISHNAMOORTHI = "Krishnamoorthi, arXiv 1806.08342"
FP32 = {
    "MobileNet-v1 1.0": 0.709,
    "MobileNet-v2 1.0": 0.719,
    "Nasnet-Mobile": 0.74,
    "MobileNet-v2 1.4": 0.749,
    "Inception-v3": 0.78,
    "ResNet-v1 50": 0.752,
    "ResNet-v2 50": 0.756,
    "ResNet-v1 152": 0.768,
    "ResNet-v2 152": 0.778,
}
_Numbers = dict[str, tuple[float | None, ...]]


def _with_float(rows: _Numbers) -> _Numbers:
    return {name: (FP32[name], *values) for name, values in rows.items()}


TABLE_2 = Published(
    f"{KRISHNAMOORTHI}, table 2",
    "With weights alone in 8 bits, one scale a channel comes close to float without training, one "
    "scale a layer destroys the MobileNets; asymmetric grids by channel are best.",
    ("float", "asymmetric, layer", "symmetric, channel", "asymmetric, channel"),
    _with_float(
        {
            "MobileNet-v1 1.0": (0.001, 0.591, 0.704),
            "MobileNet-v2 1.0": (0.001, 0.698, 0.698),
            "Nasnet-Mobile": (0.722, 0.721, 0.74),
            "MobileNet-v2 1.4": (0.004, 0.74, 0.74),
            "Inception-v3": (0.78, 0.78, 0.78),
            "ResNet-v1 50": (0.75, 0.751, 0.752),
            "ResNet-v2 50": (0.75, 0.75, 0.75),
            "ResNet-v1 152": (0.766, 0.763, 0.762),
            "ResNet-v2 152": (0.761, 0.76, 0.77),
        }
    ),
)
TABLE_3 = Published(
    f"{KRISHNAMOORTHI}, table 3",
    "Activations in 8 bits cost almost nothing: the loss is that of the weights.",
    ("float", "asymmetric, layer", "symmetric, channel", "asymmetric, channel", "activations only"),
    _with_float(
        {
            "MobileNet-v1 1.0": (0.001, 0.591, 0.703, 0.708),
            "MobileNet-v2 1.0": (0.001, 0.698, 0.697, 0.7),
            "Nasnet-Mobile": (0.722, 0.721, 0.74, 0.74),
            "MobileNet-v2 1.4": (0.004, 0.74, 0.74, 0.742),
            "Inception-v3": (0.78, 0.78, 0.78, 0.78),
            "ResNet-v1 50": (0.75, 0.751, 0.751, 0.751),
            "ResNet-v2 50": (0.75, 0.75, 0.75, 0.75),
            "ResNet-v1 152": (0.766, 0.762, 0.767, 0.761),
            "ResNet-v2 152": (0.761, 0.76, 0.76, 0.76),
        }
    ),
)
