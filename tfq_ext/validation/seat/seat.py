"""One file in a child process, ready to take its turn: what `bench` drives from outside."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.read import Model, read_bytes, text
from tfq_ext.tflite.run import reason
from tfq_ext.tflite.runner import Arrays, Port
from tfq_ext.tflite.stage import stage
from tfq_ext.validation.seat.kernels import KERNELS
from tfq_ext.validation.seat.noise import noise

BURST_MS = 0.3  # one timed stretch is at least so long: the clock and Python cost 1 us a call
MOST = 256  # invokes of one stretch
LONG_MS = 50.0  # from here on a run needs no untimed one before it
STATUS = Path("/proc/self/status")


class Seat:
    """A loaded model with its inputs set.

    Args:
        path: of the .tflite; LiteRT maps it, as apps do.
        kernels: of KERNELS.
        threads: LiteRT threads.
        signature: its key; None: the first subgraph.
        inputs: one sample of reals by input name; None: noise, 1 for every dynamic dimension.
        seed: of the noise.

    Attributes: `load_ms`, `first_ms`, `assumed` (inputs whose open dimensions, the
        batch aside, became 1).

    Raises:
        ModelError: LiteRT refuses the model.
        DataError: the inputs do not fit.
    """

    def __init__(
        self,
        path: str,
        *,
        kernels: str = "xnnpack",
        threads: int = 1,
        signature: str | None = None,
        inputs: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
    ):
        reset_peak()
        self._before = resident("VmRSS")
        resolver = KERNELS[kernels].resolver
        try:
            stage("load")
            start = time.perf_counter_ns()
            self._interpreter = Interpreter(
                model_path=path, num_threads=threads, experimental_op_resolver_type=resolver
            )
            self._elapsed = time.perf_counter_ns() - start
            self._runner = _beside(self._interpreter, path, signature)
            self._ports = _ports(self._interpreter, self._runner)
            sample = noise(self._ports, seed) if inputs is None else fit(inputs, self._ports)
            self._codes = {n: port.encode(sample[n]) for n, port in self._ports.items()}
            self._allocate()
            self.load_ms = self._elapsed / 1e6
            self.first_ms = self._run(1)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, ModelError | DataError):
                raise
            raise ModelError(f"LiteRT cannot run this model: {reason(error)}") from None
        self.assumed = [n for n, p in self._ports.items() if inputs is None and -1 in p.shape[1:]]
        self._untimed, self._timed = 1, 1
        steady = min(self._run(1) for _ in range(3 if self.first_ms < LONG_MS else 1))
        self._timed = min(max(math.ceil(BURST_MS / max(steady, 1e-4)), 1), MOST)
        self._untimed = 0 if steady > LONG_MS else self._timed

    def _allocate(self) -> None:
        stage("allocate")
        if self._runner is not None:  # LiteRT does it inside the signature's first run
            return
        start = time.perf_counter_ns()
        for detail in self._interpreter.get_input_details():
            shape = next(
                self._codes[n].shape for n, p in self._ports.items() if p.index == detail["index"]
            )
            if tuple(detail["shape"]) != shape:
                self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()
        self._elapsed += time.perf_counter_ns() - start

    def _run(self, count: int) -> float:
        """Milliseconds of one invoke, the mean over `count`; inputs are set before, untimed."""
        stage("invoke")
        if self._runner is not None:  # LiteRT's own wrapper copies the arrays inside the run
            start = time.perf_counter_ns()
            for _ in range(count):
                self._runner(**self._codes)
            return (time.perf_counter_ns() - start) / count / 1e6
        for name, port in self._ports.items():  # an invoke may overwrite its own inputs
            self._interpreter.set_tensor(port.index, self._codes[name])
        invoke = self._interpreter.invoke
        start = time.perf_counter_ns()
        for _ in range(count):
            invoke()
        return (time.perf_counter_ns() - start) / count / 1e6

    def turn(self) -> float:
        """Milliseconds of one invoke, caches and thread pool warm.

        The process slept while others had their turn: an untimed stretch comes first.
        """
        if self._untimed:
            self._run(self._untimed)
        return self._run(self._timed)

    def codes(self) -> Arrays:
        """The inputs as the file stores them, by name."""
        return self._codes

    def delegates(self) -> list[tuple[list[int], list[int]]] | None:
        """(inputs, outputs) of the delegates' nodes of the first subgraph.

        None where they cannot be listed: another subgraph runs, or LiteRT's binding, which is
        not public, has changed.
        """
        if self._runner is not None:
            return None
        try:
            nodes = self._interpreter._get_ops_details()
        except (AttributeError, RuntimeError, ValueError, KeyError, TypeError):
            return None
        return [
            ([int(t) for t in node["inputs"]], [int(t) for t in node["outputs"]])
            for node in nodes
            if node["op_name"] == "DELEGATE"
        ]

    def facts(self) -> dict[str, Any]:
        """What is known after the first run."""
        peak = resident("VmHWM")
        return {
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "peak_bytes": peak,
            "model_bytes": max(peak - self._before, 0) if peak else 0,
            "assumed": self.assumed,
        }


def _beside(interpreter: Interpreter, path: str, signature: str | None) -> Any:
    """LiteRT's runner of a signature that is not the first subgraph; None for that one."""
    if signature is None:
        return None
    model = Model.parse(read_bytes(path), source=path)
    if signature not in model.signatures:
        known = ", ".join(model.signatures) or "none"
        raise ModelError(f"The model has no signature {signature!r}. Known: {known}.")
    if model.graph_of(signature).index == 0:
        return None
    return interpreter.get_signature_runner(signature)


def _ports(interpreter: Interpreter, runner: Any) -> dict[str, Port]:
    if runner is not None:
        return {n: Port.of(n, d) for n, d in runner.get_input_details().items()}
    names = _signature_names(interpreter)
    ports = {}
    for detail in interpreter.get_input_details():
        name = names.get(int(detail["index"]), str(detail["name"]))
        if not name or name in ports:
            name = f"{name}#{detail['index']}"
        ports[name] = Port.of(name, detail)
    return ports


def _signature_names(interpreter: Interpreter) -> dict[int, str]:
    """Tensor index -> input name in the first signature whose inputs are all the model's."""
    mine = {int(d["index"]) for d in interpreter.get_input_details()}
    for key in interpreter.get_signature_list():
        try:
            details = interpreter.get_signature_runner(key).get_input_details()
        except (RuntimeError, ValueError):
            continue
        if {int(d["index"]) for d in details.values()} == mine:
            return {int(d["index"]): text(name) for name, d in details.items()}
    return {}


def fit(inputs: Mapping[str, np.ndarray], ports: Mapping[str, Port]) -> Arrays:
    """One sample by the names of `ports`: by name, or by position where shapes leave no doubt.

    Two files of one model often call their inputs differently.
    """
    if set(inputs) == set(ports):
        return {name: np.asarray(inputs[name]) for name in ports}
    if len(inputs) == len(ports):
        pairs = list(zip(ports, inputs.values(), strict=True))
        if len(ports) == 1 or all(ports[n].takes(np.shape(x)) for n, x in pairs):
            return {name: np.asarray(x) for name, x in pairs}
    raise DataError(
        f"The sample has inputs {', '.join(inputs) or 'none'}; the model takes {', '.join(ports)}."
    )


def reset_peak() -> None:
    """Forget the peak of resident memory so far (Linux; nothing elsewhere)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident(entry: str, status: Path = STATUS) -> int:
    """VmRSS or VmHWM in bytes; 0 where the system does not say."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    return 0
