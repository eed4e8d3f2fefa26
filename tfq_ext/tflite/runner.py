"""A .tflite as a function of reals: arrays in by name, float arrays out, whatever it stores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.spec import round_half_away
from tfq_ext.tflite.facts import STATEFUL
from tfq_ext.tflite.read import Model, describe, read_bytes
from tfq_ext.tflite.run import allocate_tensors, open_interpreter, reason
from tfq_ext.tflite.stage import stage

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Port:
    """One input or output of a model.

    Args:
        name: in the signature where there is one, else the tensor's.
        index: of the tensor in the interpreter.
        shape: -1 where it is dynamic.
        dtype: what the file stores.
        scale: reals per code; 0.0 where the tensor is not quantized.
        zero_point: the code of real 0.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    @classmethod
    def of(cls, name: str, detail: Mapping[str, Any]) -> Port:
        """From an interpreter's tensor detail."""
        dtype = np.dtype(detail["dtype"])
        scale, zero_point = detail["quantization"]
        shape = tuple(int(n) for n in detail["shape_signature"])
        used = float(scale) if dtype.kind in "iu" else 0.0
        return cls(name, int(detail["index"]), shape, dtype, used, int(zero_point))

    def encode(self, x: np.ndarray) -> np.ndarray:
        """What the file stores for the reals `x`: clip(round(x / s) + z), ties away from zero.

        Integer arrays are reals too: 0..255 fed to a uint8 input is 0.0..255.0, never codes, so
        that one sample means the same to every model.
        """
        x = np.asarray(x)
        if self.scale:
            real = x.astype(np.float32)
            if np.isnan(real).any():
                raise DataError(f"Input {self.name!r} holds NaN, which has no code.")
            ends = np.iinfo(self.dtype)
            codes = round_half_away(real / np.float32(self.scale)) + self.zero_point
            return np.clip(codes, ends.min, ends.max).astype(self.dtype)
        if self.dtype.kind == "f" or x.dtype == self.dtype or self.dtype.kind not in "iub":
            return x.astype(self.dtype, copy=False)
        cast = x.astype(self.dtype)
        if not np.array_equal(cast, x):
            raise DataError(
                f"Input {self.name!r} takes {self.dtype}; the {x.dtype} values given do not fit."
            )
        return cast

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """float32 reals of quantized and float tensors; ids, masks and texts as they are."""
        if self.scale:
            shifted = stored.astype(np.int32) - self.zero_point
            return np.asarray(shifted * np.float32(self.scale), np.float32)
        return stored.astype(np.float32, copy=False) if self.dtype.kind == "f" else stored

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Does the shape fit, dynamic dimensions matching anything?"""
        if not self.shape:  # a scalar, or a rank that the file does not state
            return True
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(n in (-1, m) for n, m in pairs)


class Runner:
    """One signature of a .tflite in LiteRT, float in and float out.

    Args:
        model: path or bytes.
        threads: LiteRT threads.
        signature: its key; None: the one of the first subgraph, or no signature at all.

    A batch that is a multiple of the model's fixed batch runs in pieces. A stateful model starts
    afresh for every call, for `reset_all_variables` does not restore it.

    Raises:
        ModelError: the model cannot be loaded or run, or has no such signature.
        DataError: an input is missing, unknown, or of a wrong shape.
    """

    def __init__(
        self,
        model: bytes | str | os.PathLike[str],
        *,
        threads: int = 1,
        signature: str | None = None,
    ):
        self._content = read_bytes(model)
        parsed = Model.parse(self._content, source=describe(model))
        self._threads = threads
        self._stateful = any(code in STATEFUL for _, _, _, code in parsed.walk())
        self._signature = parsed.key_of(signature)
        self._primary = parsed.graph_of(self._signature).index == 0
        self._open()

    def _open(self) -> None:
        self._interpreter = open_interpreter(self._content, threads=self._threads, allocate=False)
        self._allocated = False  # on the first feed: only then are open dimensions known
        self._runner: Any = None
        try:
            self._find_ports()
        except (RuntimeError, ValueError) as error:  # a key that is not UTF-8, for one
            raise ModelError(
                f"LiteRT cannot tell the model's inputs and outputs: {reason(error)}"
            ) from None
        self._fed: Arrays = {}
        self._result: Arrays = {}
        self._used = False

    def _find_ports(self) -> None:
        if self._signature is None:
            self.inputs = _ports(self._interpreter.get_input_details())
            self.outputs = _ports(self._interpreter.get_output_details())
        else:
            runner = self._interpreter.get_signature_runner(self._signature)
            self.inputs = {n: Port.of(n, d) for n, d in runner.get_input_details().items()}
            self.outputs = {n: Port.of(n, d) for n, d in runner.get_output_details().items()}
            self._runner = None if self._primary else runner

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Outputs by name for inputs by name (any name where the model has one input only)."""
        named = self._named(inputs)
        pieces = [self._once(piece) for piece in self._pieces(named)]
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([p[name] for p in pieces]) for name in self.outputs}

    def _once(self, inputs: Arrays) -> Arrays:
        if self._stateful and self._used:
            self._open()
        self.feed(inputs)
        self.invoke()
        return self.read()

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Encode the inputs and set them, resizing where dimensions are dynamic.

        `feed`, `invoke` and `read` are the steps of a call, for who wants to time one of them;
        they neither cut batches nor forget state.
        """
        named = self._named(inputs)
        codes = {name: port.encode(named[name]) for name, port in self.inputs.items()}
        for name, port in self.inputs.items():
            if not port.takes(codes[name].shape):
                raise DataError(
                    f"Input {name!r} has shape {codes[name].shape}; the model takes {port.shape}."
                )
        if self._runner is not None:
            self._fed = codes
        else:
            self._set(codes)

    def _set(self, codes: Arrays) -> None:
        stage("feed")
        details = {d["index"]: d for d in self._interpreter.get_input_details()}
        try:
            resized = not self._allocated
            for name, port in self.inputs.items():
                if tuple(details[port.index]["shape"]) != codes[name].shape:
                    self._interpreter.resize_tensor_input(port.index, codes[name].shape)
                    resized = True
            if resized:
                allocate_tensors(self._interpreter)
                self._allocated = True
            for name, port in self.inputs.items():
                self._interpreter.set_tensor(port.index, codes[name])
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not take these inputs: {reason(error)}") from None

    def invoke(self) -> None:
        """Run what was fed (beside the first subgraph, LiteRT copies the arrays here too)."""
        self._used = True
        stage("invoke")
        try:
            if self._runner is not None:
                self._result = self._runner(**self._fed)
            else:
                self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not run the model: {reason(error)}") from None

    def read(self) -> Arrays:
        """The outputs of the last invoke, decoded; copies, so they outlive the next one."""
        stage("read")
        stored = self._stored() if self._runner is None else self._result
        return {name: port.decode(stored[name]) for name, port in self.outputs.items()}

    def _stored(self) -> Arrays:
        get = self._interpreter.get_tensor
        try:
            return {name: get(port.index) for name, port in self.outputs.items()}
        except (RuntimeError, ValueError) as error:  # an output that no op writes
            raise ModelError(f"LiteRT has no value for an output: {reason(error)}") from None

    def _named(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        if len(self.inputs) == 1 and len(inputs) == 1:  # only one meaning, whatever it is called
            return {next(iter(self.inputs)): np.asarray(next(iter(inputs.values())))}
        if set(inputs) != set(self.inputs):
            raise DataError(
                f"Got inputs {', '.join(inputs) or 'none'}; the model takes "
                f"{', '.join(self.inputs)}."
            )
        return {name: np.asarray(inputs[name]) for name in self.inputs}

    def _pieces(self, inputs: Arrays) -> list[Arrays]:
        """The inputs cut along axis 0 into the model's own batch, where it is fixed."""
        if all(port.takes(inputs[name].shape) for name, port in self.inputs.items()):
            return [inputs]
        batches = {port.shape[0] if port.shape else -1 for port in self.inputs.values()}
        counts = {x.shape[0] if x.ndim else 0 for x in inputs.values()}
        batch, count = min(batches), min(counts)
        if len(batches) > 1 or len(counts) > 1 or batch < 1 or count % batch or not count:
            return [inputs]  # not a matter of batches: feed() says which shape is wrong
        cuts = range(0, count, batch)
        return [{name: x[k : k + batch] for name, x in inputs.items()} for k in cuts]


def _ports(details: list[Mapping[str, Any]]) -> dict[str, Port]:
    """Ports by tensor name; a name that repeats gets its tensor index."""
    ports: dict[str, Port] = {}
    for detail in details:
        name = str(detail["name"])
        if not name or name in ports:
            name = f"{name}#{detail['index']}"
        ports[name] = Port.of(name, detail)
    return ports
