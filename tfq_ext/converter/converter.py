"""TFLiteConverter: the attributes of tf.lite.TFLiteConverter, the integers of quantize()."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tfq_ext.converter.data import representative
from tfq_ext.converter.job import Job, Own, job_of, warn, warn_of_float_ops
from tfq_ext.converter.plain import Plain
from tfq_ext.emit.to_float import to_float
from tfq_ext.emit.to_float.norms import remembered
from tfq_ext.emit.to_float.quantized import carries_fake_quant
from tfq_ext.errors import EmissionError, ModelError, StrictError
from tfq_ext.pipeline import calibrate, finish
from tfq_ext.recipe import Recipe
from tfq_ext.result import Result
from tfq_ext.samples import Samples
from tfq_ext.tflite.read import Model

_OWN = frozenset({"calibrator", "rounding", "recipe", "strict", "verbose", "report", "_plain"})


class TFLiteConverter:
    """tf.lite.TFLiteConverter with better integers; a script needs another import, no more.

        from tfq_ext import TFLiteConverter

        converter = TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = dataset
        converter.calibrator = "percentile:99.99"            # new, optional
        tflite = converter.convert()
        print(converter.report)

    Every attribute of tf.lite.TFLiteConverter is there and means what it means there; it lives
    in a real converter inside, which also does the float conversion. What tfq_ext does not treat
    (TensorFlow ops by Flex, sparsity; grids from quantization-aware training, unless `recipe` is
    set) that converter does alone, with a TfqWarning that says why. Settings that it refuses, it
    refuses here, with its own errors.

    Attributes beyond TensorFlow's:
        calibrator: how activation ranges are chosen ("minmax", "mse", ...); None: "auto".
        rounding: how weights become integers; None: "nearest".
        recipe: whatever `quantize(recipe=...)` takes; decides in place of `optimizations` and
            `target_spec`. Nothing falls back then: what cannot be done is an error.
        strict: True: an op left float, or a fallback, is an error. False: neither is. None: as
            TensorFlow has it, an error for 16x8 ops only, and a TfqWarning for int8 ops only.
        verbose: let the converter's own messages through.
        report: the Result of the last `convert()`; None where the plain converter did it.
    """

    def __init__(self, funcs: Any, trackable_obj: Any = None) -> None:
        self._hold(Plain.made("", funcs, trackable_obj))

    def _hold(self, plain: Plain) -> None:
        self._plain = plain
        self.calibrator: str | None = None
        self.rounding: str | None = None
        self.recipe: str | Path | Mapping[str, Any] | Recipe | None = None
        self.strict: bool | None = None
        self.verbose = False
        self.report: Result | None = None

    @classmethod
    def _of(cls, plain: Plain) -> TFLiteConverter:
        converter = cls.__new__(cls)
        converter._hold(plain)
        return converter

    @classmethod
    def from_keras_model(cls, model: Any) -> TFLiteConverter:
        """From a Keras 3 or tf_keras model."""
        return cls._of(Plain.made("from_keras_model", model))

    @classmethod
    def from_saved_model(
        cls, saved_model_dir: str, signature_keys: Any = None, tags: Any = None
    ) -> TFLiteConverter:
        """From a SavedModel folder; all signatures by default."""
        folder = os.fspath(saved_model_dir)
        return cls._of(Plain.made("from_saved_model", folder, signature_keys, tags))

    @classmethod
    def from_concrete_functions(cls, funcs: Any, trackable_obj: Any = None) -> TFLiteConverter:
        """From a list of one ConcreteFunction and the object that owns its variables."""
        return cls._of(Plain.made("from_concrete_functions", funcs, trackable_obj))

    @classmethod
    def experimental_from_jax(cls, serving_funcs: Any, inputs: Any) -> TFLiteConverter:
        """From JAX functions, as long as TensorFlow has it."""
        return cls._of(Plain.made("experimental_from_jax", serving_funcs, inputs))

    @classmethod
    def from_tflite(cls, source: str | os.PathLike[str] | bytes) -> TFLiteConverter:
        """From a float .tflite, path or bytes, which TensorFlow's converter does not take."""
        return cls._of(Plain.around(source))

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # not set yet: while copying or unpickling
            raise AttributeError(name)
        return getattr(self._plain.settings, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
            return
        close = get_close_matches(name, _OWN, n=1, cutoff=0.8)
        if close and not hasattr(self._plain.settings, name):
            raise AttributeError(f"No attribute {name!r}. Did you mean {close[0]!r}?")
        setattr(self._plain.settings, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._plain.settings)})

    def convert(self) -> bytes:
        """The model as bytes of a .tflite.

        Raises:
            ValueError, tf.lite's ConverterError: as TFLiteConverter; also DataError and
                RecipeError, which are ValueErrors.
            StrictError: a RuntimeError; see `strict`.
        """
        self.report = None
        own = Own(self.calibrator, self.rounding, self.recipe, self.strict)
        job = job_of(self._plain.settings, own)
        if job.recipe is None:
            return self._by_plain(job)
        try:
            result = self._quantized(job, job.recipe)
        except (ModelError, EmissionError, StrictError) as error:
            if not self._falls_back(error):
                raise
            return self._by_plain(Job(job.mode, why=str(error)))
        self.report = result
        if job.integers_only:
            warn_of_float_ops(result)
        return result.content

    def _falls_back(self, error: Exception) -> bool:
        """Whether the plain converter shall try; it knows no recipe and takes no .tflite."""
        if self.recipe is not None or self._plain.source is not None:
            return False
        return self.strict is None if isinstance(error, StrictError) else not self.strict

    def _quantized(self, job: Job, recipe: Recipe) -> Result:
        content = self._plain.float_file(job.file, verbose=self.verbose)
        plain_can = self.recipe is None and self._plain.source is None
        if plain_can and carries_fake_quant(Model.parse(content)):
            raise ModelError("The model carries trained grids (quantization-aware training).")
        pivot = to_float(content, allow_custom_ops=bool(self.allow_custom_ops))
        if (keras_model := getattr(self._plain.settings, "_keras_model", None)) is not None:
            pivot = replace(pivot, remembered=remembered(keras_model))
        data = self.representative_dataset if recipe.needs_data else None
        if data is not None:
            data = representative(data, pivot.model)
        try:
            return finish(calibrate(pivot, data, recipe), recipe)
        finally:
            if isinstance(data, Samples):
                data.close()

    def _by_plain(self, job: Job) -> bytes:
        """The plain converter's file, and why it is that one."""
        if job.why and self.strict:
            raise StrictError(f"strict: {job.why}. The plain TFLiteConverter would do it.")
        if self._plain.source is not None:
            return self._given_back(job)
        if job.why:
            warn(f"The plain tf.lite.TFLiteConverter makes this file: {job.why.rstrip('.')}.")
        return self._plain.convert(verbose=self.verbose)

    def _given_back(self, job: Job) -> bytes:
        """A .tflite that is not to be quantized: the same bytes."""
        if job.mode.name != "float":
            why = job.why or "the settings contradict each other, as in TFLiteConverter"
            raise ModelError(
                f"from_tflite cannot do this: {why}. Integer inputs, outputs and op sets need "
                "optimizations and a representative_dataset."
            )
        return self._plain.float_file("float")
