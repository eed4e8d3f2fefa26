"""What each Keras layer and operation is in an integer graph: one row a class.

A row answers where the op's result gets its grid from, which of its variables become integers, and
what LiteRT calls it, so that a recipe's rules find it. Classes without a row count as `OWN`: a grid
of their own behind them.

Source: the TFLite 8-bit quantization specification (tflite/facts.py has it op by op).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Grid = Literal["own", "same", "rounded", "joined", "fixed", "float"]


@dataclass(frozen=True)
class Kind:
    """One class.

    Args:
        op: LiteRT's name of it, "" where it is none or several.
        grid: of its result. "own": chosen from its values. "same": its input's, nothing is
            rounded. "rounded": its input's, but the kernel rounds again. "joined": one with all
            inputs. "fixed": prescribed. "float": the op has no integer kernel, its result is
            quantized for those who read it.
        weights: variable -> axes of its output channels; () for one scale.
        fuses: LiteRT fuses a following ReLU or ReLU6.
        int4: LiteRT's kernel takes 4-bit weights.
        low: interval that a "fixed" grid covers, lowest code to highest plus one.
        reason: why a "float" op is.
    """

    op: str = ""
    grid: Grid = "own"
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    fuses: bool = False
    int4: bool = True
    low: tuple[float, float] = (0.0, 0.0)
    reason: str = ""

    @property
    def top(self) -> float:
        """Highest value of a "fixed" grid: 255 of its 256 steps."""
        return self.low[0] + (self.low[1] - self.low[0]) * 255 / 256


def _linear(op: str, *axes: int, int4: bool = True) -> Kind:
    return Kind(op, weights={"kernel": axes}, fuses=True, int4=int4)


def _each(names: str, kind: Kind) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


_LSTM = "LiteRT has no integer kernel for its loop: it trains and stays float"
OWN = Kind()
SAME = Kind(grid="same")
ROUNDED = Kind(grid="rounded")
JOINED = Kind(grid="joined")
FUSING = Kind(fuses=True)
_UNIT = Kind(grid="fixed", low=(0.0, 1.0))
_RECURRENT = Kind(grid="float", reason=_LSTM)
_OPAQUE = Kind(grid="float", reason="its inside is not known here; write it with plain layers")

KINDS: dict[str, Kind] = {
    # weights
    "Conv1D": _linear("CONV_2D", 2),
    "Conv2D": _linear("CONV_2D", 3),
    "Conv3D": _linear("CONV_3D", 4, int4=False),
    "DepthwiseConv1D": _linear("DEPTHWISE_CONV_2D", 1, 2),
    "DepthwiseConv2D": _linear("DEPTHWISE_CONV_2D", 2, 3),
    "Conv1DTranspose": _linear("TRANSPOSE_CONV", 1, int4=False),
    "Conv2DTranspose": _linear("TRANSPOSE_CONV", 2, int4=False),
    "Dense": _linear("FULLY_CONNECTED", 1),
    "EinsumDense": _linear("FULLY_CONNECTED"),  # axes by its equation: `channel_axes`
    "ChannelScale": _linear("DEPTHWISE_CONV_2D", 0),
    "PReLU": Kind("PRELU", weights={"alpha": ()}, int4=False),
    "Embedding": Kind("GATHER"),  # rounding its rows is rounding its table
    # arithmetic
    **_each("Add Subtract Multiply", FUSING),
    "MultiHeadAttention": _OPAQUE,
    # one grid for inputs and output
    **_each("Concatenate Stack Maximum Minimum Where", JOINED),
    **_each(
        "Reshape Flatten Permute RepeatVector Identity Dropout SpatialDropout1D SpatialDropout2D "
        "SpatialDropout3D GaussianNoise GaussianDropout AlphaDropout ActivityRegularization "
        "Masking ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D "
        "MaxPooling1D MaxPooling2D GlobalMaxPooling1D GlobalMaxPooling2D MaxPool UpSampling1D "
        "Transpose Squeeze ExpandDims GetItem Pad Split Slice Repeat Tile Flip Moveaxis Swapaxes "
        "RandomFlip RandomRotation RandomTranslation RandomZoom RandomContrast RandomBrightness "
        "RandomShear RandomPerspective RandomErasing RandomGrayscale RandomColorJitter RandomHue "
        "RandomSaturation RandomSharpness RandomPosterization RandomGaussianBlur RandomInvert "
        "AugMix RandAugment MixUp CutMix "  # identities in inference
        "Ravel StopGradient BroadcastTo Max Min Take DepthToSpace SpaceToDepth",
        SAME,
    ),
    **_each(
        "AveragePooling1D AveragePooling2D AveragePool UpSampling2D Resizing Resize",
        ROUNDED,
    ),
    # one op, a grid of its own
    **_each(
        "relu relu6 leaky_relu hard_silu gelu elu ReLU LeakyReLU ELU Relu Relu6 LeakyRelu Elu Gelu "
        "HardSilu Mean Sum Square Sqrt Rsqrt ReciprocalRoot Matmul Einsum Dot Abs Absolute "
        "Negative Exp Log Divide TrueDivide GlobalAveragePooling1D GlobalAveragePooling2D Clip "
        "Power",
        OWN,
    ),
    # prescribed grids
    **_each("Softmax Sigmoid softmax sigmoid", _UNIT),
    **_each("Tanh tanh", Kind(grid="fixed", low=(-1.0, 1.0))),
    **_each("LogSoftmax log_softmax", Kind(grid="fixed", low=(-16.0, 0.0))),
    "linear": SAME,
    # float
    **_each("LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM2D", _RECURRENT),
    "TimeDistributed": _OPAQUE,
}
FUSED = ("relu", "relu6")  # activations that LiteRT's kernels apply before they round


def kind_of(operation: object) -> Kind:
    """The row of a layer or operation; of an Activation layer, its function's."""
    name = type(operation).__name__
    return KINDS.get(activation_name(operation) if name == "Activation" else name, OWN)


def activation_name(operation: object) -> str:
    """Name of the function that a layer applies to its result; "linear" for none.

    "relu6" for ReLU(6) too, "?" for a ReLU with a slope, threshold or other cap.
    """
    name = type(operation).__name__
    if name in ("ReLU", "Relu", "Relu6"):
        return _relu(operation) if name == "ReLU" else name.lower()
    function = getattr(operation, "activation", None)
    return "linear" if function is None else str(getattr(function, "__name__", "?"))


def _relu(layer: object) -> str:
    slope, threshold = getattr(layer, "negative_slope", 0), getattr(layer, "threshold", 0)
    cap = getattr(layer, "max_value", None)
    if slope or threshold or cap not in (None, 6):
        return "?"
    return "relu" if cap is None else "relu6"


def is_fused_activation(operation: object) -> bool:
    """Whether this is a layer or operation that does nothing but a ReLU or ReLU6."""
    name = type(operation).__name__
    return name in ("ReLU", "Relu", "Relu6", "Activation") and activation_name(operation) in FUSED


def channel_axes(operation: object, variable: str) -> tuple[int, ...]:
    """Axes of a weight that count output channels; () for a weight with one scale."""
    name = type(operation).__name__
    if name == "EinsumDense":
        equation = str(getattr(operation, "equation", ""))
        _, _, rest = equation.partition(",")
        weight, _, output = rest.partition("->")
        return tuple(k for k, letter in enumerate(weight) if letter in output)
    return KINDS[name].weights[variable]
