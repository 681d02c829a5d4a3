"""The home page: failures, running jobs, upcoming runs and health."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger import health
from jobledger.admin.home.page import problems
from jobledger.models import NextSlot, ProcessKind, Run, ServiceProcess, Status, Trigger
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger
from jobledger.schedules.pausing import Terms
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.schedules.builders import hourly, limited_by

pytestmark = pytest.mark.django_db

HOME = "/admin/"


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "broker_problems", lambda: iter(()))


def sign(kind: ProcessKind, **values: Any) -> None:
    """A process that was just seen."""
    given = {"name": "here", "seen_at": timezone.now(), "version": code_version(), "queues": ["celery"]}
    ServiceProcess.objects.create(kind=kind, **{**given, **values})


def create_run(job: str = "probe", *, minutes_ago: float = 5, **values: Any) -> Run:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    given = {"job": job, "trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED, "queued_at": at}
    return Run.objects.create(**{**given, **values})


def test_problems_are_counted_by_job_and_status() -> None:
    create_run(status=Status.FAILED, minutes_ago=70)
    create_run(status=Status.FAILED, minutes_ago=60)
    create_run(status=Status.MISSED, minutes_ago=50)
    create_run(status=Status.FAILED, minutes_ago=25 * 60)
    found = problems(timezone.now()).rows
    assert [(each.job, each.count) for each in found] == [("probe", 1), ("probe", 2)]
    assert "missed" in found[0].mark


def test_a_job_that_has_succeeded_since_is_marked() -> None:
    create_run("recovered", status=Status.FAILED, minutes_ago=70)
    create_run("recovered", minutes_ago=5)
    create_run("recovered", status=Status.SKIPPED, minutes_ago=1)
    create_run("broken", minutes_ago=70)
    create_run("broken", status=Status.FAILED, minutes_ago=5)
    assert {each.job: each.is_over for each in problems(timezone.now()).rows} == {
        "recovered": True,
        "broken": False,
    }


def test_a_task_whose_end_is_awaited_has_not_succeeded_since() -> None:
    create_run("tasks.of.others", status=Status.FAILED, minutes_ago=70)
    run = create_run("tasks.of.others", status=Status.SENT, minutes_ago=5, look_at=timezone.now())
    (found,) = problems(timezone.now()).rows
    assert not found.is_over
    Run.objects.filter(pk=run.pk).update(status=Status.SUCCEEDED, look_at=None)
    (found,) = problems(timezone.now()).rows
    assert found.is_over


def test_a_running_job_is_shown_with_its_progress(admin_client: Client) -> None:
    now = timezone.now()
    run = create_run(
        status=Status.RUNNING, started_at=now, heartbeat_at=now, progress_done=30, progress_total=120
    )
    page = admin_client.get(HOME).text
    assert '<progress max="120" value="30"' in page
    assert reverse("admin:jobledger_run_change", args=[run.pk]) in page


def test_upcoming_runs_are_shown(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3")
    PeriodicTask.objects.create(name="at three", task="probes.probe", crontab=crontab)
    assert "at three" in admin_client.get(HOME).text


def test_a_service_pause_is_shown_first(admin_client: Client) -> None:
    pausing.pause(None, Terms(until=None, reason="The database moves", username="ann"), now=timezone.now())
    page = admin_client.get(HOME).text
    assert "The whole service is paused" in page
    assert "The database moves" in page


def test_an_empty_home_page_explains_what_to_do(admin_client: Client) -> None:
    page = admin_client.get(HOME).text
    assert "No failed or missed runs." in page
    assert reverse("admin:django_celery_beat_periodictask_add") in page


@pytest.mark.parametrize(("hour", "limits"), [(12, [19, 5]), (22, [19, 7])])
def test_the_number_of_queries_does_not_grow(
    client: Client, admin_user: User, hour: int, limits: list[int]
) -> None:
    """The timeline includes the runs that are planned for the next six hours, at night those at three."""

    def queries_with(runs: int) -> list[int]:
        for number in range(runs):
            create_run(f"job {number % 7}", status=Status.FAILED)
            create_run(status=Status.RUNNING, started_at=timezone.now())
            create_run(
                status=Status.QUEUED, publish_after=timezone.now(), schedule=at_three(f"{runs}-{number}")
            )
        return [queries_of(client, HOME), queries_of(client, reverse("admin:home_timeline"))]

    with time_machine.travel(timezone.now().replace(hour=hour), tick=False):
        # Only now, since it may be longer until then than a session lasts.
        client.force_login(admin_user)
        sign(ProcessKind.WORKER)
        few = queries_with(1)
        assert queries_with(30) == few
    assert few <= limits


def queries_of(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_the_page_fetches_the_timeline_once_it_is_displayed(admin_client: Client) -> None:
    """It takes longer than all the rest."""
    run = create_run()
    address = reverse("admin:jobledger_run_change", args=[run.pk])
    page = admin_client.get(HOME).text
    assert address not in page
    fetch = f'hx-get="{reverse("admin:home_timeline")}" hx-trigger="load" hx-swap="outerHTML"'
    assert fetch in page
    assert address in admin_client.get(reverse("admin:home_timeline")).text


def test_without_javascript_a_link_shows_the_timeline(admin_client: Client) -> None:
    run = create_run()
    assert '<noscript><p><a href="?period=24h">' in admin_client.get(HOME).text
    page = admin_client.get(HOME, {"period": "24h"}).text
    assert reverse("admin:jobledger_run_change", args=[run.pk]) in page
    assert 'hx-trigger="load"' not in page


@pytest.mark.parametrize("path", ["admin:home_now", "admin:home_timeline"])
def test_refreshed_parts_require_permission_to_view_runs(client: Client, path: str) -> None:
    user = User.objects.create(username="ann", is_staff=True)
    client.force_login(user)
    assert client.get(reverse(path)).status_code == 403
    assert "You do not have permission to view runs" in client.get(HOME).text
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    assert client.get(reverse(path)).status_code == 200


def test_refreshed_parts_require_login(client: Client) -> None:
    assert client.get(reverse("admin:home_now")).status_code == 302


def test_the_period_of_seven_days_shows_older_runs(admin_client: Client) -> None:
    run = create_run(minutes_ago=3 * 24 * 60)
    address = reverse("admin:jobledger_run_change", args=[run.pk])
    assert address not in admin_client.get(reverse("admin:home_timeline")).text
    assert address in admin_client.get(reverse("admin:home_timeline"), {"period": "7d"}).text
    assert address in admin_client.get(HOME, {"period": "7d"}).text


def at_three(name: str = "at three") -> PeriodicTask:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3")
    return PeriodicTask.objects.create(name=name, task="probes.probe", crontab=crontab)


def test_a_broken_schedule_is_a_problem(admin_client: Client) -> None:
    NextSlot.objects.filter(schedule=at_three()).update(due_at=None, broken="its task is gone")
    page = admin_client.get(HOME).text
    assert "The schedule “at three” is broken and starts nothing: its task is gone." in page
    assert '<li class="part part-ill"><strong>schedules</strong> 1 enabled, 1 broken</li>' in page


def test_what_calendars_leave_out_is_not_an_upcoming_run(admin_client: Client) -> None:
    schedule, now = hourly(), timezone.now()
    limited_by(schedule, (now + timedelta(hours=1)).strftime("%Y-%m-%d %H:00 to %H:30"))
    ledger.sync([schedule.pk], now)
    row = NextSlot.objects.get()
    assert row.due_at is not None
    assert row.slot == row.due_at + timedelta(hours=1)
    text = admin_client.get(HOME).text
    assert row.slot.isoformat() in text
    assert row.due_at.isoformat() not in text


def test_an_upcoming_run_of_a_job_that_is_exempt_from_pauses_shows_none_of_the_service(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_three()
    pausing.pause(None, Terms(until=None), now=timezone.now())
    of_page_and_run = admin_client.get(HOME).text.count("mark-paused")
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    assert admin_client.get(HOME).text.count("mark-paused") == of_page_and_run - 1


def test_an_upcoming_run_shows_that_it_is_paused(admin_client: Client) -> None:
    paused = at_three()
    assert "mark-paused" not in admin_client.get(HOME).text
    pausing.pause(paused, Terms(until=None, reason="", username="ann"), now=timezone.now())
    assert "mark-paused" in admin_client.get(HOME).text


def reader(client: Client, *codenames: str) -> None:
    """Log the client in as a user with these permissions."""
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_run", *codenames]))
    client.force_login(user)


def test_schedules_are_hidden_from_users_without_permission(client: Client) -> None:
    at_three()
    NextSlot.objects.filter(schedule=at_three("never fixed")).update(due_at=None, broken="its task is gone")
    reader(client)
    for address in (HOME, reverse("admin:home_now")):
        page = client.get(address).text
        assert not [shown for shown in ("at three", "never fixed", "Upcoming") if shown in page]
    reader_of_schedules = Permission.objects.get(codename="view_periodictask")
    User.objects.get(username="ann").user_permissions.add(reader_of_schedules)
    page = client.get(HOME).text
    assert all(shown in page for shown in ("at three", "never fixed", "Upcoming"))


def test_a_late_beat_is_reported_without_permission_to_view_schedules(client: Client) -> None:
    NextSlot.objects.filter(schedule=at_three()).update(due_at=timezone.now() - timedelta(hours=1))
    reader(client)
    assert "a run has been due for 1 h" in client.get(HOME).text


def test_the_link_to_add_a_schedule_requires_permission(client: Client) -> None:
    reader(client, "view_periodictask")
    assert "Add a schedule" not in client.get(HOME).text
    adder = Permission.objects.get(codename="add_periodictask")
    User.objects.get(username="ann").user_permissions.add(adder)
    assert "Add a schedule" in client.get(HOME).text
