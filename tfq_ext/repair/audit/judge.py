"""Every file of an audit on the samples that no range has seen, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tfq_ext.emit.plan import Plan
from tfq_ext.repair.audit import waterfall
from tfq_ext.repair.audit.scene import Options, Scene
from tfq_ext.repair.audit.tensors import true_ranges
from tfq_ext.repair.audit.values import Audit, Variant
from tfq_ext.samples import progress
from tfq_ext.validation.accuracy import evaluate


def judged(
    found: Audit, scene: Scene, given: Plan, files: Mapping[str, Any], options: Options
) -> Audit:
    """`found` with its variants and its waterfall.

    Args:
        found: the audit so far.
        scene: with the judges.
        given: ranges and weights of the first file.
        files: integer files (path or bytes) by variant.
        options: threads, progress.
    """
    own = true_ranges(scene.stats) | dict(scene.base.fixed)
    trials = waterfall.trials(scene.model, given, scene.plan.ranges, own)
    models = {"float": scene.model.to_bytes(), **files, **_keyed(trials)}
    scores = evaluate(models, _inputs(scene, options), threads=options.threads)
    subject = next(iter(files))
    sqnr = {name: scores[key].sqnr_db for name, key in zip(trials, _keyed(trials), strict=True)}
    rows = [(name, scores[name]) for name in files]
    return replace(
        found,
        judges=scores["float"].n,
        variants=tuple(
            Variant(name, s.sqnr_db, s.agreement, s.agreement_interval) for name, s in rows
        ),
        waterfall=waterfall.waterfall(subject, sqnr, found.shared, scores[subject].sqnr_db),
    )


def _keyed(trials: Mapping[str, bytes]) -> dict[str, bytes]:
    """Names that no variant has."""
    return {f"only {name}": content for name, content in trials.items()}


def _inputs(scene: Scene, options: Options) -> Any:
    """(inputs, no label) of the first signature's samples."""
    first = next(iter(scene.model.signatures), "")
    watched = progress(scene.judges, label="measuring", enabled=options.shown)
    return ((s.inputs, None) for s in watched if not first or s.signature in ("", first))
