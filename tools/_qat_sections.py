"""The tables of bench_qat, one function each: from results to rows of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from _qat_plan import FLOAT, METHODS, Run
from _qat_results import Group, Lost, Results, run_of

from tfq_ext.numerics.intervals import paired_interval

ABLATIONS = (FLOAT, "w8", "w4", "w4-early", "w4-taught")  # rows of width and relu
ABLATION_NOTES = (
    "Accuracies compare where the steps of float training are equal; lost points always.",
    "KB: the whole .tflite. Each channel has 16 bytes besides its weights (int32 bias, float32 "
    "scale, int64 zero point), which weighs much in networks as narrow as these.",
)
TFMOT_NOTE = (
    "Peak learning rate 0.02 where the name tells no other; 0.002 is the 1 % of float training's "
    "that `tfq.qat.fine_tuning_rate` gives. Only where an interval excludes 0 is one better."
)
SCRATCHES = (
    (FLOAT, "float-scratch"),
    ("w8", "w8-scratch"),
    ("w8", "w8-delayed"),
    ("w4", "w4-scratch"),
)
SCRATCH_NOTE = (
    "As many steps of the same images; from scratch the rate falls once, from 0.2 along one "
    "cosine, where float training and fine-tuning have one each. The float rows tell that effect."
)
HEADER = (
    "training",
    "seeds",
    "Keras %",
    "lost, points",
    "95 %",
    "LiteRT %",
    "as Keras %",
    "XNNPACK as builtin %",
    "KB",
)
# lost against the float network that is fine-tuned as long
TARGETS = {"w8": 0.003, "w4": 0.010, "w4-early": 0.010, "w4-taught": 0.010}
FROZEN_TARGET, CORRECTED_TARGET = 1.3, 1.9  # QAT step over float step


@dataclass(frozen=True)
class Section:
    """One table.

    Args:
        title: heading.
        header: of the columns.
        rows: texts.
        notes: sentences below it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """A Markdown table under a heading."""
        lines = [f"## {self.title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in (self.header, ("---",) * len(self.header))]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])


def accuracy(results: Results) -> Iterator[Section]:
    """Every method of every network with all that is known of it."""
    for base in results.bases():
        rows = [_method_row(results, base, method) for method in results.methods(base)]
        if rows:
            yield Section(_title(base), HEADER, tuple(rows), tuple(_verdicts(results, base)))


def _title(base: Run) -> str:
    return f"{base.net} x {base.width:g}, {base.relu}"


def _method_row(results: Results, base: Run, method: str) -> tuple[str, ...]:
    group = results.group(base, method)
    assert group is not None
    files = [results.files[n] for n in _ids(base, group) if n in results.files]
    return (
        METHODS[method].about,
        str(len(group.seeds)),
        _percent(group),
        *_lost(results, group, results.baseline(base, group.seeds)),
        _mean([row["accuracy"] for row in files]),
        _mean([row["agreement"] for row in files]),
        _mean([row["kernels"] for row in files]),
        f"{np.mean([row['bytes'] for row in files]) / 1e3:.0f}" if files else "",
    )


def _ids(base: Run, group: Group) -> list[str]:
    return [replace(base, method=group.run.method, seed=seed).id for seed in group.seeds]


def _percent(group: Group) -> str:
    spread = f" ± {100 * group.spread:.2f}" if len(group.seeds) > 1 else ""
    return f"{100 * group.accuracy:.2f}{spread}"


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * float(np.mean(shares)):.2f}" if shares else ""


def _lost(results: Results, group: Group, reference: Group | None) -> tuple[str, str]:
    found = results.against(group, reference)
    if found is None or reference is None or group.run == reference.run:
        return "", ""
    return found.texts()


def _verdicts(results: Results, base: Run) -> Iterator[str]:
    for method, target in TARGETS.items():
        group = results.group(base, method)
        found = group and results.against(group, results.baseline(base, group.seeds))
        if found:
            drop, interval = found.texts()
            yield (
                f"{METHODS[method].about}: loses {drop} points ({interval}), target "
                f"{100 * target:.1f}: {found.verdict(target)}."
            )


def post_training(results: Results) -> Iterator[Section]:
    """QAT (against float fine-tuned as long) and post-training quantization (against float)."""
    rows = []
    for base in results.bases():
        for label, method, suffix in (
            ("QAT W8A8", "w8", ".litert"),
            ("post-training int8", None, "+int8.litert"),
            ("QAT W4A8", "w4", ".litert"),
            ("QAT W4A8, frozen at 0.6", "w4-early", ".litert"),
            ("QAT W4A8, float teacher", "w4-taught", ".litert"),
            ("post-training int4", None, "+int4.litert"),
        ):
            group = results.group(base, method, suffix)
            if group is not None:
                start = FLOAT if method else None
                lost = _lost_anyway(results, group, results.group(base, start, only=group.seeds))
                rows.append((_title(base), label, _percent(group), *lost))
    header = ("network", "file", "LiteRT %", "lost against float, points", "95 %")
    if rows:
        yield Section("When QAT is worth it", header, tuple(rows))


def _lost_anyway(results: Results, group: Group, reference: Group | None) -> tuple[str, str]:
    found = results.against(group, reference)
    if found is None:
        return "", ""
    return found.texts()


def codes(results: Results) -> Iterator[Section]:
    """How much the integers move."""
    rows = []
    for name, row in results.rows("codes").items():
        steps = [share for _, share in results.runs.get(name, {}).get("changed", [])]
        rows.append(
            (
                _title(run_of(name)),
                run_of(name).how.about,
                f"{100 * row['share']:.2f}",
                f"{100 * row['moved']:.2f}",
                f"{100 * float(np.mean(steps[: len(steps) // 2])):.2f}" if len(steps) > 1 else "",
                f"{100 * steps[-1]:.2f}" if steps else "",
            )
        )
    header = (
        "network",
        "training",
        "batch to batch: codes, %",
        "weights, %",
        "step to step, first half: codes, %",
        "at the end, %",
    )
    note = (
        "Batch to batch: in training, all variables held, BatchNorm moving; step to step: exported."
    )
    if rows:
        yield Section("Codes that move", header, tuple(rows), (note,))


def ablation(title: str, wanted: Callable[[Run, Run], bool]) -> Callable[..., Iterator[Section]]:
    """A section that sets networks side by side, all against the same one's float."""

    def made(results: Results) -> Iterator[Section]:
        bases = results.bases()
        chosen = [base for base in bases if wanted(base, bases[0])]
        rows = []
        for base in chosen if len(chosen) > 1 else []:
            for method in (m for m in ABLATIONS if m in results.methods(base)):
                group = results.group(base, method)
                assert group is not None
                rows.append(_ablation_row(results, base, group))
        header = ("network", "float steps", "training", "KB", "Keras %", "lost, points", "95 %")
        if rows:
            yield Section(title, header, tuple(rows), ABLATION_NOTES)

    return made


def _ablation_row(results: Results, base: Run, group: Group) -> tuple[str, ...]:
    return (
        _title(base),
        str(results.float_steps(base)),
        group.run.how.about,
        _kilobytes(group_bytes(results, base, group)),
        _percent(group),
        *_lost(results, group, results.baseline(base, group.seeds)),
    )


def _kilobytes(count: float) -> str:
    return "" if np.isnan(count) else f"{count / 1e3:.0f}"


def group_bytes(results: Results, base: Run, group: Group) -> float:
    """Bytes of the file, the mean over seeds; of one with random weights where none was kept."""
    rows = results.files | results.rows("size")
    found = [rows[name]["bytes"] for name in _ids(base, group) if name in rows]
    return float(np.mean(found)) if found else float("nan")


def scratch(results: Results) -> Iterator[Section]:
    """From the float network against from random weights."""
    pairs = [(base, *names) for base in results.bases() for names in SCRATCHES]
    rows = []
    for base, tuned, fresh in pairs:
        group = results.group(base, fresh)
        if group is None:
            continue
        reference = results.group(base, tuned, only=group.seeds)
        from_float = _percent(reference) if reference else ""
        lost = _lost(results, group, reference)
        rows.append((_title(base), METHODS[fresh].about, _percent(group), from_float, *lost))
    header = ("network", "training", "Keras %", "from float %", "lost, points", "95 %")
    if rows:
        yield Section("From scratch, for as many epochs", header, tuple(rows), (SCRATCH_NOTE,))


def tfmot(results: Results) -> Iterator[Section]:
    """TFMOT beside us, and the depthwise kernels' SQNR."""
    rows = [
        (
            name,
            f"{100 * row['keras']:.2f}",
            f"{100 * row['accuracy']:.2f}",
            f"{100 * row['agreement']:.2f}",
            *_behind(results, name),
            f"{row['bytes'] / 1e3:.0f}",
            f"{row['seconds']:.0f}",
        )
        for name, row in results.rows("tfmot").items()
    ]
    header = (
        "same float weights, same batches",
        "Keras %",
        "LiteRT %",
        "as Keras %",
        "behind TFMOT in LiteRT, points",
        "95 %",
        "KB",
        "s",
    )
    if rows:
        yield Section("TFMOT 0.8.1", header, tuple(rows), (TFMOT_NOTE,))
    for name, row in results.rows("depthwise").items():
        lines = [(n, f"{a:.1f}", f"{b:.1f}", f"{a - b:.1f}") for n, a, b in row["rows"]]
        header4 = ("layer", "one scale a channel, dB", "one a tensor, dB", "gain, dB")
        yield Section(f"Depthwise kernels of {name}, folded, 8 bits", header4, tuple(lines))


def _behind(results: Results, name: str) -> tuple[str, str]:
    """TFMOT's accuracy minus ours after as many steps, paired over the images."""
    stem, _, steps = name.rpartition(".")
    rival = f"{stem.rpartition('.')[0]}.tfmot.{steps}"
    theirs, ours = results.answered(f"{rival}.litert"), results.answered(f"{name}.litert")
    if name == rival or theirs is None or ours is None:
        return "", ""
    found = paired_interval(theirs, ours)
    return Lost(found.drop, found.lo, found.hi).texts()


def step_time(results: Results) -> Iterator[Section]:
    """Ratios of a training step."""
    rows, notes = [], []
    for name, row in results.rows("steptime").items():
        for phase, ms in row["ms"].items():
            ratio = row["ratio"].get(phase)
            shown = f"{ratio[0]:.2f} ({ratio[1]:.2f} .. {ratio[2]:.2f})" if ratio else ""
            rows.append((name, phase, f"{ms:.1f}", shown))
        frozen, corrected = row["ratio"]["frozen"][0], row["ratio"]["corrected"][0]
        notes.append(
            f"{name}: frozen {frozen:.2f} ({_word(frozen, FROZEN_TARGET)}), corrected "
            f"{corrected:.2f} ({_word(corrected, CORRECTED_TARGET)}), TFMOT "
            f"{row['ratio']['TFMOT'][0]:.2f}; {row['machine']}."
        )
    header = ("network, batch 64", "phase", "ms a step", "over float (quartiles)")
    if rows:
        yield Section("Step time, TensorFlow backend", header, tuple(rows), tuple(notes))


def _word(ratio: float, target: float) -> str:
    return f"target {target}: {'met' if ratio <= target else 'MISSED'}"


SECTIONS: tuple[Callable[[Results], Iterator[Section]], ...] = (
    accuracy,
    post_training,
    codes,
    scratch,
    ablation("Width against bits", lambda run, usual: run.net == usual.net and run.relu == "relu6"),
    ablation("ReLU against ReLU6", lambda run, usual: run.net == usual.net and run.width == 0.35),
    tfmot,
    step_time,
)
