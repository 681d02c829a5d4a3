"""What the package uses of Python's private parts does what the public ones do."""

import os
import signal

import pytest

from jobledger.runs.processes import os_internals


def test_the_environment_is_that_of_os(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_VARIABLE", "ü")
    found = os_internals.environment()
    assert found == dict(os.environb)
    found.clear()
    assert os.environ["A_VARIABLE"] == "ü"


def test_a_handler_is_that_of_signal() -> None:
    assert os_internals.handler_of(signal.SIGINT) == signal.getsignal(signal.SIGINT)


def test_a_handler_is_set_as_by_signal() -> None:
    before = os_internals.set_handler(signal.SIGUSR2, int(signal.SIG_IGN))
    try:
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        os_internals.set_handler(signal.SIGUSR2, before)


def test_signals_are_blocked_as_by_signal() -> None:
    before = os_internals.set_mask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        os_internals.set_mask(signal.SIG_SETMASK, before)
