"""Every trained model as a .tflite, judged in LiteRT on the test images; and PTQ for comparison."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _qat_plan import EXPERIMENTS, FLOAT, Run, runs
from _qat_queue import Job, Row

from tfq_ext._optional import need

BATCH = 100
PTQ = ("int8", "int4")  # recipes of tfq.quantize
CALIBRATION = 256
KERNELS = 2000  # images on which LiteRT's two sets of kernels are compared


def run(job: Job) -> list[str]:
    """Export what the log does not have yet; a sentence for every model that failed."""
    from _qat_train import model_path

    trained, done = job.log().rows("run"), job.log().rows("file")
    failed = []
    for each in runs(EXPERIMENTS, job.settings):
        if each.id not in trained:
            continue
        kept = model_path(job.out, each.id).exists()
        if kept and not each.how.bits:
            _answered(each, job)
        if each.method == FLOAT or not kept:
            failed += _sized(each, job)
            continue
        for name, make in _files(each, job):
            if name not in done and not job.late():
                failed += _recorded(name, make, each, job)
    return failed


def _answered(each: Run, job: Job) -> None:
    """Answers of a float model that was trained elsewhere."""
    from _qat_train import predictions_path

    path = predictions_path(job.out, each.id)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, _answers(_model(each, job), job))


def _sized(each: Run, job: Job) -> list[str]:
    """Log what the file weighs of a float network, and of a run whose model was not kept."""
    if each.id in job.log().rows("size") or each.method is None or job.late():
        return []
    try:
        content = _float_file(each) if each.method == FLOAT else _unlearned_file(each, job)
    except Exception as error:  # one model's failure leaves the others alone
        return [f"{each.id}: {type(error).__name__}: {str(error).strip()[:300]}"]
    job.log().write("size", {"id": each.id, "bytes": len(content)})
    return []


def _float_file(each: Run) -> bytes:
    """With random weights, which weigh as much."""
    from _qat_train import network

    from tfq_ext.emit.to_float import to_float

    return bytes(to_float(network(each)).model.to_bytes())


def _unlearned_file(each: Run, job: Job) -> bytes:
    """From the weights that its training began with."""
    from _qat_train import prepared

    qat = need("tfq_ext.qat", why="exporting QAT models")
    student, _ = prepared(each, _data(job)[0], job.out)
    return bytes(qat.export(student, show_progress=False).content)


def _files(each: Run, job: Job) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, what makes it): the QAT model's file, or those of post-training quantization."""
    if each.how.bits:
        yield each.id, partial(_exported, each, job)
    else:
        for recipe in PTQ:
            yield f"{each.id}+{recipe}", partial(_quantized, each, recipe, job)


def _model(each: Run, job: Job) -> Any:
    from _qat_train import loaded

    return loaded(each, job.out)


def _exported(each: Run, job: Job) -> tuple[Any, np.ndarray]:
    qat = need("tfq_ext.qat", why="exporting QAT models")
    model = _model(each, job)
    return qat.export(model, show_progress=False), _answers(model, job)


def _quantized(each: Run, recipe: str, job: Job) -> tuple[Any, np.ndarray]:
    from tfq_ext import quantize

    model = _model(each, job)
    samples = _data(job)[0].calibration(CALIBRATION)
    return quantize(model, samples, recipe=recipe, show_progress=False), _answers(model, job)


def _data(job: Job) -> Any:
    from _qat_train import data_of

    return data_of(job.data, job.settings.train, job.settings.test)


def _answers(model: Any, job: Job) -> np.ndarray:
    logits = model.predict(_data(job)[1], batch_size=500, verbose=0)
    return np.argmax(logits, axis=1).astype(np.uint8)


def _recorded(name: str, make: Callable[[], Any], each: Run, job: Job) -> list[str]:
    from _qat_train import predictions_path

    begin = time.perf_counter()
    try:
        result, keras_says = make()
        images = _data(job)[1]
        answers = litert_answers(result.content, images)
        plain = litert_answers(result.content, images[:KERNELS], builtin=True)
    except Exception as error:  # one model's failure leaves the others alone
        return [f"{name}: {type(error).__name__}: {str(error).strip()[:300]}"]
    row = _row(name, result, answers, keras_says, job)
    row["kernels"] = float(np.mean(answers[:KERNELS] == plain))
    path = job.out / "files" / f"{name}.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(result.content)
    save_answers(job.out, name, answers)
    if not predictions_path(job.out, each.id).exists():  # trained elsewhere, only models kept
        np.save(predictions_path(job.out, each.id), keras_says)
    job.log().write("file", {**row, "run": each.id, "seconds": time.perf_counter() - begin})
    print(
        f"{name}: {row['accuracy']:.2%}, {row['agreement']:.2%} as Keras, {row['bytes']} bytes",
        file=sys.stderr,
        flush=True,
    )
    return []


def _row(name: str, result: Any, answers: np.ndarray, keras_says: np.ndarray, job: Job) -> Row:
    labels = _data(job)[0].y_test
    return {
        "id": name,
        "accuracy": float(np.mean(answers == labels)),
        "keras": float(np.mean(keras_says == labels)),
        "agreement": float(np.mean(answers == keras_says)),
        "bytes": len(result.content),
        "left_float": len(result.account.float_ops),
    }


def save_answers(out: Path, name: str, answers: np.ndarray) -> None:
    """Where the tables look for what LiteRT said; uint8[N]."""
    path = out / "predictions" / f"{name}.litert.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, answers)


def litert_answers(content: bytes, images: np.ndarray, *, builtin: bool = False) -> np.ndarray:
    """Classes that LiteRT's CPU kernels choose; uint8[N].

    Args:
        content: a .tflite with one float input [1 or any, 32, 32, 3] and one output of logits.
        images: float32[N, 32, 32, 3], normalized.
        builtin: LiteRT's own kernels alone, without XNNPACK.
    """
    litert = need("ai_edge_litert.interpreter", why="judging files")
    kinds = litert.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if builtin else kinds.AUTO
    interpreter = litert.Interpreter(
        model_content=content, num_threads=2, experimental_op_resolver_type=kind
    )
    port = interpreter.get_input_details()[0]["index"]
    answers = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        if start == 0 or len(batch) != BATCH:
            interpreter.resize_tensor_input(port, list(batch.shape))
            interpreter.allocate_tensors()
        interpreter.set_tensor(port, batch)
        interpreter.invoke()
        logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        answers.append(np.argmax(logits, axis=1).astype(np.uint8))
    return np.concatenate(answers)
