"""Damaged files: 60 for each target (quick), 600 more (slow), thousands with TFQ_FUZZ=20000.

Allowed: a result, or a TfqError; a dead child where LiteRT runs. Never anything else, a hang, or
memory without bounds.
"""

from __future__ import annotations

import os
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fuzz_cases import case, seeds
from fuzz_targets import TARGETS, Target

from tfq_ext.errors import TfqError

QUICK = 60
MANY = int(os.environ.get("TFQ_FUZZ", "600"))
FIRST = int(os.environ.get("TFQ_FUZZ_FIRST", "0"))  # to go on where another run ended
HANG = 60  # seconds; the slowest honest case takes less than one
MOST_MEMORY = 2**30


@contextmanager
def no_hang(what: str) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(target: Target, k: int) -> str:
    what, data = case(k)
    try:
        with no_hang(what):
            target(data)
    except TfqError as error:
        sentence = str(error)
        assert 20 < len(sentence) < 1500, f"{what}: {sentence!r}"
        assert "Traceback" not in sentence, f"{what}: {sentence}"
        return type(error).__name__
    except Exception as error:
        error.add_note(f"{what}: {len(data)} bytes; fuzz_cases.case({k}) makes them again")
        raise
    return "done"


def fuzz(name: str, cases: range) -> Counter[str]:
    target = TARGETS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        seen = Counter(outcome(target, k) for k in cases)
    finally:
        target.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_MEMORY, f"{grown / 2**20:.1f} GiB more"
    print(f"{name}: {dict(seen)}")
    return seen


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name: str):
    seen = fuzz(name, range(FIRST, FIRST + QUICK))
    assert seen["done"] > QUICK / 10  # the damage is not so heavy that all of it is refused
    assert seen["ModelError"] > QUICK / 10


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(name: str):
    fuzz(name, range(FIRST + QUICK, FIRST + QUICK + MANY))


@pytest.mark.parametrize("name", TARGETS)
def test_the_undamaged_files_pass(name: str):
    target = TARGETS[name]()
    try:
        for what, data in seeds().items():
            if not (name == "run" and what == "loop"):
                target(data)
    finally:
        target.close()


def test_a_case_is_always_the_same():
    assert case(7) == case(7)
    assert len({case(k)[1] for k in range(50)}) > 45
