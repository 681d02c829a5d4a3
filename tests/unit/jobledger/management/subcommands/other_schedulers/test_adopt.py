"""``jobledger adopt`` reports what changes, and keeps what would."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from celery import current_app
from celery.app.routes import MapRoute, Router
from django.core.management import CommandError, call_command
from django.db import connection
from django_celery_beat.models import PeriodicTask, SolarSchedule
from django_celery_beat.schedulers import ModelEntry

from jobledger.models import Dialect, NextSlot, ProcessKind, Run, SchedulePolicy, ServiceProcess
from jobledger.schedules.adoption import review, stock
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.jobledger.schedules.stock import stock_clocked, stock_cron, stock_interval
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ON_TIME: dict[str, Any] = {"last_run_at": NOON}

FIRST_MONDAY = "at 03:00 on the 1st to 7th of every month, only if that is a Monday UTC"


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def adopt(*line: str) -> tuple[str, str]:
    """What it prints on stdout and on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "adopt", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def start_worker(*queues: str) -> None:
    """A worker that has just reported which queues it reads."""
    ServiceProcess.objects.create(kind=ProcessKind.WORKER, name="w", seen_at=NOON, queues=queues)


def reported() -> Any:
    """The only schedule, in JSON."""
    (found,) = json.loads(adopt("--json")[0])
    return found


def findings() -> list[tuple[str, str]]:
    return [(each["effect"], each["text"]) for each in reported()["findings"]]


def times(*texts: str) -> list[str]:
    return [utc(text).isoformat() for text in texts]


def line_of(*days: str) -> str:
    return "  ".join(f"2026-{day}T03:00:00+00:00" for day in days)


def test_a_schedule_whose_days_cron_would_change_keeps_them() -> None:
    start_worker("celery")
    stock_cron("0 3 1-7 * mon", "monthly", **ON_TIME)
    printed, remarks = adopt("--check")
    assert printed.splitlines() == [
        f"monthly: {FIRST_MONDAY}, probes.probe",
        "  kept: Celery requires both day of month and day of week, cron either",
        f"    before   {line_of('04-06', '05-04', '06-01', '07-06', '08-03')}",
        f"    after    {line_of('04-06', '05-04', '06-01', '07-06', '08-03')}",
        f"    by cron  {line_of('03-03', '03-04', '03-05', '03-06', '03-07')}",
    ]
    assert remarks == "1 enabled schedule: 0 mean the same; 1 keeps its old meaning by Celery's rules.\n"


def test_checking_stores_nothing() -> None:
    stock_cron("0 3 1-7 * mon", **ON_TIME)
    adopt("--check")
    assert not SchedulePolicy.objects.exists()
    assert not NextSlot.objects.exists()


def test_adopting_is_done_once_and_can_be_repeated() -> None:
    stock_cron("0 3 1-7 * mon", "monthly", **ON_TIME)
    stock_interval(10, "minutes", "often", **ON_TIME)
    printed, remarks = adopt()
    assert remarks.splitlines()[-1] == "Adopted 2 schedules."
    stored = _policies_and_slots()
    assert [policy["dialect"] for policy in stored[0]] == [Dialect.CELERY, Dialect.CRON]
    assert adopt() == (
        printed,
        remarks.replace(
            "Adopted 2 schedules.", "Nothing was stored: all enabled schedules were adopted before."
        ),
    )
    assert _policies_and_slots() == stored
    assert not Run.objects.exists()


def _policies_and_slots() -> tuple[list[Any], list[Any]]:
    return (
        list(SchedulePolicy.objects.order_by("schedule__pk").values()),
        list(NextSlot.objects.order_by("schedule__pk").values()),
    )


def test_the_dialect_that_a_user_chose_is_a_decision() -> None:
    schedule = stock_cron("0 3 1-7 * mon", **ON_TIME)
    adopt()
    SchedulePolicy.objects.filter(schedule=schedule).update(dialect=Dialect.CRON)
    adopt("--check")
    found = reported()
    assert found["effect"] == "decided"
    assert found["before"][:2] == times("2026-04-06T03:00", "2026-05-04T03:00")
    assert found["after"][:2] == times("2026-03-03T03:00", "2026-03-04T03:00")
    assert found["by_cron"] is None


@pytest.mark.parametrize(
    ("expression", "zone"),
    [("0 * * * *", "UTC"), ("30 9-17 * * mon-fri", "Europe/London"), ("*/7 3 1 */2 *", "Asia/Tokyo")],
)
def test_a_schedule_that_means_the_same_is_not_mentioned(expression: str, zone: str) -> None:
    start_worker("celery")
    stock_cron(expression, zone=zone, task="probes.probe", **ON_TIME)
    printed, remarks = adopt("--check")
    assert (printed, remarks) == ("", "1 enabled schedule: 1 means the same.\n")
    assert reported()["before"] == reported()["after"]


def test_clock_changes_are_kept() -> None:
    stock_cron("0 * * * *", zone="Europe/London", **ON_TIME)
    text = "Celery reads it differently, or runs it differently when the clocks change"
    assert findings() == [("kept", text)]
    found = reported()
    assert found["listed_from"] == utc("2026-10-25T00:00").isoformat()
    assert found["before"] == found["after"]
    assert found["before"][:2] == times("2026-10-25T00:00", "2026-10-25T02:00")
    assert found["by_cron"][:2] == times("2026-10-25T00:00", "2026-10-25T01:00")
    assert "    from     2026-10-25T00:00:00+00:00 on, where a clock change" in adopt("--check")[0]


def test_an_expression_that_celery_never_started_stays_that_way() -> None:
    stock_cron("0 3 * * 7", **ON_TIME)
    found = reported()
    (finding,) = found["findings"]
    assert finding["effect"] == "kept"
    assert finding["text"].startswith("it was never started before: Invalid end range")
    assert (found["before"], found["after"]) == ([], [])
    assert found["by_cron"][0] == utc("2026-03-08T03:00").isoformat()


def test_intervals_continue_from_their_last_run() -> None:
    stock_interval(7, "minutes", last_run_at=NOON - 3 * MINUTE)
    found = reported()
    assert found["findings"] == []
    assert found["before"] == found["after"]
    assert found["after"][0] == (NOON + 4 * MINUTE).isoformat()


def test_an_interval_with_a_start_time_counts_from_its_last_run() -> None:
    stock_interval(7, "minutes", last_run_at=NOON - 3 * MINUTE, start_time=NOON - 5 * HOUR)
    found = reported()
    assert found["effect"] == "kept"
    assert found["before"] == found["after"]
    assert found["by_cron"][0] == (NOON + 1 * MINUTE).isoformat()


def test_what_is_overdue_starts_at_once_under_both() -> None:
    stock_cron("0 * * * *", last_run_at=NOON - 90 * MINUTE)
    found = reported()
    assert found["before"] == found["after"]
    assert found["after"][:2] == [NOON.isoformat(), (NOON + HOUR).isoformat()]
    assert findings() == [("note", "it is overdue, and starts as soon as beat is started")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: stock_interval(1, "hours", last_run_at=NOON - 90 * MINUTE),
        lambda: stock_interval(7, "days", last_run_at=NOON - 9 * DAY),
        lambda: stock_interval(7, "days", start_time=NOON - HOUR, created=NOON),
        lambda: stock_cron("0 * * * *", start_time=NOON - 3 * HOUR, created=NOON),
        lambda: stock_cron("0 3 * * sun", last_run_at=NOON - 8 * DAY),
        lambda: stock_cron("0 3 1 * *", last_run_at=NOON - 60 * DAY),
        lambda: stock_cron("0 3 * * *", last_run_at=NOON - 8 * DAY, one_off=True),
        lambda: stock_clocked(NOON - 2 * DAY),
        lambda: stock_clocked(NOON - HOUR, created=NOON),
    ],
)
def test_whatever_is_overdue_starts_when_it_would_have(make: Callable[[], PeriodicTask]) -> None:
    make()
    found = reported()
    assert found["before"] == found["after"]
    assert found["before"][0] == NOON.isoformat()
    assert ("note", "it is overdue, and starts as soon as beat is started") in findings()
    adopt("--check")


def test_an_adopted_interval_keeps_to_its_grid_if_beat_is_started_later() -> None:
    stock_interval(1, "hours", last_run_at=NOON - 90 * MINUTE)
    adopt()
    with time_machine.travel(NOON + 10 * MINUTE, tick=False):
        printed, _ = adopt("--check")
    note, *lines = printed.splitlines()[1:]
    assert note.endswith(
        "it is overdue, and starts as soon as beat is started; an interval then keeps to its grid"
    )
    assert [line.split()[:3] for line in lines] == [
        ["before", "2026-03-02T12:10:00+00:00", "2026-03-02T13:10:00+00:00"],
        ["after", "2026-03-02T12:10:00+00:00", "2026-03-02T13:00:00+00:00"],
    ]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"starting_deadline": HOUR}, "its start deadline, 1 h, has passed"),
        ({"misfire": "skip"}, "its missed runs are skipped"),
        ({}, "it was saved here after that run was due"),
    ],
)
def test_an_overdue_start_that_is_left_out_is_a_change_and_says_why(policy: dict[str, Any], why: str) -> None:
    schedule = stock_cron("0 3 * * *", last_run_at=NOON - 2 * DAY)
    SchedulePolicy.objects.create(schedule=schedule, **policy)
    until = NOON - 2 * DAY if policy else NOON
    NextSlot.objects.create(schedule=schedule, handled_until=until, timing="x")
    assert findings() == [("changes", f"it is overdue, but not started: {why}")]
    with pytest.raises(CommandError):
        adopt("--check")


def test_a_start_without_a_time_of_its_own_is_a_change() -> None:
    stock_cron("0 3 1 * *", start_time=NOON - HOUR, created=NOON - HOUR)
    why = "none of its times has come since its start time or its last run"
    assert findings() == [("changes", f"it is overdue, but not started: {why}")]


def test_a_start_time_starts_nothing_by_itself() -> None:
    stock_cron("0 3 * * *", start_time=NOON + 2 * HOUR, created=NOON)
    found = reported()
    assert found["before"][:2] == [(NOON + 2 * HOUR).isoformat(), utc("2026-03-03T03:00").isoformat()]
    assert found["after"][0] == utc("2026-03-03T03:00").isoformat()
    assert findings() == [
        ("changes", "it was also started as soon as its start time had come, whatever its timing")
    ]


def test_expired_and_finished_schedules_are_never_due() -> None:
    stock_cron("0 * * * *", "expired", expires=NOON, **ON_TIME)
    stock_clocked(NOON - HOUR, "ran", last_run_at=NOON - HOUR, total_run_count=1)
    expired, ran = json.loads(adopt("--json", "--check")[0])
    assert (expired["before"], expired["after"], expired["findings"]) == ([], [], [])
    assert (ran["before"], ran["after"]) == ([], [])
    assert ran["findings"] == [{"effect": "note", "text": "it has run, and does not run again"}]


def test_a_clocked_schedule_is_due_at_its_time() -> None:
    stock_clocked(NOON + HOUR)
    found = reported()
    assert found["before"] == found["after"] == [(NOON + HOUR).isoformat()]


def test_an_interval_below_a_second_needs_a_decision() -> None:
    stock_interval(500_000, "microseconds", **ON_TIME)
    ((effect, text),) = findings()
    assert (effect, text) == ("changes", "it is broken: every: 0:00:00.500000 is shorter than a second")


def test_a_solar_schedule_means_the_same() -> None:
    schedule = stock_interval(1, "hours", **ON_TIME)
    sunset = SolarSchedule.objects.create(event="sunset", latitude="51.5", longitude="-0.1")
    PeriodicTask.objects.filter(pk=schedule.pk).update(interval=None, solar=sunset)
    found = reported()
    assert found["findings"] == []
    pairs = zip(found["before"], found["after"], strict=True)
    assert all(
        abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) < MINUTE for one, other in pairs
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"task": "gone.task"}, "it is broken: task: 'gone.task' does not belong to an app"),
        ({"task": "probes.gone"}, "it is broken: task: there is no job or task named 'probes.gone'"),
        ({"queue": "celeryev.x"}, "it is broken: its queue 'celeryev.x' cannot be used"),
        ({"args": "[1]"}, "it is broken: args: a job takes keyword arguments only"),
        ({"kwargs": '{"level": 9}'}, "it has options that are not valid for probes.probe"),
        ({"headers": '{"lang": "x"}'}, "its message headers lang are not sent"),
    ],
)
def test_what_cannot_be_kept_needs_a_decision(values: dict[str, Any], text: str) -> None:
    schedule = stock_cron("0 3 * * *", **ON_TIME, **values)
    ((effect, found),) = findings()
    assert effect == "changes"
    assert bool(reported()["after"]) is not text.startswith("it is broken")
    assert text in found
    with pytest.raises(CommandError, match="Correct or disable") as caught:
        adopt("--check")
    assert caught.value.returncode == 1
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=False)
    adopt("--check")


def test_crontabs_that_were_read_in_another_time_zone_need_a_decision(settings: Any) -> None:
    settings.DJANGO_CELERY_BEAT_TZ_AWARE = False
    stock_cron("0 3 * * *", zone="Asia/Tokyo", **ON_TIME)
    assert findings() == [("changes", f"it was read in another time zone, {current_app.timezone}")]


def test_entries_of_beat_schedule_that_were_never_stored_need_a_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock_cron("0 3 * * *", "stored", **ON_TIME)
    conf = SimpleNamespace(beat_schedule={"stored": {}, "new": {}})
    monkeypatch.setattr(review, "current_app", SimpleNamespace(conf=conf))
    with pytest.raises(CommandError):
        adopt("--check")
    assert "new: it is in beat_schedule, but not in the database" in adopt()[1]


def test_the_stock_schedulers_own_schedule_is_of_no_use_with_redis() -> None:
    stock_cron("0 4 * * *", "celery.backend_cleanup", task="celery.backend_cleanup", **ON_TIME)
    ((effect, text),) = findings()
    assert (effect, "Redis forgets results by itself" in text) == ("note", True)


def test_a_queue_that_no_worker_reads_is_named() -> None:
    stock_cron("0 3 * * *", queue="slow", **ON_TIME)
    assert findings() == []
    start_worker("celery")
    assert findings() == [("note", "no worker reads its queue, slow")]


def test_queues_that_could_not_be_checked_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [MapRoute({"tests.probes.*": {"queue": "routed"}})]
    monkeypatch.setattr(current_app.amqp, "router", Router(routes, current_app.amqp.queues, app=current_app))
    stock_cron("0 3 * * *", "named", queue="slow", **ON_TIME)
    stock_cron("0 3 * * *", "routed", task="tests.probes.tasks.add", **ON_TIME)
    stock_cron("0 3 * * *", "default", **ON_TIME)
    stock_cron("0 3 * * *", "elsewhere", routing_key="x", **ON_TIME)
    text = "no worker of this service has reported. The schedules use: celery, routed, slow."
    assert text in adopt("--check")[1]
    assert text in adopt("--json")[1]
    start_worker("celery", "slow", "routed")
    assert "Queues were not checked" not in adopt("--check")[1]


def test_without_schedules_there_are_no_queues_to_check() -> None:
    assert "Queues" not in adopt("--check")[1]


def test_ordinary_tasks_are_counted() -> None:
    stock_cron("0 3 * * *", task="tests.probes.tasks.add", **ON_TIME)
    printed, remarks = adopt("--check")
    assert printed == ""
    assert "1 starts an ordinary task." in remarks
    assert reported()["is_job"] is False


def test_disabled_schedules_and_those_made_here_are_not_adopted() -> None:
    stock_cron("0 3 1-7 * mon", "disabled", enabled=False)
    hourly()
    assert adopt()[1].splitlines()[-1] == "Nothing was stored: all enabled schedules were adopted before."


def test_an_unreadable_schedule_hides_no_other() -> None:
    stock_cron("0 3 * * *", "fine", **ON_TIME)
    stock_cron("0 4 * * *", "unreadable", zone="Asia/Tokyo", **ON_TIME)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'x' WHERE hour = '4'")
    fine, unreadable = json.loads(adopt("--json")[0])
    assert fine["effect"] is None
    assert unreadable["effect"] == "changes"


@pytest.mark.parametrize("expression", ["*/20 * * * *", "0 3 1-7 * mon", "30 1 * * *"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/London"])
def test_what_was_before_is_what_the_stock_scheduler_does(expression: str, zone: str) -> None:
    schedule = stock_cron(expression, zone=zone, **ON_TIME)
    first, second = stock.next_starts(schedule, NOON, 2)
    entry = ModelEntry(PeriodicTask.objects.get(), app=current_app)
    for start in first, second:
        for now, is_due in ((start - timedelta(seconds=1), False), (start, True)):
            with time_machine.travel(now, tick=False):
                assert bool(entry.is_due().is_due) is is_due
        with time_machine.travel(start, tick=False):
            entry = next(entry)


def test_a_schedule_without_times_hides_no_other() -> None:
    stock_cron("0 3 * * *", "fine", **ON_TIME)
    PeriodicTask.objects.bulk_create([PeriodicTask(name="nothing", task="probes.probe")])
    fine, nothing = json.loads(adopt("--json", "--check")[0])
    assert fine["effect"] is None
    assert nothing["findings"] == [{"effect": "kept", "text": "it was never started before: it has no times"}]
