"""A time budget for the slow tests: `pytest -m slow --budget 300`."""

import time

import pytest

_START = time.monotonic()


def pytest_addoption(parser):
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="skip, with this reason, every test that has not begun after so many seconds",
    )


def pytest_runtest_setup(item):
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - _START > budget:
        pytest.skip(f"the time budget of {budget:g} s is spent")
