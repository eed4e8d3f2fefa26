"""lint(): a file against every rule of the table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from tfq_ext._table import Table
from tfq_ext.errors import ModelError, SpecError
from tfq_ext.samples import Preprocess, Samples, open_samples
from tfq_ext.spec import Range
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model, describe, read_bytes
from tfq_ext.validation.finding import SEVERITIES, Finding, Rule
from tfq_ext.validation.inspection.runtime_versions import release_key
from tfq_ext.validation.lint import config as configs
from tfq_ext.validation.lint.observed import Observed
from tfq_ext.validation.lint.report import LintReport
from tfq_ext.validation.lint.rule import REFERENCE, VALUES
from tfq_ext.validation.lint.subject import Subject
from tfq_ext.validation.lint.table import LINT_RULES
from tfq_ext.validation.reference import float_bytes

if TYPE_CHECKING:
    from tfq_ext.validation.sandbox import Limits

LIMIT = 64  # samples that are enough to see a range
Path = str | os.PathLike[str]


class Values(NamedTuple):
    """What running the file gave."""

    seen: dict[tuple[int, int], Observed] | None = None
    ranges: dict[str, Range] | None = None
    samples: int = 0
    died: Finding | None = None


def lint(
    model: Path | bytes,
    *,
    target: str | None = None,
    config: Path | None = None,
    data: object | None = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = LIMIT,
    seed: int = 0,
    reference: Path | bytes | None = None,
    name: str | None = None,
    limits: Limits | None = None,
    show_progress: bool = False,
) -> LintReport:
    """Hold a .tflite against every lint rule. Nothing is run unless `data` is given.

    Args:
        model: path or bytes.
        target: runtime that must run the file, "2.14.0"; wins over the config file's.
        config: TOML file with a [lint] table: suppressions, target.
        data, preprocess, limit, seed: samples as `open_samples` takes them; the file is run on
            them in a child process, and rules about values are judged too.
        reference: the float model, run on the same samples: .tflite, or what `quantize` takes.
        name: how the file is called, where bytes are given.
        limits: of the child process.
        show_progress: a bar on stderr, where that is a terminal.

    Raises:
        ModelError: a file that cannot be read. (One that LiteRT refuses or does not survive is a
            finding.)
        DataError: samples that do not fit.
        RecipeError: a config file with mistakes.
        SpecError: a target that is no version.
    """
    chosen = configs.load(config, {} if config is None else known_rules())
    wanted = target or chosen.target
    content = read_bytes(model)
    parsed = Model.parse(content, source=describe(model) if name is None else name)
    called = name if name is not None else "" if isinstance(model, bytes) else str(model)
    values = Values()
    if data is not None:
        samples = _opened(parsed, data, preprocess, limit, seed)
        values = _values(content, parsed.primary, samples, reference, limits, show_progress)
    elif reference is not None:
        raise SpecError("A reference is compared on samples: give data too (--data).")
    subject = Subject(
        parsed,
        name=os.path.basename(called),
        target=release_key(wanted) if wanted else None,
        values=values.seen,
        samples=values.samples,
        reference=values.ranges,
        size=len(content),
    )
    return judge(subject, chosen, file=called, target=wanted, died=values.died)


def judge(
    subject: Subject,
    config: configs.LintConfig,
    *,
    file: str = "",
    target: str = "",
    died: Finding | None = None,
) -> LintReport:
    """The report on a subject; `died` is what came of the attempt to run it, if that failed."""
    found: list[Finding] = [] if died is None else [died]
    skipped: dict[str, str] = {}
    for id_, entry in LINT_RULES.items():
        if reason := entry.missing(subject):
            values = entry.needs in (VALUES, REFERENCE)
            skipped[id_] = "could not run the file" if died and values else reason
        else:
            found += entry.check(subject)
    found.sort(key=lambda f: -SEVERITIES.index(f.severity))  # stable: the table's order stays
    return LintReport(
        config.applied(found),
        tuple(id_ for id_ in LINT_RULES if id_ not in skipped),
        skipped,
        file,
        target,
        subject.samples,
        config.idle(found),
    )


def known_rules() -> Table[Rule]:
    """Every rule that a config file may name, those of other checks too."""
    from tfq_ext.validation.catalogue import catalogue

    return catalogue()


def _opened(
    model: Model, data: object, preprocess: Preprocess | str | None, limit: int | None, seed: int
) -> Samples:
    specs = [spec for spec in real_specs(model) if spec.signature in ("", model.primary)]
    return open_samples(
        data, specs, preprocess=preprocess, limit=limit, seed=seed, shuffle=limit is not None
    )


def _values(
    content: bytes,
    key: str | None,
    samples: Samples,
    reference: Any,
    limits: Limits | None,
    shown: bool,
) -> Values:
    """Statistics from a child process; a file that LiteRT refuses or dies of is a finding."""
    from tfq_ext.validation.lint.watch import collect
    from tfq_ext.validation.sandbox import died_finding

    beside = None if reference is None else float_bytes(reference)[0]
    try:
        seen, named, count = collect(
            content, samples, key=key, reference=beside, limits=limits, show_progress=shown
        )
    except ModelError as error:
        return Values(died=died_finding(error))
    ranges = {name: Range.of(o.low, o.high) for name, o in named.items()}
    return Values(seen, ranges if beside is not None else None, count)
