"""Test vectors: inputs with the output bytes that this machine got, to replay on the phone.

A .zip with `manifest.json` and, for sample k, `k/input_i.bin` and `k/output_j.bin`: the tensors'
bytes as the file stores them, little-endian, row-major. Nothing needs decoding on the device: copy
the bytes into the input buffers, run, compare the output buffers.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import Preprocess, open_samples
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model, describe, digest, read_bytes
from tfq_ext.tflite.runner import Port
from tfq_ext.validation.sandbox import Child, Limits
from tfq_ext.validation.seat import noise

FORMAT = 1
MAX_BYTES = 1 << 30  # of one file's vectors in memory
_STAMP = (1980, 1, 1, 0, 0, 0)  # the same vectors give the same bytes
Row = dict[str, list[np.ndarray]]  # "inputs" and "outputs" of one sample, as stored
# What zipfile, zlib and json raise on damaged bytes (RuntimeError: encrypted, nested too deep).
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
)


@dataclass(frozen=True)
class Replay:
    """How a set of vectors came out when run again.

    Args:
        vectors: samples.
        equal: of these, all output bytes as expected.
        max_lsb: greatest difference of quantized outputs, codes.
        max_error: greatest difference of float outputs.
        kernels: which kernels ran.
        where: the sample and output of the greatest difference; "" if all are equal.
    """

    vectors: int
    equal: int
    max_lsb: int
    max_error: float
    kernels: str
    where: str


def make_vectors(
    model: bytes | str | os.PathLike[str],
    data: Any = None,
    *,
    count: int = 8,
    preprocess: Preprocess | str | None = None,
    seed: int = 0,
    kernels: str = "xnnpack",
    limits: Limits | None = None,
) -> bytes:
    """Run samples and keep inputs and outputs as the device will see them.

    Args:
        model: path or bytes.
        data: samples; None: seeded noise.
        count: how many.
        preprocess: from 8-bit pixels to what the model takes.
        seed: of the choice, or of the noise.
        kernels: "xnnpack", "builtin" or "reference": whose output is expected.
        limits: of the child process that runs the model.

    Returns:
        The .zip's bytes.

    Raises:
        ModelError, DataError: the model cannot run, or the data do not fit.
    """
    content = read_bytes(model)
    samples = _samples(Model.parse(content, source=describe(model)), data, count, preprocess, seed)
    with Child(limits or Limits()) as child:
        tape = child.make(f"{__name__}:Tape", content=content, kernels=kernels)
        ports = tape.get("ports")
        fed = _noise(ports["inputs"], seed) if samples is None else samples
        rows = list(_bounded(tape.call("record", dict(x)) for x in islice(fed, count)))
    if not rows:
        raise DataError("There are no samples to make vectors of.")
    manifest = {
        "format": FORMAT,
        "model_sha256": digest(content),
        "kernels": kernels,
        "seed": seed,
        "byte_order": "little",
        "inputs": [_port(port) for port in ports["inputs"]],
        "outputs": [_port(port) for port in ports["outputs"]],
        "vectors": [_shapes(row) for row in rows],
    }
    return _zipped(manifest, rows)


def _bounded(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as they come, while they fit the memory."""
    size = 0
    for row in rows:
        size += sum(x.nbytes for side in row.values() for x in side)
        if size > MAX_BYTES:
            raise DataError("The vectors take over 1 GiB; make fewer (--count).")
        yield row


def _samples(
    model: Model, data: Any, count: int, preprocess: Preprocess | str | None, seed: int
) -> Iterator[Mapping[str, np.ndarray]] | None:
    if data is None:
        return None
    specs = [spec for spec in real_specs(model) if spec.signature in ("", model.primary)]
    opened = open_samples(data, specs, limit=count, seed=seed, shuffle=True, preprocess=preprocess)
    return (sample.inputs for sample in opened)


def replay(
    model: bytes | str | os.PathLike[str],
    vectors: bytes | str | os.PathLike[str],
    *,
    kernels: str = "xnnpack",
    limits: Limits | None = None,
) -> Replay:
    """Run vectors again, here, with these kernels.

    Raises:
        DataError: the vectors are damaged, or of another model.
        ModelError: the model cannot run.
    """
    content = read_bytes(model)
    name = "the archive" if isinstance(vectors, bytes) else describe(vectors)
    manifest, rows = _unzipped(read_bytes(vectors, magic=False), name)
    if manifest["model_sha256"] != digest(content):
        raise DataError(
            f"{name} was made from another file (sha256 "
            f"{manifest['model_sha256'][:12]}...); make vectors of this one."
        )
    with Child(limits or Limits()) as child:
        tape = child.make(f"{__name__}:Tape", content=content, kernels=kernels)
        ports = tape.get("ports")
        if any(manifest[side] != [_port(p) for p in ports[side]] for side in ports):
            raise DataError(f"{name} is damaged: its inputs or outputs are not this file's.")
        got = [tape.call("again", row["inputs"]) for row in rows]
    return _compared(rows, got, manifest, kernels)


class Tape:
    """Runs in the child: one interpreter, stored values in and out."""

    def __init__(self, *, content: bytes, kernels: str):
        from tfq_ext.tflite.run import open_interpreter, reason

        self._interpreter = open_interpreter(content, kernels=kernels)
        try:
            self._ports = {
                "inputs": self._named(self._interpreter.get_input_details()),
                "outputs": self._named(self._interpreter.get_output_details()),
            }
        except UnicodeDecodeError as error:
            raise ModelError(f"LiteRT could not run the model: {reason(error)}") from None
        # A sample's inputs come under the signature's names, which need not be the tensors'.
        model = Model.parse(content)
        key = model.primary
        self._alias: dict[str, int] = {}
        if key is not None:
            runner = self._interpreter.get_signature_runner(key)
            details = runner.get_input_details()
            self._alias = {name: int(d["index"]) for name, d in details.items()}

    @property
    def ports(self) -> dict[str, tuple[Port, ...]]:
        """Inputs and outputs of the first subgraph, in order."""
        return self._ports

    @staticmethod
    def _named(details: list[Any]) -> tuple[Port, ...]:
        for d in details:
            if np.dtype(d["dtype"]).kind in "SUO":
                raise ModelError(
                    f"Tensor {d['name']!r} holds text; test vectors are made of numbers only."
                )
        return tuple(Port.of(str(d["name"]), d) for d in details)

    def record(self, inputs: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
        """Encode reals, run; stored inputs and outputs."""
        stored = [port.encode(self._pick(inputs, port)) for port in self._ports["inputs"]]
        return {"inputs": stored, "outputs": self.again(stored)}

    def again(self, stored: list[np.ndarray]) -> list[np.ndarray]:
        """Run stored values; stored outputs."""
        from tfq_ext.tflite.run import allocate_tensors

        interpreter = self._interpreter
        for port, values in zip(self._ports["inputs"], stored, strict=True):
            if not port.takes(values.shape):
                raise DataError(f"Input {port.name!r} is {values.shape}, takes {port.shape}.")
            interpreter.resize_tensor_input(port.index, values.shape)
        allocate_tensors(interpreter)
        for port, values in zip(self._ports["inputs"], stored, strict=True):
            interpreter.set_tensor(port.index, values)
        try:
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not run the model: {error}") from None
        return [np.array(interpreter.get_tensor(port.index)) for port in self._ports["outputs"]]

    def _pick(self, inputs: Mapping[str, np.ndarray], port: Port) -> np.ndarray:
        if len(inputs) == 1 and len(self._ports["inputs"]) == 1:
            return next(iter(inputs.values()))
        for name, values in inputs.items():
            if name == port.name or self._alias.get(name) == port.index:
                return values
        raise DataError(f"No values for input {port.name!r}; got {', '.join(inputs)}.")


def _noise(ports: tuple[Port, ...], seed: int) -> Iterator[dict[str, np.ndarray]]:
    k = 0
    while True:
        yield noise({port.name: port for port in ports}, seed + k, whole=True)
        k += 1


def _port(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "dtype": port.dtype.name,
        "shape": list(port.shape),
        "scale": port.scale,
        "zero_point": port.zero_point,
    }


def _shapes(row: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
    return {side: [list(x.shape) for x in row[side]] for side in ("inputs", "outputs")}


def _zipped(manifest: dict[str, Any], rows: list[dict[str, list[np.ndarray]]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "manifest.json", json.dumps(manifest, indent=1).encode())
        for k, row in enumerate(rows):
            for side in ("input", "output"):
                for i, values in enumerate(row[f"{side}s"]):
                    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
                    _add(archive, f"{k}/{side}_{i}.bin", little.tobytes())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _STAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _unzipped(content: bytes, what: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ValueError("over 1 GiB")
            manifest = json.loads(archive.read("manifest.json"))
            if manifest["format"] != FORMAT:
                raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
            rows = [
                {
                    f"{side}s": [
                        np.frombuffer(
                            archive.read(f"{k}/{side}_{i}.bin"), np.dtype(port["dtype"])
                        ).reshape(shapes[f"{side}s"][i])
                        for i, port in enumerate(manifest[f"{side}s"])
                    ]
                    for side in ("input", "output")
                }
                for k, shapes in enumerate(manifest["vectors"])
            ]
            if not rows or not isinstance(manifest["model_sha256"], str):
                raise ValueError("it names no model, or holds no vectors")
    except _DAMAGED as error:
        raise DataError(f"{what} holds no test vectors that can be read: {error}.") from None
    return manifest, rows


def _compared(
    rows: list[dict[str, Any]], got: list[list[np.ndarray]], manifest: dict[str, Any], kernels: str
) -> Replay:
    equal, worst_lsb, worst_error, where = 0, 0, 0.0, ""
    for k, (row, outputs) in enumerate(zip(rows, got, strict=True)):
        same = True
        for port, expected, values in zip(
            manifest["outputs"], row["outputs"], outputs, strict=True
        ):
            if expected.tobytes() == values.tobytes():
                continue
            same = False
            if expected.shape != values.shape:
                where, worst_error = f"sample {k}, shape of {port['name']}", math.inf
                continue
            gap = _gap(expected, values)
            if gap >= (worst_lsb if port["scale"] else worst_error):
                where = f"sample {k}, output {port['name']}"
            worst_lsb = max(worst_lsb, int(gap)) if port["scale"] else worst_lsb
            worst_error = worst_error if port["scale"] else max(worst_error, gap)
        equal += same
    return Replay(len(rows), equal, worst_lsb, worst_error, kernels, where)


def _gap(expected: np.ndarray, values: np.ndarray) -> float:
    """The greatest difference; infinite where only one side is NaN or infinite."""
    a, b = expected.astype(np.float64), values.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf))
    return float(gaps.max())
