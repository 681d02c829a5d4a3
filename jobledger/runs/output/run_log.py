"""What a job logs is on its run; what the service logs is not.

In a worker, the handlers that write to stdout or stderr, and those of the worker's own log, get no records
from a job: instead these are recorded, once each, in the handler's format, unless that is for a log of many
runs. So are records for which there is
no such handler. On the command line, handlers also get the records, as they would without recording. Handlers
that write elsewhere, such as to files, are left alone.

Afterwards, logging is configured as before, whatever the job did to it: ``logging.basicConfig``, more
handlers, other levels.
"""

import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from logging.handlers import HTTPHandler, SMTPHandler, SocketHandler, SysLogHandler
from typing import Any, TextIO, TypeGuard

from celery.utils.log import ColorFormatter, LoggingProxy
from django.utils.log import AdminEmailHandler

from jobledger.logs.formatters import is_of_worker
from jobledger.logs.masking import masked
from jobledger.logs.running import run_of
from jobledger.models import Stream
from jobledger.runs.output import loggers
from jobledger.runs.output.streams import DESCRIPTORS, RoutedStream, RunStream, Tee

SERVICES = ("jobledger", "opentelemetry")
"""Also OpenTelemetry's SDK, which exports spans in threads of its own while a job runs."""

_STREAMS = {descriptor: stream for stream, descriptor in DESCRIPTORS.items()}
_DEVICES = {f"/dev/{stream}": stream for stream in Stream}
# They do not write to a stream of the process. Of others, such as Rich's, this is not known.
_ELSEWHERE = (
    logging.FileHandler,
    logging.NullHandler,
    logging.StreamHandler,
    SocketHandler,
    SysLogHandler,
    SMTPHandler,
    HTTPHandler,
    AdminEmailHandler,
)
_RECORDING = (RunStream, Tee, RoutedStream)


class _Here(threading.local):
    """The state of a thread."""

    is_service = False
    """Whether the thread is the service's, at the moment."""
    recorded: "weakref.ref[logging.LogRecord] | None" = None
    """The last record that is on the run."""


_here = _Here()


class _RunFormatter(logging.Formatter):
    """For the log of one run. Celery's own format names neither the logger nor, for most, the level alone."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record), run_of(record))


FORMATTER = _RunFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@contextmanager
def by_service() -> Iterator[None]:
    """Nothing that this thread logs during the block belongs to a run."""
    before, _here.is_service = _here.is_service, True
    try:
        yield
    finally:
        _here.is_service = before


class RunLog:
    """Records what is logged from ``begin`` to ``end``."""

    def __init__(
        self,
        write: Callable[[Stream, str], None],
        worker_logs: Mapping[Stream, Callable[[], TextIO]] | None = None,
        is_of_run: Callable[[], bool] = lambda: True,
    ) -> None:
        """``worker_logs`` open the worker's own stdout and stderr; None on the command line.

        Where only some threads execute runs, ``is_of_run`` tells whether the calling one does.
        """
        self._write = write
        self.is_of_run = is_of_run
        self._worker_logs = worker_logs
        self._gates: list[_Gate] = []
        self._last = _LastHandler(self)
        self._are_restored = False
        self._known = set[int]()
        self._gated = set[int]()
        self._added: dict[int, tuple[logging.Handler, _Gate | None]] = {}
        """The handlers that were added since, as long as they are there, by their ids."""
        self._lock = threading.Lock()

    @property
    def passes_on(self) -> bool:
        """Whether the handlers get the job's records, too."""
        return self._worker_logs is None

    def begin(self) -> None:
        self._before = loggers.configurations()
        self._disabled_level = logging.root.manager.disable
        handlers = {id(each): each for each in self._before.handlers if type(each) is not logging.NullHandler}
        self._gates = [gate for handler in handlers.values() if (gate := self._gate_for(handler))]
        self._gated = {gate.open() for gate in self._gates}
        self._known = {*map(id, self._before.handlers), id(self._last)}
        self._during = self._before if self.passes_on else self._before.add_last(self._last)

    def restore_loggers(self) -> None:
        """The job has finished: undo what it has done to the loggers. Its records are still recorded."""
        self._during.restore()
        self._are_restored = True

    def note_handlers(self) -> None:
        """Those that were added since: they get no more of the job's records than the others."""
        present = {id(each): each for logger in loggers.all_loggers() for each in logger.handlers[:]}
        with self._lock:
            added = {key: found for key, found in self._added.items() if key in present}
            for key, handler in present.items():
                if key not in self._known and key not in added:
                    added[key] = handler, (gate := self._gate_for(handler))
                    if gate is not None:
                        gate.open()
            self._added = added

    def end(self) -> None:
        for gate in (*self._gates, *(gate for _, gate in self._added.values())):
            if gate is not None:
                gate.close()
        if not self.passes_on:
            self._before.remove_last(self._last)
        if not self._are_restored:
            self._before.restore()
        logging.root.manager.disable = self._disabled_level
        # Configured by modules that were imported for the first time.
        for logger in self._before.added_since:
            for handler in logger.handlers:
                _reconnect(handler)
        # Another thread may be about to log: these lead here, but not back, which would take the garbage
        # collector to find.
        self._gates, self._added, self._during = [], {}, self._before
        del self._last

    def record(
        self,
        record: logging.LogRecord,
        handler: logging.Handler,
        formatter: logging.Formatter,
        stream: Stream,
    ) -> None:
        """Record it as this handler would."""
        _here.recorded = weakref.ref(record)
        try:
            self._write(stream, formatter.format(record) + getattr(handler, "terminator", "\n"))
        except Exception:  # noqa: BLE001 - as in every handler of the standard library
            handler.handleError(record)

    def is_recorded(self, record: logging.LogRecord) -> bool:
        """Whether it is on the run already, or will be, because the job has a handler of its own for it."""
        if _here.recorded is not None and _here.recorded() is record:
            return True
        return any(
            record.levelno >= handler.level and isinstance(getattr(handler, "stream", None), _RECORDING)
            for handler in _handlers_of(record.name)
            if id(handler) not in self._known and id(handler) not in self._added
        )

    def has_gate(self, record: logging.LogRecord) -> bool:
        """Whether there is a handler for it that would write to a stream, if its filters let it."""
        return any(
            id(handler) in self._gated or self._added.get(id(handler), (None, None))[1] is not None
            for handler in _handlers_of(record.name)
        )

    def _gate_for(self, handler: logging.Handler) -> "_Gate | None":
        stream = _stream_of(handler)
        if stream is None and (self.passes_on or isinstance(handler, _ELSEWHERE)):
            return None
        worker_log = self._worker_logs.get(stream) if self._worker_logs and stream else None
        return _Gate(handler, stream, self, worker_log)


class _Gate:
    """A filter that decides which records its handler gets, and records the job's."""

    def __init__(
        self,
        handler: logging.Handler,
        stream: Stream | None,
        log: RunLog,
        worker_log: Callable[[], TextIO] | None,
    ) -> None:
        """Without a stream, it is not known where the handler writes: what it gets counts as recorded."""
        self._handler, self._stream, self._log, self._worker_log = handler, stream, log, worker_log
        self._before: Any = None
        """Where the handler wrote before; None if it has always done so, or does so again."""

    def open(self) -> int:
        """Returns the handler's id."""
        self._handler.addFilter(self)
        if self._worker_log is not None and _is_stream_handler(self._handler):
            self._before = self._handler.stream
        return id(self._handler)

    def close(self) -> None:
        self._handler.removeFilter(self)
        self._write_to(self._before, is_last=True)

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_of_service(record) or not self._log.is_of_run():
            # Not earlier: in most runs, the service logs nothing.
            if self._before is not None and self._worker_log is not None:
                # A job may have closed all descriptors.
                with suppress(OSError):
                    self._write_to(self._worker_log())
            return True
        if self._log.is_recorded(record):
            return self._log.passes_on
        if self._stream is None:
            _here.recorded = weakref.ref(record)
            return True
        self._log.record(record, self._handler, _formatter_of(self._handler), self._stream)
        return self._log.passes_on

    def _write_to(self, stream: Any, *, is_last: bool = False) -> None:
        """Does nothing after the last one: another thread may be about to log when the run ends."""
        self._handler.acquire()
        try:
            if self._before is not None and _is_stream_handler(self._handler):
                self._handler.setStream(stream)
                self._before = None if is_last else self._before
        finally:
            self._handler.release()


class _LastHandler(logging.Handler):
    """Records what no other handler would write to a stream."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if not self._log.is_of_run():
            if (
                all(isinstance(each, _LastHandler) for each in _handlers_of(record.name))
                and logging.lastResort
            ):
                # As Python does when there are no handlers.
                logging.lastResort.handle(record)
        elif not (_is_of_service(record) or self._log.has_gate(record) or self._log.is_recorded(record)):
            self._log.record(record, self, FORMATTER, Stream.STDERR)


def _is_of_service(record: logging.LogRecord) -> bool:
    return _here.is_service or record.name.partition(".")[0] in SERVICES


def _formatter_of(handler: logging.Handler) -> logging.Formatter:
    """The handler's own, unless it is for a log of many runs, as Celery's is."""
    own = handler.formatter
    is_for_many = isinstance(own, ColorFormatter) or getattr(own, "is_for_many_runs", False)
    return FORMATTER if own is None or is_for_many else own


def _stream_of(handler: logging.Handler) -> Stream | None:
    """The stream of the process to which the handler writes, if any."""
    if isinstance(handler.formatter, ColorFormatter) or is_of_worker(handler.formatter):
        # The worker's log, which may be a file.
        return Stream.STDERR
    if isinstance(handler, logging.FileHandler):
        return _DEVICES.get(handler.baseFilename)
    if not isinstance(handler, logging.StreamHandler):
        return None
    if isinstance(handler.stream, LoggingProxy) or handler.stream is sys.stderr:
        return Stream.STDERR
    if handler.stream is sys.stdout:
        return Stream.STDOUT
    try:
        return _STREAMS.get(handler.stream.fileno())
    except Exception:  # noqa: BLE001 - any object with a method `write` can be a stream
        return None


def _is_stream_handler(handler: logging.Handler) -> TypeGuard["logging.StreamHandler[Any]"]:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def _reconnect(handler: logging.Handler) -> None:
    """Let a handler that writes to a stream of this run write to the process's own."""
    stream = getattr(handler, "stream", None)
    if isinstance(stream, RunStream) and isinstance(handler, logging.StreamHandler):
        own = sys.__stdout__ if stream.fileno() == DESCRIPTORS[Stream.STDOUT] else sys.__stderr__
        handler.setStream(own)


def _handlers_of(name: str) -> Iterator[logging.Handler]:
    """The handlers that get the records of the logger."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
