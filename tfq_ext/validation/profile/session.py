"""Run a file under LiteRT's profiler; lives in a child process, for the C library may crash."""

from __future__ import annotations

import ctypes as c
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfq_ext.tflite.read import Model, read_bytes
from tfq_ext.tflite.stage import stage
from tfq_ext.validation.profile.capi import (
    CPU,
    HOST,
    RANK,
    WRITE,
    Handle,
    Layout,
    Library,
    TensorType,
    Unavailable,
    read_events,
)
from tfq_ext.validation.seat.kernels import KERNELS

# LiteRtProfilerEventType
WHOLE, OPERATOR, DELEGATE_INNER, DELEGATE_OP = 1, 2, 4, 8
INVOKE = "Invoke"
WIDEST = 8  # bytes of the widest element
SLACK = 256  # bytes that XNNPACK may read past the end


@dataclass(frozen=True)
class Event:
    """What the profiler saw.

    Args:
        tag: op name, XNNPACK's operator name, or "Invoke" for all.
        kind: WHOLE, OPERATOR or DELEGATE_OP.
        us: microseconds; of each run whole ones, cut off, not rounded.
        node: op index; inside a delegate the operator's number.
        subgraph: of an OPERATOR.
    """

    tag: str
    kind: int
    us: float
    node: int
    subgraph: int


def record(
    path: str,
    codes: Mapping[str, np.ndarray],
    *,
    kernels: str = "xnnpack",
    threads: int = 1,
    signature: str | None = None,
    runs: int = 10,
    library: str | None = None,
) -> list[Event]:
    """The events of one run in the order of their beginnings, times averaged over several.

    Args:
        path: of the .tflite.
        codes: stored values by input name; where there is one input only, any name.
        runs: recorded ones; two more come before, unrecorded.
        library: path of the C library; None: the wheel's.

    Raises:
        Unavailable: the library is not there, or refuses.
    """
    if KERNELS[kernels].mode is None:
        raise Unavailable(f"LiteRT's profiler cannot run the {kernels} kernels")
    stage("load")
    session = _Session(Library(library), path, kernels, threads, signature)
    session.feed(codes)
    stage("invoke")
    for _ in range(2):
        session.run()
    return average([session.recorded() for _ in range(runs)])


def average(runs: Sequence[Sequence[Event]]) -> list[Event]:
    """One run's events with the mean of their times in the faster half of the runs.

    Runs in which other things happened (a loop that turned more often) are left out. Whole runs
    are chosen, so that the ops still sum to their total; the faster half, for the others were
    interrupted. The mean, for times are whole microseconds.
    """
    shapes = [tuple((e.tag, e.kind, e.node, e.subgraph) for e in run) for run in runs]
    usual = Counter(shapes).most_common(1)[0][0]
    alike = [run for run, shape in zip(runs, shapes, strict=True) if shape == usual]
    alike.sort(key=lambda run: max((e.us for e in run if e.kind == WHOLE), default=0.0))
    kept = alike[: (len(alike) + 1) // 2]
    means = np.array([[e.us for e in run] for run in kept], np.float64).mean(axis=0)
    return [replace(e, us=float(us)) for e, us in zip(kept[0], means, strict=True)]


class _Session:
    """A compiled model with profiling on."""

    def __init__(
        self, library: Library, path: str, kernels: str, threads: int, signature: str | None
    ):
        self._lib = library
        content = read_bytes(Path(path))
        memory = library.keep(c.create_string_buffer(content, len(content)))
        self._env = library.handle("CreateEnvironment", 0, None)
        model = library.handle("CreateModelFromBuffer", self._env, memory, len(content))
        options = library.handle("CreateOptions")
        library.call("SetOptionsHardwareAccelerators", options, CPU)
        library.add_option(options, "runtime_options_string", "enable_profiling = true\n")
        mode = KERNELS[kernels].mode
        cpu = f"num_threads = {threads}\nkernel_mode = {mode}\n"
        library.add_option(options, "xnnpack", cpu)
        stage("allocate")
        self._compiled = library.handle("CreateCompiledModel", self._env, model, options)
        self._index, self._signature = self._choose(model, content, signature)
        self._profiler = library.handle("CompiledModelGetProfiler", self._compiled)
        if not self._profiler:
            raise Unavailable("the compiled model has no profiler")

    def _choose(self, model: Handle, content: bytes, wanted: str | None) -> tuple[int, Handle]:
        """Index and handle of a signature; a file without any has one that LiteRT made up."""
        parsed = Model.parse(content)
        if wanted is None:
            wanted = next((k for k in parsed.signatures if parsed.graph_of(k).index == 0), None)
        count = self._lib.size("GetNumModelSignatures", model)
        for k in range(count):
            found = self._lib.handle("GetModelSignature", model, k)
            if wanted is None or self._lib.text("GetSignatureKey", found) == wanted:
                return k, found
        raise Unavailable(f"the library does not see signature {wanted!r}")

    def feed(self, codes: Mapping[str, np.ndarray]) -> None:
        """Set the inputs' shapes and values, and make room for the outputs."""
        lib, sig = self._lib, self._signature
        count = lib.size("GetNumSignatureInputs", sig)
        names = [lib.text("GetSignatureInputName", sig, k) for k in range(count)]
        if len(codes) != count or (count > 1 and set(codes) != set(names)):
            raise Unavailable(f"the library calls the inputs {', '.join(names)}")
        only = next(iter(codes.values()), None)
        values = [np.ascontiguousarray(codes.get(n, only)) for n in names]
        if texts := [n for n, x in zip(names, values, strict=True) if x.dtype.kind not in "fiub"]:
            raise Unavailable(f"input {texts[0]!r} holds texts, which have no fixed size")
        types = [self._type("Input", k) for k in range(count)]
        for k, (kind, x) in enumerate(zip(types, values, strict=True)):
            if any(n < 0 for n in kind.layout.dimensions[: kind.layout.rank]):
                dims = (c.c_int * x.ndim)(*x.shape)
                lib.call(
                    "CompiledModelResizeInputTensor", self._compiled, self._index, k, dims, x.ndim
                )
        outputs = lib.size("GetNumSignatureOutputs", sig)
        layouts = (Layout * outputs)()
        lib.call(
            "GetCompiledModelOutputTensorLayouts",
            *(self._compiled, self._index, outputs, layouts, True),
        )
        self._inputs = self._buffers("Input", types, [x.shape for x in values])
        for buffer, x in zip(self._inputs[:count], values, strict=True):
            self._write(Handle(buffer), x)
        made = [self._type("Output", k) for k in range(outputs)]
        shapes = [tuple(max(n, 1) for n in part.dimensions[: part.rank]) for part in layouts]
        self._outputs = self._buffers("Output", made, shapes)
        self._counts = (count, outputs)

    def _type(self, side: str, k: int) -> TensorType:
        tensor = self._lib.handle(f"GetSignature{side}TensorByIndex", self._signature, k)
        kind = TensorType()
        self._lib.call("GetRankedTensorType", tensor, c.byref(kind))
        return kind

    def _buffers(
        self, side: str, types: list[TensorType], shapes: list[tuple[int, ...]]
    ) -> c.Array[Handle]:
        made = (Handle * max(len(types), 1))()
        for k, (kind, shape) in enumerate(zip(types, shapes, strict=True)):
            kind.layout.rank = len(shape)
            kind.layout.dimensions = (c.c_int32 * RANK)(*shape)
            needs = self._lib.handle(
                f"GetCompiledModel{side}BufferRequirements", self._compiled, self._index, k
            )
            # The requirements keep the size from before a resize.
            size = self._lib.size("GetTensorBufferRequirementsBufferSize", needs)
            size = max(size, WIDEST * math.prod(shape)) + SLACK
            made[k] = self._lib.handle(
                "CreateManagedTensorBuffer", self._env, HOST, c.byref(kind), size
            ).value
        return made

    def _write(self, buffer: Handle, x: np.ndarray) -> None:
        if x.nbytes > self._lib.size("GetTensorBufferSize", buffer):
            raise Unavailable(f"an input of {x.nbytes} bytes does not fit the library's buffer")
        place = Handle()
        self._lib.call("LockTensorBuffer", buffer, c.byref(place), WRITE)
        c.memmove(place, x.ctypes.data, x.nbytes)
        self._lib.call("UnlockTensorBuffer", buffer)

    def run(self) -> None:
        """Once."""
        sides = (self._counts[0], self._inputs, self._counts[1], self._outputs)
        self._lib.call("RunCompiledModel", self._compiled, self._index, *sides)

    def recorded(self) -> list[Event]:
        """Run once with the profiler on."""
        lib, profiler = self._lib, self._profiler
        lib.call("ResetProfiler", profiler)
        lib.call("StartProfiler", profiler)
        self.run()
        lib.call("StopProfiler", profiler)
        count = c.c_int()
        lib.call("GetNumProfilerEvents", profiler, c.byref(count))
        kept = (WHOLE, OPERATOR, DELEGATE_OP)
        return [
            Event(
                (e.tag or b"").decode("utf-8", "backslashreplace"),
                *(int(e.kind), int(e.elapsed_us), int(e.node), int(e.subgraph)),
            )
            for e in read_events(lib, profiler, count.value)
            if e.kind in kept
        ]
