"""One training run of bench_qat: Keras, numpy and tfq_ext.qat only, on any Keras backend."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from _qat_data import Batches, Data
from _qat_depthwise import by_shifts
from _qat_nets import NETS, Style
from _qat_plan import Run, Settings
from _qat_watch import CodeWatch

from tfq_ext._optional import need

keras = need("keras", why="tools/bench_qat.py")
Callback: Any = keras.callbacks.Callback
DECAY = 1e-4  # L2 in float training
JUDGED = 500  # images a step of evaluation


class OutOfTime(Exception):
    """The run was stopped before its end; nothing is kept of it."""


@cache
def data_of(path: Path, train: int | None, test: int | None) -> tuple[Data, np.ndarray]:
    """The images and the normalized test images, read once a process."""
    data = Data.load(path, train=train, test=test)
    return data, data.test()


def network(run: Run, *, decay: float = 0.0) -> Any:
    """The float network of a run, with random weights."""
    style = Style(keras, relu=run.relu, decay=decay)
    return NETS[run.net](style, width=run.width)


def trained(run: Run, out: Path) -> Any:
    """The float network as it was saved."""
    model = network(run)
    saved = loaded(run, out)
    model.set_weights(saved.get_weights())
    return model


def loaded(run: Run, out: Path) -> Any:
    """The model that a run saved; a QAT model's layers are registered once its module is there."""
    need("tfq_ext.qat.build", why="a QAT model's layers")
    return keras.models.load_model(model_path(out, run.id), compile=False)


def model_path(out: Path, name: str) -> Path:
    """Where a run's model lies."""
    return out / "models" / f"{name}.keras"


def predictions_path(out: Path, name: str) -> Path:
    """Where a run's answers to the test images lie: uint8[N] classes."""
    return out / "predictions" / f"{name}.npy"


@contextmanager
def on_host() -> Iterator[None]:
    """Eager work, op by op, is compiled many times faster for the processor than for a GPU."""
    if keras.backend.backend() != "jax":
        yield
        return
    jax = need("jax", why="the JAX backend")
    with jax.default_device(jax.devices("cpu")[0]):
        yield


def prepared(run: Run, data: Data, out: Path) -> tuple[Any, Any]:
    """(what is saved in the end, what is trained): the second is a Distiller where one teaches."""
    with on_host():
        if run.method is None:
            return (model := network(run, decay=DECAY)), model
        start = network(run, decay=DECAY) if run.start is None else trained(run.start, out)
        student = start if run.how.bits == 0 else _quantized(run, start, data)
        whole = student
        if run.how.teacher:
            distill = need("tfq_ext.qat.distill", why="distillation")
            whole = distill.Distiller(student, start, temperature=4.0, alpha=0.5)
    whole.set_weights(whole.get_weights())  # from the host to the device
    return student, whole


def _quantized(run: Run, start: Any, data: Data) -> Any:
    build = need("tfq_ext.qat.build", why="quantization-aware training")
    # An untrained network computes other values in inference than in training: its BatchNorm has
    # seen nothing. Ranges calibrated on it clip everything, so there the first batch starts them.
    return build.quantize_aware(
        start,
        None if run.start is None else data.calibration(256),
        recipe=run.how.recipe(),
        weights=run.how.weights,
        batch_norm=run.how.batch_norm,
        calibrator="minmax",
    )


def schedule(run: Run) -> list[Any]:
    """Phases of a quantized run; ranges and BatchNorm freeze together, so one retrace does."""
    if run.how.bits == 0:
        return []
    made = need("tfq_ext.qat.schedule", why="quantization-aware training")
    return [
        made.Schedule(
            quantize_after=run.how.delay or 0,
            freeze_ranges_after=run.how.freeze,
            freeze_bn_after=run.how.freeze,
            advice=run.start is not None,
        )
    ]


class StopAt(Callback):
    """Gives up at a time of day."""

    def __init__(self, deadline: float | None):
        super().__init__()
        self.deadline = deadline

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.deadline is not None and time.time() > self.deadline:
            raise OutOfTime


def train(
    run: Run, path: Path, out: Path, settings: Settings, deadline: float | None = None
) -> dict[str, Any]:
    """Train, save model and answers; what there is to tell, as JSON values.

    Raises:
        OutOfTime: the deadline (seconds since 1970) came first.
    """
    if settings.shifts and keras.backend.backend() == "jax":
        by_shifts()
    keras.utils.set_random_seed(run.seed)
    data, x_test = data_of(path, settings.train, settings.test)
    begin = time.perf_counter()
    student, whole = prepared(run, data, out)
    every = max(1, round(len(data.y_train) / settings.batch / settings.looks))
    looks = max(1, round(run.epochs(settings) * settings.looks))
    batches = Batches(data.x_train, data.y_train, settings.batch, every, run.seed)
    compile_for(whole, run.rate(settings), every * looks)
    watch = CodeWatch(student) if run.how.watched and run.start is not None else None
    clock = Clock()
    callbacks = [*schedule(run), StopAt(deadline), clock, *([watch] if watch else [])]
    judged = {"validation_data": (x_test, data.y_test), "validation_batch_size": JUDGED}
    fit = partial(whole.fit, batches, epochs=looks, shuffle=False, verbose=0, **judged)
    history = fit(callbacks=callbacks)
    answers = save(student, run.id, x_test, out)
    return {
        "id": run.id,
        "accuracy": float(np.mean(answers == data.y_test)),
        "trace": [float(value) for value in history.history["val_accuracy"]],
        "every": every,
        "batch": settings.batch,
        "rate": run.rate(settings),
        "changed": watch.rows if watch else [],
        "parameters": int(student.count_params()),
        "step_ms": clock.step_ms(),
        "seconds": time.perf_counter() - begin,
        "backend": keras.backend.backend(),
    }


def compile_for(model: Any, rate: float, steps: int) -> None:
    """SGD with momentum, its rate falling along a cosine."""
    falling = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        keras.optimizers.SGD(falling, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",  # XLA on a CPU is 8 times slower elsewhere
    )


class Clock(Callback):
    """Milliseconds between two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter())

    def step_ms(self) -> float:
        """The median, which neither compilation nor evaluation moves."""
        return float(1e3 * np.median(np.diff(self.times))) if len(self.times) > 2 else 0.0


def save(model: Any, name: str, x_test: np.ndarray, out: Path) -> np.ndarray:
    """Write the model without optimizer, and its answers; uint8[N] classes."""
    logits = model.predict(x_test, batch_size=JUDGED, verbose=0)
    answers = np.argmax(logits, axis=1).astype(np.uint8)
    for path in (model_path(out, name), predictions_path(out, name)):
        path.parent.mkdir(parents=True, exist_ok=True)
    np.save(predictions_path(out, name), answers)
    with on_host():
        bare = keras.models.clone_model(model)  # save(include_optimizer=False) keeps the momentum
        bare.set_weights(model.get_weights())
    bare.save(model_path(out, name))
    return answers
