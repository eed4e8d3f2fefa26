"""Which networks bench_qat trains and how: runs as values, methods and experiments as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from _qat_nets import WIDTHS

from tfq_ext._table import Table

FLOAT = "float"  # the method that stays float, fine-tuned as long as the others: their baseline


@dataclass(frozen=True)
class Method:
    """How a trained float network is trained further.

    Args:
        about: for the tables.
        bits: of the weights; 0: all float.
        weights: entry of WEIGHT_QUANTIZERS; None: what quantize_aware takes by itself.
        per_channel: one weight scale a channel.
        batch_norm: as for quantize_aware.
        freeze: share of the run after which BatchNorm stands still; None: never.
        teacher: also learns from the float network's outputs.
        scratch: starts from random weights and trains as long as float training and fine-tuning.
        delay: share of the run before quantizers are switched on.
        watched: its codes are compared between steps.
        slower: share of the usual learning rate. Without batch statistics, or with a teacher's
            gradient beside the labels', the usual one diverged on the ResNet.
    """

    about: str
    bits: int = 8
    weights: str | None = None
    per_channel: bool = True
    batch_norm: str = "corrected"
    freeze: float | None = 0.6
    teacher: bool = False
    scratch: bool = False
    delay: float = 0.0
    watched: bool = False
    slower: float = 1.0

    def recipe(self) -> Mapping[str, Any]:
        """For quantize_aware."""
        grid = {"bits": self.bits, "per_channel": self.per_channel}
        return {"base": "int8", "weights": grid}


def _four(method: Method, about: str) -> Method:
    return replace(method, bits=4, about=about)


NAIVE = Method("W8A8, naive folding", batch_norm="naive", freeze=None, watched=True)
UNFROZEN = Method("W8A8, corrected, never frozen", freeze=None, watched=True)
STATIC = Method("W8A8, folded before training", batch_norm="static", watched=True, slower=0.1)
# Frozen at 0.6 of a run, the rate still a third of its peak, training from scratch ended in
# NaN at once, and 4 bits lost up to 60 points from one look to the next, not all of it regained.
LATE = 0.9
SCRATCH = Method("", scratch=True, freeze=0.95)
METHODS: Table[Method] = Table(
    "method",
    {
        FLOAT: Method("float, fine-tuned", bits=0),
        "w8": Method("W8A8, corrected and frozen", watched=True),
        "w8-tensor": Method("W8A8, one scale a weight tensor", per_channel=False),
        "w8-naive": NAIVE,
        "w8-unfrozen": UNFROZEN,
        "w8-static": STATIC,
        "w4": Method("W4A8, LSQ, corrected and frozen", bits=4, freeze=LATE, watched=True),
        "w4-early": Method("W4A8, LSQ, frozen at 0.6 of the run", bits=4, watched=True),
        "w4-taught": Method("W4A8, LSQ, float teacher", bits=4, teacher=True, slower=0.25),
        "w4-max": Method("W4A8, scale by largest weight", bits=4, weights="max"),
        "w4-naive": _four(NAIVE, "W4A8, naive folding"),
        "w4-unfrozen": _four(UNFROZEN, "W4A8, corrected, never frozen"),
        "w4-static": _four(STATIC, "W4A8, folded before training"),
        "float-scratch": Method("float from scratch", bits=0, scratch=True),
        "w8-scratch": replace(SCRATCH, about="W8A8 from scratch"),
        "w8-delayed": replace(SCRATCH, about="W8A8 from scratch, quantizers on halfway", delay=0.5),
        "w4-scratch": _four(SCRATCH, "W4A8 from scratch"),
    },
)


@dataclass(frozen=True)
class Settings:
    """How long, how much, how often.

    Args:
        float_epochs, tune_epochs: passes over the training images.
        batch: images a step.
        rate, tune_rate: peak learning rates of SGD; both fall along a cosine to 0.
        train, test: at most so many images; None: all.
        seeds: of everything random.
        looks: evaluations an epoch.
        nets: names in NETS; the first is the one for the ablations.
        widths: multipliers besides the usual one.
        keep: methods that are trained; None: all.
        shifts: on JAX, depthwise convolutions as sums of shifted products (`_qat_depthwise`).
    """

    float_epochs: float = 40
    tune_epochs: float = 8
    batch: int = 256
    rate: float = 0.2
    tune_rate: float = 0.02
    train: int | None = None
    test: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    looks: int = 2
    nets: tuple[str, ...] = ("mobilenet", "resnet20")
    widths: tuple[float, ...] = (0.25, 0.5)
    keep: frozenset[str] | None = None
    shifts: bool = False


QUICK = Settings(
    float_epochs=1,
    tune_epochs=0.5,
    batch=64,
    rate=0.1,
    train=4096,
    test=1000,
    seeds=(0,),
    looks=2,
    nets=("tiny",),
    widths=(0.5,),
    keep=frozenset({FLOAT, "w8", "w8-naive", "w4-taught", "w8-scratch"}),
)


@dataclass(frozen=True)
class Run:
    """One training: what is trained, from where, how.

    Args:
        net: name in NETS.
        width: multiplier of its channels.
        relu: "relu" or "relu6".
        seed: of weights, order and augmentation.
        method: name in METHODS; None: the float training that all others start from.
    """

    net: str
    width: float
    relu: str
    seed: int
    method: str | None = None

    @property
    def id(self) -> str:
        """Name of its files: letters, digits, '.', '_', '-'."""
        stem = f"{self.net}-{self.width:g}-{self.relu}-s{self.seed}"
        return stem if self.method is None else f"{stem}.{self.method}"

    @property
    def how(self) -> Method:
        """The entry of METHODS."""
        return METHODS[self.method] if self.method is not None else METHODS[FLOAT]

    @property
    def start(self) -> Run | None:
        """The run whose weights it starts from, or that teaches it."""
        fresh = self.method is None or self.how.scratch
        return None if fresh else replace(self, method=None)

    def epochs(self, settings: Settings) -> float:
        """How long it trains."""
        if self.method is None:
            return settings.float_epochs
        before = settings.float_epochs if self.how.scratch else 0
        return before + settings.tune_epochs

    def rate(self, settings: Settings) -> float:
        """Peak learning rate."""
        return settings.rate if self.start is None else settings.tune_rate * self.how.slower


def _bases(settings: Settings, **options: Any) -> Iterator[Run]:
    for seed in settings.seeds:
        for net in options.get("nets", settings.nets):
            width = options.get("width", WIDTHS[net])
            yield Run(net, width, options.get("relu", "relu6"), seed)


def _tuned(bases: Iterable[Run], *methods: str) -> list[Run]:
    return [run for base in bases for run in (base, *(replace(base, method=m) for m in methods))]


def floats(settings: Settings) -> list[Run]:
    """The float networks."""
    return list(_bases(settings))


def finetune(settings: Settings) -> list[Run]:
    """Every way of fine-tuning, each network and seed."""
    names = [name for name, method in METHODS.items() if not method.scratch]
    return _tuned(_bases(settings), *names)


def scratch(settings: Settings) -> list[Run]:
    """From random weights, as long as float training and fine-tuning together."""
    names = [name for name, method in METHODS.items() if method.scratch]
    return _tuned(_bases(settings, nets=settings.nets[:1]), FLOAT, "w8", "w4", *names)


def widths(settings: Settings) -> list[Run]:
    """Width multiplier against bits."""
    found = []
    for width in (*settings.widths, WIDTHS[settings.nets[0]]):
        bases = _bases(settings, nets=settings.nets[:1], width=width)
        found += _tuned(bases, FLOAT, "w8", "w4")
    return found


def relus(settings: Settings) -> list[Run]:
    """ReLU against ReLU6."""
    found = []
    for relu in ("relu", "relu6"):
        bases = _bases(settings, nets=settings.nets[:1], relu=relu)
        found += _tuned(bases, FLOAT, "w8", "w4")
    return found


EXPERIMENTS: Table[Callable[[Settings], list[Run]]] = Table(
    "experiment",
    {"float": floats, "finetune": finetune, "scratch": scratch, "width": widths, "relu": relus},
)


def runs(experiments: Iterable[str], settings: Settings) -> list[Run]:
    """All runs once, what they start from before them, one seed after the other.

    Seeds come last because runs that differ in nothing else share compiled programs.
    """
    found: dict[Run, None] = {}
    for name in experiments:
        for run in EXPERIMENTS[name](settings):
            if settings.keep is None or run.method is None or run.method in settings.keep:
                found |= dict.fromkeys((run.start, run) if run.start else (run,))
    return sorted(found, key=lambda run: (run.seed, run.method is not None))
