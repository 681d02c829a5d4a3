"""Each attempt of a run is a span. ``of_attempt`` begins it, and ``attempt_ended`` ends it with the outcome.

If the process of an attempt dies, its span dies with it. Whoever then records the end also makes a span for
the attempt, with its times. So there is one span for each attempt whose end is on record, and none for the
others.

Both spans have the same id, which follows from the run and the attempt. So what the job has exported before
it died, and later attempts, are below a span that is exported.
"""

import _thread
import copy
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.signals import worker_process_shutdown
from django.db import Error
from django.utils.module_loading import import_string

from jobledger import __version__
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.models import FAILURES, Run, Status
from jobledger.models.states import BY_MESSAGE
from jobledger.runs import reasons
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.output.run_log import by_service
from jobledger.runs.processes import shared_process
from jobledger.tracing import context

if TYPE_CHECKING:
    from jobledger.runs.outcome import Outcome

logger = line_logger(__name__)

FLUSH_SECONDS = 2.0
"""How long a process that ends waits until its spans were exported."""


@dataclass(kw_only=True)
class _Open:
    """The span of an attempt that this process executes."""

    span: Any
    pid: int
    ended_at: int | None = None
    """When its job has ended, in nanoseconds."""


_open: dict[tuple[UUID, int], _Open] = {}


def connect() -> None:
    """From now on, a worker's child exports its spans before it ends."""
    worker_process_shutdown.connect(_child_ends, dispatch_uid="jobledger.tracing.flush")


def set_up() -> None:
    """Have the project set up tracing. To be called before a run, since the SDK's thread is not the job's."""
    if settings.TRACING_SETUP:
        _set_up(settings.TRACING_SETUP)


@contextmanager
def of_attempt(run: Run) -> Iterator[None]:
    """Execute the run's job in the block, in a span if there is a tracer."""
    with ExitStack() as stack:
        opened = _begun(run)
        if opened is not None:
            stack.callback(_note_end, opened)
            stack.enter_context(
                _tracing().use_span(opened.span, record_exception=False, set_status_on_exception=False)
            )
        # The environment is that of all runs which share the process.
        kept_in = context.given if shared_process.is_shared() else context.variables_set
        stack.enter_context(kept_in(context.current() if opened else run.trace_context))
        yield


def attempt_ended(run: Run, outcome: "Outcome") -> None:
    """The end of an attempt is on record: end its span or, if it was another process's, make one."""
    try:
        opened = _open.pop((run.pk, run.attempt), None)
        if opened is not None and opened.pid == os.getpid():
            _end(opened, run, outcome)
        elif run.started_at is not None and (tracer := _tracer()) is not None:
            _end(_Open(span=_start(tracer, run, run.started_at), pid=os.getpid()), run, outcome)
    except Exception as error:  # noqa: BLE001 - an SDK may raise anything, and the run has ended
        logger.warning("The end of run %s is not in its trace: %s", run.pk, error)


def forget(run: Run) -> None:
    """The end of the attempt was not recorded, or has been recorded by another process."""
    _open.pop((run.pk, run.attempt), None)


def flush(within_seconds: float = FLUSH_SECONDS) -> None:
    """Export the spans of this process, which is about to end. A collector that hangs is not waited for."""
    provider = _tracing().get_tracer_provider() if _tracing() else None
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return
    has_ended = _thread.allocate_lock()
    has_ended.acquire()

    def work() -> None:
        try:
            with by_service(), suppress(Exception):
                force_flush()
        finally:
            has_ended.release()

    # Not `threading`, whose own locks a thread that is interrupted may hold.
    with suppress(RuntimeError):
        _thread.start_new_thread(work, ())
        has_ended.acquire(timeout=within_seconds)


def _begun(run: Run) -> _Open | None:
    try:
        if (tracer := _tracer()) is None:
            return None
        span = _start(tracer, run, None)
        if span.is_recording():
            _open[run.pk, run.attempt] = opened = _Open(span=span, pid=os.getpid())
            _keep_context(run, span)
            return opened
    except Exception as error:  # noqa: BLE001 - an SDK may raise anything; the job does not depend on it
        logger.warning("Run %s is not traced: %s", run.pk, error)
    return None


def _start(tracer: Any, run: Run, started_at: datetime | None) -> Any:
    """Begin a span, now or at this time, below the span that is active here or else the caller's."""
    is_inside = not started_at and bool(context.active())
    caller = run.trace_context if started_at else context.current() or run.trace_context
    is_consumer = not is_inside and run.trigger in BY_MESSAGE
    kind, own_id = _tracing().SpanKind, context.span_id_of_attempt(run.pk, run.attempt)
    # Nobody has called it from a trace: the context is what the span that is lost has begun the trace with.
    is_root = not is_inside and context.span_id_of(caller) == own_id
    with_ids = _with_ids(tracer, own_id, context.trace_id_of(caller) if is_root else "")
    return with_ids.start_span(
        f"run {run.job}",
        context=None if is_inside else context.as_opentelemetry({} if is_root else caller),
        kind=kind.CONSUMER if is_consumer else kind.INTERNAL,
        attributes=_attributes(run),
        start_time=_nanoseconds(started_at) if started_at else None,
    )


def _with_ids(tracer: Any, span_id: str, trace_id: str) -> Any:
    """A tracer that gives a span this id and, if it begins a trace that has an id, the trace this one.

    That is a capability of OpenTelemetry's SDK. Tracers of others are returned as they are.
    """
    if (generator := getattr(tracer, "id_generator", None)) is None:
        return tracer
    tracer = copy.copy(tracer)
    tracer.id_generator = _ChosenIds(generator, span_id, trace_id)
    return tracer


class _ChosenIds:
    """Generates the ids of one span; in everything else, it is like the project's generator."""

    def __init__(self, generator: Any, span_id: str, trace_id: str) -> None:
        self._generator, self._span_id, self._trace_id = generator, span_id, trace_id

    def generate_span_id(self) -> int:
        return int(self._span_id, 16)

    def generate_trace_id(self) -> int:
        return int(self._trace_id, 16) if self._trace_id else int(self._generator.generate_trace_id())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)


def _attributes(run: Run) -> Mapping[str, str | int]:
    found: dict[str, str | int] = {
        "jobledger.job": run.job,
        "jobledger.run_id": str(run.pk),
        "jobledger.attempt": run.attempt,
        "jobledger.trigger": str(run.trigger),
        "jobledger.schedule": run.schedule_name,
        "jobledger.scheduled_for": run.scheduled_for.isoformat() if run.scheduled_for else "",
    }
    return {name: value for name, value in found.items() if value}


def _keep_context(run: Run, span: Any) -> None:
    """Let later attempts of a run that nobody has called from a trace be in the trace of its first one."""
    if run.trace_context:
        return
    with _tracing().use_span(span):
        run.trace_context = context.current()
    with suppress(Error), ledger_connection():
        running = Run.objects.filter(pk=run.pk, attempt=run.attempt).in_state(Status.RUNNING)
        running.update(trace_context=run.trace_context)


def _note_end(opened: _Open) -> None:
    opened.ended_at = time.time_ns()


def _end(opened: _Open, run: Run, outcome: "Outcome") -> None:
    span, status = opened.span, outcome.status
    span.set_attribute("jobledger.status", str(status))
    if outcome.exit_code is not None:
        span.set_attribute("process.exit.code", outcome.exit_code)
    if outcome.why.reason:
        span.set_attribute("jobledger.reason", str(outcome.why.reason))
    ended_at = opened.ended_at or (_nanoseconds(outcome.ended_at) if outcome.ended_at else time.time_ns())
    if status in FAILURES:
        _fail(span, outcome.of_run(run), outcome.traceback, ended_at)
    elif status is Status.SUCCEEDED:
        span.set_status(_tracing().StatusCode.OK)
    span.end(end_time=ended_at)


def _fail(span: Any, ended: Run, traceback: str, at: int) -> None:
    """As on the run's page, without secrets, and not from the exception itself."""
    facts = {
        "exception.type": reasons.error_type(ended),
        "exception.message": reasons.error_message(ended),
        "exception.stacktrace": reasons.without_secrets(ended, traceback),
    }
    span.add_event("exception", {name: value for name, value in facts.items() if value}, timestamp=at)
    span.set_status(_tracing().StatusCode.ERROR, reasons.explanation(ended) or str(ended.status))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000


def _tracing() -> Any:
    """The module of OpenTelemetry's API; None if nobody has imported it."""
    return sys.modules.get("opentelemetry.trace")


def _tracer() -> Any:
    """None without OpenTelemetry, or if it is not set up."""
    set_up()
    api = _tracing()
    # Redis' client imports the API, which without an SDK makes spans that nobody gets.
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return None
    return api.get_tracer("jobledger", __version__)


@cache
def _set_up(path: str) -> None:
    """In each process that has something to trace, or in its parent."""
    try:
        with by_service():
            import_string(path)()
    except Exception as error:  # noqa: BLE001 - it is the project's code
        hint = " Install django-jobledger[tracing]." if isinstance(error, ImportError) else ""
        logger.warning("Runs are not traced, because TRACING_SETUP (%s) has failed: %s.%s", path, error, hint)


def _child_ends(**kwargs: object) -> None:
    flush()
