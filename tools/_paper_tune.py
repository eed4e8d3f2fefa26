"""Training on the integers for reproduce_whitepaper: short, on the CPU, each way equally long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from _paper import Lab, Row
from _paper_networks import Network
from _qat_plan import FLOAT, METHODS, Method

from tfq_ext._optional import need
from tfq_ext._table import Table
from tfq_ext.numerics.intervals import paired_interval, wilson_interval

BATCH = 64
START = 128  # images from which ranges start
SEED = 0


@dataclass(frozen=True)
class Way:
    """How a network is fine-tuned.

    Args:
        method: of tools/bench_qat.py.
        activations: bits.
        average: decay a step of a moving average of the weights, tried at the end.
        exports: a file is made and judged in LiteRT, too.
    """

    method: Method
    activations: int = 8
    average: float | None = None
    exports: bool = False

    def recipe(self) -> Mapping[str, Any]:
        """For quantize_aware; grids without kernels are simulated."""
        grids = {"bits": self.method.bits, "per_channel": self.method.per_channel}
        if self.activations == 8:
            return {"base": "int8", "weights": grids}
        a = {"bits": self.activations, "symmetric": False}
        ranges = {"calibrator": "minmax", "output_calibrator": "minmax"}
        return {"mode": "simulate", "bias": "keep", "weights": grids, "activations": a, **ranges}


_MAX = METHODS["w4-max"]
WAYS: Table[Way] = Table(
    "way of training",
    {
        FLOAT: Way(METHODS[FLOAT]),
        "w8": Way(METHODS["w8"], exports=True),
        "w8-tensor": Way(METHODS["w8-tensor"]),
        "w4": Way(METHODS["w4"], exports=True),
        "w8a4": Way(replace(METHODS["w8"], about="W8A4, corrected and frozen"), activations=4),
        "w4-max": Way(_MAX),
        "w4-stochastic": Way(replace(_MAX, weights="stochastic", about="W4A8, stochastic")),
        "w4-average": Way(METHODS["w4"], average=0.95),
    },
)


@dataclass(frozen=True)
class Ground:
    """A network, and images to train it on that judge nothing.

    Args:
        network: trained, float; its calibration samples start ranges.
        images, labels: to train with, float32[N, H, W, C] and int[N].
        steps: of 64 images.
        rate: peak learning rate of SGD.
        ways: names of WAYS that are tried here.
        about: what the images are.
    """

    network: Network
    images: np.ndarray
    labels: np.ndarray
    steps: int
    rate: float
    ways: tuple[str, ...]
    about: str

    @property
    def id(self) -> str:
        """In the log."""
        return f"{self.network.id}, {self.steps} steps"

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """The network's own images that judge."""
        rows = list(self.network.judges())
        x = np.concatenate([next(iter(inputs.values())) for inputs, _ in rows])
        return x, np.concatenate([labels for _, labels in rows])


QUICK = {"relu6": (FLOAT, "w8", "w4", "w8a4"), "relu": (FLOAT, "w4")}
FULL = {"relu6": tuple(WAYS), "relu": (FLOAT, "w8", "w4")}


def tuned(lab: Lab, ground: Ground, name: str) -> Row | None:
    """What one way of training gives on a ground; None where it is not tried there."""
    if name not in ground.ways:
        return None
    if name != FLOAT:
        tuned(lab, ground, FLOAT)  # whose answers the others are compared with
    return lab.known("tuned", f"{ground.id}: {name}", partial(_trained, lab, ground, name))


def _trained(lab: Lab, ground: Ground, name: str) -> Row:
    keras = need("keras", why="training")
    keras.utils.set_random_seed(SEED)
    way, (x, y) = WAYS[name], ground.test
    model = _start(ground, way)
    callbacks = _schedule(way, (x, y))
    _fit(model, ground, way, callbacks)
    answers = np.argmax(model.predict(x, batch_size=250, verbose=0), axis=1)
    right = answers == y
    lo, hi = wilson_interval(int(right.sum()), len(right))
    row: Row = {"accuracy": float(right.mean()), "lo": lo, "hi": hi, "n": len(right)}
    row["drop"] = _lost(lab, ground, name, right)
    if way.average and callbacks:
        found = callbacks[0].comparison
        row["weights"] = found.weights["accuracy"]
        row["average"] = found.average["accuracy"]
    if way.exports:
        row |= _exported(model, ground, answers)
    return row


def _start(ground: Ground, way: Way) -> Any:
    keras = need("keras", why="training")
    float_model = ground.network.keras
    if not way.method.bits:
        model = keras.models.clone_model(float_model)
        model.set_weights(float_model.get_weights())
        return model
    return need("tfq_ext.qat.build", why="training").quantize_aware(
        float_model,
        ground.images[:START],
        recipe=way.recipe(),
        weights=way.method.weights,
        batch_norm=way.method.batch_norm,
        calibrator="minmax",
    )


def _schedule(way: Way, judge: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    if not way.method.bits:
        return []
    more = {"validation_data": judge, "monitor": "accuracy"} if way.average else {}
    return [
        need("tfq_ext.qat.schedule", why="training").Schedule(
            freeze_ranges_after=way.method.freeze,
            freeze_bn_after=way.method.freeze,
            average=way.average,
            advice=False,
            **more,
        )
    ]


def _fit(model: Any, ground: Ground, way: Way, callbacks: list[Any]) -> None:
    """The same images in the same order for every way; the rate falls along a cosine."""
    keras = need("keras", why="training")
    rate = ground.rate * way.method.slower
    falling = keras.optimizers.schedules.CosineDecay(rate, ground.steps)
    model.compile(
        keras.optimizers.SGD(falling, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # XLA takes longer to compile than a short run on a CPU takes
    )
    order = np.random.default_rng(SEED).integers(0, len(ground.labels), ground.steps * BATCH)
    images, labels = ground.images[order], ground.labels[order]
    how = {"batch_size": BATCH, "epochs": 1, "shuffle": False, "verbose": 0}
    model.fit(images, labels, callbacks=callbacks, **how)


def _lost(lab: Lab, ground: Ground, name: str, right: np.ndarray) -> list[float] | None:
    """[drop, lo, hi] of top-1 against the float network that was fine-tuned as long."""
    path = lab.out / f"{ground.id}, float.npy".replace(" ", "-").replace(",", "")
    if name == FLOAT:
        np.save(path, right)
        return None
    found = paired_interval(np.load(path), right, seed=SEED)
    return [found.drop, found.lo, found.hi]


def _exported(model: Any, ground: Ground, keras_says: np.ndarray) -> Row:
    from _qat_export import litert_answers

    result = need("tfq_ext.qat", why="exporting").export(model, show_progress=False)
    x, y = ground.test
    answers = litert_answers(result.content, x)
    return {
        "litert": float(np.mean(answers == y)),
        "as_keras": float(np.mean(answers == keras_says)),
        "bytes": len(result.content),
        "left_float": len(result.account.float_ops),
    }
