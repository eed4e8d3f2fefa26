"""compare(): both models in a child, sample after sample, then verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples import Preprocess, open_samples, progress
from tfq_ext.samples.spec import Sample
from tfq_ext.tflite.arithmetic import INTEGER, arithmetic
from tfq_ext.tflite.read import Model, read_bytes
from tfq_ext.validation.comparison.causes import judged
from tfq_ext.validation.comparison.rules import findings
from tfq_ext.validation.comparison.scene import Scene, fitting_parts
from tfq_ext.validation.comparison.values import Comparison
from tfq_ext.validation.reference import float_bytes
from tfq_ext.validation.sandbox import Child, Limits, Remote

SESSION = "tfq_ext.validation.comparison.session:Session"
Source = str | os.PathLike[str] | bytes


def compare(
    reference: object,
    candidate: Source,
    data: object,
    *,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    signature: str | None = None,
    own: bool = True,
    threads: int = 2,
    limits: Limits | None = None,
    show_progress: bool | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] = (),
    child: Child | None = None,
) -> Comparison:
    """Hold every tensor of a .tflite against the float model that it was made from.

    Args:
        reference: .tflite (path or bytes), or anything that `quantize` converts: a Keras model,
            .keras, .h5, SavedModel. TensorFlow is imported for the latter only.
        candidate: any .tflite, path or bytes.
        data: samples as `quantize` takes them.
        preprocess, limit, seed: of the samples; with a limit, a random subset.
        signature: the one to run; None: the reference's first.
        own: also run every op alone on the reference's values, which tells the culprit from the
            victims; takes about as long again.
        threads: for LiteRT.
        limits: memory and time of the child process that runs both models.
        show_progress: None shows a bar on a terminal only.
        custom_objects: for Keras files.
        child: an open one to run in, in place of one of its own.

    Returns:
        Comparison: print it, or see `.worst()`, `.outputs`, `.findings`, `.to_dict()`.

    Raises:
        ModelError: a model cannot be read or run, dies, or is another network.
        DataError: no samples, samples that do not fit, NaN or infinity in a tensor.
    """
    if data is None:
        raise DataError("A comparison runs both models on samples: give data (--data).")
    float_content, notes = float_bytes(reference, custom_objects)
    scene = _scene(float_content, _shown(reference, "the reference"), candidate, signature)
    samples = open_samples(
        data, scene.input_specs(), preprocess=preprocess, limit=limit, seed=seed, shuffle=True
    )
    watched = progress(samples, label="comparing", enabled=show_progress)
    with Child(limits) if child is None else nullcontext(child) as home:
        session = home.make(
            *(SESSION, float_content, read_bytes(candidate)),
            **{"signature": signature, "own": own, "threads": threads},
        )
        count, (rows, outputs, unmatched) = _fed(session, watched, scene)
    done = judged(rows)
    return Comparison(
        reference=_shown(reference, "the reference"),
        candidate=_shown(candidate, "the candidate"),
        data=_shown(data, ""),
        preprocess=str(preprocess or ""),
        signature=scene.keys[0] or "",
        rows=done,
        outputs=outputs,
        unmatched=unmatched,
        samples=count,
        findings=findings(done, outputs, unmatched),
        notes=(*notes, *_remarks(scene), *samples.notes),
    )


def _scene(reference: bytes, name: str, candidate: Source, signature: str | None) -> Scene:
    """Both files as far as samples and remarks need them; the child does the rest."""
    mine = Model.parse(reference, source=name)
    other = Model.load(candidate)
    with fitting_parts():
        return Scene(mine, other, signature)


def _fed(session: Remote, samples: Iterable[Sample], scene: Scene) -> tuple[int, Any]:
    """All samples into the child; their number, and what came of them."""
    count = 0
    for sample in samples:
        if sample.signature not in ("", *scene.keys):
            continue
        session.call("add", _by_reference(sample.inputs, scene), sample.key)
        count += 1
    if not count:
        raise DataError(f"None of the samples is for the signature {scene.keys[0]!r}.")
    result = session.call("finish")
    session.drop()
    return count, result


def _by_reference(inputs: Mapping[str, np.ndarray], scene: Scene) -> dict[str, np.ndarray]:
    """The inputs under the reference's names; samples opened elsewhere may have the candidate's.

    Raises:
        DataError: an input that the samples do not have.
    """
    named = {}
    for port in scene.inputs:
        key = next((k for k in (port.name, port.other) if k in inputs), None)
        if key is None:
            raise DataError(
                f"The samples have {', '.join(inputs) or 'no input'}; the models also take "
                f"{port.name!r}."
            )
        named[port.name] = inputs[key]
    return named


def _remarks(scene: Scene) -> list[str]:
    mine, graph = scene.models[0], scene.reference.graph
    integer = sum(arithmetic(graph, op) == INTEGER for op in graph.ops)
    notes = []
    if integer:
        notes.append(
            f"The reference itself computes {integer} of {len(graph.ops)} ops in integers; all "
            "figures are relative to it, not to a float model."
        )
    if len(mine.signatures) > 1:
        rest = [key for key in mine.signatures if key != scene.keys[0]]
        notes.append(f"Signature {scene.keys[0]!r} was compared; not {', '.join(rest)}.")
    return notes


def _shown(source: Any, otherwise: str) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else otherwise
