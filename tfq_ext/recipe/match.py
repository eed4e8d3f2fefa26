"""Name patterns of rules: shell globs, or `re:` and a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

REGEX = "re:"
_OP_CHARACTERS = re.compile(r"[A-Za-z0-9_:*?\[\]!-]+")


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A predicate on names. Case matters, and a pattern must cover a name from end to end.

    Raises:
        ValueError: an empty pattern, or a regular expression that does not compile.
    """
    body = pattern.removeprefix(REGEX)
    if not body.strip():
        raise ValueError(f"got {pattern!r}, which is an empty pattern; '*' matches every name.")
    try:
        compiled = re.compile(body if pattern.startswith(REGEX) else translate(body))
    except re.error as error:
        raise ValueError(f"got {pattern!r}, which is no regular expression: {error}.") from None
    return lambda name: compiled.fullmatch(name) is not None


def check_op_pattern(pattern: str) -> str:
    """The pattern, if it can match a flatbuffer operator code.

    TFLite's own denylist ignores 'tfl.conv_2d' without a word; here that is an error.
    """
    compile_pattern(pattern)
    if pattern.startswith(REGEX):
        return pattern
    if pattern != pattern.lower() and _OP_CHARACTERS.fullmatch(pattern):
        return pattern
    if set(pattern) <= set("*?_0123456789"):
        return pattern
    likely = pattern.rpartition(".")[2].upper()
    hint = f" Did you mean {likely!r}?" if _OP_CHARACTERS.fullmatch(likely) else ""
    raise ValueError(
        f"got {pattern!r}; an op is a flatbuffer operator code in capitals, such as 'CONV_2D', "
        f"or a glob such as '*_2D'.{hint}"
    )


def matches_op(pattern: str, code: str) -> bool:
    """Does the pattern cover the operator code?"""
    return compile_pattern(pattern)(code)


def matches_tensor(pattern: str, name: str) -> bool:
    """Does the pattern cover the tensor name, or one of the parts of a fused name 'a;b'?"""
    covers = compile_pattern(pattern)
    return covers(name) or (";" in name and any(covers(part) for part in name.split(";")))
