"""Beats and workers report to the database, so that the admin can tell which of them are running anywhere.

Beats report in their tick. Workers report in a thread of their own, as long as they are connected to their
broker: an unresponsive database must not hold up a worker's main process.
"""

import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from celery import current_app
from celery.signals import worker_ready, worker_shutdown
from celery.worker import state
from django.db import Error
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from jobledger import clock
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.models import ProcessKind, ServiceProcess
from jobledger.runs.identity import IDENTITY
from jobledger.runs.processes.forks import between_forks, close_connections
from jobledger.runs.service.code_version import code_version
from jobledger.runs.service.pulse import message_taken, pulse

logger = line_logger(__name__)

REPORT_INTERVAL = timedelta(seconds=10)
ABSENT_AFTER = timedelta(seconds=35)
"""Slightly more than three missed reports."""
DELETED_AFTER = timedelta(days=1)


def present(kind: ProcessKind, now: datetime) -> QuerySet[ServiceProcess]:
    """The processes of this kind that are running, as far as is known."""
    return ServiceProcess.objects.filter(kind=kind, seen_at__gte=now - ABSENT_AFTER, ended_at=None)


class Presence:
    """Reports that this process is running."""

    def __init__(
        self,
        kind: ProcessKind,
        name: str,
        queues: Callable[[], Collection[str]] = lambda: (),
        capacity: Callable[[], int | None] = lambda: None,
        busy: Callable[[], int | None] = lambda: None,
        message_age: Callable[[], timedelta | None] = lambda: None,
    ) -> None:
        """All of these are called at each report, because they change; ``message_age`` is the last one's."""
        self._kind, self._name, self._queues, self._capacity = kind, name, queues, capacity
        self._busy, self._message_age = busy, message_age
        self._version, self._identity = code_version(), IDENTITY
        self._report_at: datetime | None = None
        self._is_clock_off = False
        self._message_at: datetime | None = None
        """When the previous process of this name last took a message."""

    def report(self, now: datetime) -> None:
        """Report, if it is time to. Raises database errors.

        ``now`` is the current time of the database.
        """
        if self._report_at is not None and self._report_at - REPORT_INTERVAL <= now < self._report_at:
            return
        state = {"seen_at": now, "clock_offset": self._clock_offset(now), **self._load(now)}
        if self._report_at is None or not self._row().update(**state):
            self._create_row(now, state)
        self._report_at = now + REPORT_INTERVAL

    def leave(self) -> None:
        """Report that this process shuts down in an orderly way."""
        now = clock.now()
        self._row().update(ended_at=now, seen_at=now)

    def _row(self) -> QuerySet[ServiceProcess]:
        return ServiceProcess.objects.filter(kind=self._kind, name=self._name, identity=self._identity)

    def _create_row(self, now: datetime, state: dict[str, Any]) -> None:
        ServiceProcess.objects.filter(seen_at__lt=now - DELETED_AFTER).delete()
        same_name = ServiceProcess.objects.filter(kind=self._kind, name=self._name)
        gone = same_name.filter(Q(seen_at__lt=now - ABSENT_AFTER) | Q(ended_at__isnull=False))
        self._message_at = gone.aggregate(at=Max("message_at"))["at"]
        gone.delete()
        state["message_at"] = state["message_at"] or self._message_at
        values = {"started_at": now, "version": self._version, **state}
        ServiceProcess.objects.update_or_create(
            kind=self._kind, name=self._name, identity=self._identity, defaults=values
        )

    def _clock_offset(self, now: datetime) -> timedelta:
        """How far this process's clock is ahead; logs when that starts and stops exceeding the limit."""
        offset = timezone.now() - now
        is_off = abs(offset) > clock.MAX_OFFSET
        if is_off and not self._is_clock_off:
            text = "The clock of this machine and the database's differ by %.0f s; synchronize them"
            logger.warning(text, abs(offset.total_seconds()))
        elif self._is_clock_off and not is_off:
            logger.info("The clock of this machine agrees with the database's again")
        self._is_clock_off = is_off
        return offset

    def _load(self, now: datetime) -> dict[str, Any]:
        age = self._message_age()
        return {
            "queues": sorted(self._queues()),
            "capacity": self._capacity(),
            "busy": self._busy(),
            "message_at": self._message_at if age is None else now - age,
        }


class _Worker:
    """The thread in which this worker's main process reports."""

    def __init__(self) -> None:
        self._alive_at = 0.0
        self._message_at: float | None = None
        self._has_ended = threading.Event()
        self._presence: Presence | None = None

    def begin(self, sender: Any = None, **kwargs: object) -> None:
        name = str(getattr(sender, "hostname", sender))
        asked = partial(_queues_of, sender), partial(_capacity_of, sender), _busy, self._message_age
        self._presence = Presence(ProcessKind.WORKER, name, *asked)
        self.note_alive()
        threading.Thread(
            target=self._report_regularly, args=[self._presence], name="presence", daemon=True
        ).start()

    def note_alive(self, **kwargs: object) -> None:
        self._alive_at = time.monotonic()

    def note_message(self, **kwargs: object) -> None:
        self._message_at = time.monotonic()

    def _message_age(self) -> timedelta | None:
        at = self._message_at
        return None if at is None else timedelta(seconds=time.monotonic() - at)

    def end(self, **kwargs: object) -> None:
        self._has_ended.set()
        if self._presence is not None:
            _try(self._presence.leave)

    def _report_regularly(self, presence: Presence) -> None:
        while not self._has_ended.is_set():
            if time.monotonic() - self._alive_at < ABSENT_AFTER.total_seconds():
                _try(lambda: presence.report(clock.now()))
            self._has_ended.wait(REPORT_INTERVAL.total_seconds())


def _queues_of(consumer: Any) -> list[str]:
    """The queues that the worker is reading now, which can be changed by remote control."""
    reader = getattr(consumer, "task_consumer", None)
    # None while there is no connection to the broker.
    return [queue.name for queue in reader.queues] if reader else list(current_app.amqp.queues.consume_from)


def _capacity_of(consumer: Any) -> int | None:
    """How many processes the worker's pool has now, which can be changed by remote control."""
    count = getattr(getattr(consumer, "pool", None), "num_processes", None)
    return count if isinstance(count, int) else None


def _busy() -> int:
    """How many tasks this worker is executing, of whatever kind."""
    return len(state.active_requests)


def watch_worker() -> None:
    """Report from when this worker is ready until it ends, and touch its health file at each pulse."""
    worker = _Worker()
    # Not weakly: nothing else holds a reference to these methods.
    worker_ready.connect(worker.begin, weak=False, dispatch_uid="jobledger.presence.begin")
    pulse.connect(worker.note_alive, weak=False, dispatch_uid="jobledger.presence.lives")
    message_taken.connect(worker.note_message, weak=False, dispatch_uid="jobledger.presence.message")
    pulse.connect(_touch_worker_file, dispatch_uid="jobledger.presence.touch")
    worker_shutdown.connect(worker.end, weak=False, dispatch_uid="jobledger.presence.end")


def _try(action: Callable[[], None]) -> None:
    try:
        with between_forks():
            action()
    except Error as error:
        # Missing reports are noticed anyway, and the runs' heartbeats fail visibly.
        logger.debug("Could not report to the database: %s", error)
    finally:
        close_connections()


def touch_health_file(process: str) -> None:
    """Record that this kind of process (``beat``, ``worker``) is alive.

    If the directory is not writable, this is logged; the process continues, and its health check fails, as it
    should.
    """
    directory = settings.HEALTH_DIR
    if not directory:
        return
    try:
        _health_file(str(directory), process).touch()
    except OSError as error:
        logger.warning("Cannot write the health file of %s: %s", process, error)


@lru_cache(maxsize=4)
def _health_file(directory: str, process: str) -> Path:
    return Path(directory) / process


def _touch_worker_file(**kwargs: object) -> None:
    touch_health_file("worker")
