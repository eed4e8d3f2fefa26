"""quiet: nothing reaches the terminal, everything comes back, whatever happens."""

import logging
import subprocess
import sys
import threading
import warnings

import pytest

from tfq_ext.emit.quiet import quiet

SCRIPT = """
import ctypes, logging, os, sys, threading, warnings
from tfq_ext.emit.quiet import quiet
libc = ctypes.CDLL(None)
old = logging.StreamHandler(sys.stderr)
logging.getLogger("tensorflow").addHandler(old)
print("before out"); print("before err", file=sys.stderr)

def everything(mark):
    print("python out", mark); print("python err", mark, file=sys.stderr)
    os.write(1, b"descriptor 1\\n"); os.write(2, b"descriptor 2\\n")
    libc.printf(b"C stdio, buffered\\n")
    logging.getLogger("tensorflow").warning("logged %s", mark)
    warnings.warn(f"warned {mark}", UserWarning)
    os.system("echo child process")

with quiet(verbose="--verbose" in sys.argv) as chatter:
    everything("inside")
    other = threading.Thread(target=lambda: print("from another thread"))
    other.start(); other.join()
for said in ("python out inside", "python err inside", "descriptor 1", "descriptor 2",
             "C stdio, buffered", "logged inside", "warned inside", "child process"):
    assert said in chatter.text, said
assert "another thread" not in chatter.text
logging.getLogger("tensorflow").warning("logged after")
print("after out"); print("after err", file=sys.stderr); os.write(1, b"descriptor after\\n")
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-u", "-c", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_nothing_reaches_the_terminal_but_other_threads():
    done = _run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "before out",
        "from another thread",
        "after out",
        "descriptor after",
    ]
    assert done.stderr.splitlines() == ["before err", "logged after", "after err"]


def test_verbose_shows_the_chatter_on_stderr_afterwards():
    done = _run("--verbose")
    assert "python out inside" in done.stderr
    assert "C stdio, buffered" in done.stderr
    assert "inside" not in done.stdout


def test_an_exception_passes_with_its_traceback(capfd):
    def fails():
        print("last words")
        raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason") as raised, quiet() as chatter:
        fails()
    assert raised.traceback[-1].name == "fails"
    assert chatter.text == "last words\n"
    print("audible again")
    assert capfd.readouterr().out == "audible again\n"


def test_works_under_capsys_where_stdout_is_no_descriptor(capsys):
    with quiet() as chatter:
        print("kept back")
    print("shown")
    assert chatter.text == "kept back\n"
    assert capsys.readouterr().out == "shown\n"


def test_blocks_nest():
    with quiet() as outer:
        print("one")
        with quiet() as inner:
            print("two")
        print("three")
    assert inner.text == "two\n"
    assert outer.text == "one\nthree\n"


def test_two_threads_do_not_mix():
    texts = {}

    def speak(word):
        with quiet() as chatter:
            for _ in range(50):
                print(word)
        texts[word] = chatter.text

    threads = [threading.Thread(target=speak, args=(w,)) for w in ("left", "right")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert texts == {"left": "left\n" * 50, "right": "right\n" * 50}


def test_streams_loggers_and_filters_are_as_before():
    logger = logging.getLogger("absl")
    before = (sys.stdout, sys.stderr, list(logger.handlers), logger.propagate)
    filters = list(warnings.filters)
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    assert (sys.stdout, sys.stderr, list(logger.handlers), logger.propagate) == before
    assert list(warnings.filters) == filters


def test_a_stream_caught_inside_speaks_to_the_terminal_later(capsys):
    with quiet():
        caught = sys.stderr  # what absl's handler does when TensorFlow is imported inside
    caught.write("later\n")
    caught.flush()
    assert capsys.readouterr().err == "later\n"


def test_warnings_do_not_become_errors_inside():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet() as chatter:
            warnings.warn("TensorFlow about itself", DeprecationWarning, stacklevel=1)
    assert "TensorFlow about itself" in chatter.text
