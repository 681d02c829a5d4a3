"""A run's memory and CPU time are its own, whatever else its process has done."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobledger.formats import MEGABYTE
from jobledger.runs.processes import resources
from jobledger.runs.processes.resources import (
    Meter,
    measured,
    memory_given_back,
    memory_in_use,
    memory_of_this_process,
    trim,
)

MARGIN = 16 * MEGABYTE
"""For what the interpreter and the tests themselves allocate meanwhile."""


def used(megabytes: int) -> bytes:
    """Memory that is really in use: each page has been written to."""
    return b"x" * (megabytes * MEGABYTE)


def peak_of(meter: Meter) -> int:
    peak = meter.usage().peak_memory_bytes
    assert peak is not None
    return peak


def talking_process(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@contextmanager
def subprocess_using(megabytes: int) -> Iterator[None]:
    code = f"import sys; x = b'x' * {megabytes * MEGABYTE}; print('ready', flush=True); sys.stdin.read()"
    with talking_process(code) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield
        process.communicate()


def test_the_peak_includes_memory_that_was_freed_before_the_end() -> None:
    before = memory_of_this_process()
    with measured() as meter:
        used(128)
        assert peak_of(meter) >= before + 128 * MEGABYTE - MARGIN


def test_the_peak_is_that_of_the_run_not_of_the_process() -> None:
    with measured() as first:
        used(128)
        high = peak_of(first)
    with measured() as second:
        assert peak_of(second) <= high - 128 * MEGABYTE + MARGIN


def test_the_peak_of_an_outer_run_includes_what_it_used_before_the_inner_one() -> None:
    with measured() as outer:
        used(128)
        high = peak_of(outer)
        with measured() as inner:
            assert peak_of(inner) <= high - 128 * MEGABYTE + MARGIN
        assert peak_of(outer) >= high


def test_the_peak_of_an_outer_run_includes_that_of_the_inner_one() -> None:
    with measured() as outer:
        with measured() as inner:
            used(128)
            high = peak_of(inner)
        assert peak_of(outer) >= high


def test_a_running_subprocess_is_counted_together_with_its_parent() -> None:
    before = memory_in_use()
    with measured() as meter, subprocess_using(128):
        meter.sample()
    assert peak_of(meter) >= before + 128 * MEGABYTE - MARGIN


def test_memory_that_a_fork_shares_with_its_parent_is_not_counted_twice() -> None:
    kept = used(128)
    before = memory_in_use()
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.read(reading, 1)
        os._exit(0)
    try:
        # The parent's own memory, and half of it once more.
        assert memory_in_use() < before + before * 3 / 4
    finally:
        os.write(writing, b"x")
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    assert kept


def test_a_subprocess_between_two_samples_is_counted_once_it_has_ended() -> None:
    # In a process of its own, which is smaller than its subprocess and has had no larger one.
    code = f"""
import subprocess, sys
from jobledger.runs.processes.resources import measured
with measured() as meter:
    subprocess.run([sys.executable, "-c", "x = b'x' * {256 * MEGABYTE}"], check=True)
    print(meter.usage().peak_memory_bytes)
with measured() as meter:
    print(meter.usage().peak_memory_bytes)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    with_subprocess, without = map(int, printed.split())
    assert with_subprocess >= 256 * MEGABYTE
    assert without < 128 * MEGABYTE


def test_descendants_of_subprocesses_are_counted() -> None:
    before = memory_in_use()
    inner = f"x = b'x' * {64 * MEGABYTE}; print('ready', flush=True); input()"
    outer = f'import subprocess, sys; subprocess.run([sys.executable, "-c", "{inner}"])'
    with talking_process(outer) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert memory_in_use() >= before + 64 * MEGABYTE - MARGIN
        process.communicate("\n")


def test_without_the_right_to_reset_the_mark_only_a_new_high_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with measured() as meter:
        used(128)
        high = peak_of(meter)
    monkeypatch.setattr(resources, "_reset_high_water", lambda: False)
    used(128)
    with measured() as meter:
        assert peak_of(meter) <= high - 128 * MEGABYTE + MARGIN
        kept = used(256)
        assert peak_of(meter) >= high
        assert kept


def test_memory_is_unknown_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "PROC", tmp_path)
    with measured() as meter:
        meter.sample()
        assert meter.usage().peak_memory_bytes is None
        assert meter.usage().columns["cpu_seconds"] >= 0


def cpu_seconds_of(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def test_cpu_time_includes_that_of_subprocesses() -> None:
    before = [cpu_seconds_of(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with measured() as meter:
        sum(range(1_000_000))
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
        cpu_seconds = meter.usage().cpu_seconds
    after = [cpu_seconds_of(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    in_subprocess = after[1] - before[1]
    assert in_subprocess > 0
    assert cpu_seconds > in_subprocess
    assert cpu_seconds <= sum(after) - sum(before) + 0.001


def test_memory_that_a_job_leaves_as_garbage_goes_back_to_the_system() -> None:
    # Otherwise, it would be made of memory that earlier tests have freed.
    trim()
    before = memory_of_this_process()
    with memory_given_back():
        # Small objects in a cycle: neither reference counts nor large blocks return them.
        garbage: list[object] = [b"%1000d" % number for number in range(100_000)]
        garbage.append(garbage)
        assert memory_of_this_process() >= before + 64 * MEGABYTE
        del garbage
    assert memory_of_this_process() <= before + 2 * MARGIN
