"""tf.function and ConcreteFunction -> flatbuffer, one signature each."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfq_ext._optional import loaded, need
from tfq_ext.emit.to_float.request import Converted, Request
from tfq_ext.errors import ModelError

DEFAULT = "serving_default"  # the key of a model with one signature


def is_function(source: object) -> bool:
    """True for a tf.function, a ConcreteFunction, or a list, tuple or dict of them."""
    tf = loaded("tensorflow")
    if tf is None:
        return False
    kinds = (tf.types.experimental.ConcreteFunction, tf.types.experimental.PolymorphicFunction)
    many = _members(source)
    return bool(many) and all(isinstance(f, kinds) for f in many)


def convert_functions(source: Any, request: Request) -> Converted:
    """Convert one function ("serving_default") or several (keys: the dict's, or their names)."""
    concrete = {key: _concrete(f, key) for key, f in _keyed(source).items()}
    chosen = request.choose(list(concrete), "The set of functions")
    concrete = {key: concrete[key] for key in chosen}
    if request.batch is not None:
        concrete = {key: with_batch(f, request.batch) for key, f in concrete.items()}
    return Converted(save_and_convert(concrete, (), request))


def save_and_convert(
    concrete: Mapping[str, Any], keep: Iterable[object], request: Request
) -> bytes:
    """Flatbuffer bytes of functions, by way of a SavedModel.

    TFLiteConverter.from_concrete_functions takes one function only, loses its signature when no
    owner is named, and keeps Keras 3 variables as uninitialised resources when one is.

    Args:
        concrete: signature key -> ConcreteFunction.
        keep: objects that own tables or other resources that the functions use.
    """
    tf = need("tensorflow", why="Converting a function")
    module = tf.Module()
    module.variables_used = [v for f in concrete.values() for v in f.graph.variables]
    module.kept = list(keep)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=dict(concrete))
        return convert_folder(Path(folder), list(concrete), request)


def convert_folder(folder: Path, keys: Sequence[str], request: Request) -> bytes:
    """Flatbuffer bytes of some signatures of a SavedModel folder."""
    tf = need("tensorflow", why="Converting a SavedModel")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(keys))
    return run(converter, request)


def run(converter: Any, request: Request) -> bytes:
    """Convert to floats: builtin ops only, nothing optimized away but what every build does."""
    converter.allow_custom_ops = request.allow_custom_ops
    return bytes(converter.convert())


def with_batch(concrete: Any, batch: int) -> Any:
    """The same ConcreteFunction, its inputs' first dimension fixed where it was open."""
    tf = need("tensorflow", why="Fixing the batch size")
    specs = {
        name: tf.TensorSpec(_fixed(spec.shape, batch, name), spec.dtype, name)
        for name, spec in _inputs(concrete).items()
    }

    @tf.function
    def fixed(**inputs: Any) -> Any:
        return concrete(**inputs)

    return fixed.get_concrete_function(**specs)


def _inputs(concrete: Any) -> dict[str, Any]:
    """Input name -> TensorSpec, positional and keyword alike."""
    parameters = concrete.function_type.parameters
    flat = {name: p.type_constraint for name, p in parameters.items()}
    if not all(hasattr(spec, "shape") for spec in flat.values()):
        raise ModelError(
            "batch= cannot be applied to a function whose arguments are lists or dicts. "
            "Trace it with a fixed batch size in its input_signature."
        )
    return flat


def _fixed(shape: Any, batch: int, name: str) -> list[int | None]:
    if shape.rank is None or shape.rank == 0:
        raise ModelError(f"batch={batch} has no dimension to go to: input {name!r} is {shape}.")
    dims = shape.as_list()
    if dims[0] not in (None, batch):
        raise ModelError(f"Input {name!r} has the fixed shape {dims}; batch={batch} is not it.")
    return [batch, *dims[1:]]


def _members(source: object) -> list[object]:
    if isinstance(source, Mapping):
        return list(source.values())
    return list(source) if isinstance(source, list | tuple) else [source]


def _keyed(source: Any) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return {str(key): f for key, f in source.items()}
    members = _members(source)
    if len(members) == 1:
        return {DEFAULT: members[0]}
    keyed: dict[str, Any] = {}
    for f in members:
        name = name_of(f)
        if name in keyed:
            raise ModelError(f"Two functions are called {name!r}: give a dict of key -> function.")
        keyed[name] = f
    return keyed


def name_of(function: Any) -> str:
    """The Python name of a function, also of a traced one ("__inference_NAME_12")."""
    name = getattr(function, "__name__", None) or function.name
    name = name.decode() if isinstance(name, bytes) else name
    traced = re.fullmatch(r"__inference_(.+?)_\d+", name)
    return re.sub(r"\W", "", traced[1] if traced else name) or "function"


def _concrete(function: Any, key: str) -> Any:
    if not hasattr(function, "get_concrete_function"):
        return function
    try:
        return function.get_concrete_function()
    except (TypeError, ValueError) as error:
        name = name_of(function)
        raise ModelError(
            f"Function {name!r} (signature {key!r}) does not say which shapes it takes. Give it an "
            f"input_signature, or pass {name}.get_concrete_function(tf.TensorSpec(shape, dtype)). "
            f"TensorFlow: {str(error).splitlines()[0]}"
        ) from None
