"""The parent's side: calls into a child that may crash, hang or eat memory without harm."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from tfq_ext.errors import TfqError, TfqWarning
from tfq_ext.validation.sandbox.channel import receive, send
from tfq_ext.validation.sandbox.limits import ChildError, Limits, ModelDied
from tfq_ext.validation.sandbox.process import Process
from tfq_ext.validation.sandbox.wire import WireError, named

GRACE = 5.0  # seconds for a stream to stop
START = 60.0  # seconds for a child to start or to import a module, if the limit is shorter


class Child:
    """A process of its own for models that nobody vouches for.

    Args:
        limits: on memory and time; None: the defaults of `Limits`.
        env: environment variables to set or replace in the child.

    Functions and classes are named "tfq_ext.module:name"; arguments and results are plain data,
    arrays and frozen dataclasses of tfq_ext (wire.py). TfqErrors and TfqWarnings that the child
    raises are raised here. One call at a time; calls from other threads wait.

    Raises (by every call):
        ModelDied: the child crashed, hung or ran out of memory; it is gone, and so are its
            objects. Later calls raise the same error.
        ChildError: a fault of ours in the child.
    """

    def __init__(self, limits: Limits | None = None, env: Mapping[str, str] | None = None):
        self.limits = Limits() if limits is None else limits
        self._process = Process(self.limits, env)
        self._lock = threading.Lock()
        self._streaming = 0  # thread that holds a stream
        self._ready = False
        self._notes: list[str] = []  # warnings that came before the answer
        self._known = {""}  # targets that are imported; "" stands for methods
        self._death: tuple[str, str, str, str] | None = None  # as ModelDied takes it

    def call(self, target: str, /, *args: Any, **kwargs: Any) -> Any:
        """The value of a function."""
        return self._request("call", target=target, args=list(args), kwargs=kwargs)

    def make(self, target: str, /, *args: Any, **kwargs: Any) -> Remote:
        """An object that lives in the child."""
        number = self._request("make", target=target, args=list(args), kwargs=kwargs)
        return Remote(self, int(number))

    def stream(self, target: str, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """What a generator yields, as it comes.

        Closing it early stops the generator; a child that does not come to its next value within
        5 s then is ended.
        """
        with self._turn():
            self._streaming = threading.get_ident()
            try:
                self._send("stream", {"target": target, "args": list(args), "kwargs": kwargs})
                yield from self._items(target)
            finally:
                self._streaming = 0

    def _items(self, target: str) -> Iterator[Any]:
        kind, value = self._receive(target)
        while kind == "item":
            notes, self._notes = self._notes, []
            _warn(notes)
            try:
                yield value
            except GeneratorExit:
                if self._death is None:
                    self._stop()
                raise
            kind, value = self._receive(target)

    def _stop(self) -> None:
        """Have a stream end, and skip what was under way; a child that does not stop is ended."""
        deadline = time.monotonic() + GRACE
        try:
            send(self._process.sock, "stop")
            while self._next(max(deadline - time.monotonic(), 0.01))[0] in ("item", "warning"):
                pass
        except (ModelDied, OSError):  # TimeoutError and Closed are OSErrors
            self.close()

    @property
    def alive(self) -> bool:
        """Whether it can still be called."""
        return self._death is None and self._process.running

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def stage(self) -> str:
        """The last mark: "load", "allocate", "invoke", ...; "" before the first."""
        return self._process.stage

    @property
    def stderr(self) -> str:
        """The end of what the child wrote to stdout and stderr (64 KiB)."""
        return self._process.output

    def close(self) -> None:
        """End the child. May be called twice."""
        if self._death is None:
            self._death = ("exit", "the child was closed", "", "")
        self._process.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or the interpreter is on its way out
            self.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._streaming == threading.get_ident():
            raise RuntimeError("This child is in the middle of a stream; finish or close that.")
        with self._lock:
            if self._death is not None:
                raise ModelDied(*self._death)
            try:
                yield
            except (TfqError, ChildError, WireError, GeneratorExit):
                raise
            except BaseException:  # Ctrl-C: half a message may be under way
                self.close()
                raise

    def _request(self, kind: str, **request: Any) -> Any:
        target = str(request.get("target", ""))
        with self._turn():
            self._send(kind, request)
            try:
                value = self._receive(target)[1]
            finally:
                notes, self._notes = self._notes, []
        _warn(notes)
        return value

    def _send(self, kind: str, request: Any) -> None:
        if not self._ready:
            self._start()
        self._process.sock.settimeout(self.limits.seconds)
        try:
            send(self._process.sock, kind, request)
        except TimeoutError:
            self._died("hang", f"no answer in {self.limits.seconds:g} s")
        except OSError:
            self._died(*self._process.ending(self.limits))

    def _start(self) -> None:
        try:
            self._next(START)
        except ModelDied as error:  # no model has been near it
            failed = ChildError(f"The child process did not start: {error.how}.")
            failed.add_note(error.stderr)
            raise failed from None
        self._ready = True

    def _receive(self, target: str) -> tuple[str, Any]:
        """The next value, item or end; everything else on the way is dealt with."""
        seconds = self.limits.seconds
        first = seconds if seconds is None or target in self._known else max(seconds, START)
        kind, value = self._next(first)
        while kind in ("begun", "warning"):
            if kind == "begun":
                self._known.add(target)
            else:
                self._notes.append(str(value))
            kind, value = self._next(seconds)
        if kind == "memory":
            self._died("memory", f"out of memory ({self.limits.memory_text})")
        if kind in _ERRORS:
            try:
                error = _ERRORS[kind](*value)
            except (TypeError, WireError) as wrong:
                self._died("nonsense", f"it sent an error that is none ({wrong})")
            raise error
        return kind, value

    def _next(self, seconds: float | None) -> tuple[str, Any]:
        self._process.sock.settimeout(seconds)
        try:
            return receive(self._process.sock)
        except TimeoutError:
            self._died("hang", f"no answer in {seconds:g} s")
        except OSError:  # Closed; or close() by another thread
            self._died(*self._process.ending(self.limits))
        except (WireError, MemoryError) as error:
            self._died("nonsense", str(error) or "it sent too much")

    def _died(self, kind: str, how: str) -> NoReturn:
        self._process.kill()
        if self._death is None:
            self._death = (kind, how, self._process.stage, self._process.output)
        self._process.close()
        raise ModelDied(*self._death)


class Remote:
    """An object that lives in a child; made by `Child.make`."""

    def __init__(self, child: Child, number: int):
        self.child = child
        self._number = number

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """The value of a method ("__call__" calls the object itself)."""
        return self.child._request(
            "method", number=self._number, name=method, args=list(args), kwargs=kwargs
        )

    def get(self, attribute: str) -> Any:
        """The value of an attribute."""
        return self.child._request("get", number=self._number, name=attribute)

    def drop(self) -> None:
        """Let the child forget the object and its memory."""
        if self.child.alive:
            self.child._request("drop", number=self._number)


def _warn(notes: list[str]) -> None:
    for note in notes:
        warnings.warn(note, TfqWarning, stacklevel=4)


def _error(path: str, args: list[str], attributes: dict[str, Any]) -> TfqError:
    """An error of the child as it was there."""
    cls = named(path)
    if not (isinstance(cls, type) and issubclass(cls, TfqError)):
        raise WireError(f"{path} is not an error of tfq_ext.")
    error = cls.__new__(cls, *args)
    vars(error).update(attributes)
    return error


def _fault(sentence: str, trace: str) -> ChildError:
    error = ChildError(sentence)
    error.add_note(f"In the child process:\n{trace}")
    return error


_ERRORS: dict[str, Callable[..., Exception]] = {"refused": _error, "failed": _fault}
