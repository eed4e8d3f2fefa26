"""What the outputs of student and teacher are: how many, how shaped, logits or probabilities."""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError, SpecError
from tfq_ext.qat.kinds import activation_name
from tfq_ext.qat.quantizers import Quantizer
from tfq_ext.rewrite.graph import is_functional, read_flow

keras = need("keras", why="Distillation")


def check_numbers(temperature: float, alpha: float, hint_weight: float) -> None:
    """Complain about numbers that make no loss."""
    if not temperature > 0:
        raise SpecError(f"temperature must be positive (4.0); got {temperature!r}.")
    if not 0 <= alpha <= 1:
        raise SpecError(f"alpha is the teacher's share, 0 to 1; got {alpha!r}.")
    if not hint_weight >= 0:
        raise SpecError(f"hint_weight must not be negative; got {hint_weight!r}.")


def output_shapes(model: Any) -> list[tuple[int | None, ...]]:
    """Shape of every output, flat."""
    return [tuple(t.shape) for t in keras.tree.flatten(model.outputs)]


def check_outputs(student: Any, teacher: Any, soft_targets: bool) -> None:
    """Complain about outputs that cannot be compared.

    Raises:
        ModelError: other numbers or shapes; or a single class, of which softmax says nothing.
    """
    mine, theirs = output_shapes(student), output_shapes(teacher)
    if [shape[1:] for shape in mine] != [shape[1:] for shape in theirs]:
        raise ModelError(f"The student's outputs are {mine}, the teacher's {theirs}; they differ.")
    if soft_targets and any(shape[-1] == 1 for shape in mine):
        raise ModelError(
            "An output with one value a sample has no soft targets: softmax of it is always 1. "
            "Give the loss between teacher and student: loss='mse', or 'binary_crossentropy' for "
            "probabilities."
        )


def says_logits(model: Any) -> bool:
    """Whether a model's outputs are logits, that is, come from no softmax.

    Raises:
        SpecError: nobody can see that in a subclassed model.
    """
    if not is_functional(model):
        raise SpecError(
            f"Whether {model.name!r} gives logits or probabilities cannot be seen in a subclassed "
            "model: pass from_logits=True or False."
        )
    flow = read_flow(model)
    node = flow.producer.get(flow.results[0])
    while node is not None and isinstance(node.operation, Quantizer):
        node = flow.producer.get(node.inputs[0])
    if node is None:
        return True
    if isinstance(node.operation, keras.Model):
        return says_logits(node.operation)
    return "softmax" not in (node.kind.lower(), activation_name(node.operation))
