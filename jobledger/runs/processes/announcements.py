"""What a worker's child tells the main process while it executes a run: that only the record of it is left.

By then, nothing that the job has started goes on. So the main process may fetch the message of the next run
in the meantime, which takes about as long.
"""

import os
from contextlib import suppress
from struct import Struct
from uuid import UUID

from celery.signals import worker_init

from jobledger.runs.output.opened import Opened

_RECORD = Struct(">16sI")
"""A run's id, and the number of its attempt."""
_READ_BYTES = 256 * _RECORD.size


class _Pipe:
    """A pipe from all children to the main process, neither of whose ends ever waits."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        for end in self.reading, self.writing:
            os.set_blocking(end, False)
        self.owner = os.getpid()
        self._opened = Opened(self.writing)

    def write(self, data: bytes) -> None:
        # A job may have closed all descriptors.
        if self._opened.is_ours():
            os.write(self.writing, data)


_pipes: list[_Pipe] = []
"""The one of this process's worker, if any."""


def connect() -> None:
    """From now on, a worker's children tell its main process."""
    worker_init.connect(_begin, dispatch_uid="jobledger.announcements.begin")


def announce(run_id: UUID, attempt: int) -> None:
    """Tell the main process that only the record of this attempt is left; does nothing outside a child."""
    # Without it, the next run only begins a little later.
    with suppress(OSError):
        if _pipes and _pipes[0].owner != os.getpid():
            _pipes[0].write(_RECORD.pack(run_id.bytes, attempt))


def descriptor() -> int | None:
    """For a main process: can be read once a child has announced a run. None if there is no worker."""
    return _pipes[0].reading if _pipes else None


def received() -> list[tuple[UUID, int]]:
    """The runs that children have announced since the last call, each with its attempt."""
    # Each is written at once, so none is ever cut.
    try:
        data = os.read(_pipes[0].reading, _READ_BYTES)
    except BlockingIOError:
        return []
    return [(UUID(bytes=run_id), attempt) for run_id, attempt in _RECORD.iter_unpack(data)]


def _begin(**kwargs: object) -> None:
    _pipes[:] = [_Pipe()]
