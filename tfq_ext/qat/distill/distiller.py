r"""The model that trains its student on labels and teacher.

.. math:: L = (1 - \alpha)\, L_{labels} + \alpha\, L_{soft} + \beta \sum_h L_h + L_{extra}

\( L_{extra} \) are the model's own losses: regularizers, damping, what layers add.

Source: Hinton, Vinyals, Dean 1503.02531, section 2; Romero et al. 1412.6550 for hints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.distill.ends import check_numbers, check_outputs, says_logits
from tfq_ext.qat.distill.hints import Inside, Told, averaged, pooling
from tfq_ext.qat.distill.losses import Between, SoftTargets, loss_between, relative_error
from tfq_ext.qat.layers import deserialize, register, serialize

keras = need("keras", why="Distillation")
ops = keras.ops
Model: Any = keras.Model


@register
class Distiller(Model):
    """Trains a student on labels and a teacher; predicts and evaluates as the student.

    The student may be what `quantize_aware` returns: Schedule and Journal find its layers, and
    `distiller.student` is what you save and export. Compile the Distiller with the student's loss
    and metrics. `evaluate` gives the student's own loss, without the teacher.

    Args:
        student: Keras model.
        teacher: Keras model with outputs of the same shapes; it becomes untrainable and always
            runs in inference.
        temperature: T of the soft targets.
        alpha: the teacher's share, 0 to 1; the labels have the rest. With 1, fit needs no labels.
        hints: student's layer -> teacher's layer, whose outputs are to agree. Where channels
            differ, a trained projection of the student's stands between; larger maps are averaged.
        hint_weight: beta. A hint's loss is relative: 1 is as wrong as saying 0.
        loss: None for soft targets, else a Keras loss of (teacher's output, student's output),
            such as "mse" for regression.
        from_logits: whether outputs are logits; None looks for a softmax at the models' ends.

    Raises:
        SpecError: temperature or weights out of their range.
        ModelError, UnknownName: outputs or hints that do not fit.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        *,
        temperature: float = 4.0,
        alpha: float = 0.5,
        hints: Mapping[str, str] | None = None,
        hint_weight: float = 1.0,
        loss: Any = None,
        from_logits: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_numbers(temperature, alpha, hint_weight)
        self.student, self.teacher = deserialize(student), deserialize(teacher)
        self.teacher.trainable = False
        self.temperature, self.alpha, self.hint_weight = temperature, alpha, hint_weight
        self.hints = dict(hints or {})
        self.between, self.from_logits = loss, from_logits
        check_outputs(self.student, self.teacher, loss is None)
        self._soft = self._soft_loss()
        self._listen_inside()
        self._soft_mean = keras.metrics.Mean(name="teacher_loss")
        self._hint_mean = keras.metrics.Mean(name="hint_loss") if self.hints else None
        self.built = True

    def _soft_loss(self) -> Any:
        if self.between is not None:
            return loss_between(self.between)
        teacher, student = (
            says_logits(model) if self.from_logits is None else self.from_logits
            for model in (self.teacher, self.student)
        )
        return SoftTargets(self.temperature, teacher_logits=teacher, student_logits=student)

    def _listen_inside(self) -> None:
        self._student_inside = Inside(self.student, list(self.hints), "student")
        self._teacher_inside = Inside(self.teacher, list(self.hints.values()), "teacher")
        self.projections, self._pools, self._hint_loss = [], [], Between(relative_error)
        pairs = zip(self._student_inside.tensors, self._teacher_inside.tensors, strict=True)
        for (name, other), (mine, theirs) in zip(self.hints.items(), pairs, strict=True):
            self._pools.append(pooling(mine.shape, theirs.shape, f"{name} -> {other}"))
            same = mine.shape[-1] == theirs.shape[-1]
            project = keras.layers.Identity if same else keras.layers.Dense
            options = {} if same else {"units": theirs.shape[-1], "use_bias": False}
            self.projections.append(project(**options, name=f"{name}_to_{other}"))
            self.projections[-1].build(mine.shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The student's output; in training with the features that hints compare."""
        if not training:
            return self.student(x, training=training)
        return self._student_inside(x, training=True)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """L in training; the student's own loss in evaluation."""
        if not isinstance(y_pred, Told):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        extra = sum((ops.sum(loss) for loss in self.losses), 0.0)
        total = self.alpha * extra
        if self.alpha < 1:  # the next line's result has the extra losses in it
            own = super().compute_loss(x, y, y_pred.output, sample_weight, training)
            total = total + (1 - self.alpha) * own
        told = self._teacher_inside(x, training=False)
        soft = self._soft_sum(told.output, y_pred.output, sample_weight)
        self._soft_mean.update_state(soft)
        total = total + self.alpha * soft
        if self._hint_mean is None:
            return total
        hints = self._hint_sum(told.features, y_pred.features, sample_weight)
        self._hint_mean.update_state(hints)
        return total + self.hint_weight * hints

    def _soft_sum(self, told: Any, output: Any, weight: Any) -> Any:
        pairs = list(zip(keras.tree.flatten(told), keras.tree.flatten(output), strict=True))
        weights = keras.tree.flatten(weight) if keras.tree.is_nested(weight) else [weight]
        weights = weights if len(weights) == len(pairs) else weights[:1] * len(pairs)
        losses = (
            self._soft(ops.stop_gradient(t), z, sample_weight=w)
            for (t, z), w in zip(pairs, weights, strict=True)
        )
        return sum(losses, 0.0)

    def _hint_sum(self, told: list[Any], features: list[Any], weight: Any) -> Any:
        weight = keras.tree.flatten(weight)[0] if keras.tree.is_nested(weight) else weight
        total = 0.0
        for t, s, project, (mine, other) in zip(
            told, features, self.projections, self._pools, strict=True
        ):
            said = averaged(project(ops.cast(s, "float32")), mine)
            target = ops.stop_gradient(averaged(ops.cast(t, "float32"), other))
            total = total + self._hint_loss(target, said, sample_weight=weight)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The student's metrics; in training also the teacher's and the hints' loss."""
        if isinstance(y_pred, Told):
            return super().compute_metrics(x, y, y_pred.output, sample_weight)
        result = super().compute_metrics(x, y, y_pred, sample_weight)
        return {k: v for k, v in result.items() if k not in ("teacher_loss", "hint_loss")}

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        named = isinstance(self.between, str) or self.between is None
        return {
            **super().get_config(),
            "student": serialize(self.student),
            "teacher": serialize(self.teacher),
            "temperature": self.temperature,
            "alpha": self.alpha,
            "hints": dict(self.hints),
            "hint_weight": self.hint_weight,
            "loss": self.between if named else serialize(self.between),
            "from_logits": self.from_logits,
        }
