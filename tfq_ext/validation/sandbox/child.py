"""The child's side: `python -m tfq_ext.validation.sandbox.child SOCKET LIFE PAGE MEMORY`."""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from tfq_ext.errors import TfqError, TfqWarning
from tfq_ext.tflite.stage import stage, watch
from tfq_ext.validation.sandbox.channel import Closed, receive, send
from tfq_ext.validation.sandbox.process import MARK
from tfq_ext.validation.sandbox.wire import WireError, encode, named, path_of

Objects = dict[int, Any]


def main(arguments: list[str]) -> None:
    """Answer requests until the parent hangs up."""
    sock_fd, life, page, memory = (int(word) for word in arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter
    _die_with_parent(life)
    _limit(memory)
    watch(_marker(page))
    sock = socket.socket(fileno=sock_fd)
    sock.set_inheritable(False)
    _forward_warnings(sock)
    objects: Objects = {}
    with suppress(Closed):
        send(sock, "ready")
        while True:
            kind, request = receive(sock)
            if kind != "stop":  # one that came too late: the stream had ended by itself
                stage("")
                _answer(sock, kind, request, objects)


def _die_with_parent(life: int) -> None:
    """Have the kernel end this process (SIGIO's default) when the parent's pipe end closes.

    PR_SET_PDEATHSIG would fire when the *thread* that started us ends; a watching thread would
    wait for the interpreter lock, which a native loop may hold for ever.
    """
    os.set_inheritable(life, False)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # it closed before we listened
        os._exit(1)


def _limit(memory: int) -> None:
    """No core files; at most `memory` bytes of private writable memory (0: no limit).

    RLIMIT_DATA, not RLIMIT_AS: what is only reserved (thread arenas, JIT pools, the maps of GPU
    drivers and of files) does not count there.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _marker(page: int) -> Callable[[str], None]:
    room = mmap.mmap(page, MARK)
    os.close(page)

    def mark(name: str) -> None:
        room[:] = name.encode("utf-8", "replace")[:MARK].ljust(MARK, b"\0")

    return mark


def _forward_warnings(sock: socket.socket) -> None:
    plain = warnings.showwarning
    warnings.simplefilter("always", TfqWarning)  # the parent's filters decide

    def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, TfqWarning):
            send(sock, "warning", str(message))
        else:
            plain(message, category, *rest, **more)

    warnings.showwarning = show


def _answer(sock: socket.socket, kind: str, request: Any, objects: Objects) -> None:
    """Do what was asked; every way that it can end is one last message."""
    try:
        kind, value = _ACTIONS[kind](sock, objects, **request)
        send(sock, kind, value)
    except Closed:
        raise
    except MemoryError:
        send(sock, "memory")
    except TfqError as error:
        send(sock, "refused", _described(error))
    except Exception as error:
        send(sock, "failed", [f"{type(error).__name__}: {error}", traceback.format_exc()])


def _described(error: TfqError) -> list[Any]:
    """[class, arguments, attributes] of an error, what cannot travel left out."""
    attributes = {}
    for name, value in vars(error).items():
        with suppress(WireError):
            encode(value)
            attributes[name] = value
    cls = next(c for c in type(error).__mro__ if c.__module__.startswith("tfq_ext."))
    return [path_of(cls), [str(a) for a in error.args] or [str(error)], attributes]


def _begin(sock: socket.socket, target: str) -> Any:
    """Import what was asked for; the clock of the call starts after that."""
    found = named(target)
    send(sock, "begun")
    return found


def _call(
    sock: socket.socket, objects: Objects, target: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[str, Any]:
    return "value", _begin(sock, target)(*args, **kwargs)


def _make(
    sock: socket.socket, objects: Objects, target: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[str, Any]:
    made = _begin(sock, target)(*args, **kwargs)
    number = max(objects, default=0) + 1
    objects[number] = made
    return "value", number


def _method(
    sock: socket.socket,
    objects: Objects,
    number: int,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
) -> tuple[str, Any]:
    return "value", getattr(objects[number], name)(*args, **kwargs)


def _get(sock: socket.socket, objects: Objects, number: int, name: str) -> tuple[str, Any]:
    return "value", getattr(objects[number], name)


def _drop(sock: socket.socket, objects: Objects, number: int) -> tuple[str, Any]:
    objects.pop(number, None)
    return "value", None


def _stream(
    sock: socket.socket, objects: Objects, target: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[str, Any]:
    values: Iterator[Any] = iter(_begin(sock, target)(*args, **kwargs))
    for value in values:
        send(sock, "item", value)
        if select.select([sock], [], [], 0)[0]:  # "stop": the parent wants no more
            receive(sock)
            if close := getattr(values, "close", None):
                close()
            break
    return "end", None


_ACTIONS: dict[str, Callable[..., tuple[str, Any]]] = {
    "call": _call,
    "make": _make,
    "method": _method,
    "get": _get,
    "drop": _drop,
    "stream": _stream,
}

if __name__ == "__main__":
    main(sys.argv[1:])
