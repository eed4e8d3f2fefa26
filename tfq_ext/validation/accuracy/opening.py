"""From what the user gave to what workers run: both models, the judged outputs, the samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples import InputSpec, Preprocess, Sample, Samples, labels_beside, open_samples
from tfq_ext.tflite.read import Model, describe, is_tflite, read_bytes
from tfq_ext.validation.accuracy.evaluator import Side
from tfq_ext.validation.accuracy.pool import cores
from tfq_ext.validation.accuracy.structure import (
    OutputFact,
    like,
    output_facts,
    pick,
    shared_specs,
    specs_of,
    takes_any_batch,
)

READERS = 8  # threads that decode images; past that they wait for Python's lock


@dataclass(frozen=True)
class Scene:
    """Both models, looked at.

    Args:
        candidate, reference: what to run and judge.
        fact: the candidate's judged output.
        specs: what samples must fit.
        key: the candidate's signature.
        free: whether rows may be stacked in both models, as far as the files say.
        notes: what was done to get here.
    """

    candidate: Side
    reference: Side | None
    fact: OutputFact
    specs: tuple[InputSpec, ...]
    key: str | None
    free: bool
    notes: tuple[str, ...]


def open_scene(
    candidate: object, reference: object, output: str | None, signature: str | None
) -> Scene:
    """Read both files without running them.

    Raises:
        ModelError: a model that cannot be read or converted, or has no such signature.
        DataError: no such output, or batches that do not go together.
    """
    content, model = _read(candidate)
    facts, notes = output_facts(model, signature), list[str]()
    fact = pick(facts, output)
    if output is None and len(facts) > 1:
        notes.append(
            f"The model has {len(facts)} outputs; the first, {fact.name}, is judged. Others: "
            f"{', '.join(other.name for other in facts[1:])}."
        )
    specs = specs_of(model, signature)
    free = takes_any_batch(model, specs)
    side = Side(content, fact.name, fact.final, model.key_of(signature))
    other = None
    if reference is not None:
        theirs, note = _float(reference)
        notes += [note] if note else []
        bytes_, base = _read(theirs)
        key = signature if signature in base.signatures else None
        chosen = like(output_facts(base, key), facts, fact)
        base_specs = specs_of(base, key)
        free = free and takes_any_batch(base, base_specs)
        specs = shared_specs(specs, base_specs)
        other = Side(bytes_, chosen.name, chosen.final, base.key_of(key))
    return Scene(side, other, fact, tuple(specs), side.signature, free, tuple(notes))


def _read(source: object) -> tuple[str | bytes, Model]:
    """What a worker gets (a path stays one), and the parsed file."""
    data = read_bytes(source)  # type: ignore[arg-type]
    model = Model.parse(data, source=describe(source))
    return (os.path.abspath(source) if isinstance(source, str | os.PathLike) else data), model


def _float(reference: object) -> tuple[object, str]:
    """A .tflite as it is; anything else through the float pivot, which imports TensorFlow."""
    if isinstance(reference, bytes | bytearray):
        return bytes(reference), ""
    if is_tflite(reference):
        return reference, ""
    from tfq_ext.emit.to_float import to_float

    pivot = to_float(reference)
    note = (
        f"The reference ({pivot.source}) was converted to a float .tflite, as tfq quantize does, "
        "and runs in LiteRT like the candidate."
    )
    return pivot.model.to_bytes(), note


def open_labelled(
    data: object,
    scene: Scene,
    *,
    labels: object,
    preprocess: Preprocess | str | None,
    limit: int | None,
    seed: int,
    random_order: bool,
) -> tuple[Samples, tuple[str, ...]]:
    """The samples, and notes on them.

    Args:
        random_order: read them in an order drawn with the seed, where the source allows it.
    """
    if labels is None and not isinstance(data, Samples):
        labels = labels_beside(data)
    samples = open_samples(
        data,
        scene.specs,
        limit=limit,
        seed=seed,
        shuffle=limit is not None,
        preprocess=preprocess,
        labels=labels,  # type: ignore[arg-type]
    )
    samples = samples.ahead(min(cores() // 2, READERS))  # the workers need cores too
    if not random_order:
        return samples, ()
    drawn = samples.permuted(seed)
    if drawn is samples:
        return samples, (
            f"Stopping early takes {samples.source.what} to come in random order; shuffle it.",
        )
    return drawn, ()


def of_signature(samples: Samples, key: str | None) -> Iterator[Sample]:
    """Only the samples for the signature that is run."""
    return (s for s in samples if not key or s.signature in ("", key))


def chosen_task(task: str | None, labels: np.ndarray | None, fact: OutputFact) -> str | None:
    """The task that was asked for, or the one that labels and output make plain; None: none.

    Raises:
        DataError: labels that may mean two things.
    """
    if task is not None or labels is None:
        return task
    one = labels.shape[1:]
    integers = labels.dtype.kind in "iub"
    outputs = fact.shape[-1] if fact.shape else -1
    single = int(np.prod([n for n in fact.shape[1:] if n > 0])) == 1
    if int(np.prod(one)) == 1 and integers and single:
        raise DataError(
            "Whole-number labels with a single output may be two classes or a quantity; say "
            "task='classification' or task='regression'."
        )
    if int(np.prod(one)) == 1 and integers:
        return "classification"
    if len(one) == 1 and one[0] == outputs and one[0] > 1 and (labels.sum(1) == 1).all():
        return "classification"  # one-hot
    if len(one) in (2, 3) and (integers or one[-1:] == (outputs,)) and len(fact.shape) in (3, 4):
        return "segmentation" if integers else "regression"
    return "regression"
