"""What is said about a file under delegates: frozen values, JSON and text from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tfq_ext.validation.finding import Finding

if TYPE_CHECKING:
    from tfq_ext.validation.delegates.fp16.values import Fp16Risk

OK, WRONG, REFUSED, DIED, NOT_CHECKED = STATUSES = (
    "ok",
    "wrong",  # it ran, and its numbers are too far from the CPU's
    "refused",  # no op ran on the GPU, or LiteRT would not compile the model for it
    "died",  # the process is gone
    "not checked",  # no adapter, or no way to tell
)
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class OutputError:
    """How far one output lies from the CPU's, over all samples.

    Args:
        name: of the output.
        relative_l2: |cpu - gpu| / |cpu|; inf where a value is not finite that is so on the CPU.
        max_abs: largest difference, in the output's own unit.
        sqnr_db: 10 log10(sum cpu^2 / sum (cpu - gpu)^2), dB.
        not_finite: share of values that are NaN or infinite, and are finite on the CPU.
    """

    name: str
    relative_l2: float
    max_abs: float
    sqnr_db: float
    not_finite: float = 0.0


@dataclass(frozen=True)
class RefusedOp:
    """One line of the delegate about an op that it leaves to the CPU.

    Args:
        op: code ("CONV_2D").
        tensor: which one the delegate named, "" if none.
        reason: the delegate's words.
    """

    op: str
    tensor: str
    reason: str


@dataclass(frozen=True)
class GpuRow:
    """One precision of the GPU delegate, held against XNNPACK on the same inputs.

    Args:
        precision: of PRECISIONS.
        status: of STATUSES; "ok" is only said when an adapter ran it.
        reason: why it is not "ok", or what to know about an "ok"; one sentence or "".
        adapter: the driver's name, "" without one.
        outputs: error per output.
        limit: the relative error above which the status is "wrong".
        top1_agreement: share of samples with the CPU's argmax (0..1); None where no output is
            [N, classes].
        refused: ops that the delegate left to the CPU, with its reasons.
        on_gpu, ops: how many ops ran on the GPU, of how many; on_gpu None if it is not known.
        load_ms, first_ms: creation, and the first run, which compiles shaders.
        steady_ms, cpu_ms: median of the later runs, copies in and out included; one CPU thread.
        really_fp16: fp16 only: whether its results differ from fp32's, or, where they may well be
            the same (codes), whether those of a net of one op do; None: cannot be told.
        samples: compared.
    """

    precision: str
    status: str
    reason: str = ""
    adapter: str = ""
    outputs: tuple[OutputError, ...] = ()
    limit: float = 0.0
    top1_agreement: float | None = None
    refused: tuple[RefusedOp, ...] = ()
    on_gpu: int | None = None
    ops: int = 0
    load_ms: float | None = None
    first_ms: float | None = None
    steady_ms: float | None = None
    cpu_ms: float | None = None
    really_fp16: bool | None = None
    samples: int = 0

    @property
    def error(self) -> float | None:
        """The worst output's relative L2 error, a share."""
        return max((row.relative_l2 for row in self.outputs), default=None)


@dataclass(frozen=True)
class XnnpackOp:
    """One op that XNNPACK left to TFLite's own kernels."""

    index: int
    op: str
    tensor: str


@dataclass(frozen=True)
class XnnpackCoverage:
    """Which ops XNNPACK took.

    Args:
        taken, ops: how many, of how many that were seen.
        share: of the time, 0..1; None if not known.
        partitions: into how many pieces the graph was cut, XNNPACK's and the others'.
        left: the ops that it left.
        breaks: sentences: which op cuts the graph, and why.
        why_not: why nothing is known, "" otherwise.
    """

    taken: int = 0
    ops: int = 0
    share: float | None = None
    partitions: int = 0
    left: tuple[XnnpackOp, ...] = ()
    breaks: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Probe:
    """One run of a bisection.

    Args:
        what: "first n ops on the GPU", "only op n", "all but op n".
        node: the op.
        error: relative L2 of the worst output; inf where the process died.
        died: how, "" if it lived.
    """

    what: str
    node: int
    error: float
    died: str = ""


@dataclass(frozen=True)
class BadOp:
    """The first op that makes the GPU's output wrong.

    Args:
        index, op, tensor: which (tensor: its first output).
        before, after: error of the model's output with only the ops before it on the GPU, and
            with it as well; relative L2.
        alone: error with this op only on the GPU; None if that was not run.
        without: error with every op but this one on the GPU; None if that was not run.
        died: how the process died with it, "" if it lived.
    """

    index: int
    op: str
    tensor: str
    before: float
    after: float
    alone: float | None = None
    without: float | None = None
    died: str = ""


@dataclass(frozen=True)
class Bisection:
    """The search for the first op that goes wrong.

    Args:
        precision: of PRECISIONS.
        limit: what counts as wrong, relative L2.
        first_bad: the op; None if the search found none.
        verdict: one sentence.
        probes: every run, in order.
    """

    precision: str
    limit: float
    first_bad: BadOp | None
    verdict: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class DelegateReport:
    """What XNNPACK and the GPU delegate make of a file.

    Args:
        xnnpack: which ops XNNPACK took; None if that was not asked.
        gpu: a row a precision; empty if the GPU was not asked for.
        fp16_risk: what fp16 would do to the numbers, from the CPU.
        bisection: None unless asked for and something was wrong.
        findings: by RULES.
        samples: how many inputs were used.
        notes: what to know about the figures.
    """

    xnnpack: XnnpackCoverage | None
    gpu: tuple[GpuRow, ...]
    fp16_risk: Fp16Risk | None
    bisection: Bisection | None
    findings: tuple[Finding, ...]
    samples: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = asdict(self)
        for row, value in zip(self.gpu, found["gpu"], strict=True):
            value["error"] = row.error
        return found

    def to_json(self) -> str:
        """JSON text; infinity and NaN are null."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.delegates_text import to_text

        return to_text(self)
