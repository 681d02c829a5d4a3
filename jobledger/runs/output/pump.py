"""Reads the pipes of a run whose own process cannot, so that whoever writes to them does not wait forever.

See ``run_memory``. A pump is a thread of the worker's main process. It is started when a pipe has something
in it and the run's process has not read for a while, and ends once that process reads again.
"""

import fcntl
import os
import select
import struct
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress

from jobledger.models import Stream
from jobledger.runs.output.descriptors import read_rest
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.output.run_memory import RunMemory, as_text
from jobledger.runs.processes.forks import not_forking

POLL_SECONDS = 0.5


class Pump:
    """Works from ``start`` until the run's own process reads, all writers have ended, or ``stop``."""

    def __init__(self, memory: int, pipes: Sequence[int]) -> None:
        """Takes over the descriptors: of the run's memory, and for reading stdout and stderr."""
        self._memory = RunMemory(memory)
        self._pipes = dict(zip(Stream, pipes, strict=False))
        self._reads = self._memory.reads
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="output of a stuck job", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop before something else reads the pipes."""
        self._stopped.set()
        self._thread.join()

    @property
    def is_working(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Also to be called by a process that has inherited the descriptors, but not the thread."""
        self._memory.close()
        for descriptor in self._pipes.values():
            with suppress(OSError):
                os.close(descriptor)

    def _work(self) -> None:
        try:
            self._move_until_stopped()
        finally:
            self.close()

    def _move_until_stopped(self) -> None:
        poll, open_pipes = select.poll(), set(self._pipes.values())
        for pipe in open_pipes:
            poll.register(pipe, select.POLLIN)
        while open_pipes and not self._stopped.is_set() and self._memory.reads == self._reads:
            ready = poll.poll(POLL_SECONDS * 1000)
            if any(event & select.POLLIN for _, event in ready):
                self._move()
            for pipe, event in ready:
                if event == select.POLLHUP:
                    poll.unregister(pipe)
                    open_pipes.remove(pipe)

    def _move(self) -> None:
        # A process that is forked meanwhile would inherit the recorders' lock.
        with not_forking():
            try:
                if self._memory.begin_to_read(self._reads):
                    self._record(self._memory.spool())
            finally:
                self._memory.end_to_read()

    def _record(self, spool: OutputRecorder) -> None:
        for stream, pipe in self._pipes.items():
            for data in read_rest(pipe):
                spool.write_utf8(stream, as_text(data).encode())


def is_waiting(pipes: Sequence[int]) -> bool:
    """Whether one of them has something in it."""
    for pipe in pipes:
        with suppress(OSError):
            if struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]:
                return True
    return False
