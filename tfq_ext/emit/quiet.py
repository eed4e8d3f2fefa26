"""Keep TensorFlow's chatter off the terminal: file descriptors, sys.stdout, logging and warnings.

Three layers talk: C++ writes to descriptors 1 and 2, Keras prints to `sys.stdout` (in a notebook
that is no descriptor at all), and absl's handlers hold whatever `sys.stderr` was at import. All of
it goes to one temporary file while a `quiet` block runs. Python output of other threads still
reaches the terminal; native output of other threads cannot be told apart and is captured too.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

_LOGGERS = ("tensorflow", "absl", "tf_keras", "keras", "jax", "h5py")
_ONE_AT_A_TIME = threading.RLock()  # descriptors belong to the process: other threads wait


class Chatter:
    """What was said in a quiet block; complete once the block has ended."""

    def __init__(self) -> None:
        self.text = ""


@contextmanager
def quiet(*, verbose: bool = False) -> Iterator[Chatter]:
    """Capture everything that this thread and native code print.

    Blocks may nest in one thread; blocks of several threads run one after the other. What was
    there before is restored whatever happens, and exceptions pass through untouched.

    Args:
        verbose: print what was captured to `sys.stderr` when the block ends.

    Yields:
        Chatter, whose `text` is filled in at the end (also when an exception passes).
    """
    chatter = Chatter()
    with _ONE_AT_A_TIME:
        try:
            with tempfile.TemporaryFile() as sink:
                try:
                    with _everything_into(sink.fileno()):
                        yield chatter
                finally:
                    sink.seek(0)
                    chatter.text = sink.read().decode("utf-8", "replace")
        finally:
            if verbose and chatter.text:
                sys.stderr.write(chatter.text)
                sys.stderr.flush()


@contextmanager
def _everything_into(sink: int) -> Iterator[None]:
    """Redirect all layers to the file descriptor `sink`; undo in the opposite order."""
    with ExitStack() as stack:
        terminal = {number: stack.enter_context(_descriptor(number, sink)) for number in (1, 2)}
        for name, number in (("stdout", 1), ("stderr", 2)):
            stack.enter_context(_stream(name, terminal[number], sink))
        for logger in _LOGGERS:
            stack.enter_context(_logger(logging.getLogger(logger), sink))
        stack.enter_context(_warnings(sink))
        yield


@contextmanager
def _descriptor(number: int, sink: int) -> Iterator[int | None]:
    """Let descriptor `number` write to `sink`; yields a copy of where it wrote before."""
    _flush_all()
    try:
        before = os.dup(number)
    except OSError:  # closed (a daemon): nothing to redirect
        yield None
        return
    os.dup2(sink, number)
    try:
        yield before
    finally:
        _flush_all()  # what C code still holds in its buffers belongs to the sink
        os.dup2(before, number)
        os.close(before)


@contextmanager
def _stream(name: str, terminal: int | None, sink: int) -> Iterator[None]:
    """Replace sys.stdout or sys.stderr by a stream that sorts its writers by thread."""
    before: TextIO | None = getattr(sys, name)
    if before is None:  # pythonw
        yield
        return
    routed = _Routed(name, before, terminal, sink)
    setattr(sys, name, routed)
    try:
        yield
    finally:
        routed.active = False
        if getattr(sys, name) is routed:
            setattr(sys, name, before)


class _Routed(io.TextIOBase):
    """Our thread's text goes to the sink, other threads' text where it went before.

    absl keeps the `sys.stderr` that it finds when it is imported, which may be this object: after
    the block it passes everything on to the stream of the day.
    """

    def __init__(self, name: str, before: TextIO, terminal: int | None, sink: int):
        self.name = name
        self.active = True
        self._before = before
        self._owner = threading.get_ident()
        self._sink = sink
        self._terminal = terminal if _file_number(before) in (1, 2) else None

    def write(self, text: str) -> int:
        if not self.active:
            return self._after().write(text)
        if threading.get_ident() == self._owner:
            _write_all(self._sink, text)
        elif self._terminal is not None:
            _write_all(self._terminal, text)
        else:
            return self._before.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(ValueError):  # closed by a test runner
            self._after().flush()

    def isatty(self) -> bool:
        return self._after().isatty()

    def fileno(self) -> int:
        return self._after().fileno()

    def writable(self) -> bool:
        return True

    def __getattr__(self, attribute: str) -> Any:  # encoding, buffer, ... as the stream before
        return getattr(self._before, attribute)

    def _after(self) -> TextIO:
        now = getattr(sys, self.name)
        fallback = getattr(sys, f"__{self.name}__") if self._before.closed else self._before
        return fallback if isinstance(now, _Routed) or now is None else now


@contextmanager
def _logger(logger: logging.Logger, sink: int) -> Iterator[None]:
    """Let one logger write to the sink only; handlers that it gains meanwhile are kept."""
    handler = _SinkHandler(sink)
    had, propagated = list(logger.handlers), logger.propagate
    for old in had:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
        for old in had:
            logger.addHandler(old)


class _SinkHandler(logging.Handler):
    def __init__(self, sink: int):
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        _write_all(self._sink, f"{record.levelname}:{record.name}:{record.getMessage()}\n")


@contextmanager
def _warnings(sink: int) -> Iterator[None]:
    """Warnings of this thread into the sink, never errors: TensorFlow warns about itself."""
    owner = threading.get_ident()
    with warnings.catch_warnings():
        others: Callable[..., None] = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if threading.get_ident() != owner:
                return others(message, category, filename, lineno, file, line)
            return _write_all(sink, warnings.formatwarning(message, category, filename, lineno))

        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _write_all(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]


def _file_number(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # StringIO, a notebook's stream, closed
        return None


def _flush_all() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError, AttributeError):
            stream.flush()
    with suppress(OSError, AttributeError, TypeError):  # no C library to be had by this name
        ctypes.CDLL(None).fflush(None)
