"""Does the file run at all? One run in a child process, and a look at what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.runner import Port
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.sandbox import Limits, ModelDied, SafeRunner, died_finding
from tfq_ext.validation.seat import noise

RULES: Table[Rule] = Table(
    "rule",
    {
        "output-not-finite": Rule(
            "output-not-finite",
            "error",
            "An output holds NaN or infinity.",
            "Nothing that follows can use such a value, and comparisons with it are always false.",
            "Find the first op with such a value: tfq compare names it; look for a division by "
            "zero, a logarithm of zero, or fp16 constants past 65504.",
            "own check",
        ),
        "output-constant": Rule(
            "output-constant",
            "error",
            "An output is the same whatever the input.",
            "The scale of an op on the way is so coarse that all that it can produce is one code, "
            "or a weight is zero.",
            "Run tfq lint: it names the scales that are absurd for their use; quantize again with "
            "samples that look like the real inputs.",
            "own check, after a published hand model whose scales are 329 and 1216",
        ),
    },
)


@dataclass(frozen=True)
class Trial:
    """What happened.

    Args:
        faults: sentences, empty if all is well.
        detail: what was run.
        findings: the same faults with remedies.
    """

    faults: tuple[str, ...]
    detail: str
    findings: tuple[Finding, ...]

    @property
    def ran(self) -> bool:
        """Whether it came to an end and gave outputs, good or bad."""
        return bool(self.detail)


def trial(
    content: bytes,
    samples: Sequence[Mapping[str, np.ndarray]] | None = None,
    *,
    signature: str | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> Trial:
    """Run a few inputs, the first ones twice.

    Args:
        content: the .tflite.
        samples: inputs by name with the batch axis; None: two of noise, over the whole grid of
            a quantized input.
        signature: which one; None: the first.
        seed: of the noise.
        limits: of the child process.
    """
    try:
        with SafeRunner(content, signature=signature, limits=limits or Limits()) as runner:
            inputs = samples or [noise(runner.inputs, seed + k, whole=True) for k in range(2)]
            outputs = [runner(x) for x in inputs]
            ports = dict(runner.outputs)
    except ModelDied as error:
        finding = died_finding(error)
        return Trial((str(error),), "", (finding,))
    except (ModelError, DataError) as error:
        return Trial((str(error),), "", ())
    kind = "samples" if samples else "noise"
    found = tuple(_look(inputs, outputs, ports, kind))
    return Trial(
        tuple(f.message for f in found if f.severity == "error"),
        f"{len(outputs)} runs on {kind}, XNNPACK",
        found,
    )


def _look(
    inputs: Sequence[Mapping[str, np.ndarray]],
    outputs: list[dict[str, np.ndarray]],
    ports: Mapping[str, Port],
    kind: str,
) -> list[Finding]:
    found = []
    different = any(_differ(inputs[0], other) for other in inputs[1:])
    for name in ports:
        values = [output[name] for output in outputs]
        if values[0].dtype.kind != "f":
            continue
        bad = sum(int((~np.isfinite(x)).sum()) for x in values)
        if bad:
            total = sum(x.size for x in values)
            text = f"Output {name!r} holds {bad} values of {total} that are NaN or infinite."
            found.append(RULES["output-not-finite"].at(text, tensor=name))
        elif different and _flat(values):
            text = (
                f"Output {name!r} is {values[0].reshape(-1)[0]:.4g} in all of {values[0].size} "
                f"places for {len(values)} different inputs ({kind})."
            )
            found.append(RULES["output-constant"].at(text, tensor=name))
    return found


def _flat(values: list[np.ndarray]) -> bool:
    """Whether every value of every run is one and the same."""
    first = values[0].reshape(-1)[:1]
    return values[0].size > 1 and all(bool((x == first).all()) for x in values)


def _differ(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return any(not np.array_equal(a[name], b[name]) for name in a)
