"""SavedModel folder -> flatbuffer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tfq_ext._optional import need
from tfq_ext.emit.to_float.functions import DEFAULT, convert_folder, save_and_convert, with_batch
from tfq_ext.emit.to_float.request import Converted, Request, digest_of_path
from tfq_ext.errors import ModelError

_SERVICE = ("__saved_model_init_op", "__saved_model_train_op")  # TensorFlow's, not the user's
_KERAS_TWIN = "serve"  # Keras' export writes its function as "serve" and "serving_default"


def is_saved_model(path: Path) -> bool:
    """True for a folder that tf.saved_model.save wrote."""
    return any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))


def convert_saved_model(source: str | os.PathLike[str], request: Request) -> Converted:
    """Convert the chosen signatures; by default all of them, one subgraph each."""
    path = Path(source)
    present = _signature_defs(path)
    keys = request.choose(list(present), f"SavedModel {path}")
    notes: list[str] = []
    if not request.signatures and _is_twin(present):
        keys.remove(_KERAS_TWIN)
        notes.append(f"Signature {_KERAS_TWIN!r} left out: it is the same as {DEFAULT!r}.")
    digest = digest_of_path(path)
    if request.batch is None:
        return Converted(convert_folder(path, keys, request), tuple(notes), digest)
    tf = need("tensorflow", why="Fixing the batch size")
    model = tf.saved_model.load(str(path))
    concrete = {key: with_batch(model.signatures[key], request.batch) for key in keys}
    return Converted(save_and_convert(concrete, [model], request), tuple(notes), digest)


def _is_twin(present: dict[str, Any]) -> bool:
    return (
        _KERAS_TWIN in present
        and DEFAULT in present
        and _shapes(present[_KERAS_TWIN]) == _shapes(present[DEFAULT])
    )


def _shapes(signature: Any) -> list[tuple[str, int, str]]:
    tensors = [*signature.inputs.items(), *signature.outputs.items()]
    return sorted((name, t.dtype, str(t.tensor_shape)) for name, t in tensors)


def _signature_defs(path: Path) -> dict[str, Any]:
    """Signature key -> SignatureDef, read from the file's head (weights are not loaded).

    Raises:
        ModelError: the file is damaged, or has no signature.
    """
    pb2 = need("tensorflow.core.protobuf.saved_model_pb2", why="Reading a SavedModel")
    proto = pb2.SavedModel()
    try:
        if (path / "saved_model.pb").is_file():
            proto.ParseFromString((path / "saved_model.pb").read_bytes())
        else:
            text_format = need("google.protobuf.text_format", why="Reading saved_model.pbtxt")
            text_format.Parse((path / "saved_model.pbtxt").read_text(), proto)
    except Exception as error:  # DecodeError, ParseError, OSError, UnicodeDecodeError
        raise ModelError(
            f"SavedModel {path} cannot be read ({type(error).__name__}: {error}). "
            "The file is truncated or damaged; export the model again."
        ) from None
    serving = [g for g in proto.meta_graphs if "serve" in g.meta_info_def.tags]
    found = {k: s for g in serving for k, s in g.signature_def.items() if k not in _SERVICE}
    if not found:
        raise ModelError(
            f"SavedModel {path} has no signature, so nobody knows its inputs. Save it with "
            "tf.saved_model.save(model, folder, signatures=model.f.get_concrete_function(...))."
        )
    return dict(sorted(found.items()))
