"""Captures what a job writes: with ``print``, logging and warnings, and through descriptors 1 and 2.

In a worker's child, everything goes to the run. In a worker that executes runs in threads, what Python code
writes does, depending on whose thread it is (``routing``); the descriptors belong to the whole process. On
the command line, what Python code writes is recorded and passed on; the descriptors are left alone, since the
job's output has to be the same as without the service, on a terminal as in a file. While a captured job calls
another one, everything is written by the other one. In any other process, such as a web server, other threads
write as well, so only the command's own streams are recorded.
"""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from types import TracebackType
from typing import IO, Any, Self, TextIO, cast

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.models import Run, Stream
from jobledger.runs.output import routing, salvage
from jobledger.runs.output.descriptors import Descriptors
from jobledger.runs.output.recorder import LOCK, OutputRecorder
from jobledger.runs.output.run_log import RunLog
from jobledger.runs.output.run_memory import RunMemory
from jobledger.runs.output.streams import RoutedStream, RunStream, Tee, Utf8Source
from jobledger.runs.processes.resources import Usage

logger = line_logger(__name__)


class Capture:
    """Records only what is written to the streams from ``stream_for``.

    A context manager: the output is captured until ``end``, and must be saved before the context is left.
    """

    is_process_wide = False
    """Whether the process executes nothing but the run, so that whatever it logs belongs to it."""

    def __init__(self, recorder: OutputRecorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    restores_loggers = False
    """Whether ``restore_loggers`` does."""

    def restore_loggers(self) -> None:
        """The job has finished: configure all loggers as they were before it."""

    def settle(self) -> None:
        """The job has finished, but maybe not what it has started: record what is still buffered."""

    def end(self) -> None:
        """Capture no more. To be called by the process that began."""

    def note_usage(self, usage: Usage) -> None:
        """Keep it for whoever records the run if this process dies."""

    def hand_over(self, outcome: bytes) -> bool:
        """Leave the outcome to whoever records the run once this process has ended; False if nobody does."""
        return False

    def tick(self, function: Callable[[], float | None]) -> bool:
        """Have the thread that reads call it soon, and again as many seconds later as it returns, if any.

        It must not take long. Returns False if there is no such thread.
        """
        return False

    @contextmanager
    def job_running(self) -> Iterator[None]:
        """Execute the job's own code in the block: if the process exits there, the job has made it do so."""
        yield

    def stream_for(self, stream: Stream, replaced: Any = None) -> IO[str]:
        """A stream that records; on the command line it passes on to the one that it replaces."""
        if isinstance(replaced, RunStream):
            return RunStream(self.recorder, stream)
        # What is below the stream of a captured job: what a job that it calls writes is not its own output.
        base = replaced.passed_on if isinstance(replaced, Tee) else replaced
        return cast("IO[str]", Tee(self.recorder, stream, base))


class _ProcessCapture(Capture):
    """Replaces ``sys.stdout`` and ``sys.stderr``."""

    is_process_wide = True

    def __init__(self, recorder: OutputRecorder) -> None:
        super().__init__(recorder)
        self.pid = os.getpid()
        self.streams: dict[Stream, IO[str]] = {}
        self.replaced: tuple[TextIO, TextIO] = sys.stdout, sys.stderr

    def __enter__(self) -> Self:
        self.replaced = sys.stdout, sys.stderr
        for stream, replaced in zip(Stream, self.replaced, strict=True):
            self.streams[stream] = self._replacement(stream, replaced)
        sys.stdout, sys.stderr = (cast("TextIO", self.streams[stream]) for stream in Stream)
        _captures.append(self)
        return self

    def settle(self) -> None:
        for stream in sys.stdout, sys.stderr:
            # The job may have replaced it by anything.
            with suppress(Exception):
                stream.flush()

    def end(self) -> None:
        self.settle()
        inner = _captures[_captures.index(self) + 1 :]
        if inner:
            # Called by another thread, and not finished yet.
            inner[0].replaced = self.replaced
        else:
            sys.stdout, sys.stderr = self.replaced
        _captures.remove(self)
        for own in self.streams.values():
            if isinstance(own, RunStream):
                own.end()

    def stream_for(self, stream: Stream, replaced: Any = None) -> IO[str]:
        if replaced is None or replaced in self.replaced:
            return self.streams[stream]
        return self._replacement(stream, replaced)

    def _replacement(self, stream: Stream, replaced: Any) -> IO[str]:
        return super().stream_for(stream, replaced)


# The outermost first.
_captures: list[_ProcessCapture] = []


class _CommandLineCapture(_ProcessCapture):
    """Records and passes on."""

    def __enter__(self) -> Self:
        self._log = RunLog(_log)
        self._log.begin()
        return super().__enter__()

    def end(self) -> None:
        super().end()
        self._log.end()


class _WorkerCapture(_ProcessCapture):
    """Everything that the process writes goes to the run."""

    restores_loggers = True

    def __init__(self, run: Run) -> None:
        self._run = run
        self._memory, recorder = _shared_recorder()
        super().__init__(recorder)
        self._pipes = pipes = {stream: Utf8Source(recorder, stream) for stream in Stream}
        # Without a reference to this object.
        self._descriptors = Descriptors(lambda stream, data: pipes[stream].write(data), self._memory)

    def __enter__(self) -> Self:
        _flush_originals()
        self._begin_reading()
        self._log = RunLog(_log, _to_open(self._descriptors.originals))
        self._log.begin()
        # Also, a warning that another run has given is given again.
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        if os.getpid() == self.pid:  # not in a process that the job has forked
            salvage.release()
            self.recorder.discard()
            if self._memory is not None:
                self._memory.close()

    def restore_loggers(self) -> None:
        self._log.restore_loggers()

    def settle(self) -> None:
        super().settle()
        self._descriptors.settle()

    def end(self) -> None:
        # In the order of `__enter__`, reversed; whatever the job has done, each of them is tried.
        with ExitStack() as steps:
            for source in self._pipes.values():
                steps.callback(source.end)
            steps.callback(self._descriptors.end)
            steps.callback(_flush_originals)
            steps.callback(self._log.end)
            steps.push(self._warnings)
            super().end()

    def _replacement(self, stream: Stream, replaced: Any) -> IO[str]:
        return RunStream(self.recorder, stream)

    def take_in(self) -> None:
        """Record what has come through the descriptors."""
        self._descriptors.take_in()

    def direct_to(self, recorder: OutputRecorder) -> None:
        """From now on, record what comes through the descriptors by this recorder."""
        with LOCK:
            self.take_in()
            for source in self._pipes.values():
                source.recorder = recorder

    def _begin_reading(self) -> None:
        try:
            self._descriptors.begin()
        except (OSError, RuntimeError) as error:
            logger.warning("What the subprocesses of run %s write is not recorded: %s", self._run.pk, error)
        self.recorder.before_write = self.take_in
        if self._memory is not None:
            salvage.keep(self._run.pk, [self._memory.descriptor, *self._descriptors.pipes.values()])

    def note_usage(self, usage: Usage) -> None:
        if self._memory is not None:
            self._memory.usage = usage

    def tick(self, function: Callable[[], float | None]) -> bool:
        self._descriptors.tick = function
        return self._descriptors.is_open

    def hand_over(self, outcome: bytes) -> bool:
        if self._memory is None or not salvage.is_kept(self._run.pk):
            return False
        self._memory.outcome = outcome
        return True

    @contextmanager
    def job_running(self) -> Iterator[None]:
        self._note_job(is_running=True)
        try:
            yield
        finally:
            self._note_job(is_running=False)

    def _note_job(self, *, is_running: bool) -> None:
        # Not in a process that the job has forked.
        if self._memory is not None and os.getpid() == self.pid:
            self._memory.is_job_running = is_running


class _NestedCapture(_ProcessCapture):
    """The output of a job that a captured job calls."""

    def __init__(self, recorder: OutputRecorder, outermost: _ProcessCapture) -> None:
        super().__init__(recorder)
        self._outermost = outermost

    def __enter__(self) -> Self:
        if isinstance(self._outermost, _WorkerCapture):
            self._outermost.direct_to(self.recorder)
            self.recorder.before_write = self._outermost.take_in
        return super().__enter__()

    def settle(self) -> None:
        # Both write to the same descriptors.
        self._outermost.settle()

    def end(self) -> None:
        super().end()
        if isinstance(self._outermost, _WorkerCapture):
            self._outermost.direct_to(_captures[-1].recorder)


class _ThreadCapture(Capture):
    """What a job writes in its own thread and in those that it starts, in a process that has more jobs."""

    def __init__(self, recorder: OutputRecorder) -> None:
        super().__init__(recorder)
        self._streams = {stream: RunStream(recorder, stream) for stream in Stream}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        _routings[-1].put_back("start")
        _routings[-1].note_handlers()
        self._stack.enter_context(routing.to_run(self._streams))
        return self

    def end(self) -> None:
        _routings[-1].put_back("end")
        self._stack.close()
        for own in self._streams.values():
            own.end()

    def stream_for(self, stream: Stream, replaced: Any = None) -> IO[str]:
        if replaced is None or isinstance(replaced, RoutedStream):
            return self._streams[stream]
        return super().stream_for(stream, replaced)


def share() -> None:
    """From now on, this process executes runs in threads."""
    _routings.append(routing.Routing())
    _routings[-1].begin()


def unshare() -> None:
    """Undo ``share``."""
    _routings.pop().end()


_routings: list[routing.Routing] = []


def of_worker(run: Run) -> Capture:
    """Captures a run that this process executes for a worker."""
    if _captures or threading.current_thread() is not threading.main_thread() or sys.platform != "linux":
        return of_call(OutputRecorder(settings.RUN_OUTPUT_LIMIT_BYTES))
    return _WorkerCapture(run)


def of_command_line(recorder: OutputRecorder) -> Capture:
    """Captures a job whose process was started for it."""
    return _CommandLineCapture(recorder) if not _captures else of_call(recorder)


def of_call(recorder: OutputRecorder) -> Capture:
    """Captures a job that is called by other code, which may be a job."""
    if _routings:
        return _ThreadCapture(recorder)
    outermost = _captures[0] if _captures and _captures[0].pid == os.getpid() else None
    return _NestedCapture(recorder, outermost) if outermost else Capture(recorder)


def _log(stream: Stream, text: str) -> None:
    """Record what was logged as if it were written to the stream, also in a process forked by the job."""
    if not _captures:  # by another thread, while the capture begins or ends
        return
    capture = _captures[-1]
    target = capture.streams[stream]
    if isinstance(target, RunStream):
        target.write(text)
    else:
        # Its handler passes it on.
        capture.recorder.write(stream, text)


def _shared_recorder() -> tuple[RunMemory | None, OutputRecorder]:
    """A recorder in memory that other processes can get at, if possible."""
    limit_bytes = settings.RUN_OUTPUT_LIMIT_BYTES
    try:
        memory = RunMemory.create(limit_bytes)
        recorder = OutputRecorder(limit_bytes, memory.output())
    except OSError as error:
        logger.warning("The output of a run is not shared: %s", error)
        return None, OutputRecorder(limit_bytes)
    # What it writes may not have been read when its process dies.
    recorder.publish()
    return memory, recorder


def _to_open(descriptors: Mapping[Stream, int]) -> dict[Stream, Callable[[], TextIO]]:
    """What opens each of them, when it is first needed."""
    how: dict[str, Any] = {"mode": "w", "encoding": "utf-8", "errors": "backslashreplace", "closefd": False}
    return {stream: cache(partial(open, descriptor, **how)) for stream, descriptor in descriptors.items()}


def _flush_originals() -> None:
    """What is still buffered was written by somebody else than what follows."""
    for stream in sys.__stdout__, sys.__stderr__:
        with suppress(Exception):
            stream.flush()  # type: ignore[union-attr]  # whatever it is
