"""How far a student is from its teacher, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfq_ext._optional import need

keras = need("keras", why="Distillation")
ops = keras.ops
Loss: Any = keras.losses.Loss
SMALLEST = 1e-7  # probability whose logarithm is still taken; Keras' own epsilon


class SoftTargets(Loss):
    r"""Kullback-Leibler divergence at a temperature.

    .. math:: T^2 \sum_k p_k (\log p_k - \log q_k), \quad p = \mathrm{softmax}(t / T), \quad
        q = \mathrm{softmax}(z / T)

    \( T^2 \) keeps its gradients as large as those of the labels' loss. Probabilities are as good
    as logits: \( z = \log q \) up to a constant that the softmax removes.

    Args:
        temperature: T.
        teacher_logits, student_logits: whether the outputs are logits rather than probabilities.

    Source: Hinton, Vinyals, Dean 1503.02531, equation 1 and section 2.1.
    """

    def __init__(
        self, temperature: float, *, teacher_logits: bool = True, student_logits: bool = True
    ) -> None:
        super().__init__(name="soft_targets", dtype="float32")
        self.temperature = temperature
        self.teacher_logits, self.student_logits = teacher_logits, student_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """float32[N, ...] from float32[N, ..., classes] of teacher and student."""
        log_p = self._log_softmax(y_true, self.teacher_logits)
        log_q = self._log_softmax(y_pred, self.student_logits)
        return self.temperature**2 * ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)

    def _log_softmax(self, output: Any, logits: bool) -> Any:
        z = output if logits else ops.log(ops.maximum(output, SMALLEST))
        return ops.log_softmax(z / self.temperature, axis=-1)


class Between(Loss):
    """Any function of (teacher's output, student's output), so that sample weights count.

    Args:
        function: gives float32[N, ...].
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(name="between", dtype="float32")
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The function's values."""
        return self.function(y_true, y_pred)


def relative_error(teacher: Any, student: Any) -> Any:
    r"""Squared error of features in units of the teacher's power: 1 is as wrong as saying 0.

    .. math:: \sum_j (s_{nj} - t_{nj})^2 / \overline{\textstyle\sum_j t_{nj}^2}

    Args:
        teacher, student: float32[N, ...]; the mean is over the batch.

    Returns:
        float32[N].

    Source: Romero et al. 1412.6550, equation 3, which has no denominator: with it the weight of a
    hint means the same for every layer.
    """
    axes = tuple(range(1, len(teacher.shape)))
    power = ops.mean(ops.sum(ops.square(teacher), axis=axes))
    return ops.sum(ops.square(student - teacher), axis=axes) / (power + 1e-12)


def loss_between(loss: Any) -> Any:
    """A keras Loss from a Loss, a name ("mse") or a function."""
    found = keras.losses.get(loss)
    return found if isinstance(found, keras.losses.Loss) else Between(found)
