"""What a run uses: its peak memory and its CPU time. On systems other than Linux, memory is unknown.

Linux keeps a high-water mark of a process's memory, which can be reset. So the peak is that of the process
during the run, even if earlier runs in the same process needed more. A run inside another one resets the mark
as well, and first notes it for the outer one.

A subprocess that the job has waited for counts with its own peak, as far as the system tells: it keeps only
the largest one of the process's life. Other subprocesses count as they are sampled, together with their
parent. Memory that processes share is divided among them (``Pss``): after a fork, most of it is shared.

CPU time is that of the process, all its threads, and the subprocesses that were waited for. Where other jobs
share the process, it is that of the job's own threads, and its memory is unknown.
"""

import ctypes
import gc
import os
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jobledger.runs.processes import job_threads, shared_process
from jobledger.runs.processes.job_threads import JobThreads

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MAX_BYTES = 64 * 1024
"""Of what is read from the system at once."""
GIVE_BACK_BYTES = 32 * 1024 * 1024
"""Collecting garbage takes longer than most jobs, so it must be worth it."""

_HIGH_WATER = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_PROPORTIONAL = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What an attempt has used so far, or used in all."""

    peak_memory_bytes: int | None
    """None: unknown."""
    cpu_seconds: float

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the run's row."""
        return {"peak_memory_bytes": self.peak_memory_bytes, "cpu_seconds": round(self.cpu_seconds, 3)}


class Meter:
    """Measures from its creation on. ``measured`` has to know it."""

    def __init__(self, note: Callable[[Usage], None] = lambda usage: None) -> None:
        """``note`` gets the usage whenever it is looked at, in case the process is killed."""
        self._note = note
        self._cpu_before, self._children_peak_before = _cpu_and_children_peak()
        # If it cannot be reset, it only says something once it has risen.
        self._ignored_high_water = 0 if _reset_high_water() else _high_water()
        # Written by the job's thread only.
        self._noted = 0
        self._sampled = 0
        self._lock = threading.Lock()
        # Something is known of a run that is killed at once.
        self._note(Usage(peak_memory_bytes=memory_of_this_process() or None, cpu_seconds=0.0))

    def look(self) -> None:
        """Note what is in use now, including subprocesses."""
        self.sample()
        self._note(self.usage())

    def note_high_water(self) -> None:
        """Note the process's high-water mark before it is reset."""
        self._noted = max(self._noted, self._own_peak())

    def sample(self) -> int:
        """Note the memory in use now, including subprocesses, and return it."""
        used = memory_in_use()
        with self._lock:
            self._sampled = max(self._sampled, used)
        return used

    def usage(self) -> Usage:
        """The usage up to now."""
        cpu_seconds, children_peak = _cpu_and_children_peak()
        waited_for = children_peak if children_peak > self._children_peak_before else 0
        peak = max(self._own_peak(), self._noted, self._sampled, waited_for)
        return Usage(peak_memory_bytes=peak or None, cpu_seconds=cpu_seconds - self._cpu_before)

    def _own_peak(self) -> int:
        high_water = _high_water()
        return high_water if high_water > self._ignored_high_water else memory_of_this_process()


class ThreadMeter(Meter):
    """Measures what can be told of a job in a process that has others: the CPU time of its threads."""

    def __init__(self, threads: JobThreads) -> None:
        self._threads, self._cpu_before = threads, threads.cpu_seconds()

    def look(self) -> None:
        pass

    def note_high_water(self) -> None:
        pass

    def sample(self) -> int:
        return 0

    def usage(self) -> Usage:
        return Usage(peak_memory_bytes=None, cpu_seconds=self._threads.cpu_seconds() - self._cpu_before)


_meters: list[Meter] = []
"""Of the runs that this process is executing."""


@contextmanager
def measured(note: Callable[[Usage], None] = lambda usage: None) -> Iterator[Meter]:
    """A meter for a run that is executed in the block, which notes what it finds."""
    if (threads := job_threads.current()) is not None:
        yield ThreadMeter(threads)
        return
    for outer in _meters:
        outer.note_high_water()
    meter = Meter(note)
    _meters.append(meter)
    try:
        yield meter
    finally:
        _meters.remove(meter)


def memory_in_use() -> int:
    """The memory of this process and its subprocesses, in bytes; 0 if unknown."""
    return memory_of_this_process() + sum(_proportional(pid) for pid in _subprocesses(os.getpid()))


def memory_of_this_process() -> int:
    """In bytes, without its subprocesses; 0 if unknown."""
    return _resident(os.getpid())


@contextmanager
def memory_given_back() -> Iterator[None]:
    """After a block that has left much more memory in use, return to the system what is not needed.

    The high-water mark then is what the process still holds, so that Celery replaces it only if that is too
    much.
    """
    if shared_process.is_shared():
        yield
        return
    before = memory_of_this_process()
    try:
        yield
    finally:
        if memory_of_this_process() - before > GIVE_BACK_BYTES:
            gc.collect()
            trim()
        _reset_high_water()


def content_of(path: str) -> bytes:
    """Of a small file of the system's. For each run several times: ``Path`` takes several times as long."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, MAX_BYTES)
    finally:
        os.close(descriptor)


def trim() -> None:
    """Return free memory to the system, if the C library can."""
    if (malloc_trim := _malloc_trim()) is not None:
        malloc_trim(0)


@cache
def _malloc_trim() -> Any:
    # Only in glibc.
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def _cpu_and_children_peak() -> tuple[float, int]:
    """The CPU time of this process, in seconds, and the peak of the largest subprocess, in bytes.

    Both include all subprocesses that it has ever waited for.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime, children.ru_maxrss * 1024


def _high_water() -> int:
    return _kilobytes(_HIGH_WATER, f"{PROC}/self/status")


def _reset_high_water() -> bool:
    """Returns False if the system does not let this process do so."""
    try:
        descriptor = os.open(f"{PROC}/self/clear_refs", os.O_WRONLY)
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _resident(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(content_of(f"{PROC}/{pid}/statm").split()[1]) * PAGE_BYTES
    return 0


def _proportional(pid: int) -> int:
    """The process's own memory and its share of what it shares; all that it has mapped if that is unknown."""
    return _kilobytes(_PROPORTIONAL, f"{PROC}/{pid}/smaps_rollup") or _resident(pid)


def _kilobytes(pattern: re.Pattern[bytes], path: str) -> int:
    with suppress(OSError):
        if found := pattern.search(content_of(path)):
            return int(found[1]) * 1024
    return 0


def _subprocesses(pid: int) -> Iterator[int]:
    """All descendants of a process that have not been orphaned."""
    with suppress(OSError):
        # Each thread has the children that it has started.
        for task in (PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                for child in map(int, (task / "children").read_bytes().split()):
                    yield child
                    yield from _subprocesses(child)
