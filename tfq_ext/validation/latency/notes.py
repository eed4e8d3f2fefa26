"""What a reader of the numbers must know: assumptions, and what makes them doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfq_ext.tflite.read import Model
from tfq_ext.validation.latency.machine import BUSY
from tfq_ext.validation.latency.rows import BenchReport

SHAKY = 0.25  # standard deviation by mean


def notes_of(
    report: BenchReport,
    assumed: Sequence[str],
    models: Mapping[str, Model],
    signature: str | None,
) -> tuple[str, ...]:
    """One sentence each.

    Args:
        assumed: files whose open dimensions, the batch aside, were taken as 1.
        models, signature: what ran.
    """
    return (
        *_of_machine(report),
        *_of_variation(report),
        *_of_inputs(assumed),
        *_of_signatures(models, signature),
    )


def _of_machine(report: BenchReport) -> Iterator[str]:
    here = report.machine
    if here.busy is not None and here.busy > BUSY:
        yield (
            f"Other work took {here.busy:.0%} of this machine meanwhile: trust the ratios, which "
            "were measured in turns, more than the times, and repeat when it is quiet."
        )
    elif here.load is not None and here.load > here.cores:
        yield (
            f"The load was {here.load:.1f} on {here.cores} cores when this began: trust the ratios "
            "more than the times."
        )
    most = max((row.threads for row in report.rows), default=1)
    if most > here.cores:
        yield f"{most} threads on {here.cores} cores wait for each other."


def _of_variation(report: BenchReport) -> Iterator[str]:
    shaky = [row for row in report.rows if not row.failed and row.variation > SHAKY]
    if shaky:
        worst = max(shaky, key=lambda row: row.variation)
        yield (
            f"The times of {len(shaky)} of {len(report.rows)} rows vary by more than {SHAKY:.0%} "
            f"(most: {worst.name}, {worst.variation:.0%}): more rounds (--runs) "
            "or a quieter machine narrow the intervals."
        )


def _of_inputs(assumed: Sequence[str]) -> Iterator[str]:
    if assumed:
        which = ", ".join(assumed) if len(assumed) < 4 else f"{len(assumed)} files"
        yield (
            f"Open dimensions of {which} were taken as 1: give --data to time the "
            "shapes that you run."
        )


def _of_signatures(models: Mapping[str, Model], signature: str | None) -> Iterator[str]:
    if signature is not None:
        return
    for name, model in models.items():
        if len({model.graph_of(key).index for key in model.signatures}) > 1:
            keys = ", ".join(model.signatures)
            yield (
                f"{name} has several signatures ({keys}); the first subgraph was timed. Choose "
                "one with --signature."
            )
