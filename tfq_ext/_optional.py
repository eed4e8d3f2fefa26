"""The only place that imports packages which may be absent or slow; each miss names the remedy."""

from __future__ import annotations

import importlib
from types import ModuleType

from tfq_ext.errors import MissingDependency

_EXTRA = {
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tf_keras": "tfmot",
    "tensorflow_model_optimization": "tfmot",
    "litert_quantizer": "test",
    "matplotlib": "all",
}


def need(module: str, *, why: str) -> ModuleType:
    """Import `module` or say which extra brings it.

    Args:
        module: dotted name, for example "tensorflow.lite.python.convert".
        why: what the caller wanted, a noun phrase for the message.

    Raises:
        MissingDependency: the package is not installed.
    """
    root = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        if error.name != root:  # the package is there, the submodule is not: another version
            raise MissingDependency(
                f"{why} needs the module {module}, which the installed {root} does not have. "
                f"tfq_ext supports TensorFlow {SUPPORTED_TENSORFLOW}."
            ) from None
        extra = _EXTRA.get(root)
        remedy = f'pip install "tfq_ext[{extra}]"' if extra else f"pip install {root}"
        raise MissingDependency(f"{why} needs {root}, which is not installed: {remedy}") from None


def loaded(module: str) -> ModuleType | None:
    """The module if somebody has imported it already, else None (never imports)."""
    import sys

    return sys.modules.get(module)


SUPPORTED_TENSORFLOW = "2.18.1 to 2.21"
