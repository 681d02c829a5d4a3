"""Problems of the service are shown with advice and links."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger import health
from jobledger.models import NextSlot, Pause, ProcessKind, Run, ServiceProcess, Status, Trigger
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms

pytestmark = pytest.mark.django_db

HOME = "/admin/"
SCHEDULES = "/admin/django_celery_beat/periodictask/"
QUEUED_RUNS = "/admin/jobledger/run/?status=queued"


@pytest.fixture(autouse=True)
def a_service_without_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "broker_problems", lambda: iter(()))
    for kind in ProcessKind:
        values: dict[str, Any] = {"version": code_version(), "queues": ["celery"], "seen_at": timezone.now()}
        ServiceProcess.objects.create(kind=kind, name=f"{kind}@here", **values)


def schedule(name: str, **values: Any) -> PeriodicTask:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3")
    made: PeriodicTask = PeriodicTask.objects.create(
        name=name, task="probes.probe", crontab=crontab, **values
    )
    return made


def broken(name: str) -> PeriodicTask:
    made = schedule(name)
    NextSlot.objects.filter(pk=made.pk).update(due_at=None, broken="its task is gone")
    return made


def page_of(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])


def reader(client: Client, *codenames: str) -> None:
    """The client belongs to a user with these permissions."""
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_run", *codenames]))
    client.force_login(user)


def test_a_healthy_service_has_no_notices(admin_client: Client) -> None:
    schedule("at three")
    page = admin_client.get(HOME).text
    assert 'class="notice' not in page
    assert "part-ill" not in page
    assert "<strong>workers</strong> 1 running (worker@here)" in page


def test_a_broken_schedule_links_to_its_page_and_several_to_the_list(admin_client: Client) -> None:
    first = broken("first")
    assert f'href="{page_of(first)}">Open the schedule</a>' in admin_client.get(HOME).text
    broken("second")
    schedule("whole")
    page = admin_client.get(HOME).text
    assert "2 schedules are broken" in page
    assert f'href="{SCHEDULES}?status=broken">Show broken schedules</a>' in page
    listed = admin_client.get(f"{SCHEDULES}?status=broken").context["cl"]
    assert listed.result_count == 2


def test_an_unread_queue_links_to_its_schedules(admin_client: Client) -> None:
    one = schedule("one", queue="reports")
    page = admin_client.get(HOME).text
    assert "part-ill" in page
    assert f'href="{page_of(one)}">Open the schedule</a>' in page
    schedule("two", queue="reports")
    schedule("off", queue="reports", enabled=False)
    schedule("other")
    page = admin_client.get(HOME).text
    assert f'href="{SCHEDULES}?status=enabled&amp;sent_to=reports">Show its schedules</a>' in page
    listed = admin_client.get(f"{SCHEDULES}?status=enabled&sent_to=reports").context["cl"]
    assert [each.name for each in listed.result_list] == ["one", "two"]


def waiting_in(queue: str) -> None:
    values = {"job": "probe", "trigger": Trigger.CELERY, "publish_after": timezone.now()}
    Run.objects.create(status=Status.QUEUED, routing={"queue": queue}, **values)


def test_an_unread_queue_in_which_runs_wait_links_to_them(admin_client: Client) -> None:
    waiting_in("urgent")
    page = admin_client.get(HOME).text
    assert "No running worker reads the queue “urgent”: 1 queued run waits in it." in page
    assert f'href="{QUEUED_RUNS}">Show queued runs</a>' in page
    assert f'href="{SCHEDULES}">Show schedules</a>' not in page


def test_an_unread_queue_links_to_what_uses_it_and_to_what_waits_in_it(admin_client: Client) -> None:
    one = schedule("one", queue="urgent")
    waiting_in("urgent")
    page = admin_client.get(HOME).text
    assert f'href="{page_of(one)}">Open the schedule</a>' in page
    assert f'href="{QUEUED_RUNS}">Show queued runs</a>' in page


def test_at_most_five_notices_of_a_kind_are_shown(admin_client: Client) -> None:
    broken("a")
    for number in range(27):
        schedule(f"schedule {number}", queue=f"queue-{number}")
    page = admin_client.get(HOME).text
    assert page.count("No running worker reads the queue") == 5
    assert page.count("<p>and 22 more</p>") == 1
    assert "The schedule “a” is broken" in page
    assert page.count("no worker reads") == 4
    assert "no worker reads queue-11, and 23 more" in page


def test_five_notices_of_a_kind_are_all_shown(admin_client: Client) -> None:
    for number in range(5):
        schedule(f"schedule {number}", queue=f"queue-{number}")
    page = admin_client.get(HOME).text
    assert page.count("No running worker reads the queue") == 5
    assert "more</p>" not in page


def test_runs_that_no_worker_can_start_link_to_the_queued_runs(admin_client: Client) -> None:
    ServiceProcess.objects.filter(kind=ProcessKind.WORKER).delete()
    values = {"job": "probe", "trigger": Trigger.CLI, "publish_after": timezone.now()}
    Run.objects.create(status=Status.QUEUED, **values)
    page = admin_client.get(HOME).text
    assert "No worker is running" in page
    assert f'href="{QUEUED_RUNS}">Show queued runs</a>' in page


def test_a_pause_can_be_ended_on_the_home_page_with_permission(admin_client: Client, client: Client) -> None:
    pausing.pause(None, Terms(until=None, reason="The database moves", username="ann"), now=timezone.now())
    resume = reverse("admin:jobledger_service_resume")
    page = admin_client.get(reverse("admin:home_now")).text
    assert f'action="{resume}"' in page
    assert "csrfmiddlewaretoken" in page
    assert admin_client.post(resume, {"next": HOME}).headers["Location"] == HOME
    assert not Pause.objects.active_at(timezone.now()).exists()

    pausing.pause(None, Terms(until=None, reason="Again"), now=timezone.now())
    reader(client)
    page = client.get(HOME).text
    assert "The whole service is paused until resumed: Again" in page
    assert resume not in page


def test_notices_about_schedules_require_permission_to_view_schedules(client: Client) -> None:
    broken("secret name")
    schedule("one", queue="reports")
    schedule("two", queue="reports")
    reader(client)
    page = client.get(HOME).text
    assert "No running worker reads the queue “reports”" in page
    assert [text for text in ("secret name", "is broken", "<strong>schedules</strong>") if text in page] == []
    assert f'href="{SCHEDULES}?' not in page


def test_a_process_with_other_code_is_not_healthy(admin_client: Client) -> None:
    ServiceProcess.objects.filter(kind=ProcessKind.BEAT).update(version="0.0.9+old")
    page = admin_client.get(HOME).text
    assert "beat@here (0.0.9+old)" in page
    assert (
        '<li class="part part-ill"><strong>beat</strong> 1 running (beat@here), different code</li>' in page
    )


def test_a_process_that_stops_is_reported_while_the_page_is_open(admin_client: Client) -> None:
    gone = timezone.now() - timedelta(minutes=5)
    ServiceProcess.objects.filter(kind=ProcessKind.BEAT).update(seen_at=gone)
    page = admin_client.get(reverse("admin:home_now")).text
    assert "Beat is not running: beat@here was last seen 5 min ago." in page


def test_runs_that_occupy_all_workers_link_to_their_pages(admin_client: Client) -> None:
    ServiceProcess.objects.filter(kind=ProcessKind.WORKER).update(identity="me", capacity=1)
    hour_ago = timezone.now() - timedelta(hours=1)
    run = Run.objects.create(
        job="probe", trigger=Trigger.CLI, status=Status.RUNNING, started_at=hour_ago, worker_identity="me"
    )
    Run.objects.create(
        job="probe", trigger=Trigger.CLI, queued_at=hour_ago, publish_count=1, publish_after=timezone.now()
    )
    page = admin_client.get(HOME).text
    assert "The only worker process has been busy for 1 h" in page
    assert f'href="/admin/jobledger/run/{run.pk}/change/">Open probe</a>' in page
    assert f'href="{QUEUED_RUNS}">Show queued runs</a>' in page
