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
TABLE_4 = Published(
    f"{KRISHNAMOORTHI}, table 4",
    "Quantization-aware training closes the gap at 8 bits: one scale a layer is then nearly as "
    "good as one a channel.",
    ("float", "QAT, layer", "QAT, channel"),
    _with_float(
        {
            "MobileNet-v1 1.0": (0.7, 0.707),
            "MobileNet-v2 1.0": (0.709, 0.711),
            "Nasnet-Mobile": (0.73, 0.73),
            "MobileNet-v2 1.4": (0.735, 0.745),
            "Inception-v3": (0.78, 0.78),
            "ResNet-v1 50": (0.75, 0.75),
            "ResNet-v2 50": (0.75, 0.75),
            "ResNet-v1 152": (0.765, 0.762),
            "ResNet-v2 152": (0.76, 0.76),
        }
    ),
)
TABLE_5 = Published(
    f"{KRISHNAMOORTHI}, table 5",
    "At 4-bit weights post-training quantization fails, by channel less than by layer, and "
    "training brings most of it back.",
    ("float", "asymmetric, layer", "symmetric, channel", "QAT, channel"),
    _with_float(
        {
            "MobileNet-v1 1.0": (0.02, 0.001, 0.65),
            "MobileNet-v2 1.0": (0.001, 0.001, 0.62),
            "Nasnet-Mobile": (0.001, 0.36, 0.7),
            "MobileNet-v2 1.4": (0.001, 0.001, 0.704),
            "Inception-v3": (0.5, 0.71, 0.76),
            "ResNet-v1 50": (0.002, 0.54, 0.732),
            "ResNet-v2 50": (0.18, 0.72, 0.73),
            "ResNet-v1 152": (0.001, 0.64, 0.725),
            "ResNet-v2 152": (0.18, 0.74, 0.74),
        }
    ),
)
TABLE_6 = Published(
    f"{KRISHNAMOORTHI}, table 6",
    "4-bit activations cost more than 4-bit weights, and training brings back less of it.",
    ("float", "w8 a4", "QAT w8 a4", "QAT w4 a8"),
    _with_float(
        {
            "MobileNet-v1 1.0": (0.48, 0.64, 0.65),
            "MobileNet-v2 1.0": (0.07, 0.58, 0.62),
            "Nasnet-Mobile": (0.04, 0.4, 0.7),
            "Inception-v3": (0.59, 0.74, 0.76),
            "ResNet-v1 50": (0.36, 0.58, 0.732),
        }
    ),
)
NORMS = Published(
    f"{KRISHNAMOORTHI}, section 3.2.2, figures 14 and 15",
    "Weights folded with batch statistics jitter from batch to batch; corrected by the moving "
    "statistics, and frozen in the end, they train smoothly and to a better result.",
)
ROUNDING = Published(
    f"{KRISHNAMOORTHI}, section 3.2.3, figure 12",
    "Stochastic rounding of the weights in training does not help: deterministic is better.",
)
AVERAGE = Published(
    f"{KRISHNAMOORTHI}, section 3.2.3, figure 13",
    "A moving average of the weights is to be used with caution: weights lie on the borders of "
    "codes, and the average may have other codes than any of them.",
)
RELU = Published(
    f"{KRISHNAMOORTHI}, section 4, figure 16; Jacob et al., arXiv 1712.05877, table 4.3",
    "Krishnamoorthi: ReLU slightly better than ReLU6 (a figure, no numbers). Jacob, Inception-v3 "
    "in 8 bits: ReLU6 78.4 to 75.4 %, ReLU 78.3 to 74.2 %, so ReLU6 loses less.",
)
FOLDING = Published(
    f"{KRISHNAMOORTHI}, appendix A",
    "Folding BatchNorm into the weights spreads the channels' ranges apart, so that one scale a "
    "layer leaves some channels with next to no signal; one scale a channel does not care.",
)
HALF = Published(
    "TensorFlow blog, August 2019 (float16 post-training); TensorFlow Lite documentation, table 1",
    "float16 halves the file and loses less than 0.03 points of top-1 (MobileNet-v2); 8 bits take "
    "a quarter (MobileNet-v2 14 to 3.6 MB, Inception-v3 95.7 to 23.9 MB).",
)
TERNARY = Published(
    "Mellempudi et al., arXiv 1705.01462 (FGQ); Li et al., arXiv 1605.04711 (TWN)",
    "Ternary weights with a magnitude for every group of N weights: N = 4 without training stays "
    "within 4.2 points on ResNet-50 (3.7 on ResNet-101) and saves 75 % of the multiplications; "
    "N = 64 saves 99 % and needs fine-tuning.",
)
SPEED = Published(
    "Jacob et al., arXiv 1712.05877; TensorFlow Lite documentation, table 1 (Pixel 2, one core)",
    "8-bit integers are a quarter of the bytes and two to three times as fast on the core of a "
    "phone. People who tried it on a GoogLeNet with LRN found a smaller file that was slower.",
    ("float, ms", "int8 after QAT, ms", "float, MB", "int8, MB"),
    {
        "MobileNet-v1 1.0": (180, 80.2, 16.9, 4.3),
        "MobileNet-v2 1.0": (117, 80.3, 14, 3.6),
        "Inception-v3": (1585, 637, 95.7, 23.9),
    },
)
