"""What a process has used is read from a clock that is finer than the system's ticks, where there is one."""

import ctypes
import os
import sys
import time

import psutil
import pytest

from benchmarks import services


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have started is not counted."""
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no clock for each process")
def test_the_cpu_time_of_a_process_is_exact() -> None:
    before = time.process_time()
    used = services.cpu_seconds(os.getpid())
    assert before < used < time.process_time()


def test_it_is_counted_in_ticks_where_there_is_no_clock_for_each_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert services.cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), rel=0.1, abs=0.1)
