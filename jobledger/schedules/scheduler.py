"""Celery beat's loop. Beat keeps no state: each tick reads what is due from the database, and nothing else.

Any number of beats may run side by side. If one dies, nothing is lost: what it recorded is in the ledger, and
another beat publishes the rest. If the database is down, beat waits and then carries on. If the broker is
down, slots are still recorded, and their runs are published when it is back.
"""

import gc
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from celery import beat
from celery.signals import beat_init
from django.db import Error

from jobledger import clock, formats
from jobledger.alerts.sending import background
from jobledger.escapes import line_logger
from jobledger.models import ProcessKind, Run, Status
from jobledger.outages import is_outage
from jobledger.runs import lasting_connections
from jobledger.runs.identity import command_line_process
from jobledger.runs.lease.watch import Watch, lease_duration, silence
from jobledger.runs.processes.forks import release_cursors
from jobledger.runs.publishing import publisher
from jobledger.runs.publishing.in_line import Line
from jobledger.runs.publishing.wake_up import Listener
from jobledger.runs.service.presence import Presence, touch_health_file
from jobledger.schedules.due import agenda, due_alone, ledger
from jobledger.schedules.due.agenda import Agenda
from jobledger.schedules.due.ledger import RecordedBatch
from jobledger.schedules.reconciliation import Reconciliation

logger, celery_logger = line_logger(__name__), line_logger("celery.beat")
Result = TypeVar("Result")

MAX_SLEEP_SECONDS = 1.0
MAX_WAIT_SECONDS = 5.0
"""The same if the database can wake beat."""
AHEAD = timedelta(milliseconds=20)
"""How long before a schedule is due beat wakes up: what has slept for seconds is slow at first."""
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


class _Unclaimed:
    """Runs whose messages were sent, but that are not marked as published.

    A worker usually claims such a run at once, and then there is nothing to mark. A run that is never marked,
    because this process dies, is published once more, which is harmless.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, sent: list[Run]) -> None:
        self._runs += [run for run in sent if publisher.is_job(run)]
        if tasks := [run for run in sent if not publisher.is_job(run)]:
            publisher.mark_published(tasks)

    def mark(self, todo: Agenda) -> None:
        """Mark those that no worker has claimed by now, if there are any."""
        runs, self._runs = self._runs, []
        until = max((run.publish_after for run in runs if run.publish_after), default=None)
        if until is not None and agenda.is_due(todo.next_publish_after, until):
            publisher.mark_published(runs)


class Scheduler(beat.Scheduler):
    """The scheduler that ``celery beat`` runs: records due slots, publishes runs, and notices edits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """``max_interval`` (``celery beat --max-interval``) limits the sleep between two ticks."""
        super().__init__(*args, **kwargs)
        longest = float(self.max_interval or 0) or MAX_WAIT_SECONDS
        self._max_sleep, self._max_wait = min(longest, MAX_SLEEP_SECONDS), min(longest, MAX_WAIT_SECONDS)
        self._reconciliation = Reconciliation()
        self._publish_at = 0.0
        self._presence = Presence(ProcessKind.BEAT, command_line_process())
        self._database = _Dependency("database")
        self._broker = _Dependency("broker")
        self._watch: Watch | None = None
        self._agenda: Agenda | None = None
        self._latest: datetime | None = None
        self._unclaimed, self._line = _Unclaimed(), Line()
        self._listener, self._may_wait, self._is_to_end = Listener(), False, False

    def setup_schedule(self) -> None:
        """Tune garbage collection; there is no schedule to set up, since it is in the database."""
        # What is loaded by now is never freed. Thousands of runs at once trigger many collections, and
        # scanning it all every time would account for a tenth of the running time.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        lasting_connections.keep()
        beat_init.connect(self._listen)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Do everything that is due; returns how many seconds to sleep.

        If the database can wake beat, the tick waits itself, and returns 0.
        """
        self._end_if_told()
        try:
            lasting_connections.close_lost()
            if self._may_wait:
                self._listener.begin()
            seconds = self._tick()
        except Error as error:
            self._end_if_told()
            message = "" if is_outage(error) else "The database rejected a value written by beat"
            self._database.mark_down(error, message)
            release_cursors(error)
            lasting_connections.close_lost()
            self._listener.end()
            return self._max_sleep
        self._end_if_told()
        self._database.mark_up()
        touch_health_file("beat")
        if not self._listener.is_listening or not seconds:
            return seconds
        # In here, because Celery's own sleep cannot be ended. Logged as Celery does.
        celery_logger.debug("beat: Waking up in %.2f seconds.", seconds)
        # Otherwise something is due at the end.
        self._listener.wait(seconds, exactly=seconds < self._max_wait)
        return 0.0

    def close(self) -> None:
        """Called by Celery's handler of SIGTERM and SIGINT, and at beat's end: no tick follows."""
        self._is_to_end = True
        super().close()

    def _end_if_told(self) -> None:
        """The handler then raises SystemExit wherever beat is, and an error may have taken its place.

        Django, for example, can no longer use a connection whose COMMIT was interrupted.
        """
        if self._is_to_end:
            raise SystemExit

    def _listen(self, **kwargs: object) -> None:
        """Celery's loop has begun: from now on, a tick may also wait until the next one is needed."""
        self._may_wait = True

    @property
    def info(self) -> str:
        """A line for beat's banner."""
        return "    . schedules -> the database"

    def _tick(self) -> float:
        todo, now = self._current_agenda()
        self._tell_if_set_back(now)
        watch = self._watch = self._watch or Watch(now)
        remaining, has_more = (todo, False) if todo.is_idle(now) else self._work(todo, now, watch)
        if not agenda.is_due(todo.next_silence, now):
            watch.look(now, lease_duration())
        if agenda.is_due(todo.next_message, now):
            background.hurry()
        if agenda.is_due(todo.next_result, now):
            background.look_for_results()
        # Whatever is due does not wait for this.
        self._presence.report(now)
        if self._reconciliation.advance(time.monotonic()) or remaining is None:
            remaining = agenda.read()
        self._agenda = remaining
        if has_more or self._reconciliation.is_behind:
            return 0.0
        if remaining.next_due_at and now < remaining.next_due_at <= now + AHEAD:
            due_alone.look_ahead(remaining.next_due_at)
        return self._seconds_to_sleep(remaining, now, remaining.now() or remaining.read_at)

    def _tell_if_set_back(self, now: datetime) -> None:
        """Otherwise nobody would know why nothing starts until the clock has caught up."""
        latest, self._latest = self._latest, now
        if latest is not None and now < latest - clock.MAX_OFFSET:
            text = "The database's clock was set back by %s. What was due until %s has been handled"
            logger.warning(text, formats.duration(latest - now), formats.exact(latest))

    def _current_agenda(self) -> tuple[Agenda, datetime]:
        """The agenda and the time. It is not read again if beat has slept until a schedule is due, or if
        nothing can have changed it.
        """
        known, self._agenda = self._agenda, None
        if known and (now := known.now()):
            is_awaited = agenda.is_due(known.next_due_at, now + AHEAD)
            if is_awaited or (not self._unclaimed and known.is_current()):
                return known, now
        todo = agenda.read()
        self._unclaimed.mark(todo)
        return todo, todo.read_at

    def _work(self, todo: Agenda, now: datetime, watch: Watch) -> tuple[Agenda | None, bool]:
        """Do what is due; returns what is left on the agenda, if that is known, and whether more is due.

        Record before publishing: whatever happens to the broker, what is due is in the ledger.
        """
        alone = due_alone.record(now) if todo.is_one_schedule(now) else None
        if alone is not None and alone.queued:
            self._unclaimed.add(self._publish(lambda: publisher.send(_not_expired(alone.queued, now))) or [])
            ledger.update_run_counts(alone.queued, now)
            if todo.is_complete:
                return todo.without_first(due_again_at=alone.next_due_at), False
            left = agenda.read()
            return left, agenda.is_due(left.next_due_at, now)
        return None, self._work_in_batches(todo, now, watch)

    def _work_in_batches(self, todo: Agenda, now: datetime, watch: Watch) -> bool:
        recorded, published = RecordedBatch(), None
        if agenda.is_due(todo.next_due_at, now):
            recorded = ledger.record_due(now)
            self._publish(lambda: publisher.publish(_not_expired(recorded.queued, now)))
        if agenda.is_due(todo.next_deadline, now):
            ledger.expire(now)
        # Most beats never have a run that was lost, a backfill or a chain: what these need is imported then.
        if agenda.is_due(todo.next_silence, now):
            from jobledger.runs.lease import rescue

            rescue.rescue(now, watch)
        if agenda.is_due(todo.next_backfill, now):
            from jobledger.schedules.backfills import backfilling

            started = backfilling.advance(now)
            self._publish(lambda: publisher.publish(started))
        chained: list[Run] = []
        if agenda.is_due(todo.next_chain, now):
            from jobledger.schedules.chains import starting

            chained = starting.advance(now)
            queued = [run for run in chained if run.status == Status.QUEUED]
            self._publish(lambda: publisher.publish(_not_expired(queued, now)))
        if agenda.is_due(todo.next_publish_after, now):
            published = self._publish(lambda: publisher.publish_due(now, self._line))
        ledger.update_run_counts([*recorded.queued, *recorded.not_started, *chained], now)
        return recorded.has_more or published == publisher.BATCH

    def _publish(self, publish: Callable[[], Result]) -> Result | None:
        """Publish; None if the broker is down, or was a short time ago."""
        if time.monotonic() < self._publish_at:
            return None
        try:
            published = publish()
        except publisher.BrokerDownError as error:
            self._publish_at = time.monotonic() + BROKER_RETRY_SECONDS
            self._broker.mark_down(error)
            return None
        self._broker.mark_up()
        return published

    def _seconds_to_sleep(self, todo: Agenda, ticked_at: datetime, now: datetime) -> float:
        if any(agenda.is_due(at, ticked_at) for at in (todo.next_due_at, todo.next_publish_after)):
            # Still due after this tick: the rows are locked by another process, or publishing is on hold.
            return RETRY_SECONDS
        waits = [(at - now).total_seconds() for at in todo.times() if at > ticked_at]
        if todo.next_due_at and todo.next_due_at > ticked_at + AHEAD:
            waits.append((todo.next_due_at - AHEAD - now).total_seconds())
        return max(0.0, min([self._longest_sleep(todo, ticked_at), *waits]))

    def _longest_sleep(self, todo: Agenda, ticked_at: datetime) -> float:
        is_waiting_for_others = any(at <= ticked_at for at in todo.times())
        if is_waiting_for_others or not self._listener.is_listening:
            return self._max_sleep
        # Half of what would count as a time during which no heartbeat could be seen.
        return min(self._max_wait, silence().total_seconds() / 2)


def _not_expired(runs: list[Run], now: datetime) -> list[Run]:
    """Those that may still start: the others expire at the next tick."""
    return [run for run in runs if run.start_before is None or run.start_before > now]
