"""tfq_ext: choose the integers of a .tflite better, and prove it on the file.

Names load on first use: `import tfq_ext` imports neither TensorFlow, Keras, LiteRT nor numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfq_ext import qat as qat
    from tfq_ext import rewrite as rewrite
    from tfq_ext.converter import TFLiteConverter as TFLiteConverter
    from tfq_ext.errors import TfqError as TfqError
    from tfq_ext.errors import TfqWarning as TfqWarning
    from tfq_ext.pipeline import quantize as quantize
    from tfq_ext.recipe import Recipe as Recipe
    from tfq_ext.recipe import Rule as Rule
    from tfq_ext.recipe import load_recipe as load_recipe
    from tfq_ext.repair.audit import audit as audit
    from tfq_ext.result import Result as Result
    from tfq_ext.samples import Preprocess as Preprocess
    from tfq_ext.search.find import find_recipe as find_recipe
    from tfq_ext.search.sensitivity import sensitivity as sensitivity
    from tfq_ext.several import quantize_each as quantize_each
    from tfq_ext.validation.comparison import compare as compare
    from tfq_ext.validation.inspection import inspect as inspect
    from tfq_ext.validation.latency import bench as bench
    from tfq_ext.validation.lint import lint as lint
    from tfq_ext.validation.run import validate as validate
    from tfq_ext.validation.side_by_side import evaluate as evaluate
    from tfq_ext.validation.vectors import make_vectors as make_vectors

_WHERE = {
    "TFLiteConverter": "converter",
    "TfqError": "errors",
    "TfqWarning": "errors",
    "quantize": "pipeline",
    "quantize_each": "several",
    "Recipe": "recipe",
    "Rule": "recipe",
    "load_recipe": "recipe",
    "audit": "repair.audit",
    "Result": "result",
    "Preprocess": "samples",
    "find_recipe": "search.find",
    "sensitivity": "search.sensitivity",
    "compare": "validation.comparison",
    "inspect": "validation.inspection",
    "bench": "validation.latency",
    "lint": "validation.lint",
    "evaluate": "validation.side_by_side",
    "validate": "validation.run",
    "make_vectors": "validation.vectors",
}

_MODULES = ("qat", "rewrite")

__version__ = "0.1.0"
__all__ = sorted([*_WHERE, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"tfq_ext.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'tfq_ext' has no attribute {name!r}")
    return getattr(import_module(f"tfq_ext.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
