"""TFMOT 0.8.1 and we: same float weights, same batches; and the grids of depthwise kernels."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _bench import in_child
from _qat_export import litert_answers, save_answers
from _qat_nets import WIDTHS
from _qat_plan import Run, Settings
from _qat_queue import Job, Row
from _qat_rival import train_quantized

from tfq_ext._optional import need

STEPS, BATCH = 400, 64
QUICK_STEPS = 30
OURS = ("w8", "w8-tensor")


def run(job: Job) -> list[str]:
    """A line for TFMOT and for each of OURS, and one of SQNR for every depthwise layer."""
    from _qat_train import data_of

    keras = need("keras", why="tools/bench_qat.py")
    net, seed = job.settings.nets[0], job.settings.seeds[0]
    base = Run(net, WIDTHS[net], "relu6", seed)
    if base.id not in job.log().rows("run"):
        return [f"tfmot: {base.id} is not trained; run the step float first"]
    keras.utils.set_random_seed(seed)
    data, x_test = data_of(job.data, job.settings.train, job.settings.test)
    model = _float(base, job)
    job.log().write("depthwise", {"id": base.id, "rows": depthwise_sqnr(model)})
    steps = QUICK_STEPS if net == "tiny" else STEPS
    failed = _rival(base, model, steps, job, x_test, data.y_test)
    keep = job.settings.keep
    for method in (name for name in OURS if keep is None or name in keep):
        name = _name(base, method, steps, job)
        print(f"tfmot: {name}", file=sys.stderr, flush=True)
        content, said, seconds = _ours(replace(base, method=method), steps, job)
        _record(job, name, content, said, x_test, data.y_test, steps, seconds)
    return failed


def _name(base: Run, method: str, steps: int, job: Job) -> str:
    """Of a row; with the learning rate where it is not the usual one."""
    rate = job.settings.tune_rate
    tag = "" if rate == Settings().tune_rate else f"-at-{rate:.0e}"
    return f"{base.id}.{method}.steps{steps}{tag}"


def _float(base: Run, job: Job) -> Any:
    from _qat_train import trained

    return trained(base, job.out)


def _rival(
    base: Run, model: Any, steps: int, job: Job, x_test: np.ndarray, labels: np.ndarray
) -> list[str]:
    name = _name(base, "tfmot", steps, job)
    print(f"tfmot: {name}", file=sys.stderr, flush=True)
    weights = job.out / "tfmot_weights.npz"
    np.savez(weights, *model.get_weights())
    settings = job.settings
    stream = (job.data, settings.train, settings.test, BATCH, steps, base.seed)
    try:
        made = in_child(
            train_quantized, weights, base.net, base.relu, base.width, stream, settings.tune_rate
        )
    except RuntimeError as error:
        return [f"{name}: {error}"]
    finally:
        Path(weights).unlink()
    said, seconds = made["answers"], made["seconds"]
    _record(job, name, made["content"], said, x_test, labels, steps, seconds)
    return []


def _ours(run: Run, steps: int, job: Job) -> tuple[bytes, np.ndarray, float]:
    """The same number of steps on the same batches: (file, what Keras says, seconds)."""
    from _qat_data import Batches
    from _qat_train import Clock, compile_for, data_of, prepared, schedule

    qat = need("tfq_ext.qat", why="tools/bench_qat.py")
    data, x_test = data_of(job.data, job.settings.train, job.settings.test)
    model, _ = prepared(run, data, job.out)
    compile_for(model, job.settings.tune_rate, steps)
    batches = Batches(data.x_train, data.y_train, BATCH, steps, run.seed)
    clock = Clock()
    model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[*schedule(run), clock])
    said = np.argmax(model.predict(x_test, batch_size=500, verbose=0), axis=1).astype(np.uint8)
    content = qat.export(model, show_progress=False).content
    return content, said, clock.step_ms() * steps / 1e3


def _record(
    job: Job,
    name: str,
    content: bytes,
    said: np.ndarray,
    x_test: np.ndarray,
    labels: np.ndarray,
    steps: int,
    seconds: float,
) -> None:
    answers = litert_answers(content, x_test)
    save_answers(job.out, name, answers)
    row: Row = {
        "id": name,
        "accuracy": float(np.mean(answers == labels)),
        "keras": float(np.mean(said == labels)),
        "agreement": float(np.mean(answers == said)),
        "bytes": len(content),
        "steps": steps,
        "seconds": seconds,
    }
    job.log().write("tfmot", row)


def depthwise_sqnr(model: Any) -> list[tuple[str, float, float]]:
    r"""(layer, dB per channel, dB per tensor) of folded 8-bit depthwise kernels.

    The mean over channels of \( 10 \log_{10} \sum w^2 / \sum (w - \hat w)^2 \): a channel that is
    rounded away counts as much as any other.
    """
    rows = []
    for layer in model.layers:
        if type(layer).__name__ != "DepthwiseConv2D":
            continue
        norm = model.get_layer(f"{layer.name}_bn")
        gamma, _, _, variance = (np.asarray(w) for w in norm.get_weights())
        gain = gamma / np.sqrt(variance + norm.epsilon)
        w = np.asarray(layer.get_weights()[0])[..., 0].reshape(-1, len(gain)) * gain
        per_channel = np.abs(w).max(axis=0, initial=1e-12) / 127
        per_tensor = np.full_like(per_channel, per_channel.max())
        rows.append((layer.name, _sqnr(w, per_channel), _sqnr(w, per_tensor)))
    return rows


def _sqnr(w: np.ndarray, scale: np.ndarray) -> float:
    noise = ((w - np.rint(w / scale) * scale) ** 2).sum(axis=0) + 1e-20
    return float(np.mean(10 * np.log10(((w**2).sum(axis=0) + 1e-20) / noise)))
