"""Celery beat's loop. Beat keeps no state: each tick reads what is due from the database, and nothing else.

Any number of beats may run side by side. If one dies, nothing is lost: what it recorded is in the ledger, and
another beat publishes the rest. If the database is down, beat waits and then carries on. If the broker is
down, slots are still recorded, and their runs are published when it is back.
"""

import gc
import time
from datetime import datetime
from typing import Any

from celery import beat
from django.db import Error, close_old_connections
from django.utils import timezone

from jobledger import clock
from jobledger.escapes import line_logger
from jobledger.models import ProcessKind, Run
from jobledger.outages import is_outage
from jobledger.runs.dispatch import command_line_process
from jobledger.runs.execution.forks import release_cursors
from jobledger.runs.lease import rescue
from jobledger.runs.lease.rescue import Watch
from jobledger.runs.publishing import publisher
from jobledger.runs.worker.presence import Presence, touch_health_file
from jobledger.schedules import agenda, ledger
from jobledger.schedules.agenda import Agenda
from jobledger.schedules.reconciliation import Reconciliation

logger = line_logger(__name__)

MAX_SLEEP_SECONDS = 1.0
# Wait this long after a failed publish, so that a broker that hangs does not keep beat from recording slots.
BROKER_RETRY_SECONDS = 5.0
# Wait this long before another attempt at rows that are locked or could not be published.
RETRY_SECONDS = 0.2
# Python's default of 700 is fewer objects than a single run and its message allocate.
GC_THRESHOLD = 50_000


class _Dependency:
    """A service that beat needs and that may be unavailable. Logs changes only, not every tick."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_up = True

    def mark_up(self) -> None:
        if not self._is_up:
            logger.info("The %s is back", self._name)
        self._is_up = True

    def mark_down(self, error: Exception, message: str = "") -> None:
        if self._is_up:
            logger.error("%s: %s", message or f"Waiting for the {self._name}", error)
        self._is_up = False


class Scheduler(beat.Scheduler):
    """The scheduler that ``celery beat`` runs: records due slots, publishes runs, and notices edits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """``max_interval`` (``celery beat --max-interval``) limits the sleep between two ticks."""
        super().__init__(*args, **kwargs)
        self._max_sleep = min(float(self.max_interval or 0) or MAX_SLEEP_SECONDS, MAX_SLEEP_SECONDS)
        self._reconciliation = Reconciliation()
        self._publish_at = 0.0
        self._presence = Presence(ProcessKind.BEAT, command_line_process())
        self._database = _Dependency("database")
        self._broker = _Dependency("broker")
        self._watch: Watch | None = None

    def setup_schedule(self) -> None:
        """Tune garbage collection; there is no schedule to set up, since it is in the database."""
        # What is loaded by now is never freed. Thousands of runs at once trigger many collections, and
        # scanning it all every time would account for a tenth of the running time.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Do everything that is due; returns how many seconds to sleep."""
        try:
            close_old_connections()
            seconds = self._tick(clock.now())
        except Error as error:
            message = "" if is_outage(error) else "The database rejected a value written by beat"
            self._database.mark_down(error, message)
            release_cursors(error)
            close_old_connections()
            return self._max_sleep
        self._database.mark_up()
        touch_health_file("beat")
        return seconds

    @property
    def info(self) -> str:
        """A line for beat's banner."""
        return "    . schedules -> the database"

    def _tick(self, now: datetime) -> float:
        began = timezone.now()
        self._presence.report(now)
        self._watch = self._watch or Watch(now)
        todo = agenda.read()
        is_idle = todo.is_idle(now)
        if is_idle:
            self._watch.look(now, rescue.lease_duration())
            has_more = False
        else:
            has_more = self._work(now, self._watch)
        if self._reconciliation.advance(time.monotonic()) or not is_idle:
            todo = agenda.read()
        if has_more:
            return 0.0
        # Not asked from the database again.
        return self._seconds_to_sleep(todo, now, now + (timezone.now() - began))

    def _work(self, now: datetime, watch: Watch) -> bool:
        """Do what is due; returns whether there is more.

        Record before publishing: whatever happens to the broker, what is due is in the ledger.
        """
        recorded = ledger.record_due(now)
        ledger.expire(now)
        rescue.rescue(now, watch)
        published = self._publish(recorded.queued, now)
        ledger.update_run_counts([*recorded.queued, *recorded.not_started], now)
        return recorded.has_more or published == publisher.BATCH

    def _publish(self, runs: list[Run], now: datetime) -> int:
        """Publish the new runs, then all others whose time has come; returns how many of the latter."""
        if time.monotonic() < self._publish_at:
            return 0
        try:
            publisher.publish(runs)
            published = publisher.publish_due(now)
        except publisher.BrokerDownError as error:
            self._publish_at = time.monotonic() + BROKER_RETRY_SECONDS
            self._broker.mark_down(error)
            return 0
        self._broker.mark_up()
        return published

    def _seconds_to_sleep(self, todo: Agenda, ticked_at: datetime, now: datetime) -> float:
        wake_ups = [at for at in (todo.next_due_at, todo.next_publish_after) if at]
        # Still due after this tick: the rows are locked by another process, or publishing is on hold.
        is_still_due = any(at <= ticked_at for at in wake_ups)
        min_sleep = RETRY_SECONDS if is_still_due else 0.0
        waits = [(at - now).total_seconds() for at in wake_ups]
        return max(min_sleep, min([self._max_sleep, *waits]))
