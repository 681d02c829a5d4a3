"""Celery beat's loop. Beat keeps no state: each tick reads what is due from the database, and nothing else.

Any number of beats may run side by side. One that dies costs nothing: what it recorded is in the ledger,
and what it did not publish another one publishes. When the database is down beat waits and goes on by itself.
When the broker is down slots go on being recorded, and their runs are published once it is back.
"""

import gc
import logging
import time
from datetime import datetime
from typing import Any

from celery import beat
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.utils import timezone

from jobledger.models import ProcessKind, Run
from jobledger.runs.dispatch import command_line_process
from jobledger.runs.execution.forks import let_go_of_cursors
from jobledger.runs.lease import rescue
from jobledger.runs.lease.rescue import Watch
from jobledger.runs.publishing import publisher
from jobledger.runs.worker.presence import Presence, touch_health_file
from jobledger.schedules import ledger
from jobledger.schedules.reconciliation import Reconciliation

logger = logging.getLogger(__name__)

LONGEST_SLEEP_SECONDS = 1.0
# After a broker's refusal, so that a broker that hangs does not keep beat from recording slots.
BROKER_REST_SECONDS = 5.0
# Before it looks again at what it could not take.
REST_SECONDS = 0.2
# Python's own 700 are less than a run and its message take.
OBJECTS_BETWEEN_COLLECTIONS = 50_000


class _Part:
    """Something that beat needs and that may be away; its log has a line per change, not one per tick."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._answers = True

    def is_up(self) -> None:
        if not self._answers:
            logger.info("The %s is back", self._name)
        self._answers = True

    def is_down(self, error: Exception) -> None:
        if self._answers:
            logger.error("Waiting for the %s: %s", self._name, error)
        self._answers = False


class Scheduler(beat.Scheduler):
    """The scheduler that ``celery beat`` runs: the ledger, publishing, and keeping in step with edits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """``max_interval``, ``celery beat --max-interval``, is the longest sleep between two ticks."""
        super().__init__(*args, **kwargs)
        self._longest_sleep = min(
            float(self.max_interval or 0) or LONGEST_SLEEP_SECONDS, LONGEST_SLEEP_SECONDS
        )
        self._reconciliation = Reconciliation()
        self._publish_at = 0.0
        self._presence = Presence(ProcessKind.BEAT, command_line_process())
        self._database = _Part("database")
        self._broker = _Part("broker")
        self._watch = Watch(timezone.now())

    def setup_schedule(self) -> None:
        """Nothing to set up: the schedules are in the database."""
        # What is loaded by now stays for good. Thousands of runs at once bring about many garbage
        # collections, and looking at all of it each time would be a tenth of the work.
        gc.freeze()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round; returns the seconds until the next one is needed."""
        try:
            close_old_connections()
            seconds = self._round(timezone.now())
        except (DatabaseError, InterfaceError) as error:
            self._database.is_down(error)
            let_go_of_cursors(error)
            close_old_connections()
            return self._longest_sleep
        self._database.is_up()
        touch_health_file("beat")
        return seconds

    @property
    def info(self) -> str:
        """A line for beat's banner."""
        return "    . schedules -> the database"

    def _round(self, now: datetime) -> float:
        """Record before publishing: whatever happens to the broker, what is due is in the ledger."""
        self._presence.sign(now)
        recorded = ledger.record_due(now)
        ledger.expire(now)
        rescue.rescue(now, self._watch)
        published = self._publish(recorded.queued, now)
        ledger.note_last_runs(recorded.queued, now)
        self._reconciliation.keep_up(time.monotonic())
        is_busy = recorded.due_count == ledger.BATCH or published == publisher.BATCH
        return 0.0 if is_busy else self._seconds_to_sleep(now)

    def _publish(self, runs: list[Run], now: datetime) -> int:
        """Publish the new runs, then those whose time has come again; returns how many of the latter."""
        if time.monotonic() < self._publish_at:
            return 0
        try:
            publisher.publish(runs)
            published = publisher.publish_due(now)
        except publisher.BrokerDownError as error:
            self._publish_at = time.monotonic() + BROKER_REST_SECONDS
            self._broker.is_down(error)
            return 0
        self._broker.is_up()
        return published

    def _seconds_to_sleep(self, ticked_at: datetime) -> float:
        moments = [moment for moment in (ledger.next_due_at(), publisher.next_publish_after()) if moment]
        # What this tick left behind is not for it: its rows are locked by somebody, or the broker rests.
        is_left_behind = any(moment <= ticked_at for moment in moments)
        shortest = REST_SECONDS if is_left_behind else 0.0
        now = timezone.now()
        waits = [(moment - now).total_seconds() for moment in moments]
        return max(shortest, min([self._longest_sleep, *waits]))
