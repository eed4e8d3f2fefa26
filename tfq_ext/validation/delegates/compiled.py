"""The two sides of the comparison, as they live in a child process: reals in, reals and ms out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, GpuOptions, Options

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.runner import Arrays, Port, Runner
from tfq_ext.tflite.stage import stage
from tfq_ext.validation.delegates.reals import port_of

Timed = tuple[Arrays, float]  # outputs by name, milliseconds

ACCELERATORS = {
    "cpu": HardwareAccelerator.CPU,
    "gpu": HardwareAccelerator.GPU | HardwareAccelerator.CPU,  # what the GPU refuses, XNNPACK runs
}
_DTYPES = ("float32", "float16", "int32", "int8", "uint8", "bool")  # of LiteRT's TensorBuffer
_PLUGIN = "libLiteRtWebGpuAccelerator.so"


def gpu_plugin() -> str:
    """Path of the wheel's GPU accelerator, "" where this build of LiteRT has none."""
    found = Path(ai_edge_litert.__file__).with_name(_PLUGIN)
    return str(found) if found.exists() else ""


class Interpreted:
    """A model in LiteRT's interpreter on XNNPACK: the baseline.

    Args:
        model: bytes of a .tflite.
        signature: its key; None: the one of the first subgraph.
        threads: LiteRT threads.
    """

    def __init__(self, model: bytes, *, signature: str | None = None, threads: int = 1):
        self._runner = Runner(model, signature=signature, threads=threads)
        self.inputs = self._runner.inputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> Timed:
        """One sample; the time is that of copying in, running, and copying out."""
        start = time.perf_counter()
        outputs = self._runner(inputs)
        return outputs, (time.perf_counter() - start) * 1e3


class Compiled:
    """A model in LiteRT's CompiledModel.

    Args:
        model: bytes of a .tflite.
        accelerator: of ACCELERATORS.
        fp32: whether the GPU must compute in fp32 (else it may use fp16).
        xnnpack_flags: for the CPU; None: the defaults.
        signature: its key; None: the one of the first subgraph.

    Raises:
        ModelError: LiteRT will not compile or run it.
        DataError: inputs that do not fit.
    """

    def __init__(
        self,
        model: bytes,
        *,
        accelerator: str = "cpu",
        fp32: bool = True,
        xnnpack_flags: int | None = None,
        signature: str | None = None,
    ):
        self._parsed = Model.parse(model)
        options = Options(
            hardware_accelerators=ACCELERATORS[accelerator],
            gpu_options=GpuOptions(enforce_f32=fp32),
            cpu_options=CpuOptions(num_threads=1, xnnpack_flags=xnnpack_flags),
        )
        stage("compile")
        start = time.perf_counter()
        try:
            self._compiled = CompiledModel.from_buffer(model, options=options)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not compile the model: {_plain(error)}") from None
        self.load_ms = (time.perf_counter() - start) * 1e3
        self._key, self._number, graph = self._signature(signature)
        try:
            inputs = self._compiled.get_input_tensor_details(self._key)
            outputs = self._compiled.get_output_tensor_details(self._key)
        except (RuntimeError, ValueError) as error:  # it allocates here, and may fail
            raise ModelError(f"LiteRT could not compile the model: {_plain(error)}") from None
        self._inputs, self._outputs = self._ports(inputs, graph), self._ports(outputs, graph)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._in: list[Any] = []
        self._out: list[Any] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> Timed:
        """One sample; the time is that of copying in, running, and copying out.

        The run itself is asynchronous on a GPU: only reading the outputs waits for it.
        """
        codes = self._codes(inputs)
        try:
            stage("buffers")
            self._prepare({name: x.shape for name, x in codes.items()})
            stage("invoke")
            start = time.perf_counter()
            for buffer, x in zip(self._in, codes.values(), strict=True):
                buffer.write(x)
            self._compiled.run_by_index(self._number, self._in, self._out)
            stage("read")
            outputs = self._read()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not run the model: {_plain(error)}") from None
        return outputs, (time.perf_counter() - start) * 1e3

    def _signature(self, wanted: str | None) -> tuple[str, int, Graph]:
        """Key and number in LiteRT, and the subgraph; a file without signatures has one made up."""
        keys = list(self._compiled.get_signature_list())
        known = self._parsed.signatures
        if not known:
            return keys[0], 0, self._parsed.graphs[0]
        key = wanted if wanted is not None else self._parsed.primary
        if key is None or key not in keys:
            raise ModelError(
                f"CompiledModel runs signatures only; asked for {wanted or 'the first subgraph'}, "
                f"the file has {', '.join(keys)}."
            )
        return key, keys.index(key), self._parsed.graph_of(key)

    def _ports(self, details: Mapping[str, Any], graph: Graph) -> dict[str, Port]:
        """By name in LiteRT's order; the grid is the file's, which LiteRT does not tell here."""
        ports = {}
        order = self._compiled.get_signature_list()[self._key]
        for name in (n for side in ("inputs", "outputs") for n in order[side] if n in details):
            index = int(details[name]["index"])
            dtype = np.dtype(details[name]["dtype"])
            if dtype.name not in _DTYPES:
                raise DataError(
                    f"CompiledModel's buffers hold {', '.join(_DTYPES)}; {name!r} is {dtype}."
                )
            ports[name] = port_of(graph, index, name, dtype)
        return ports

    def _codes(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        if len(self._inputs) == 1 and len(inputs) == 1:
            inputs = {next(iter(self._inputs)): next(iter(inputs.values()))}
        if set(inputs) != set(self._inputs):
            raise DataError(
                f"Got inputs {', '.join(inputs) or 'none'}; CompiledModel takes "
                f"{', '.join(self._inputs)}."
            )
        return {name: port.encode(inputs[name]) for name, port in self._inputs.items()}

    def _prepare(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        details = self._compiled.get_input_tensor_details(self._key)
        for place, (name, shape) in enumerate(shapes.items()):
            if tuple(details[name]["shape"]) != shape:
                self._compiled.resize_input_tensor(place, shape, self._number)
        self._in = self._compiled.create_input_buffers(self._number)
        self._out = self._compiled.create_output_buffers(self._number)
        self._shapes = shapes

    def _read(self) -> Arrays:
        details = self._compiled.get_output_tensor_details(self._key)
        outputs = {}
        for buffer, (name, port) in zip(self._out, self._outputs.items(), strict=True):
            shape = tuple(int(n) for n in details[name]["shape"])
            stored = buffer.read(int(np.prod(shape)), port.dtype)
            outputs[name] = port.decode(stored.reshape(shape))
        return outputs


def _plain(error: Exception) -> str:
    """The last line of LiteRT's own error, without the places in its source."""
    lines = [line.strip(" └") for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("ERROR: [")]
    return told[-1] if told else (lines[-1] if lines else type(error).__name__)
