"""Features inside student and teacher that are to agree, and how their shapes are made equal."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple

from tfq_ext._optional import need
from tfq_ext.errors import ModelError, UnknownName

keras = need("keras", why="Distillation")
ops = keras.ops


class Told(NamedTuple):
    """What a model says.

    Args:
        output: its output, in its structure.
        features: outputs of the layers inside, one a hint.
    """

    output: Any
    features: list[Any]


class Inside:
    """A model that also tells the outputs of some layers inside; it owns no weights.

    No Keras object, so that a model that holds it does not count the layers twice.

    Args:
        model: functional, if there are names.
        names: of layers.
        role: "student" or "teacher", for messages.
    """

    def __init__(self, model: Any, names: list[str], role: str):
        self.model = model
        self.tensors = [layer_output(model, name, role) for name in names]
        self.whole = (
            keras.Model(_inputs(model), [_outputs(model), *self.tensors]) if names else None
        )

    def __call__(self, x: Any, training: bool) -> Told:
        """Output and features of x."""
        if self.whole is None:
            return Told(self.model(x, training=training), [])
        output, *features = self.whole(x, training=training)
        return Told(output, features)


def layer_output(model: Any, name: str, role: str) -> Any:
    """The symbolic output of the layer of that name.

    Raises:
        UnknownName: no such layer.
        ModelError: called several times, or not part of a functional model.
    """
    names = [layer.name for layer in model.layers]
    if name not in names:
        close = get_close_matches(name, names, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownName(f"hints: the {role} has no layer {name!r}.{guess} It has {names}.")
    try:
        return model.get_layer(name).output
    except (AttributeError, ValueError) as error:
        raise ModelError(
            f"hints: the {role}'s layer {name!r} has no single output ({error}). Name one that a "
            "functional model calls once."
        ) from None


def pooling(student: tuple[Any, ...], teacher: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """By which factors the larger map is averaged, [height, width]: student's, then teacher's.

    Args:
        student, teacher: shapes, batch first, channels last.
        name: of the hint, for the message.

    Returns:
        (student's factor, teacher's factor); 1 leaves a map as it is.

    Raises:
        ModelError: sizes that are no multiples of one another.
    """
    mine, other = student[1:-1], teacher[1:-1]
    if mine == other:
        return 1, 1
    for swap, (small, large) in enumerate(((mine, other), (other, mine))):
        factors = {b // a for a, b in zip(small, large, strict=False) if a and b and b % a == 0}
        exact = all(a and b and b % a == 0 for a, b in zip(small, large, strict=False))
        if len(small) == len(large) == 2 and exact and len(factors) == 1:
            return (1, factors.pop()) if not swap else (factors.pop(), 1)
    raise ModelError(
        f"hints: {name}: shapes {student} and {teacher}. Everything but channels must be equal, or "
        "the one map a whole multiple of the other in both directions; choose other layers."
    )


def averaged(x: Any, factor: int) -> Any:
    """Average of factor x factor patches; x float[N, H, W, C]."""
    return x if factor == 1 else ops.average_pool(x, factor, strides=factor)


def _inputs(model: Any) -> Any:
    return getattr(model, "input", model.inputs)


def _outputs(model: Any) -> Any:
    return getattr(model, "output", model.outputs)
