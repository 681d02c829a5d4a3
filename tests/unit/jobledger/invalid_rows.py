"""Rows with values that no form accepts, as SQL or another version may write them; and what reads them."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, transaction
from django.db import models as columns
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.alerts import watching
from jobledger.alerts.sending import delivery, pings
from jobledger.checks.schedules import check_schedules
from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertDestination,
    AlertRule,
    AlertState,
    AuditEntry,
    Backfill,
    BackfillSlot,
    Calendar,
    DeadLetter,
    DeclaredSchedule,
    NextSlot,
    Pause,
    Ping,
    PingEvent,
    Run,
    RunAttempt,
    RunOutput,
    ScheduleCalendar,
    SchedulePolicy,
    ServiceProcess,
    Status,
)
from jobledger.models.json_fields import ListField, ObjectField
from jobledger.runs.lease import rescue
from jobledger.runs.lease.watch import Watch
from jobledger.runs.publishing import publisher
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.chains import starting
from jobledger.schedules.due import agenda, due_alone, ledger
from jobledger.schedules.reconciliation import Reconciliation
from tests.unit.jobledger.alerts import builders as alerts
from tests.unit.jobledger.api.client import ApiClient
from tests.unit.jobledger.feeds import builders as feeds
from tests.unit.jobledger.schedules import builders as schedules

ODD = "\x01\ufffe\n\u202e<b>&"
EARLY, LATE = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
NULL = columns.Value(None, columns.JSONField())


def values_for(column: "columns.Field[Any, Any]") -> Iterator[Any]:
    """What the column's type allows, and no form."""
    match column:
        case ObjectField() | ListField() | columns.JSONField():
            yield from (5, "text", [1], {"a": [None]}, NULL, ["a", {"b": 1}])
        case columns.CharField() | columns.TextField():
            yield from (["bogus", ""] if column.choices else ["", "bogus", "x" * 3000])
            yield ODD
        case columns.DurationField():
            yield from (timedelta(days=-1), timedelta(days=-500_000), timedelta(days=3_000_000))
        case columns.DateTimeField():
            yield from (EARLY, LATE)
        case columns.BooleanField() | columns.UUIDField() | columns.ForeignKey():
            pass
        case columns.IntegerField():
            yield from (-5, 0, 2**31 - 1)
        case columns.FloatField():
            yield from (-1.0, 1e308, float("inf"), float("nan"))


def planted(model: type[columns.Model], make: Callable[[], Any]) -> list[Any]:
    """A row for each column and each of its values, as far as the database accepts them."""
    found = []
    for column in model._meta.concrete_fields:
        if column.primary_key:
            continue
        for value in values_for(column):
            with transaction.atomic():
                row = make()
            try:
                with transaction.atomic():
                    type(row)._default_manager.filter(pk=row.pk).update(**{column.attname: value})
            except (DataError, IntegrityError, ValueError):
                continue
            row.label = f"{model.__name__}.{column.name} = {str(value)[:40]!r}"
            found.append(row)
    return found


class Makers:
    """How to make valid rows."""

    def __init__(self) -> None:
        self._number = 0
        self.now = timezone.now()

    def name(self) -> str:
        self._number += 1
        return f"row {self._number}"

    def schedule(self, **values: Any) -> PeriodicTask:
        past = self.now - timedelta(hours=1)
        return schedules.hourly(self.name(), handled_until=past, **values)

    def periodictask(self) -> PeriodicTask:
        return self.schedule()

    def found(self) -> PeriodicTask:
        """One that was made without this service, and that beat has not seen."""
        schedule = self.schedule()
        SchedulePolicy.objects.filter(schedule=schedule).delete()
        NextSlot.objects.filter(schedule=schedule).delete()
        return schedule

    def crontab(self) -> CrontabSchedule:
        return self.schedule().crontab

    def interval(self) -> IntervalSchedule:
        return schedules.every(60, self.name()).interval

    def clocked(self) -> ClockedSchedule:
        clocked = ClockedSchedule.objects.create(clocked_time=self.now + timedelta(hours=1))
        PeriodicTask.objects.create(name=self.name(), task="probes.probe", clocked=clocked, one_off=True)
        return clocked

    def policy(self) -> SchedulePolicy:
        return SchedulePolicy.objects.get(schedule=self.schedule())

    def nextslot(self) -> NextSlot:
        return NextSlot.objects.get(schedule=self.schedule())

    def pause(self) -> Pause:
        return Pause.objects.create(schedule=self.schedule(), since=self.now - timedelta(minutes=5))

    def declared(self) -> DeclaredSchedule:
        return DeclaredSchedule.objects.create(name=self.name(), schedule=self.schedule())

    def succeeded(self) -> Run:
        return feeds.run(schedule=None, queued_at=self.now - timedelta(minutes=3))

    def failed(self) -> Run:
        return feeds.run(Status.FAILED, error="boom", reason="exception", schedule=self.schedule())

    def queued(self) -> Run:
        due = self.now - timedelta(seconds=1)
        times = {"started_at": None, "finished_at": None, "publish_after": due}
        return feeds.run(Status.QUEUED, schedule=self.schedule(), **times)

    def running(self) -> Run:
        return feeds.run(Status.RUNNING, finished_at=None, heartbeat_at=self.now, worker="w@h")

    def attempt(self) -> RunAttempt:
        return RunAttempt.objects.create(
            run=feeds.run(attempt=2), attempt=1, status=Status.FAILED, finished_at=self.now
        )

    def output(self) -> RunOutput:
        return RunOutput.objects.create(run=self.succeeded(), number=0, stream="stdout", text="hello")

    def alert(self) -> Alert:
        made = Alert.objects.create(kind="failed", job="probe", run=self.failed(), rule_name="all")
        destination = alerts.destination(self.name())
        AlertDelivery.objects.create(
            alert=made, destination=destination, destination_name=destination.name, due_at=self.now
        )
        return made

    def delivery(self) -> AlertDelivery:
        return AlertDelivery.objects.get(alert=self.alert())

    def rule(self) -> AlertRule:
        return alerts.rule(alerts.destination(self.name()), name=self.name(), late_after=timedelta(hours=1))

    def destination(self) -> Any:
        return alerts.destination(self.name())

    def state(self) -> AlertState:
        alerts.rule(alerts.destination(self.name()), name=(name := self.name()))
        key = str(AlertRule.objects.get(name=name).pk)
        return AlertState.objects.create(rule=key, job="probe", state={"failures": 1})

    def backfill(self) -> Backfill:
        return BackfillSlot.objects.get(pk=self.slot().pk).backfill

    def slot(self) -> BackfillSlot:
        schedule, day = self.schedule(), timedelta(days=1)
        made = Backfill.objects.create(
            schedule=schedule,
            schedule_name=schedule.name,
            job="probe",
            since=self.now - 2 * day,
            until=self.now - day,
            trigger="admin",
            look_at=self.now,
        )
        return BackfillSlot.objects.create(backfill=made, scheduled_for=self.now - day)

    def calendar(self) -> Calendar:
        return self.use().calendar

    def use(self) -> ScheduleCalendar:
        schedule = self.schedule()
        schedules.limited_by(schedule, "sat-sun")
        return ScheduleCalendar.objects.get(schedule=schedule)

    def process(self) -> ServiceProcess:
        return ServiceProcess.objects.create(
            kind="worker", name=self.name(), identity=self.name(), started_at=self.now, seen_at=self.now
        )

    def ping(self) -> Ping:
        schedule = self.schedule()
        SchedulePolicy.objects.filter(pk=schedule.pk).update(ping_url="https://example.com/x")
        return Ping.objects.create(
            run=feeds.run(schedule=schedule), schedule=schedule, event=PingEvent.SUCCESS, due_at=self.now
        )

    def dead_letter(self) -> DeadLetter:
        return DeadLetter.objects.create(received_at=self.now, reason="no task", size=3)

    def audit(self) -> AuditEntry:
        return AuditEntry.objects.create(
            username="ann", object_type="jobledger.run", object_id="1", object_name="x", text="did"
        )


MODELS: Mapping[str, type[columns.Model]] = {
    "periodictask": PeriodicTask,
    "found": PeriodicTask,
    "crontab": CrontabSchedule,
    "interval": IntervalSchedule,
    "clocked": ClockedSchedule,
    "policy": SchedulePolicy,
    "nextslot": NextSlot,
    "pause": Pause,
    "declared": DeclaredSchedule,
    "succeeded": Run,
    "failed": Run,
    "queued": Run,
    "running": Run,
    "attempt": RunAttempt,
    "output": RunOutput,
    "alert": Alert,
    "delivery": AlertDelivery,
    "rule": AlertRule,
    "destination": AlertDestination,
    "state": AlertState,
    "backfill": Backfill,
    "slot": BackfillSlot,
    "calendar": Calendar,
    "use": ScheduleCalendar,
    "process": ServiceProcess,
    "ping": Ping,
    "dead_letter": DeadLetter,
    "audit": AuditEntry,
}
"""By the maker of their rows."""


def _called(*line: str) -> None:
    with suppress(CommandError, SystemExit):  # a message, and no traceback
        call_command("jobledger", *line, stdout=io.StringIO(), stderr=io.StringIO())


def of_beat(now: datetime) -> dict[str, Callable[[], object]]:
    """What beat does at a tick, and beside it."""
    return {
        "agenda": agenda.read,
        "due alone": lambda: due_alone.record(now),
        "due": lambda: ledger.record_due(now),
        "expire": lambda: ledger.expire(now),
        "reconciliation": lambda: Reconciliation().step(),
        "publish": lambda: publisher.publish_due(now),
        "rescue": lambda: rescue.rescue(now, Watch(now)),
        "chains": lambda: starting.advance(now),
        "backfills": lambda: backfilling.advance(now),
        "late runs": lambda: watching.scan_runs(now),
        "silent schedules": lambda: watching.scan_schedules(now),
        "deliveries": lambda: [delivery.deliver(pk) for pk in delivery.ready_destinations(now)],
        "old deliveries": lambda: delivery.tidy(now),
        "starts": lambda: pings.note_starts(now),
        "pings": lambda: pings.due_by_host(now),
        "old pings": lambda: pings.tidy(now),
        "an end": alerts.fail,
        "a success": alerts.succeed,
    }


PAGES = (
    "/admin/",
    *("/admin/jobledger/job/", "/admin/jobledger/job/probe/"),
    *("/admin/jobledger/run/", "/admin/jobledger/run/?status=failed"),
    "/admin/django_celery_beat/periodictask/",
    "/admin/django_celery_beat/periodictask/week/",
    "/admin/django_celery_beat/periodictask/deleted/",
    *("/admin/jobledger/alert/", "/admin/jobledger/alertrule/", "/admin/jobledger/alertdestination/"),
    *("/admin/jobledger/backfill/", "/admin/jobledger/calendar/", "/admin/jobledger/deadletter/"),
    *("/admin/jobledger/auditentry/", "/admin/jobledger/apitoken/"),
    *("/metrics", "/readyz", "/livez"),
)
ENDPOINTS = ("service", "jobs", "jobs/probe", "runs", "schedules")
COMMANDS = (
    ("runs",),
    ("runs", "--json"),
    ("next",),
    ("simulate", "--from", "2026-03-01", "--to", "2026-03-02"),
    ("export_schedules", "--format", "json"),
    ("export_schedules", "--format", "yaml"),
    ("export_crontab",),
    ("export_systemd", "/tmp/x"),
    ("sync", "--dry-run"),
    ("calendars",),
    ("dead_letters",),
    ("give_back", "--dry-run"),
    ("adopt",),
)


def of_users() -> dict[str, Callable[[], object]]:
    """Pages, answers, feeds and commands that show many rows."""
    client, api = Client(), ApiClient()
    admin = get_user_model()._default_manager.create(username="root", is_staff=True, is_superuser=True)
    client.force_login(admin)

    def page(path: str) -> None:
        response = client.get(path)
        assert response.status_code in (200, 404, 503), (path, response.status_code)

    found: dict[str, Callable[[], object]] = {path: lambda path=path: page(path) for path in PAGES}  # type: ignore[misc]
    found |= {f"api {path}": lambda path=path: api.get(path) for path in ENDPOINTS}  # type: ignore[misc]
    found |= {" ".join(line): lambda line=line: _called(*line) for line in COMMANDS}  # type: ignore[misc]
    found["calendar of all"] = lambda: page(feeds.path_of(feeds.calendar()))
    found["badge of the job"] = lambda: page(feeds.path_of(feeds.badge(job="probe")))
    found["check"] = lambda: check_schedules(databases=["default"])
    return found
