"""An inspection: everything about a file that can be told without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from tfq_ext.validation.inspection.rows import (
    AssociatedFile,
    Bridge,
    Coverage,
    GraphRow,
    Island,
    MetadataRow,
    OpRow,
    SharedBuffer,
    Signature,
    SparseRow,
    TensorRow,
    WeightRow,
)
from tfq_ext.validation.inspection.runtime_versions import Runtime


@dataclass(frozen=True)
class Inspection:
    """What is in a .tflite.

    Args:
        source: path, or "the model".
        size_bytes: of the whole file.
        schema_version, description: as the file states them.
        parts: part -> bytes, largest first; they sum to `size_bytes`.
        shared: buffers that several tensors use; counted once in `parts`.
        subgraphs, signatures, ops, tensors: rows in the order of the file.
        parameters: elements of constants that ops compute with, shared ones once.
        islands, bridges: float ops inside an integer file; QUANTIZE and DEQUANTIZE.
        coverage: how much is integer, by ops and by MACs.
        runtime: the TFLite release that the op versions ask for.
        stated_runtime: the release that the file's metadata claims, "" for none.
        weights: ranges by channel, dead channels, zeros; empty if they were not asked for.
        sparse: constants stored without their zeros.
        metadata, associated_files: named entries; files packed behind the model.
    """

    source: str
    size_bytes: int
    schema_version: int
    description: str
    parts: Mapping[str, int]
    shared: tuple[SharedBuffer, ...]
    subgraphs: tuple[GraphRow, ...]
    signatures: tuple[Signature, ...]
    ops: tuple[OpRow, ...]
    tensors: tuple[TensorRow, ...]
    parameters: int
    islands: tuple[Island, ...]
    bridges: tuple[Bridge, ...]
    coverage: Coverage
    runtime: Runtime
    stated_runtime: str
    weights: tuple[WeightRow, ...]
    sparse: tuple[SparseRow, ...]
    metadata: tuple[MetadataRow, ...]
    associated_files: tuple[AssociatedFile, ...]

    @cached_property
    def inputs(self) -> tuple[TensorRow, ...]:
        """Of the first subgraph."""
        return self._interface(self.subgraphs[0].inputs)

    @cached_property
    def outputs(self) -> tuple[TensorRow, ...]:
        """Of the first subgraph."""
        return self._interface(self.subgraphs[0].outputs)

    def _interface(self, numbers: tuple[int, ...]) -> tuple[TensorRow, ...]:
        first = {row.index: row for row in self.tensors if row.subgraph == 0}
        return tuple(first[t] for t in numbers if t in first)

    @cached_property
    def op_counts(self) -> dict[str, int]:
        """Op code -> how many, most frequent first."""
        return dict(Counter(row.code for row in self.ops).most_common())

    @property
    def float_ops(self) -> tuple[OpRow, ...]:
        """Ops that compute in floats."""
        return self._of("float")

    @property
    def hybrid_ops(self) -> tuple[OpRow, ...]:
        """Ops with integer weights and float activations."""
        return self._of("hybrid")

    @property
    def custom_ops(self) -> tuple[OpRow, ...]:
        """Ops outside the builtins, Flex included."""
        return self._of("custom")

    def _of(self, kind: str) -> tuple[OpRow, ...]:
        return tuple(row for row in self.ops if row.arithmetic == kind)

    @property
    def macs(self) -> int:
        """Of one run of every subgraph, where known."""
        return sum(row.macs or 0 for row in self.ops)

    @property
    def kind(self) -> str:
        """What people would call the file: "int8", "float32", "dynamic range", "mixed", ..."""
        return describe_kind(self)

    def select(self, op: str | None = None, name: str | None = None) -> tuple[OpRow, ...]:
        """Ops whose code fits the glob `op` (case is ignored) and whose tensor fits `name`."""
        return tuple(
            row
            for row in self.ops
            if (op is None or fnmatchcase(row.code.upper(), op.upper()))
            and (name is None or fnmatchcase(row.tensor, name))
        )

    def select_tensors(
        self, op: str | None = None, name: str | None = None
    ) -> tuple[TensorRow, ...]:
        """Tensors that an op fitting `op` reads or makes and whose name fits `name`."""
        near = {(row.subgraph, t) for row in self.select(op) for t in (*row.reads, *row.makes)}
        return tuple(
            row
            for row in self.tensors
            if (op is None or (row.subgraph, row.index) in near)
            and (name is None or fnmatchcase(row.name, name))
        )

    def select_weights(
        self, op: str | None = None, name: str | None = None
    ) -> tuple[WeightRow, ...]:
        """Weights of ops fitting `op` where their own name or their op's tensor fits `name`."""
        by_op = {(row.subgraph, row.index) for row in self.select(op)}
        by_both = {(row.subgraph, row.index) for row in self.select(op, name)}
        return tuple(
            row
            for row in self.weights
            if (key := (row.subgraph, row.op_index)) in by_both
            or (key in by_op and name is not None and fnmatchcase(row.tensor, name))
        )

    def to_dict(self, op: str | None = None, name: str | None = None) -> dict[str, Any]:
        """Plain values, with the figures that are computed from the rows.

        Args:
            op, name: leave only the ops, tensors and weights that `select` and its like give;
                all figures stay those of the whole file.
        """
        values = asdict(self)
        if op is not None or name is not None:
            values["ops"] = [asdict(row) for row in self.select(op, name)]
            values["tensors"] = [asdict(row) for row in self.select_tensors(op, name)]
            values["weights"] = [asdict(row) for row in self.select_weights(op, name)]
        values["coverage"] |= {
            "share_ops": self.coverage.share_ops,
            "share_macs": self.coverage.share_macs,
        }
        values["kind"] = self.kind
        values["macs"] = self.macs
        values["op_counts"] = self.op_counts
        values["inputs"] = [asdict(row) for row in self.inputs]
        values["outputs"] = [asdict(row) for row in self.outputs]
        return values

    def to_json(self, op: str | None = None, name: str | None = None) -> str:
        """`to_dict` as JSON."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict(op, name))

    def __str__(self) -> str:
        from tfq_ext.report.inspect_text import to_text

        return to_text(self)


def describe_kind(found: Inspection) -> str:
    """One or two words for the arithmetic of a file."""
    kinds = found.coverage.ops
    integers, hybrids, floats = (kinds.get(k, 0) for k in ("integer", "hybrid", "float"))
    stored = {row.weight_bits for row in found.ops if row.weight_bits}
    if integers and (hybrids or floats):
        small = floats + hybrids <= max(0.1 * integers, 2)
        return f"{_integer_name(found)}, in part float" if small else "part integer, part float"
    if integers:
        return _integer_name(found)
    if hybrids:
        return "dynamic range"
    if floats and stored and max(stored) <= 8:
        return "weight-only"
    if floats and 16 in stored and 32 not in stored:
        return "float32 with float16 weights"
    return "float32" if floats else "no arithmetic that is known"


def _integer_name(found: Inspection) -> str:
    made = Counter(
        row.outputs[0] for row in found.ops if row.arithmetic == "integer" and row.outputs
    )
    name = made.most_common(1)[0][0] if made else "int8"
    if name not in ("int8", "uint8", "int16"):
        return "integer"
    bits = {row.weight_bits for row in found.ops if row.arithmetic == "integer"} - {0}
    if name == "int16":
        return "int16x8" if 8 in bits else "int16"
    return f"{name} with {min(bits)}-bit weights" if bits and min(bits) < 8 else name
