"""A service's schedules and their slots from outside.

An audit compares three independent things: the slots that there should be according to the clock, the
rows of the ledger, and the lines that the job ``trace`` wrote.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.integration.database import rows, time_of, uuid_of
from tests.integration.service import Service

SECOND = timedelta(seconds=1)

SCHEDULES = """
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import SchedulePolicy
every, _ = IntervalSchedule.objects.get_or_create(every={every}, period="seconds")
same = {{"task": "probes.trace", "interval": every, "start_time": timezone.now().replace(microsecond=0)}}
for number in range({count}):
    made = PeriodicTask.objects.create(name=f"{name} {{number}}", **same)
    SchedulePolicy.objects.filter(schedule=made).update(misfire="all")
"""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The slots of an interval schedule from one of them on, computed from the clock alone."""

    since: datetime
    until: datetime
    step: timedelta = SECOND

    def __len__(self) -> int:
        return (self.until - self.since) // self.step + 1

    def __iter__(self) -> Iterator[datetime]:
        return (self.since + number * self.step for number in range(len(self)))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What happened to the slots of a span."""

    slots: int
    """How many there should be, according to the clock."""
    runs: int
    """How many of them are in the ledger."""
    succeeded: int
    executed: int
    """How many of the rows have a trace."""
    twice: int = 0
    """How many have more than one trace."""
    missing: int = 0
    """How many slots have no row."""

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self).items())


def perfect(slots: int) -> Figures:
    """The only acceptable figures."""
    return Figures(slots=slots, runs=slots, succeeded=slots, executed=slots)


def schedule_every_second(running: Service, name: str, *, count: int = 1, every: int = 1) -> None:
    """Create schedules that are due together every few seconds, and that run all their slots."""
    running.shell(SCHEDULES.format(name=name, count=count, every=every))


def audit(running: Service, name: str, span: Span) -> Figures:
    """Audit the slots of the schedules with this name prefix."""
    wanted = {(pk, slot) for (pk,) in rows(running, _IDS, f"{name}%") for slot in span}
    found = rows(running, _RUNS, f"{name}%", span.since, span.until)
    traces = traces_of(running)
    return Figures(
        slots=len(wanted),
        runs=len(found),
        succeeded=sum(status == "succeeded" for *_, status in found),
        executed=sum(uuid_of(pk) in traces for pk, *_ in found),
        twice=sum(traces[uuid_of(pk)] > 1 for pk, *_ in found),
        missing=len(wanted - {(schedule, time_of(slot)) for _, schedule, slot, _ in found}),
    )


def newest_slot(running: Service, name: str, status: str = "succeeded") -> datetime | None:
    """The last slot of these schedules whose run is in this state."""
    ((slot,),) = rows(running, _NEWEST, f"{name}%", status)
    return time_of(slot) if slot else None


def is_settled(running: Service, name: str, until: datetime) -> bool:
    """Whether all slots up to this time are in the ledger, and all runs of these schedules are over."""
    ((behind,),) = rows(running, _BEHIND, f"{name}%", until)
    ((unfinished,),) = rows(running, _UNFINISHED, f"{name}%", until)
    return not behind and not unfinished


def traces_of(running: Service) -> Counter[UUID]:
    """How often the job ``trace`` was executed for each run."""
    if not running.trace_file.exists():
        return Counter()
    return Counter(UUID(line.split()[0]) for line in running.trace_file.read_text().splitlines())


def longest_lateness(running: Service, name: str, span: Span) -> timedelta:
    """The longest time from a slot of the span until it was recorded."""
    found = rows(running, _RECORDED, f"{name}%", span.since, span.until)
    return max(time_of(queued_at) - time_of(slot) for slot, queued_at in found)


def statuses(running: Service, name: str) -> dict[str, tuple[int, int]]:
    """How many rows the schedule has in each state, and how many more slots they cover."""
    return {status: (count, int(coalesced)) for status, count, coalesced in rows(running, _STATUSES, name)}


def reason_it_is_broken(running: Service, name: str) -> str:
    """Why beat cannot evaluate the schedule; empty until it has noticed."""
    return next((reason for (reason,) in rows(running, _BROKEN, name)), "")


def count_due(running: Service) -> int:
    """How many schedules are due."""
    return int(
        rows(running, "SELECT count(*) FROM jobledger_nextslot WHERE due_at <= ?", datetime.now(UTC))[0][0]
    )


def move_back(running: Service, time: datetime) -> None:
    """Make it look as if no beat had run since this time."""
    rows(running, "UPDATE jobledger_nextslot SET handled_until = ?, slot = ?, due_at = ?", *[time] * 3)


def switch_everything_off(running: Service) -> None:
    """Disable all schedules, and cancel all waiting runs."""
    rows(running, "UPDATE django_celery_beat_periodictask SET enabled = ?", False)
    rows(running, "DELETE FROM jobledger_nextslot")
    rows(running, "UPDATE jobledger_run SET status = 'cancelled' WHERE status = 'queued'")


def insert_bad_crontab(running: Service) -> int:
    """Insert a crontab that no form would accept; returns its id."""
    rows(running, _BAD_CRONTAB)
    return int(rows(running, "SELECT max(id) FROM django_celery_beat_crontabschedule")[0][0])


def copy_schedule(running: Service, name: str, copy: str, *, crontab_id: int | None = None) -> None:
    """Copy a schedule with another name, and optionally another crontab."""
    rows(running, _COPY, copy, crontab_id, crontab_id, name)


_IDS = "SELECT id FROM django_celery_beat_periodictask WHERE name LIKE ?"
_RUNS = """
SELECT id, schedule_id, scheduled_for, status FROM jobledger_run
WHERE schedule_name LIKE ? AND scheduled_for BETWEEN ? AND ?
"""
_RECORDED = """
SELECT scheduled_for, queued_at FROM jobledger_run
WHERE schedule_name LIKE ? AND scheduled_for BETWEEN ? AND ?
"""
_NEWEST = "SELECT max(scheduled_for) FROM jobledger_run WHERE schedule_name LIKE ? AND status = ?"
_STATUSES = (
    "SELECT status, count(*), sum(coalesced) FROM jobledger_run WHERE schedule_name = ? GROUP BY status"
)
_BROKEN = """
SELECT broken FROM jobledger_nextslot
WHERE schedule_id = (SELECT id FROM django_celery_beat_periodictask WHERE name = ?)
"""
_BAD_CRONTAB = """
INSERT INTO django_celery_beat_crontabschedule
    (minute, hour, day_of_month, month_of_year, day_of_week, timezone)
VALUES ('99', '*', '*', '*', '*', 'UTC')
"""
_COPY = """
INSERT INTO django_celery_beat_periodictask (
    name, interval_id, crontab_id,
    task, args, kwargs, headers, one_off, enabled, total_run_count, date_changed, description
)
SELECT
    ?, CASE WHEN CAST(? AS INTEGER) IS NULL THEN interval_id END, CAST(? AS INTEGER),
    task, args, kwargs, headers, one_off, enabled, total_run_count, date_changed, description
FROM django_celery_beat_periodictask WHERE name = ?
"""
_BEHIND = """
SELECT count(*) FROM jobledger_nextslot
WHERE schedule_id IN (SELECT id FROM django_celery_beat_periodictask WHERE name LIKE ?) AND handled_until < ?
"""
_UNFINISHED = """
SELECT count(*) FROM jobledger_run
WHERE schedule_name LIKE ? AND scheduled_for <= ? AND status IN ('queued', 'running')
"""
