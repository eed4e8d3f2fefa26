"""The callback: reads the optimizer's step, puts the phase of that step into the layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError, SpecError
from tfq_ext.qat.schedule import apply
from tfq_ext.qat.schedule.advice import advise
from tfq_ext.qat.schedule.averaging import Average, Comparison
from tfq_ext.qat.schedule.clock import Clock
from tfq_ext.qat.schedule.damping import damp
from tfq_ext.qat.schedule.freezing import Freezer
from tfq_ext.qat.schedule.oscillation import Dampen, Freeze, control
from tfq_ext.qat.schedule.plan import Outline, Phase, Plan, Step, cosine

keras = need("keras", why="Quantization-aware training")
Callback: Any = keras.callbacks.Callback


@dataclass(frozen=True)
class Change:
    """One entry of `Schedule.history`.

    Args:
        step: optimizer step from which it holds.
        text: what changed, one line.
    """

    step: int
    text: str


class Schedule(Callback):
    """Quantization delay, freezing, progressive bits and the rest, in one callback.

    Steps are whole numbers of optimizer steps (weight updates, so gradient accumulation counts
    once), or shares of the whole run between 0 and 1. They count from the optimizer's first step,
    so a run that goes on after load_model needs the same Schedule and nothing else. With
    steps_per_execution a change comes at the first multiple after its step.

    Args:
        quantize_after: until then only observe; for training from scratch.
        freeze_ranges_after: then ranges and scales stand still; None: never.
        freeze_bn_after: then BatchNormalization uses its moving statistics; None: never. Without
            batch statistics a high learning rate diverges: from scratch freeze near the end (0.95).
        bits: first step -> bits of the weights, {0: 8, 0.3: 5, 0.6: 4}; build the model with the
            last. Weights built with other bits stay as they are.
        keep: names of layers whose bits stay as they are, for a run that goes on.
        oscillation: None, "dampen", "freeze", or Dampen(...), Freeze(...).
        average: decay per step of a moving average of the weights (0.999); needs
            validation_data. At the end both are evaluated and the better one stays.
        validation_data: (x, y), (x, y, sample weights) or a dataset.
        monitor: the metric of `evaluate` that decides between weights and average.
        advice: warn of learning rates that are far too high for fine-tuning.

    Attributes:
        history: list of Change.
        comparison: weights against average, a Comparison, or None.
        frozen: share of frozen codes by weight, with oscillation="freeze".

    Raises:
        SpecError: a step that is neither a number of steps nor a share.
    """

    def __init__(
        self,
        *,
        quantize_after: Step = 0,
        freeze_ranges_after: Step | None = 0.8,
        freeze_bn_after: Step | None = 0.6,
        bits: Mapping[Step, int] | None = None,
        keep: Iterable[str] = (),
        oscillation: str | Dampen | Freeze | None = None,
        average: float | None = None,
        validation_data: Any = None,
        monitor: str = "loss",
        advice: bool = True,
    ):
        super().__init__()
        if average is not None and validation_data is None:
            raise SpecError("average needs validation_data=(x, y): it is kept only if it is better")
        settings = control(oscillation)
        self.outline = Outline.of(
            bits,
            quantize_after=quantize_after,
            freeze_ranges_after=freeze_ranges_after,
            freeze_bn_after=freeze_bn_after,
            damping=_stages(settings) if isinstance(settings, Dampen) else (),
        )
        self.freezer = Freezer(settings) if isinstance(settings, Freeze) else None
        self.average = None if average is None else Average(average)
        self.keep, self.validation_data = tuple(keep), validation_data
        self.monitor, self.advice = monitor, advice
        self.history: list[Change] = []
        self.comparison: Comparison | None = None
        self.clock = Clock(self._read)
        self._plan: Plan | None = None
        self._phase: Phase | None = None
        self._descending: list[str] = []
        self._due: int | None = 0

    @property
    def frozen(self) -> dict[str, float]:
        """Weight's name -> share of its codes that are frozen."""
        return self.freezer.shares if self.freezer else {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the model and the learning rate; the plan is made when the epoch is known."""
        if not apply.quantizers(self.model):
            raise ModelError(
                f"Model {self.model.name!r} has no quantizers; Schedule trains what "
                "tfq.qat.quantize_aware(model) returns."
            )
        if self.advice and self._read() == 0:
            advise(self.model.optimizer)
        apply.expect_no_gradient(self.model)
        self._plan = self._phase = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """In the first epoch: shares become steps, and the phase is put into the layers."""
        if self._plan is not None:
            return
        step = self.clock.exact()
        self._plan = self.outline.resolve(self._total(epoch, step))
        self._descending = apply.descends(self.model, self._plan.bits, step, self.keep)
        self._enter(step)
        self._look(step)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Note where the batches of this call begin."""
        self.clock.began(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Act when something may be due."""
        self.clock.ended(batch)
        if self.clock.reached(self._due):
            step = self.clock.exact()
            self._enter(step)
            self._look(step)

    def on_train_end(self, logs: Any = None) -> None:
        """Last look; weights or average; the extra loss goes."""
        step = self.clock.exact()
        if self.freezer:
            self._freeze(step)
            shares = list(self.freezer.shares.values())
            self._say(step, f"{sum(shares) / max(len(shares), 1):.1%} of the codes frozen")
        if self.outline.damping:
            damp(self.model, 0.0)
            apply.retrace(self.model)
        if self.average:
            self.average.update(self.model, step)
            self.comparison = self.average.decide(self.model, self.validation_data, self.monitor)
            self._say(step, str(self.comparison))

    def _read(self) -> int:
        """The optimizer's step; on JAX `self.model` brings the variables up to date first."""
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _total(self, epoch: int, step: int) -> int | None:
        """Steps of the run from the optimizer's first to the end of this fit."""
        params = self.params or {}
        if not params.get("steps") or not params.get("epochs"):
            return None
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        batches = params["steps"] * (params["epochs"] - epoch)
        return step + batches // (inner.gradient_accumulation_steps or 1)

    def _enter(self, step: int) -> None:
        """Make the phase of `step` the model's, if it is not already."""
        assert self._plan is not None
        phase = self._plan.at(step)
        if phase == self._phase:
            return
        changed = apply.put(self.model, phase, self._descending)
        if self.outline.damping:
            damp(self.model, phase.damping)
            changed |= phase.damping != (self._phase or Phase()).damping
        if changed:
            apply.retrace(self.model)
        if news := phase.since(self._phase):
            self._say(step, news)
        self._phase = phase

    def _look(self, step: int) -> None:
        """What is done every few steps; sets when the next thing is due."""
        assert self._plan is not None
        due = [self._plan.next_change(step)]
        if self.freezer:
            self._freeze(step)
            due.append(step + self.freezer.settings.every)
        if self.average and step >= self._plan.quantize_after:
            self.average.update(self.model, step)
            due.append(step + self.average.every)
        self._due = min((d for d in due if d is not None), default=None)

    def _freeze(self, step: int) -> None:
        assert self.freezer is not None
        assert self._plan is not None
        self.freezer.look(self.model, self._plan.progress(step))

    def _say(self, step: int, text: str) -> None:
        self.history.append(Change(step, text))
        verbose = (self.params or {}).get("verbose")
        if verbose:
            print(f"{chr(10) if verbose == 1 else ''}Schedule, step {step}: {text}.")


def _stages(settings: Dampen) -> tuple[float, ...]:
    count = settings.stages
    return tuple(cosine(0.0, settings.strength, (k + 0.5) / count) for k in range(count))
