"""The file as a whole: where it runs, what it says about itself, and whether that is true."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tfq_ext.tflite.arithmetic import FLOAT, HYBRID, INTEGER
from tfq_ext.tflite.read import text as decoded
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.inspection.runtime_versions import minimum_release, release_key
from tfq_ext.validation.lint.rule import TARGET, LintRule
from tfq_ext.validation.lint.subject import LIMITS, Subject

NEWER_THAN_TARGET = Rule(
    "newer-than-target",
    "error",
    "An op has a version that the target runtime does not know.",
    "The runtime refuses to load the file.",
    "Ship a newer runtime, or convert with the TensorFlow release of the target.",
    "TFLite tools/versioning/runtime_version.cc",
)
DYNAMIC_SHAPE = Rule(
    "dynamic-shape",
    "warning",
    "A dimension other than the batch is not fixed.",
    "GPU and NPU delegates and microcontrollers need static shapes; XNNPACK plans anew at each "
    "change.",
    "Fix the input's shape before converting (a concrete function or input_shape).",
    "LiteRT delegate guides",
)
DYNAMIC_BATCH = Rule(
    "dynamic-batch",
    "info",
    "The batch dimension is not fixed.",
    "LiteRT takes it as 1 until it is resized; some NPU compilers refuse it.",
    "Fix it with --batch 1 when converting.",
    "LiteRT delegate guides",
)
SEVERAL_SUBGRAPHS = Rule(
    "several-subgraphs",
    "info",
    "The file has more than one subgraph.",
    "The Edge TPU compiler takes one; GPU delegates run the first at most.",
    "Split the model, or unroll its loops and branches, where such hardware is the target.",
    "Edge TPU compiler documentation",
)
NO_SIGNATURE = Rule(
    "no-signature",
    "info",
    "The file has no signature.",
    "Callers address inputs by position, which changes between conversions.",
    "Convert from a Keras model or SavedModel with a recent TensorFlow, which writes one.",
    "TFLite signature guide",
)
NO_METADATA = Rule(
    "no-metadata",
    "info",
    "The file says nothing about how its inputs are to be preprocessed.",
    "Every app must know scale, mean and labels from elsewhere, and gets them wrong.",
    "Write TFLite metadata (normalization, labels) into the file.",
    "TFLite metadata guide",
)
LEGACY_UINT8 = Rule(
    "legacy-uint8",
    "warning",
    "Weights are uint8: the scheme before TensorFlow 2.",
    "One scale for all channels, and zero points in weights; newer kernels and delegates are "
    "written for int8.",
    "Convert the float model again, to int8.",
    "TFLite 8-bit quantization specification",
)
MISLABELLED = Rule(
    "mislabelled",
    "warning",
    "The file's name or description says another type than its content has.",
    "It will be fed, benchmarked or shipped as what it is not.",
    "Rename the file, or convert again with the intended type.",
    "own check, after published models",
)


def newer_than_target(s: Subject) -> Iterator[Finding]:
    """The op that needs the newest release first."""
    assert s.target is not None
    rows: dict[tuple[str, int], tuple[tuple[int, ...], str, dict[str, object]]] = {}
    for op in s.ops:
        if op.code.startswith(("CUSTOM:", "FLEX:")):
            continue
        version = max(int(s.model.tree.operatorCodes[op.op.opcodeIndex].version), 1)
        release = minimum_release(op.code, version)
        key = release_key(release) if release else (10**6,)
        if key > s.target:
            rows.setdefault((op.code, version), (key, release, op.where))
    target = ".".join(map(str, s.target))
    for (code, version), (_, release, where) in sorted(rows.items(), key=lambda r: r[1][0])[::-1]:
        came = f"came with {release}" if release else "is newer than any release in the table"
        text = f"{code} version {version} {came}; the target is {target}."
        yield NEWER_THAN_TARGET.at(text, **where)  # type: ignore[arg-type]


def dynamic_shape(s: Subject) -> Iterator[Finding]:
    """Inputs and outputs with an open dimension beside the first."""
    for graph in (g for g in s.model.graphs if g.is_entry):
        for t in [*graph.inputs, *graph.outputs]:
            shape = graph.shape(t)
            if -1 in shape[1:]:
                side = "Input" if t in graph.inputs else "Output"
                text = f"{side} {list(shape)}: -1 is open."
                yield DYNAMIC_SHAPE.at(text, tensor=graph.name(t), subgraph=graph.index)


def dynamic_batch(s: Subject) -> Iterator[Finding]:
    """Inputs whose first dimension alone is open."""
    for graph in (g for g in s.model.graphs if g.is_entry):
        for t in graph.inputs:
            shape = graph.shape(t)
            if shape[:1] == (-1,) and -1 not in shape[1:]:
                text = f"Input {list(shape)}: the batch is open."
                yield DYNAMIC_BATCH.at(text, tensor=graph.name(t), subgraph=graph.index)


def several_subgraphs(s: Subject) -> Iterator[Finding]:
    """More than one."""
    if len(s.model.graphs) > 1:
        yield SEVERAL_SUBGRAPHS.at(f"{len(s.model.graphs)} subgraphs.")


def no_signature(s: Subject) -> Iterator[Finding]:
    """None at all."""
    if not s.model.signatures:
        yield NO_SIGNATURE.at("No signature; inputs and outputs are known by position only.")


def no_metadata(s: Subject) -> Iterator[Finding]:
    """TFLITE_METADATA is the buffer that the metadata library writes."""
    names = {decoded(m.name) for m in s.model.tree.metadata or ()}
    if "TFLITE_METADATA" not in names:
        yield NO_METADATA.at("No TFLITE_METADATA in the file.")


def legacy_uint8(s: Subject) -> Iterator[Finding]:
    """uint8 weights with a grid."""
    for w in s.weights:
        if w.grid.dtype == "uint8":
            text = f"uint8 weights, one scale, zero point {w.grid.zero}."
            yield LEGACY_UINT8.at(text, **{**w.op.where, "tensor": w.op.graph.name(w.tensor)})


# What names say, asked from the top; the first that fits counts. Word -> contents it may have.
_CLAIMS: tuple[tuple[str, frozenset[str]], ...] = (
    (r"(int)?16x8|int16", frozenset({"16x8"})),
    (r"fp16|float_?16|f16|half", frozenset({"fp16"})),
    (r"fp32|float_?32|f32|float", frozenset({"float32"})),
    (r"dynamic|dyn_range|weight_?(only_)?quant\w*|hybrid", frozenset({"dynamic"})),
    (r"int8|uint8|(full_)?integer(_quant)?", frozenset({"int8", "uint8"})),
    (r"quant|quantized", frozenset({"int8", "uint8", "16x8", "dynamic", "fp16"})),
)


def mislabelled(s: Subject) -> Iterator[Finding]:
    """File name first, then the description inside."""
    content = content_of(s)
    sources = (("name", s.name), ("description", decoded(s.model.tree.description)))
    for what, label in sources:
        claim = _claim(label)
        if claim is not None and content not in claim[1]:
            said, told = claim[0], _CONTENTS[content]
            yield MISLABELLED.at(f"The file's {what} says {said!r}; the file has {told}.")
            return


def _claim(label: str) -> tuple[str, frozenset[str]] | None:
    """The word in a label that names a type, and the contents that would make it true."""
    plain = re.sub(r"\.(tflite|lite|bin|keras|h5)\b", "", label.lower())
    plain = plain.replace("-", "_").replace(".", "_").replace(" ", "_")
    for pattern, contents in _CLAIMS:
        if found := re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", plain):
            return found.group(1), contents
    return None


_CONTENTS = {
    "float32": "float32 weights and arithmetic",
    "fp16": "float16 weights",
    "dynamic": "integer weights and float arithmetic",
    "int8": "int8 arithmetic",
    "uint8": "uint8 arithmetic",
    "16x8": "16-bit activations",
}


def content_of(s: Subject) -> str:
    """What the file really is: a key of _CONTENTS, by the kind that most of its weights have."""
    if s.kinds.count(INTEGER) > s.kinds.count(FLOAT) + s.kinds.count(HYBRID):
        types = [op.graph.dtype(t) for op in s.ops for t in op.outputs]
        small = {name: types.count(name) for name in ("int8", "uint8", "int16")}
        most = max(small, key=lambda name: small[name])
        return "16x8" if most == "int16" else most
    sizes = dict.fromkeys(("float32", "fp16", "dynamic"), 0)
    for graph in s.model.graphs:
        for t in range(len(graph.tensors)):
            kind = _STORED.get(graph.dtype(t))
            if kind and graph.is_constant(t):
                sizes[kind] += len(s.model.tree.buffers[graph.tensors[t].buffer].data)
    return max(sizes, key=lambda name: sizes[name])


_STORED = {"float32": "float32", "float16": "fp16"} | dict.fromkeys(LIMITS, "dynamic")

TABLE = (
    LintRule(NEWER_THAN_TARGET, newer_than_target, TARGET),
    LintRule(DYNAMIC_SHAPE, dynamic_shape),
    LintRule(DYNAMIC_BATCH, dynamic_batch),
    LintRule(SEVERAL_SUBGRAPHS, several_subgraphs),
    LintRule(NO_SIGNATURE, no_signature),
    LintRule(NO_METADATA, no_metadata),
    LintRule(LEGACY_UINT8, legacy_uint8),
    LintRule(MISLABELLED, mislabelled),
)
