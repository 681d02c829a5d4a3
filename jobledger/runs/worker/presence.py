"""Beats and workers sign in the database, so that the admin sees from anywhere which of them work.

A beat signs in its tick, a worker in a thread of its own as long as its heartbeat goes out to the
broker: a database that hangs must not hold up the worker's main process.
"""

import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from celery import current_app
from celery.signals import heartbeat_sent, worker_ready, worker_shutdown
from django.conf import settings
from django.db import Error
from django.db.models import QuerySet
from django.utils import timezone

from jobledger import clock
from jobledger.escapes import line_logger
from jobledger.models import ProcessKind, ServiceProcess
from jobledger.runs.dispatch import IDENTITY
from jobledger.runs.execution.forks import between_forks, close_connections
from jobledger.runs.worker.code_version import code_version

logger = line_logger(__name__)

SIGN_EVERY = timedelta(seconds=10)
ABSENT_AFTER = timedelta(seconds=35)
"""Three signatures and a little are missing."""
FORGOTTEN_AFTER = timedelta(days=1)


def is_present(kind: ProcessKind, now: datetime, *, version: str) -> bool:
    """Whether a process of this kind that runs this version of the code works."""
    signed = ServiceProcess.objects.filter(kind=kind, version=version)
    return signed.filter(seen_at__gte=now - ABSENT_AFTER).exists()


class Presence:
    """One process' signature."""

    def __init__(
        self,
        kind: ProcessKind,
        name: str,
        queues: Callable[[], Collection[str]] = lambda: (),
        capacity: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Nothing is written before the first ``sign``, which asks what a worker reads and runs by then."""
        self._kind, self._name, self._queues, self._capacity = kind, name, queues, capacity
        self._version, self._identity = code_version(), IDENTITY
        self._sign_at: datetime | None = None
        self._is_clock_off = False

    def sign(self, now: datetime) -> None:
        """Sign, if the last signature is a while ago. Raises what the database raises.

        ``now`` is the database's time, as it has just been read.
        """
        if self._sign_at is not None and self._sign_at - SIGN_EVERY <= now < self._sign_at:
            return
        state = {"seen_at": now, "clock_offset": self._clock_offset(now), **self._takes()}
        if self._sign_at is None or not self._signed().update(**state):
            self._begin(now, state)
        self._sign_at = now + SIGN_EVERY

    def leave(self) -> None:
        """This process ends as it should: nobody need miss it."""
        self._signed().delete()

    def _signed(self) -> QuerySet[ServiceProcess]:
        return ServiceProcess.objects.filter(kind=self._kind, name=self._name, identity=self._identity)

    def _begin(self, now: datetime, state: dict[str, Any]) -> None:
        ServiceProcess.objects.filter(seen_at__lt=now - FORGOTTEN_AFTER).delete()
        same_name = ServiceProcess.objects.filter(kind=self._kind, name=self._name)
        same_name.filter(seen_at__lt=now - ABSENT_AFTER).delete()
        values = {"started_at": now, "version": self._version, **state}
        ServiceProcess.objects.update_or_create(
            kind=self._kind, name=self._name, identity=self._identity, defaults=values
        )

    def _clock_offset(self, now: datetime) -> timedelta:
        """How far this process's clock is ahead; logged when that changes from tolerable to not, and back."""
        offset = timezone.now() - now
        is_off = abs(offset) > clock.MAX_OFFSET
        if is_off and not self._is_clock_off:
            text = "The clock of this machine and the database's differ by %.0f s; synchronize them"
            logger.warning(text, abs(offset.total_seconds()))
        elif self._is_clock_off and not is_off:
            logger.info("The clock of this machine agrees with the database's again")
        self._is_clock_off = is_off
        return offset

    def _takes(self) -> dict[str, Any]:
        return {"queues": sorted(self._queues()), "capacity": self._capacity()}


class _Worker:
    """The thread in which this worker's main process signs."""

    def __init__(self) -> None:
        self._lived_at = 0.0
        self._is_over = threading.Event()
        self._presence: Presence | None = None

    def begin(self, sender: Any = None, **kwargs: object) -> None:
        name = str(getattr(sender, "hostname", sender))
        asked = partial(_queues_of, sender), partial(_capacity_of, sender)
        self._presence = Presence(ProcessKind.WORKER, name, *asked)
        self.lives()
        threading.Thread(target=self._sign_on, args=[self._presence], name="presence", daemon=True).start()

    def lives(self, **kwargs: object) -> None:
        self._lived_at = time.monotonic()

    def end(self, **kwargs: object) -> None:
        self._is_over.set()
        if self._presence is not None:
            _quietly(self._presence.leave)

    def _sign_on(self, presence: Presence) -> None:
        while not self._is_over.is_set():
            if time.monotonic() - self._lived_at < ABSENT_AFTER.total_seconds():
                _quietly(lambda: presence.sign(clock.now()))
            self._is_over.wait(SIGN_EVERY.total_seconds())


def _queues_of(consumer: Any) -> list[str]:
    """What it reads now: a worker can be told to read another queue, or to leave one."""
    reader = getattr(consumer, "task_consumer", None)
    # None while the broker is away.
    return [queue.name for queue in reader.queues] if reader else list(current_app.amqp.queues.consume_from)


def _capacity_of(consumer: Any) -> int | None:
    """How many processes its pool has now: a worker can be told to have fewer, or none."""
    count = getattr(getattr(consumer, "pool", None), "num_processes", None)
    return count if isinstance(count, int) else None


def watch_worker() -> None:
    """Sign for a worker from the moment it is ready until it ends, and touch its file at each heartbeat."""
    worker = _Worker()
    # Not weakly: nothing else holds these methods.
    worker_ready.connect(worker.begin, weak=False, dispatch_uid="jobledger.presence.begin")
    heartbeat_sent.connect(worker.lives, weak=False, dispatch_uid="jobledger.presence.lives")
    heartbeat_sent.connect(_worker_lives, dispatch_uid="jobledger.presence.touch")
    worker_shutdown.connect(worker.end, weak=False, dispatch_uid="jobledger.presence.end")


def _quietly(sign: Callable[[], None]) -> None:
    try:
        with between_forks():
            sign()
    except Error as error:
        # Its missing signature says it as well, and the runs' own heartbeats say it loudly.
        logger.debug("Not signed: %s", error)
    finally:
        close_connections()


def touch_health_file(process: str) -> None:
    """Say that this kind of process (``beat``, ``worker``) has just worked.

    A folder that cannot be written is logged: the process works all the same, and its health
    check fails, as it should.
    """
    folder = settings.HEALTH_DIR
    if not folder:
        return
    try:
        (Path(folder) / process).touch()
    except OSError as error:
        logger.warning("The sign of life of %s cannot be written: %s", process, error)


def _worker_lives(**kwargs: object) -> None:
    touch_health_file("worker")
