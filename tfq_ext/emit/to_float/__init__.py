"""Everything becomes one float flatbuffer, the pivot that all later stages work on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.emit.quiet import Chatter, quiet
from tfq_ext.emit.to_float import messages
from tfq_ext.emit.to_float.flatbuffer import choose_signatures, fold_constants, unique_names
from tfq_ext.emit.to_float.norms import Remembered
from tfq_ext.emit.to_float.quantized import refuse_quantized
from tfq_ext.emit.to_float.request import Converted, Request, import_objects
from tfq_ext.emit.to_float.sources import Kind, recognise
from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Model, describe


@dataclass(frozen=True)
class Pivot:
    """A float model as a flatbuffer, ready to be observed and quantized.

    Args:
        model: float; tensor names unique across all subgraphs and never empty.
        source: "keras", "tf_keras", "saved_model", "function" or "tflite".
        digest: sha256 of the source's bytes; for an object in memory, of its weights and ops.
        notes: what was changed on the way, one sentence each.
        log: what the converter printed.
        remembered: what the BatchNorm layers of a Keras model do of its training.
    """

    model: Model
    source: str
    digest: str
    notes: tuple[str, ...] = ()
    log: str = ""
    remembered: Remembered = field(default_factory=Remembered, repr=False)


def to_float(
    source: object,
    *,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    allow_custom_ops: bool = False,
    verbose: bool = False,
) -> Pivot:
    """Make the pivot of a model, whatever it is given as.

    Args:
        source: Keras 3 or tf_keras model, .keras/.h5 path, SavedModel folder, tf.function(s),
            or a float .tflite (path or bytes). TensorFlow is not imported for a .tflite.
        signatures: keys to keep; all of them by default.
        batch: fix the inputs' first dimension, where it is open.
        custom_objects: for Keras files, by name, or import paths "package.module:Class".
        allow_custom_ops: let ops without a builtin kernel through as custom ops.
        verbose: print the converter's messages.

    Raises:
        ModelError: no model, not convertible, or already quantized; says which op and what to do.
        MissingDependency: TensorFlow or tf_keras is needed and absent.
    """
    request = Request(
        tuple([signatures] if isinstance(signatures, str) else signatures or ()),
        batch,
        import_objects(custom_objects),
        allow_custom_ops,
    )
    kind = recognise(source)
    name = describe(source) if kind.kind == "tflite" else _called(source)
    converted, log = _convert(kind, source, request, name, verbose)
    model = Model.parse(converted.data, source=name)
    if kind.kind == "tflite":
        choose_signatures(model, request, name)
    try:
        notes = [*converted.notes, *_clean(model, name, request)]
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{name} is damaged: its parts do not fit together ({type(error).__name__}: {error}). "
            "Copy or export it again."
        ) from error
    digest = converted.digest or content_digest(model)
    source_kind = converted.kind or kind.kind
    return Pivot(model, source_kind, digest, tuple(notes), log, converted.remembered)


def _convert(
    kind: Kind, source: object, request: Request, name: str, verbose: bool
) -> tuple[Converted, str]:
    if kind.kind == "tflite":
        return kind.convert(source, request), ""
    chatter = Chatter()
    try:
        with quiet(verbose=verbose) as chatter:
            converted = kind.convert(source, request)
    except Exception as error:  # the converter raises whatever it likes
        explained = messages.explain(error, name, chatter.text)
        raise explained from (None if messages.is_clear(error) else error)
    return converted, chatter.text


def _called(source: object) -> str:
    """How messages call a source that is no .tflite."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    own = getattr(source, "name", None)
    return f"Model {own!r}" if isinstance(own, str) and own else "The model"


def _clean(model: Model, name: str, request: Request) -> list[str]:
    """Bring a flatbuffer into the pivot's form, or refuse it; returns notes."""
    _refuse_flex(model, name, request)
    notes = fold_constants(model)
    refuse_quantized(model, name)
    notes += unique_names(model)
    custom = sorted({op for *_, op in model.walk() if op.startswith(("CUSTOM:", "FLEX:"))})
    if custom:
        notes.append(f"Ops that TFLite does not have stay as they are: {', '.join(custom)}.")
    return notes


def _refuse_flex(model: Model, name: str, request: Request) -> None:
    flex = sorted({op[5:] for *_, op in model.walk() if op.startswith("FLEX:")})
    if flex and not request.allow_custom_ops:
        listed = ", ".join(f"tf.{op}" for op in flex)
        raise ModelError(
            f"{name} needs TensorFlow's kernels for {listed} (Flex, SELECT_TF_OPS), which LiteRT "
            "does not have. Convert it with TFLITE_BUILTINS only, or pass allow_custom_ops=True "
            "to keep them unquantized."
        )


def content_digest(model: Model) -> str:
    """sha256 of a flatbuffer's ops, wiring, shapes and constants; names do not count.

    Objects in memory have no bytes of their own, and Keras numbers layer names by session.
    """
    total = hashlib.sha256()
    for graph in model.graphs:
        total.update(repr((graph.inputs, graph.outputs)).encode())
        for index in range(len(graph.tensors)):
            total.update(repr((graph.dtype(index), graph.shape(index))).encode())
            data = model.tree.buffers[graph.tensors[index].buffer].data
            total.update(b"" if data is None else np.asarray(data, np.uint8).tobytes())
        for op in graph.ops:
            options = vars(op.builtinOptions) if op.builtinOptions is not None else {}
            wiring = [list(map(int, op.inputs)), list(map(int, op.outputs))]
            plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in options.items()}
            total.update(repr((graph.code(op), wiring, sorted(plain.items()))).encode())
    return total.hexdigest()


__all__ = ["Pivot", "content_digest", "to_float"]
