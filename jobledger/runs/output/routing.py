"""``sys.stdout``, ``sys.stderr`` and logging in a process that executes many runs at a time.

They are replaced once. What is written by the thread of a job, by a thread that the job has started or by one
of its asyncio tasks, goes to the job's run, because it is executed in the job's context. Everything else goes
to where it went before. So does what subprocesses and C libraries write: descriptors 1 and 2 belong to the
whole process.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, cast

from jobledger.models import Stream
from jobledger.runs.output.run_log import RunLog
from jobledger.runs.output.streams import RoutedStream, RunStream

_streams: ContextVar[Mapping[Stream, RunStream] | None] = ContextVar("streams_of_run", default=None)


class Routing:
    """From ``begin`` to ``end``, what is written goes to the run of the code that writes it."""

    def __init__(self) -> None:
        self.outside: dict[Stream, Any] = {}
        """Where it goes if there is no run."""
        self._log = RunLog(_log, worker_logs={}, is_of_run=is_of_run)

    def begin(self) -> None:
        self.outside = {stream: getattr(sys, stream.value) for stream in Stream}
        # Before: it has to know the handlers that write to these.
        self._log.begin()
        for stream in Stream:
            setattr(sys, stream.value, cast("TextIO", RoutedStream(self._current, stream)))

    def end(self) -> None:
        for stream, outside in self.outside.items():
            setattr(sys, stream.value, outside)
        self._log.end()

    def note_handlers(self) -> None:
        """Handlers may have been added, by what was imported or by a job: do not let them write elsewhere."""
        self._log.note_handlers()

    def _current(self, stream: Stream) -> Any:
        streams = _streams.get()
        return self.outside[stream] if streams is None else streams[stream]


@contextmanager
def to_run(streams: Mapping[Stream, RunStream]) -> Iterator[None]:
    """In the block, what this thread writes goes to these."""
    token = _streams.set(streams)
    try:
        yield
    finally:
        _streams.reset(token)


def is_of_run() -> bool:
    """Whether the calling code is that of a job."""
    return _streams.get() is not None


def _log(stream: Stream, text: str) -> None:
    if (streams := _streams.get()) is not None:
        streams[stream].write(text)
