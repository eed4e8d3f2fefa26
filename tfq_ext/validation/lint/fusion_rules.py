"""Steps that the converter folds into the op before; where it did not, they cost bits."""

from __future__ import annotations

from collections.abc import Iterator

from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import Op, Subject

UNFUSED_ACTIVATION = Rule(
    "unfused-activation",
    "warning",
    "A ReLU runs as an op of its own behind a quantized convolution or dense layer.",
    "The layer's grid must hold negative values that the ReLU throws away (about a bit lost), and "
    "each value is written and read once more.",
    "Put the activation right behind the layer (or its batch normalization) and convert again.",
    "TFLite converter, fused activation functions; Jacob et al., arXiv 1712.05877, section 2.4",
)
UNFOLDED_SCALE = Rule(
    "unfolded-scale",
    "warning",
    "A multiplication by a constant follows a layer that could absorb it.",
    "It is mostly a batch normalization that was not folded: one more op, one more rounding, and "
    "ranges that differ from channel to channel.",
    "Fold the batch normalization into the weights; convert from the inference graph.",
    "Jacob et al., arXiv 1712.05877, section 3.2",
)
_RECTIFIERS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1"})


def _behind_layer(s: Subject, op: Op, tensor: int) -> bool:
    """Whether a tensor comes from a layer without an activation and goes nowhere else."""
    made = s.maker(op.graph, tensor)
    alone = len(s.readers(op.graph, tensor)) == 1 and tensor not in op.graph.outputs
    return made is not None and made.code in WEIGHTS and made.activation == "NONE" and alone


def unfused_activation(s: Subject) -> Iterator[Finding]:
    """RELU and its kin behind a quantized layer (XNNPACK fuses the float ones when it loads)."""
    for op in s.ops:
        if op.code not in _RECTIFIERS or not op.inputs:
            continue
        grid = s.activation_grid(op.graph, op.inputs[0])
        if grid is not None and _behind_layer(s, op, op.inputs[0]):
            text = f"{op.code} reads a layer that has no activation and no other reader."
            yield UNFUSED_ACTIVATION.at(text, **op.where)


def unfolded_scale(s: Subject) -> Iterator[Finding]:
    """MUL by one value, or one a channel, behind a layer."""
    for op in s.ops:
        if op.code != "MUL" or len(op.inputs) != 2:
            continue
        constants = [t for t in op.inputs if op.graph.is_constant(t)]
        data = [t for t in op.inputs if t not in constants]
        if len(constants) != 1 or len(data) != 1 or not _behind_layer(s, op, data[0]):
            continue
        shape, channels = op.graph.shape(constants[0]), op.graph.shape(data[0])[-1:]
        if all(n == 1 for n in shape[:-1]) and shape[-1:] in ((), (1,), channels):
            text = f"MUL by a constant {list(shape)} behind a layer with {list(channels)} channels."
            yield UNFOLDED_SCALE.at(text, **op.where)


TABLE = (
    LintRule(UNFUSED_ACTIVATION, unfused_activation),
    LintRule(UNFOLDED_SCALE, unfolded_scale),
)
