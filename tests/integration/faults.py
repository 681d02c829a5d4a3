"""What is done to a service, and what it made of it: its database seen by plain SQL, past its own code.

An audit compares three things that know nothing of each other: the slots that the clock says there were, the
rows of the ledger, and the lines that the job ``trace`` wrote by itself.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from tests.integration.service import Service
from tests.waiting import wait_until

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
    """The slots of an interval schedule from one of them on, by the clock alone."""

    since: datetime
    until: datetime
    step: timedelta = SECOND

    def __len__(self) -> int:
        return (self.until - self.since) // self.step + 1

    def __iter__(self) -> Iterator[datetime]:
        return (self.since + number * self.step for number in range(len(self)))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What became of the slots of a span."""

    slots: int
    """How many the clock says there were."""
    runs: int
    """How many rows the ledger has for them."""
    succeeded: int
    executed: int
    """How many of the rows the job itself has left a trace of."""
    twice: int = 0
    """How many it has left more than one of."""
    missing: int = 0
    """How many slots have no row."""

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self).items())


def perfect(slots: int) -> Figures:
    """The only figures that will do."""
    return Figures(slots=slots, runs=slots, succeeded=slots, executed=slots)


def schedule_every_second(running: Service, name: str, *, count: int = 1, every: int = 1) -> None:
    """Make schedules that fire together, every second or every few, and run each of their slots."""
    running.shell(SCHEDULES.format(name=name, count=count, every=every))


def audit(running: Service, name: str, span: Span) -> Figures:
    """Account for the slots of the schedules whose names begin so."""
    wanted = {(pk, slot) for (pk,) in rows(running, _IDS, f"{name}%") for slot in span}
    found = rows(running, _RUNS, f"{name}%", span.since, span.until)
    traces = traces_of(running)
    return Figures(
        slots=len(wanted),
        runs=len(found),
        succeeded=sum(status == "succeeded" for *_, status in found),
        executed=sum(_uuid(pk) in traces for pk, *_ in found),
        twice=sum(traces[_uuid(pk)] > 1 for pk, *_ in found),
        missing=len(wanted - {(schedule, moment_of(slot)) for _, schedule, slot, _ in found}),
    )


def newest_slot(running: Service, name: str, status: str = "succeeded") -> datetime | None:
    """The last slot of these schedules whose run is in this state."""
    ((slot,),) = rows(running, _NEWEST, f"{name}%", status)
    return moment_of(slot) if slot else None


def is_settled(running: Service, name: str, until: datetime) -> bool:
    """Whether every slot up to the moment is in the ledger, and every run of these schedules is over."""
    ((behind,),) = rows(running, _BEHIND, f"{name}%", until)
    ((unfinished,),) = rows(running, _UNFINISHED, f"{name}%", until)
    return not behind and not unfinished


def traces_of(running: Service) -> Counter[UUID]:
    """How often the job ``trace`` was executed for each run."""
    if not running.trace_file.exists():
        return Counter()
    return Counter(UUID(line.split()[0]) for line in running.trace_file.read_text().splitlines())


def longest_lateness(running: Service, name: str, span: Span) -> timedelta:
    """How long after its slot a row of the span came into the ledger, at most."""
    found = rows(running, _RECORDED, f"{name}%", span.since, span.until)
    return max(moment_of(queued_at) - moment_of(slot) for slot, queued_at in found)


def statuses(running: Service, name: str) -> dict[str, tuple[int, int]]:
    """How many rows the schedule has in each state, and how many more slots these stand for."""
    return {status: (count, int(coalesced)) for status, count, coalesced in rows(running, _STATUSES, name)}


def calls(running: Service) -> dict[str, int]:
    """How many runs there are in each state that nothing but ``celery call`` has started."""
    return dict(
        rows(running, "SELECT status, count(*) FROM jobledger_run WHERE trigger = 'celery' GROUP BY status")
    )


def reason_it_is_broken(running: Service, name: str) -> str:
    """Why beat cannot evaluate the schedule; empty while it has not noticed."""
    return next((reason for (reason,) in rows(running, _BROKEN, name)), "")


def count_due(running: Service) -> int:
    """How many schedules are due."""
    return int(
        rows(running, "SELECT count(*) FROM jobledger_nextslot WHERE due_at <= ?", datetime.now(UTC))[0][0]
    )


def move_back(running: Service, moment: datetime) -> None:
    """Make it look as if no beat had been there since the moment."""
    rows(running, "UPDATE jobledger_nextslot SET handled_until = ?, slot = ?, due_at = ?", *[moment] * 3)


def switch_everything_off(running: Service) -> None:
    """Leave no schedule on and no run waiting."""
    rows(running, "UPDATE django_celery_beat_periodictask SET enabled = ?", False)
    rows(running, "DELETE FROM jobledger_nextslot")
    rows(running, "UPDATE jobledger_run SET status = 'cancelled' WHERE status = 'queued'")


def insert_bad_crontab(running: Service) -> int:
    """Put a crontab into the database that no form would have let through; returns its id."""
    rows(running, _BAD_CRONTAB)
    return int(rows(running, "SELECT max(id) FROM django_celery_beat_crontabschedule")[0][0])


def copy_schedule(running: Service, name: str, copy: str, *, crontab_id: int | None = None) -> None:
    """Insert a schedule as it is in another row, but for its name and, where there is one, its crontab."""
    rows(running, _COPY, copy, crontab_id, crontab_id, name)


def is_sqlite(running: Service) -> bool:
    """Whether the service has a SQLite file, and not a PostgreSQL server."""
    return running.database_url.startswith("sqlite")


def rows(running: Service, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement, with ``?`` for its values, answers; whatever it changes is committed."""
    if is_sqlite(running):
        plain = [_sqlite_text(value) if isinstance(value, datetime) else value for value in values]
        with closing(sqlite3.connect(sqlite_file(running), timeout=30)) as file, file:
            return file.execute(statement, plain).fetchall()
    with psycopg.connect(running.database_url, autocommit=True) as server:
        answer = server.execute(statement.replace("?", "%s").encode(), values)
        return answer.fetchall() if answer.description else []


def can_write(running: Service) -> bool:
    """Whether a SQLite database is to be had for writing, after a moment at most."""
    try:
        with closing(sqlite3.connect(sqlite_file(running), timeout=2, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            file.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    return True


def moment_of(value: Any) -> datetime:
    """A moment as either database returns it."""
    read = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def sqlite_file(running: Service) -> Path:
    """The service's database file."""
    return Path(running.database_url.removeprefix("sqlite:///"))


@contextmanager
def database_away(running: Service) -> Iterator[None]:
    """No connection to the database works inside the block, old or new."""
    with _folder_away(running) if is_sqlite(running) else _connections_refused(running):
        yield


@contextmanager
def sqlite_locked(running: Service) -> Iterator[None]:
    """Nobody else can write to the database inside the block."""
    with closing(sqlite3.connect(sqlite_file(running), timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def database_hung(running: Service) -> Iterator[None]:
    """Whoever asks for a run inside the block, or on SQLite writes anything, waits for its end."""
    if is_sqlite(running):
        with sqlite_locked(running):
            yield
        return
    with psycopg.connect(running.database_url) as server:
        server.execute("LOCK TABLE jobledger_run IN ACCESS EXCLUSIVE MODE")
        yield


def crash_postgres(running: Service) -> None:
    """Have the server lose a process, upon which it ends all connections, recovers and starts again."""
    with suppress(psycopg.OperationalError), psycopg.connect(running.database_url, autocommit=True) as server:
        ((pid,),) = server.execute("SELECT pg_backend_pid()").fetchall()
        server.execute(f"COPY (SELECT 1) TO PROGRAM 'kill -9 {pid}'".encode())
    wait_until(lambda: _answers(running), what="PostgreSQL is back")


def _answers(running: Service) -> bool:
    try:
        return bool(rows(running, "SELECT 1"))
    except psycopg.OperationalError:
        return False


@contextmanager
def _folder_away(running: Service) -> Iterator[None]:
    folder = sqlite_file(running).parent
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    try:
        yield
    finally:
        elsewhere.rename(folder)


@contextmanager
def _connections_refused(running: Service) -> Iterator[None]:
    name = urlsplit(running.database_url).path.strip("/")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        wait_until(lambda: _are_terminated(server, name), what="no connection is left")
        try:
            yield
        finally:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


def _are_terminated(server: "psycopg.Connection[tuple[Any, ...]]", name: str) -> bool:
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    return not server.execute(terminate, [name]).fetchall()


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _sqlite_text(moment: datetime) -> str:
    """As Django writes moments into SQLite: they compare as text."""
    return str(moment.astimezone(UTC).replace(tzinfo=None))


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
