"""What the converter says, and what it means: patterns of error text -> one clear sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tfq_ext.errors import MissingDependency, ModelError, TfqError

# What to do about an op that TFLite has no kernel for, where more can be said than "replace it".
REMEDIES: dict[str, str] = {
    "Erf": "use tf.nn.gelu or keras.activations.gelu with approximate=True (tanh) in its place",
    "EagerPyFunc": "Python code cannot be stored in a .tflite: write it with TensorFlow ops",
    "PyFunc": "Python code cannot be stored in a .tflite: write it with TensorFlow ops",
    "HashTableV2": "look words up before the model and feed it the numbers",
    "LookupTableImportV2": "look words up before the model and feed it the numbers",
    "LookupTableFindV2": "look words up before the model and feed it the numbers",
    "TensorListReserve": "fix the batch size (batch=1) or pass unroll=True to the RNN layer",
    "DecodeJpeg": "decode images before the model",
    "ParseExampleV2": "parse examples before the model",
}


@dataclass(frozen=True)
class Pattern:
    """One kind of failure: how it is recognised, and the sentence that explains it."""

    regex: str
    say: Callable[[re.Match[str], str], str]
    batch_helps: bool = False  # a fixed batch size is worth trying


def _no_kernel(match: re.Match[str], text: str) -> str:
    found = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", text, re.MULTILINE)
    ops = list(dict.fromkeys(op.strip() for line in found for op in line.split(",")))
    names = ", ".join(f"tf.{op}" for op in ops)
    if re.search(r"^\s+tf\.\w+\(.*xf16>", text, re.MULTILINE):
        return (
            f"computes in float16 ({names}), for which TFLite has no kernels. Build it with the "
            "dtype policy 'float32' and load the same weights into it."
        )
    verb, them = ("is", "it") if len(ops) == 1 else ("are", "them")
    remedies = list(dict.fromkeys(REMEDIES[op] for op in ops if op in REMEDIES))
    what = "; ".join(remedies) or f"replace {them} by other ops, or cut {them} off the model"
    return f"uses {names}, for which TFLite has no builtin kernel (Flex {verb} not run): {what}."


def _loops(match: re.Match[str], text: str) -> str:
    return (
        f"has a loop ({match[1]}, as LSTM and GRU layers make it) whose batch size is open. "
        "Fix it: batch=1 for a Keras model; a SavedModel or function must be traced again with "
        "a fixed batch size in its input_signature; or unroll=True in the layer."
    )


def _not_legal(match: re.Match[str], text: str) -> str:
    remedy = REMEDIES.get(match[1].partition(".")[2], "replace it, or cut it off the model")
    return f"uses {match[1]}, which cannot be converted to TFLite: {remedy}."


def _never_called(match: re.Match[str], text: str) -> str:
    return (
        "has no input shape yet. Call it once on a batch, or give it its shape "
        "(keras.Input or model.build), before converting."
    )


def _too_large(match: re.Match[str], text: str) -> str:
    return "is larger than the 2 GiB that a .tflite can hold. Split it, or make it smaller."


def _untracked(match: re.Match[str], text: str) -> str:
    return (
        "is made of functions that use a table or other resource which they do not own. Save the "
        "tf.Module with tf.saved_model.save(module, folder, signatures=...) and give the folder."
    )


def _attribute(match: re.Match[str], text: str) -> str:
    from tfq_ext._optional import SUPPORTED_TENSORFLOW

    return (
        f"cannot be converted: the installed TensorFlow lacks {match[0]!r}. "
        f"tfq_ext supports TensorFlow {SUPPORTED_TENSORFLOW}."
    )


# Read from the top: the first that matches speaks.
PATTERNS: tuple[Pattern, ...] = (
    Pattern(r"'(tf\.TensorList\w+)' op requires element_shape to be static", _loops, True),
    Pattern(r"^(?:TF Select|Custom) ops: ", _no_kernel, True),
    Pattern(r"'(tf\.\w+)' op is neither a custom op nor a flex op", _not_legal, True),
    Pattern(r"failed to legalize operation '(tfl?\.\w+)'", _not_legal, True),
    Pattern(r"error: .*?'(tfl?\.\w+)' op ", _not_legal),
    Pattern(r"has never been called|input shapes have not been set|not been built", _never_called),
    Pattern(r"(?i)larger than 2 ?GB|exceeds (?:maximum )?.*2 ?GB|2147483648", _too_large),
    Pattern(r"references an 'untracked' resource|untracked", _untracked),
    Pattern(r"(?:module|package) 'tensorflow[\w.]*' has no attribute '\w+'", _attribute),
)


def pattern_of(text: str) -> tuple[Pattern, re.Match[str]] | None:
    """The first pattern that the converter's text matches."""
    for pattern in PATTERNS:
        match = re.search(pattern.regex, text, re.MULTILINE)
        if match:
            return pattern, match
    return None


def batch_may_help(error: BaseException) -> bool:
    """True when the conversion failed on something that a fixed batch size often cures."""
    found = pattern_of(str(error))
    return found is not None and found[0].batch_helps


def op_named(error: BaseException) -> str:
    """The op that the conversion failed on, "tf.TensorListReserve", or "the model"."""
    found = re.search(r"'(tfl?\.\w+)' op|operation '(tfl?\.\w+)'", str(error))
    return (found[1] or found[2]) if found else "the model"


def explain(error: BaseException, source: str, log: str = "") -> TfqError:
    """The error to raise in place of what TensorFlow or Keras raised.

    Args:
        error: what was raised; one of ours is returned as it is.
        source: how the model is called in messages.
        log: captured output, asked when the error itself says too little.
    """
    if isinstance(error, TfqError):
        return error
    text = str(error)
    for candidate in (text, log):
        found = pattern_of(candidate)
        if found:
            pattern, match = found
            return ModelError(f"{source} {pattern.say(match, candidate)}")
    if isinstance(error, ImportError):
        return MissingDependency(f"{source} cannot be converted: {first_line(text)}")
    return ModelError(
        f"{source} cannot be converted ({type(error).__name__}: {first_line(text)}). "
        "verbose=True (--verbose) shows all that the converter says."
    )


def first_line(text: str, limit: int = 300) -> str:
    """The line that says most: what Keras or the compiler calls the error, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marks = ("Exception encountered: ", "error: ")
    errors = [line.partition(mark)[2] for mark in marks for line in lines if mark in line]
    errors = [re.sub(r"^loc\(.*?\): ", "", line) for line in errors]  # where in whose source
    best = (errors or lines or ["no message"])[0]
    return best if len(best) <= limit else best[:limit] + "..."


def is_clear(error: BaseException) -> bool:
    """True when our sentence says all: the converter's own traceback would only be noise."""
    return isinstance(error, TfqError) or pattern_of(str(error)) is not None
