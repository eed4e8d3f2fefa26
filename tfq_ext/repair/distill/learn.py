r"""The optimisation: all layers together, on what the float network answers.

\( L = D(y, \tilde y) + \tfrac{1}{K} \sum_k D(z_k, \tilde z_k), \quad
D(a, b) = \|a - b\|^2 / \|a - \bar a\|^2 \), the \(z_k\) at the network's landmarks (`landmarks`),
the mean taken off by channel. Adam, its rate falling along a cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext.repair.distill.mixtures import mixture
from tfq_ext.repair.distill.network import Network, Seen, landmarks, stacked
from tfq_ext.repair.distill.student import Student
from tfq_ext.repair.watch import Watch, unwatched

Values = Mapping[int, np.ndarray]
MEMORY, SECOND = 0.9, 0.99  # of Adam


@dataclass(frozen=True)
class Distilling:
    """How to learn. Rates are for outputs that are all noise; less noise lowers them likewise.

    Args:
        passes: over the samples.
        batch: samples a step.
        rate: of scales (relative) and of biases (in deviations of the output).
        code_rate: of codes, in steps of the grid; 0: they stay.

    Measured on MobileNetV2 at 4 bits (noise .3, 20 passes, 200 other images, 10.4 dB before):
    without codes 11.0 dB, with them 11.0 dB and a KL divergence of .131 for .137; ten times
    the rate of codes ruins the network (6 dB), and so does soft rounding of all layers at once
    (AdaRound's, 250 steps: half the weights not settled, 3 dB). Mixed less, 11.0 dB and .143.
    At 8 bits a rate of 1e-3 took EfficientNet-Lite0 from 24.6 to 24.0 dB, 3e-4 left it there.
    """

    passes: int
    batch: int = 10
    rate: float = 6e-3
    code_rate: float = 0.03


def learn(
    network: Network,
    student: Student,
    samples: Sequence[Values],
    seen: Seen,
    settings: Distilling,
    *,
    seed: int = 0,
    watch: Watch = unwatched,
) -> None:
    """Move the student's variables.

    Args:
        network: float.
        student: its variables are changed.
        samples: graph input -> array, samples along the first axis.
        seen: puts activations on their grids, as the file will.
        settings: how.
        seed: of the order and the mixtures.
        watch: shows the steps.
    """
    noise = _noise(network, student, stacked(samples[: settings.batch]), seen)
    step = _step(network, student, seen, settings, noise)
    rng = np.random.default_rng([seed, 2])
    batch = min(settings.batch, len(samples))
    count = max(len(samples) // batch, 1) * settings.passes
    order = np.concatenate([rng.permutation(len(samples)) for _ in range(settings.passes + 1)])
    for k in watch(range(count), label="distilling", total=count):
        chosen = [samples[i] for i in order[k * batch : (k + 1) * batch]]
        mixed = [mixture(one, samples[int(rng.integers(len(samples)))], rng) for one in chosen]
        step(stacked(mixed), np.float32(k + 1), np.float32(0.5 + 0.5 * np.cos(np.pi * k / count)))


def _step(
    network: Network, student: Student, seen: Seen, settings: Distilling, noise: float
) -> Callable[[Values, np.float32, np.float32], None]:
    """One compiled step of Adam: (batch, its number from 1, share of the rate)."""
    tf = network.tf
    rows = student.variables(settings.rate * noise, settings.code_rate * noise)
    state = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v, _ in rows]
    marks = landmarks(network.graph)

    def step(inputs: Any, number: Any, share: Any) -> None:
        wanted = network.run(inputs, {})
        with tf.GradientTape() as tape:
            got = network.run(inputs, student.constants(), seen)
            loss = _loss(network, wanted, got, marks)
        slopes = tape.gradient(loss, [v for v, _ in rows])
        for slope, (variable, rate), (first, second) in zip(slopes, rows, state, strict=True):
            if slope is None:
                continue
            first.assign(MEMORY * first + (1 - MEMORY) * slope)
            second.assign(SECOND * second + (1 - SECOND) * slope * slope)
            size = tf.sqrt(second / (1 - SECOND**number)) + 1e-12
            variable.assign_sub(rate * share * (first / (1 - MEMORY**number)) / size)

    compiled = tf.function(step)

    def run(batch: Values, number: np.float32, share: np.float32) -> None:
        inputs = {t: tf.constant(x) for t, x in batch.items()}
        compiled(inputs, tf.constant(number), tf.constant(share))

    return run


def _noise(network: Network, student: Student, batch: Values, seen: Seen) -> float:
    """Amplitude of the outputs' error over their spread, 0 to 1."""
    wanted, got = network.run(batch, {}), network.run(batch, student.constants(), seen)
    outputs = [t for t in network.graph.outputs if wanted[t].dtype.is_floating]
    ends = [float(_distance(network.tf, wanted[t], got[t])) for t in outputs]
    return min(float(np.sqrt(np.mean(ends))), 1.0) if ends else 0.0


def _loss(network: Network, wanted: Values, got: Values, marks: Sequence[int]) -> Any:
    """Distance of the outputs, and of all landmarks on average."""
    tf = network.tf
    floats = [t for t in marks if wanted[t].dtype.is_floating]  # type: ignore[attr-defined]
    outputs = [t for t in network.graph.outputs if t in floats]
    ends = [_distance(tf, wanted[t], got[t]) for t in outputs]
    inner = [_distance(tf, wanted[t], got[t]) for t in floats]
    return tf.add_n(ends) / max(len(ends), 1) + tf.add_n(inner) / max(len(inner), 1)


def _distance(tf: Any, wanted: Any, got: Any) -> Any:
    axes = list(range(len(wanted.shape) - 1)) or [0]
    spread = wanted - tf.reduce_mean(wanted, axes, keepdims=True)
    return tf.reduce_sum((wanted - got) ** 2) / (tf.reduce_sum(spread**2) + 1e-12)
