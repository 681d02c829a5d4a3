"""Descriptors 1 and 2 of a process as pipes: what a job's subprocesses and C libraries write is on its run.

The pipes are new for every run, so that a process left behind by another run cannot write to this one. A
thread (``reader``) reads them until the run ends. It does not wait until they are closed, because a process
left behind may keep them open: what is in them at the end is still read.

The kernel tells which pipe was written to first. But if a program keeps writing to both, faster than they are
read, the order in which it did is not known.
"""

import ctypes
import fcntl
import math
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jobledger.models import Stream
from jobledger.runs.output.opened import Opened
from jobledger.runs.output.reader import TICK_SECONDS, abandon, reading, release
from jobledger.runs.output.recorder import LOCK
from jobledger.runs.output.run_memory import RunMemory
from jobledger.runs.output.streams import DESCRIPTORS

READ_BYTES = 64 * 1024
_C, _C_WITH_GIL = ctypes.CDLL(None), ctypes.PyDLL(None)
_Buffer = ctypes.c_char * READ_BYTES
_buffers = list[Any]()
"""Those that are not in use. Each run reads at least twice, and a new one would be filled with zeros."""


class Descriptors:
    """Descriptors 1 and 2 are replaced from ``begin`` to ``end``."""

    def __init__(self, received: Callable[[Stream, bytes], None], memory: RunMemory | None = None) -> None:
        """``received`` is called under the recorders' lock.

        With the run's memory, another process may read while this one cannot.
        """
        self.originals: dict[Stream, int] = {}
        """Duplicates of what the descriptors were before."""
        self.pipes: dict[Stream, int] = {}
        """The ends to read from."""
        self.tick: Callable[[], float | None] | None = None
        """Called by the thread after ``TICK_SECONDS``, and again as many seconds later as it returns."""
        self._tick_at = math.inf
        self._received = received
        self._memory = memory
        self._opened: list[Opened] = []
        self._readers: dict[int, Opened] = {}
        self._is_reading = False
        self.is_open = False
        """Whether they are replaced."""

    def begin(self) -> None:
        """Raises OSError or RuntimeError, and changes nothing, if the process is at one of its limits."""
        try:
            self._open()
            for stream, descriptor in DESCRIPTORS.items():
                self._replace(stream, descriptor)
            self.is_open = True
            self._tick_at = time.monotonic() + TICK_SECONDS
            self._reader = reading(self)
        except (OSError, RuntimeError):
            self.is_open = False
            self._restore()
            self._close()
            raise

    def take_in(self) -> None:
        """Receive what is in the pipes now. The caller holds the lock."""
        if not (self._is_reading or not self.is_open):
            # The job may have closed all descriptors.
            with suppress(OSError):
                if self._memory is not None and self._memory.is_spooled:
                    self._take_turn()
                for descriptor, _ in self._ready.poll(0):
                    self._read(descriptor)

    def settle(self) -> None:
        """Receive what C libraries have buffered and what is in the pipes now."""
        _C.fflush(ctypes.c_void_p.in_dll(_C, "stdout"))
        with LOCK:
            self.take_in()

    def end(self) -> None:
        """Restore the descriptors, and receive what is in the pipes. Does nothing if ``begin`` failed."""
        if not self.is_open:
            return
        # Otherwise, what C libraries have buffered would appear in a later run.
        _C.fflush(ctypes.c_void_p.in_dll(_C, "stdout"))
        self.is_open = False
        self.tick = None
        if not (self._reader.is_ours() and all(each.is_ours() for each in self._opened)):
            self._abandon()
            return
        # In this order: the pipes that are closed would also wake the thread, each of them once.
        release(self._reader)
        self._restore()
        with LOCK:
            self._take_turn()
            for stream, descriptor in self.pipes.items():
                for data in read_rest(descriptor):
                    self._received(stream, data)
        self._close()

    def _abandon(self) -> None:
        """The job has closed all descriptors, as daemons do."""
        abandon(self._reader)
        with LOCK:
            self._take_turn()
        for each in self._opened:
            each.leave()
        _discard_output()

    def _open(self) -> None:
        _occupy_standard_descriptors()
        self._ready, self._events = select.epoll(), select.epoll()
        self._opened += [Opened(each.fileno(), each.close) for each in (self._ready, self._events)]

    def _replace(self, stream: Stream, descriptor: int) -> None:
        original = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
        self._opened.append(Opened(original))
        reading, writing = os.pipe()
        self._readers[reading] = Opened(reading)
        self._opened.append(self._readers[reading])
        try:
            os.set_blocking(reading, False)
            self._ready.register(reading, select.EPOLLIN)
            # Edge-triggered: only then does the pipe that was written to first come first.
            self._events.register(reading, select.EPOLLIN | select.EPOLLET)
            self.originals[stream], self.pipes[stream] = original, reading
            os.dup2(writing, descriptor)
        finally:
            os.close(writing)

    def _restore(self) -> None:
        for stream, original in self.originals.items():
            os.dup2(original, DESCRIPTORS[stream])

    def _close(self) -> None:
        for descriptor in self._opened:
            descriptor.close()
        # Their numbers may belong to others from now on.
        self.originals.clear()
        self.pipes.clear()

    # For the thread.

    def fileno(self) -> int:
        """Of an epoll, which is ready once something has been written."""
        return self._events.fileno()

    def serve(self) -> float:
        """Receive what has been written, and tick if it is time; returns the time of the next tick."""
        written = self._written()
        # In turn: one that is being written to all the time must not keep the other from being read.
        while written and self.is_open:
            written = [descriptor for descriptor in written if self._try_to_read(descriptor)]
            self._tick_if_due()
        self._tick_if_due()
        return self._tick_at

    def _tick_if_due(self) -> None:
        if self.is_open and time.monotonic() >= self._tick_at:
            seconds = self.tick() if self.tick else TICK_SECONDS
            self._tick_at = math.inf if seconds is None else time.monotonic() + seconds

    def _written(self) -> list[int]:
        """The pipes that have been written to since the last call, in that order."""
        # As soon as the job has closed all descriptors, their numbers may belong to others.
        if all(each.is_ours() for each in self._readers.values()):
            # It may close them just now.
            with suppress(OSError, ValueError):
                return [descriptor for descriptor, _ in self._events.poll(0)]
        return []

    def _try_to_read(self, descriptor: int) -> bool:
        with LOCK:
            return self._read(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Receive once; returns whether there was anything."""
        self._is_reading = True
        try:
            if not self._readers[descriptor].is_ours():
                return False
            self._take_turn()
            data = _read_now(descriptor)
            if data:
                self._received(self._stream_of(descriptor), data)
            elif data is not None:
                # Closed by all: it would be ready forever. The other thread may have noticed it, too.
                with suppress(OSError):
                    self._ready.unregister(descriptor)
        finally:
            self._is_reading = False
        return bool(data)

    def _take_turn(self) -> None:
        """From now on, no other process reads the pipes; what others have read comes first."""
        if self._memory is None:
            return
        was_reading, self._is_reading = self._is_reading, True
        try:
            self._take_in_spools(self._memory)
        finally:
            self._is_reading = was_reading

    def _take_in_spools(self, memory: RunMemory) -> None:
        memory.take_turn()
        while memory.is_spooled:
            for stream, data in memory.spooled():
                self._received(stream, data)
            memory.empty_spool()
            memory.take_turn()

    def _stream_of(self, descriptor: int) -> Stream:
        return next(stream for stream, pipe in self.pipes.items() if pipe == descriptor)


def read_rest(descriptor: int) -> list[bytes]:
    """What is in a pipe now; a process that keeps writing does not prolong it."""
    read, left = list[bytes](), fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    while left > 0 and (data := _read_now(descriptor)):
        read.append(data)
        left -= len(data)
    return read


def _read_now(descriptor: int) -> bytes | None:
    """None if there is nothing yet, empty if the pipe is closed."""
    try:
        buffer = _buffers.pop()
    except IndexError:
        buffer = _Buffer()
    # Unlike os.read, this keeps the GIL: no other thread can have the process killed before this is recorded.
    size = _C_WITH_GIL.read(descriptor, buffer, READ_BYTES)
    data = None if size < 0 else ctypes.string_at(buffer, size)
    _buffers.append(buffer)
    return data


def _discard_output() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in DESCRIPTORS.values():
        if descriptor != null:
            os.dup2(null, descriptor)


def _occupy_standard_descriptors() -> None:
    """Open the closed ones of 0, 1 and 2: a pipe must not get their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
