"""Keras 3 and tf_keras model objects -> flatbuffer."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tfq_ext._optional import loaded, need
from tfq_ext.emit.to_float import messages
from tfq_ext.emit.to_float.functions import DEFAULT, run, save_and_convert
from tfq_ext.emit.to_float.norms import remembered
from tfq_ext.emit.to_float.request import Converted, Request
from tfq_ext.errors import ModelError


def is_keras_model(source: object) -> bool:
    """True for a Keras 3 model."""
    keras = loaded("keras")
    return keras is not None and isinstance(source, keras.Model)


def is_tf_keras_model(source: object) -> bool:
    """True for a tf_keras (Keras 2) model, TFMOT's included."""
    tf_keras = loaded("tf_keras")
    return tf_keras is not None and isinstance(source, tf_keras.Model)


def is_layer(source: object) -> bool:
    """True for a layer that is no model: refused with a hint."""
    modules = (loaded("keras"), loaded("tf_keras"))
    return any(m is not None and isinstance(source, m.layers.Layer) for m in modules)


def convert_keras(model: Any, request: Request) -> Converted:
    """Convert a Keras 3 model as TFLiteConverter.from_keras_model does.

    Where the batch size must be fixed, a functional model around this one fixes it: retracing
    through tf.function would leave Keras 3 variables outside the file.
    """
    require_tensorflow_backend()
    _refuse_quantized_layers(model)
    return _convert(model, request, _fixed_keras)


def convert_tf_keras(model: Any, request: Request) -> Converted:
    """Convert a tf_keras model; with a fixed batch its LSTM becomes TFLite's fused one."""
    return _convert(model, request, _fixed_tf_keras)


def require_tensorflow_backend() -> None:
    """Refuse a Keras that computes with JAX or PyTorch: its models hold no TensorFlow graph."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if loaded("keras") is not None or backend == "tensorflow":  # else its import may fail
        backend = need("keras", why="Converting a Keras model").backend.backend()
    if backend != "tensorflow":
        raise ModelError(
            f"Keras runs on the backend {backend!r}; only 'tensorflow' can write a .tflite. "
            "Save the model as .keras and convert that file in a process with "
            "KERAS_BACKEND=tensorflow: the weights are the same."
        )


def _refuse_quantized_layers(model: Any) -> None:
    """Refuse what keras.Model.quantize made: its integer matmuls do not convert."""
    for layer in getattr(model, "layers", ()):
        if hasattr(layer, "quantizers") or hasattr(layer, "fake_quantizes"):
            raise ModelError(
                f"Model {model.name!r} trains on integers already (layer {layer.name!r}): "
                "tfq_ext.qat.export(model), or `tfq export`, writes them into a file."
            )
        mode = getattr(layer, "quantization_mode", None)
        if mode:
            raise ModelError(
                f"Model {model.name!r} is already quantized by Keras (layer {layer.name!r}: "
                f"{mode}). Give the model from before model.quantize()."
            )
        _refuse_quantized_layers(layer)


def _convert(model: Any, request: Request, fixed: Any) -> Converted:
    request.choose([DEFAULT], "A Keras model")
    made = partial(Converted, remembered=remembered(model))
    if request.batch is not None:
        return made(fixed(model, request.batch, request))
    try:
        return made(_plain(model, request))
    except Exception as error:
        if not (messages.batch_may_help(error) and _batch_is_open(model)):
            raise
        try:
            data = fixed(model, 1, request)
        except Exception:  # the batch was not the reason: tell the first story
            raise error from None
        culprit = messages.op_named(error)
    note = f"Batch size fixed to 1: with an open one, {culprit} does not convert."
    return made(data, (note,))


def _plain(model: Any, request: Request) -> bytes:
    tf = need("tensorflow", why="Converting a Keras model")
    try:
        return run(tf.lite.TFLiteConverter.from_keras_model(model), request)
    except Exception as error:
        if messages.pattern_of(str(error)) is not None:
            raise
        _export(model)  # the converter hides why the export failed: fail again, aloud
        raise


def _export(model: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model.export(str(Path(folder) / "model"))


def _batch_is_open(model: Any) -> bool:
    return any(t.shape[0] is None for t in _inputs(model) if len(t.shape))


def _inputs(model: Any) -> list[Any]:
    """The symbolic inputs of a functional model; a subclassed one has none."""
    try:
        inputs = model.inputs
    except (AttributeError, ValueError):
        inputs = None
    return list(inputs or ())


def _fixed_keras(model: Any, batch: int, request: Request) -> bytes:
    keras = need("keras", why="Fixing the batch size")
    inputs = [
        keras.Input(batch_shape=(batch, *t.shape[1:]), dtype=t.dtype, name=t.name)
        for t in _named_inputs(model)
    ]
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return _plain(keras.Model(inputs, outputs), request)


def _fixed_tf_keras(model: Any, batch: int, request: Request) -> bytes:
    tf = need("tensorflow", why="Fixing the batch size")
    names = list(model.input_names)
    specs = {
        name: tf.TensorSpec([batch, *t.shape[1:]], t.dtype, name)
        for name, t in zip(names, _named_inputs(model), strict=True)
    }

    @tf.function
    def serve(**inputs: Any) -> dict[str, Any]:
        ordered = [inputs[name] for name in names]
        outputs = model(ordered if len(ordered) > 1 else ordered[0], training=False)
        return dict(zip(model.output_names, tf.nest.flatten(outputs), strict=True))

    return save_and_convert({DEFAULT: serve.get_concrete_function(**specs)}, [model], request)


def _named_inputs(model: Any) -> list[Any]:
    inputs = _inputs(model)
    if not inputs:
        raise ModelError(
            "batch= needs the shapes of the inputs, which a subclassed model does not tell. Wrap "
            "it: x = keras.Input(batch_shape=(1, ...)); keras.Model(x, model(x))."
        )
    return inputs


def refuse_layer(source: object, request: Request) -> Converted:
    """A lone layer is no model; say how to make one of it."""
    raise ModelError(
        f"Got a layer ({type(source).__name__}), not a model. Wrap it: "
        "x = keras.Input(shape); keras.Model(x, layer(x))."
    )
