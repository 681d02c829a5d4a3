"""``sys.stdout``, ``sys.stderr`` and logging in a process that executes many runs at a time.

They are replaced once. What is written by the thread of a job, by a thread that the job has started or by one
of its asyncio tasks, goes to the job's run, because it is executed in the job's context. Everything else goes
to where it went before. So does what subprocesses and C libraries write: descriptors 1 and 2 belong to the
whole process.

``redirect_stdout`` redirects only what its own job writes (``redirections``). A job that assigns to
``sys.stdout`` takes it from all others, and may leave it so: it is put back when a run begins or ends.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jobledger.escapes import line_logger
from jobledger.logs import running
from jobledger.models import Stream
from jobledger.runs.output import redirections
from jobledger.runs.output.run_log import RunLog
from jobledger.runs.output.streams import RoutedStream, RunStream

logger = line_logger(__name__)

_streams: ContextVar[Mapping[Stream, RunStream] | None] = ContextVar("streams_of_run", default=None)

_REPLACED = (
    "At the %s of %s, sys.%s was a %s that a job has put there: it got what all other jobs printed. "
    "It is put back. Use contextlib.redirect_stdout or redirect_stderr, which affect only their own job"
)


class Routing:
    """From ``begin`` to ``end``, what is written goes to the run of the code that writes it."""

    def __init__(self) -> None:
        self.outside: dict[Stream, Any] = {}
        """Where it goes if there is no run."""
        self._routed: dict[Stream, Any] = {}
        self._lock = threading.Lock()
        self._log = RunLog(_log, worker_logs={}, is_of_run=is_of_run)

    def begin(self) -> None:
        self.outside = {stream: getattr(sys, stream.value) for stream in Stream}
        # Before: it has to know the handlers that write to these.
        self._log.begin()
        self._routed = {stream: RoutedStream(self._current, stream) for stream in Stream}
        for stream, routed in self._routed.items():
            setattr(sys, stream.value, routed)
        redirections.begin()

    def end(self) -> None:
        redirections.end()
        for stream, outside in self.outside.items():
            setattr(sys, stream.value, outside)
        self._log.end()

    def put_back(self, moment: str) -> None:
        """Undo what a job has assigned to ``sys.stdout`` or ``sys.stderr``, at the start or end of a run.

        It may be another job than this run's, and still be going on.
        """
        for stream, routed in self._routed.items():
            with self._lock:
                found = getattr(sys, stream.value)
                setattr(sys, stream.value, routed)
            if found is not routed:
                logger.warning(_REPLACED, moment, _this_run(), stream.value, type(found).__name__)

    def note_handlers(self) -> None:
        """Handlers may have been added, by what was imported or by a job: do not let them write elsewhere."""
        self._log.note_handlers()

    def _current(self, stream: Stream) -> Any:
        if (target := redirections.current(stream)) is not None:
            return target
        streams = _streams.get()
        return self.outside[stream] if streams is None else streams[stream]


@contextmanager
def to_run(streams: Mapping[Stream, RunStream]) -> Iterator[None]:
    """In the block, what this thread writes goes to these."""
    token = _streams.set(streams)
    try:
        with redirections.none():
            yield
    finally:
        _streams.reset(token)


def is_of_run() -> bool:
    """Whether the calling code is that of a job."""
    return _streams.get() is not None


def _log(stream: Stream, text: str) -> None:
    if (streams := _streams.get()) is not None:
        streams[stream].write(text)


def _this_run() -> str:
    run = running.current()
    return f"run {run.run_id} of {run.job}" if run else "a run"
