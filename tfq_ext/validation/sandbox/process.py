"""A child process: its start, its socket, its last words, how it ended."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tfq_ext.validation.sandbox.limits import Limits

TAIL = 2**16  # bytes of output that are kept
PENDING = 2**22  # bytes on their way: large arrays travel twice as fast as with the default 2**18
MARK = 64  # bytes of the stage's name
_CHILD = "tfq_ext.validation.sandbox.child"
_OUT_OF_MEMORY = ("bad_alloc", "MemoryError", "out of memory", "Cannot allocate memory")


class Process:
    """One running child in a process group of its own.

    It gets a socket for messages, a pipe that ends when we do (so that it never outlives us),
    and a page of memory for its stage; what it prints is kept, the last 64 KiB of it.
    """

    def __init__(self, limits: Limits, env: Mapping[str, str] | None):
        self.sock, theirs = socket.socketpair()
        for end in (self.sock, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PENDING)
        life, self._life = os.pipe()
        with tempfile.TemporaryFile() as page:
            page.truncate(MARK)
            self._mark = mmap.mmap(page.fileno(), MARK)
            fds = (theirs.fileno(), life, page.fileno())
            try:
                self._popen = _start(fds, limits, env)
            finally:
                theirs.close()
                os.close(life)
        self._swept = False
        self._once = threading.Lock()
        self._tail = bytearray()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def stage(self) -> str:
        """The last mark that the child made."""
        return bytes(self._mark).rstrip(b"\0").decode("utf-8", "replace")

    @property
    def output(self) -> str:
        """The end of what it wrote to stdout and stderr."""
        return bytes(self._tail).decode("utf-8", "replace")

    @property
    def running(self) -> bool:
        """Whether it still is."""
        if self._popen.poll() is None:
            return True
        self._sweep()
        return False

    def _listen(self) -> None:
        out = self._popen.stdout
        assert out is not None
        with suppress(OSError, ValueError):
            while piece := os.read(out.fileno(), 65536):
                self._tail += piece
                del self._tail[:-TAIL]

    def kill(self) -> None:
        """End the child and what it started, now."""
        if self.running:
            self._kill_group()

    def wait(self, seconds: float | None) -> int | None:
        """Exit status, negative for a signal; None if it still runs."""
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._sweep()
        return status

    def _sweep(self) -> None:
        """End what a dead child started; once, for its number may soon be somebody else's."""
        if not self._swept:
            self._swept = True
            self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of everything; kills what still runs. Any thread may call it, and again."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        self.kill()
        self.wait(None)
        self.sock.close()
        self._listener.join(1.0)
        if self._popen.stdout is not None and not self._listener.is_alive():
            self._popen.stdout.close()
        with self._once:  # a number that was closed twice might be another file's by then
            life, self._life = self._life, -1
        if life >= 0:
            os.close(life)

    def ending(self, limits: Limits) -> tuple[str, str]:
        """(kind, how) of a child whose socket has closed; `limits.KINDS`."""
        status = self.wait(5.0)
        if status is None:
            self.kill()
            return "nonsense", "it closed its socket and lives on"
        self._listener.join(1.0)
        last = self.output[-2000:]
        if any(words in last for words in _OUT_OF_MEMORY):
            return "memory", f"out of memory ({limits.memory_text})"
        if status == -signal.SIGKILL:
            return "memory", "out of memory of the machine (SIGKILL by the system)"
        if status < 0:
            return "signal", signal.Signals(-status).name
        return "exit", f"exit code {status}"


def _start(
    fds: tuple[int, ...], limits: Limits, env: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    numbers = [*fds, limits.memory_bytes or 0]
    home = str(Path(__file__).parents[3])
    full = {**os.environ, **(env or {})}
    paths = [home, *filter(None, [full.get("PYTHONPATH")])]
    full["PYTHONPATH"] = os.pathsep.join(paths)
    return subprocess.Popen(
        # -P: a numpy.py in the current folder, which may be anybody's, is not imported
        [sys.executable, "-P", "-m", _CHILD, *map(str, numbers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=fds,
        env=full,
        start_new_session=True,  # a group of its own: killed as a whole, deaf to Ctrl-C
    )
