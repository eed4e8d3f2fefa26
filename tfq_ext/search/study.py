"""One model, its samples and what files of it are made of: the ground of every measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tfq_ext.emit.to_float import to_float
from tfq_ext.pipeline import calibrate
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.samples import Preprocess, Sample, Samples, labels_beside, open_samples
from tfq_ext.search.materials import Choice, Materials, check, materials
from tfq_ext.search.meter import Meter, Reading
from tfq_ext.search.notebook import Notebook, run_key
from tfq_ext.search.probes import probe
from tfq_ext.search.units import Unit
from tfq_ext.tflite.inputs import input_specs

MEASURED_ON = 32  # samples; on MobileNetV2 the layers' order is then that of 200


@dataclass(frozen=True)
class Study:
    """Everything that is needed to measure.

    Args:
        calibrated, recipe: as the pipeline has them.
        materials: integers and ranges.
        meter: reads files.
        notebook: what was measured so far.
        threads: of LiteRT.
    """

    calibrated: Calibrated
    recipe: Recipe
    materials: Materials
    meter: Meter
    notebook: Notebook
    threads: int

    def only_weights(self, unit: Unit, bits: int) -> Reading:
        """The float model with this weight alone in integers; exact, no kernel is involved."""
        m = self.materials
        codes = {unit.weight: m.codes[bits][unit.weight]}
        return self.noted(f"only w{bits} {unit.name}", lambda: probe(m.pivot, codes, {}))

    def only_grid(self, k: int, bits: int) -> Reading:
        """The float model with the tensors of one grid alone rounded."""
        m = self.materials
        name = m.ranges[k].tensors[0]
        grid = m.grid(k, bits)
        return self.noted(f"only a{bits} {name}", lambda: probe(m.pivot, {}, grid))

    def file(self, choice: Choice) -> Reading:
        """The integer file of these widths, as `Materials.content` makes it."""
        widths = {unit.name: choice.get(unit.name, unit.base).name for unit in self.materials.units}
        key = f"file {run_key(sorted(widths.items()))}"
        return self.noted(key, lambda: self.materials.content(choice))

    def simulated(self, weights: int, without: Unit | None = None) -> Reading:
        """The float model with all weights, and all activations on 16 bits, less one unit's."""
        m = self.materials
        left = without.weight if without is not None else ""
        made = without.made if without is not None else frozenset[int]()
        codes = {u.weight: u for u in m.units if u.weight and u.weight != left}
        chosen = {
            name: m.codes[weights if any(w.weights == weights for w in u.widths) else 8][name]
            for name, u in codes.items()
        }
        rows = [k for k in sorted(frozenset().union(*(u.grids for u in m.units))) if k not in made]
        grids = {name: grid for k in rows for name, grid in m.grid(k, 16).items()}
        key = f"simulated w{weights}a16 without {without.name if without else '-'}"
        return self.noted(key, lambda: probe(m.pivot, chosen, grids))

    def noted(self, what: str, make: Any) -> Reading:
        """A reading under this name: from the notebook, or made now."""
        return reading_of(self.notebook.get(what, lambda: as_row(self.meter(make()))))


def as_row(reading: Reading) -> dict[str, Any]:
    """A reading as JSON values."""
    return {
        "noise": reading.noise,
        "kl": reading.kl,
        "agreement": reading.agreement,
        "metrics": dict(reading.metrics),
    }


def reading_of(row: Mapping[str, Any]) -> Reading:
    """The inverse of `as_row`."""
    return Reading(row["noise"], row["kl"], row["agreement"], row["metrics"])


def open_study(
    model: object,
    data: object,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    bits: Sequence[int] = (8, 4),
    evaluation: object = None,
    labels: Any = None,
    task: str | None = None,
    output: str | None = None,
    label_offset: int = 0,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    measure_on: int | None = MEASURED_ON,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    checkpoint: Path | None = None,
    verbose: bool = False,
    show_progress: bool | None = None,
) -> Study:
    """Convert, calibrate, finish a file for each width, and open the samples that measure.

    Args: as `sensitivity`.
    """
    wanted = plainly(load_recipe(recipe))
    pivot = to_float(
        model, signatures=signatures, batch=batch, custom_objects=custom_objects, verbose=verbose
    )
    shown = {"threads": threads, "show_progress": show_progress}
    more: dict[str, Any] = {"preprocess": preprocess, "limit": limit, "checkpoint": checkpoint}
    calibrated = calibrate(pivot, data, wanted, **more, **shown)  # type: ignore[arg-type]
    check(calibrated, wanted)
    judges = judges_of(calibrated, evaluation, labels, preprocess, measure_on, wanted.seed)
    judged = {"task": task, "output": output, "label_offset": label_offset}
    path = checkpoint and Path(checkpoint).with_name(f"{Path(checkpoint).name}.jsonl")
    return study_of(calibrated, wanted, judges, bits=bits, notebook=path, **judged, **shown)  # type: ignore[arg-type]


def plainly(recipe: Recipe) -> Recipe:
    """Without what would swap the file for another one, or ask for a search within the search."""
    return recipe.changed(at_least=None, search=None, distill=0)


def study_of(
    calibrated: Calibrated,
    recipe: Recipe,
    judges: Samples | Iterator[Sample],
    *,
    bits: Sequence[int] = (8, 4),
    task: str | None = None,
    output: str | None = None,
    label_offset: int = 0,
    notebook: Path | None = None,
    threads: int = 2,
    show_progress: bool | None = None,
) -> Study:
    """Finish a file for each width, and open the meter; `recipe` is `plainly`'s."""
    made = materials(calibrated, recipe, bits, threads=threads, show_progress=show_progress)
    meter = Meter(
        calibrated.pivot.model.to_bytes(),
        judges,
        task=task,
        output=output,
        label_offset=label_offset,
        threads=threads,
    )
    stats = calibrated.stats.sample_hash if calibrated.stats is not None else ""
    settings = (task, output, label_offset, meter.main)
    digest = calibrated.pivot.digest
    run = run_key(digest, recipe.digest(), stats, meter.digest, *settings)
    return Study(calibrated, recipe, made, meter, Notebook(notebook, run), threads)


def judges_of(
    calibrated: Calibrated,
    evaluation: object = None,
    labels: Any = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = MEASURED_ON,
    seed: int = 0,
) -> Samples | Iterator[Sample]:
    """Samples to measure with: those given, else the ones held back and some of the others."""
    if evaluation is None:
        kept = [s for s in (calibrated.held_back, calibrated.samples) if s is not None]
        return islice(chain.from_iterable(kept), limit)
    specs = input_specs(calibrated.pivot.model)
    beside = labels if labels is not None else labels_beside(evaluation)
    return open_samples(
        evaluation,
        specs,
        limit=limit,
        seed=seed,
        shuffle=True,
        preprocess=preprocess,
        labels=beside,
    ).reusable()
