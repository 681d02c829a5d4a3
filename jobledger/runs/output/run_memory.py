"""Memory of a run that outlives its process: another process finds there what this one could not record.

It contains the output that is not saved yet, what the run has used so far, the outcome if its process cannot
record it itself, and two *spools*. Normally, a
thread of the run's process reads its pipes. That thread cannot run while C code keeps the interpreter's lock,
and if such code writes more than fits into a pipe, it would wait forever. Then the worker's main process
reads the pipes instead (``pump``), into a spool. The run's own process takes in the spool before it reads
again, so the order remains.

The run's process may be stopped by such code at any point, so it must never hold a lock that the other one
needs. Instead, it announces that it is about to read, which makes the other one stop. While it takes in one
spool, the other spool is there for what is read meanwhile.
"""

import os
import time
from contextlib import suppress
from mmap import ALLOCATIONGRANULARITY, mmap

from jobledger.models import Stream
from jobledger.runs.output.recorder import OutputRecorder, memory_bytes
from jobledger.runs.processes.resources import Usage

# The numbers at the beginning, each written by a single process at a time. Memory in bytes, time in
# microseconds; a usage that is not known yet has the CPU time 0.
LIMIT, READS, IS_BEING_READ, SPOOL, PEAK, CPU, IS_JOB_RUNNING = range(7)
IS_FILLED = 7
"""One for each spool."""
SPOOLS = 2
OUTCOME_BYTES = IS_FILLED + SPOOLS
_NUMBERS = OUTCOME_BYTES + 1
MAX_OUTCOME_BYTES = 512 * 1024
MAX_WAIT_SECONDS = 1.0


class RunMemory:
    """Shared by all who have its descriptor."""

    def __init__(self, descriptor: int) -> None:
        """Of memory that ``create`` has made, perhaps in another process."""
        self.descriptor = descriptor
        self._identity = os.fstat(descriptor)
        # As a whole, because the job may close the descriptor.
        self._all = mmap(descriptor, self._identity.st_size)
        self._numbers = memoryview(self._all)[: 8 * _NUMBERS].cast("Q")
        self.limit_bytes = self._numbers[LIMIT]

    @classmethod
    def create(cls, limit_bytes: int) -> "RunMemory":
        """Raises OSError if the system has no such memory."""
        descriptor = os.memfd_create("output of a run")
        try:
            # Only what is used exists.
            os.ftruncate(descriptor, _begin_of(1 + SPOOLS, limit_bytes) + MAX_OUTCOME_BYTES)
            os.pwrite(descriptor, limit_bytes.to_bytes(8, "little"), 8 * LIMIT)
            return cls(descriptor)
        except OSError:
            os.close(descriptor)
            raise

    def output(self) -> mmap:
        """For an ``OutputRecorder``."""
        return self._part(0)

    def close(self) -> None:
        """Close what was opened here. If the job has closed the descriptor, its number may be another's."""
        self._numbers.release()
        self._all.close()
        with suppress(OSError):
            if os.path.samestat(os.fstat(self.descriptor), self._identity):
                os.close(self.descriptor)

    @property
    def usage(self) -> Usage | None:
        """What the run has used when its process last looked; None if it has not."""
        peak, cpu = self._numbers[PEAK], self._numbers[CPU]
        return Usage(peak_memory_bytes=peak or None, cpu_seconds=cpu / 1e6) if cpu else None

    @usage.setter
    def usage(self, usage: Usage) -> None:
        self._numbers[PEAK] = usage.peak_memory_bytes or 0
        self._numbers[CPU] = max(1, int(usage.cpu_seconds * 1e6))

    @property
    def is_job_running(self) -> bool:
        """Whether the job's own code is being executed."""
        return bool(self._numbers[IS_JOB_RUNNING])

    @is_job_running.setter
    def is_job_running(self, is_running: bool) -> None:
        self._numbers[IS_JOB_RUNNING] = is_running

    @property
    def outcome(self) -> bytes:
        """What the run's own process has left for the one that records it; empty if nothing."""
        begin = _begin_of(1 + SPOOLS, self.limit_bytes)
        return self._all[begin : begin + self._numbers[OUTCOME_BYTES]]

    @outcome.setter
    def outcome(self, data: bytes) -> None:
        begin = _begin_of(1 + SPOOLS, self.limit_bytes)
        self._all[begin : begin + len(data)] = data
        self._numbers[OUTCOME_BYTES] = len(data)

    # For the run's own process.

    @property
    def is_spooled(self) -> bool:
        """Whether another process has read something."""
        return bool(self._numbers[IS_FILLED] or self._numbers[IS_FILLED + 1])

    def take_turn(self) -> None:
        """Announce that the run's own process is about to read, and wait until no other one does."""
        self._numbers[READS] += 1
        # One that is suspended must not stop the job.
        deadline = time.monotonic() + MAX_WAIT_SECONDS if self._numbers[IS_BEING_READ] else 0.0
        while self._numbers[IS_BEING_READ] and time.monotonic() < deadline:
            time.sleep(0.001)

    def spooled(self) -> list[tuple[Stream, bytes]]:
        """What is in the older spool; it stays there until it is emptied, in case the process dies before."""
        if not self._numbers[IS_FILLED + 1 - self._numbers[SPOOL]]:
            # From now on, what is read by another process goes to the other one.
            self._numbers[SPOOL] = 1 - self._numbers[SPOOL]
        return self._content(1 - self._numbers[SPOOL])

    def empty_spool(self) -> None:
        """Empty the spool that was returned."""
        self._numbers[IS_FILLED + 1 - self._numbers[SPOOL]] = 0

    # For other processes.

    @property
    def reads(self) -> int:
        """How often the run's own process has read. If the number stays the same, it may be stuck."""
        return self._numbers[READS]

    def begin_to_read(self, reads: int) -> bool:
        """Whether another process may read: if the run's own one has not read since it was at this number."""
        self._numbers[IS_BEING_READ] = 1
        return self.reads == reads

    def end_to_read(self) -> None:
        self._numbers[IS_BEING_READ] = 0

    def spool(self) -> OutputRecorder:
        """Records what another process reads."""
        number = self._numbers[SPOOL]
        memory = self._part(1 + number)
        if not self._numbers[IS_FILLED + number]:
            OutputRecorder(self.limit_bytes, memory).publish()
            self._numbers[IS_FILLED + number] = 1
        return OutputRecorder.restored(memory)

    def all_spooled(self) -> list[tuple[Stream, bytes]]:
        """What is in both spools, if the run's own process has ended."""
        number = self._numbers[SPOOL]
        return [*self._content(1 - number), *self._content(number)]

    def _content(self, number: int) -> list[tuple[Stream, bytes]]:
        if not self._numbers[IS_FILLED + number]:
            return []
        begin, size = self._begin_of(1 + number), memory_bytes(self.limit_bytes)
        copy = mmap(-1, size)
        copy[:] = self._all[begin : begin + size]
        recorder = OutputRecorder.restored(copy)
        recorder.close()
        found: list[tuple[Stream, bytes]] = []
        while pieces := recorder.unsaved():
            recorder.mark_saved(pieces)
            found += [(piece.stream, as_bytes(piece.text)) for piece in pieces]
        return found

    def _part(self, number: int) -> mmap:
        return mmap(self.descriptor, memory_bytes(self.limit_bytes), offset=self._begin_of(number))

    def _begin_of(self, part: int) -> int:
        return _begin_of(part, self.limit_bytes)


def as_text(data: bytes) -> str:
    """Any bytes, as text that a recorder can store."""
    return data.decode("latin-1")


def as_bytes(text: str) -> bytes:
    """The same bytes again, or the recorder's own line about what it has omitted."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _begin_of(part: int, limit_bytes: int) -> int:
    return ALLOCATIONGRANULARITY + part * _part_bytes(limit_bytes)


def _part_bytes(limit_bytes: int) -> int:
    """Where another mapping may begin."""
    return -(-memory_bytes(limit_bytes) // ALLOCATIONGRANULARITY) * ALLOCATIONGRANULARITY
