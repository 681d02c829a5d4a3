"""The list of backfills, and the page of each: how far it is, and how to cancel it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.backfills import admin
from jobledger.jobs.declaration import Concurrency
from jobledger.models import AuditEntry, Backfill, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules.backfills import backfilling
from tests.unit.jobledger.admin.schedules.schedules import member, unreadable
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db

LIST = "admin:jobledger_backfill_changelist"


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly(handled_until=NOON)


@pytest.fixture
def backfill(schedule: PeriodicTask) -> Backfill:
    terms = backfilling.Terms(since=NOON.replace(hour=9), until=NOON, trigger=Trigger.CLI, username="ann")
    return backfilling.start(schedule, terms, now=NOON)


def url(backfill: Backfill, name: str = "change") -> str:
    return reverse(f"admin:jobledger_backfill_{name}", args=[backfill.pk])


def test_the_page_shows_the_progress_and_the_runs(admin_client: Client, backfill: Backfill) -> None:
    [first] = backfilling.advance(NOON)
    Run.objects.update(status=Status.FAILED)
    Backfill.objects.update(look_at=NOON)
    [second] = backfilling.advance(NOON)
    text = admin_client.get(url(backfill)).text
    assert "1 of 3 done: 1 failed; 1 queued, 1 waiting" in text
    assert "by ann on the command line" in text
    for run in first, second:
        assert reverse("admin:jobledger_run_change", args=[run.pk]) in text
    assert "every 3s" in text


def test_once_it_is_over_the_page_asks_no_more(admin_client: Client, backfill: Backfill) -> None:
    Backfill.objects.update(ended_at=NOON, look_at=None)
    text = admin_client.get(url(backfill)).text
    assert "every 3s" not in text
    assert "Cancel this backfill" not in text


def test_it_says_what_it_waits_for(admin_client: Client, backfill: Backfill) -> None:
    other = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, queued_at=NOON)
    text = admin_client.get(url(backfill)).text
    assert f"It waits: run {other.short_id} of the same job is queued." in text


def test_the_page_of_a_run_leads_to_its_backfill(admin_client: Client, backfill: Backfill) -> None:
    [run] = backfilling.advance(NOON)
    text = admin_client.get(reverse("admin:jobledger_run_change", args=[run.pk])).text
    assert f'<dt>Backfill</dt><dd><a href="{url(backfill)}">' in text
    assert "a backfill of schedule hourly, started by ann" in text


def test_a_run_that_was_deleted_is_not_linked(admin_client: Client, backfill: Backfill) -> None:
    [run] = backfilling.advance(NOON)
    Run.objects.all().delete()
    text = admin_client.get(url(backfill)).text
    assert str(run.pk) not in text
    assert "1 of 3 done: 1 cancelled" in text


def test_a_deleted_schedules_backfill_keeps_its_name(
    admin_client: Client, backfill: Backfill, schedule: PeriodicTask
) -> None:
    schedule.delete()
    assert "hourly (deleted)" in admin_client.get(url(backfill)).text


def test_many_slots_have_pages(
    admin_client: Client, backfill: Backfill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "SLOTS_PER_PAGE", 2)
    first, second = (admin_client.get(url(backfill), {"p": page}).text for page in "12")
    assert ("2026-03-02 10:00:00 UTC</span>" in first, "2026-03-02 11:00:00 UTC</span>" in first) == (
        True,
        False,
    )
    assert "2026-03-02 11:00:00 UTC</span>" in second
    assert 'hx-get="?p=2"' in second


def test_it_can_be_cancelled_which_is_logged(
    admin_client: Client, backfill: Backfill, schedule: PeriodicTask
) -> None:
    answer = admin_client.post(url(backfill, "cancel"), follow=True)
    assert "The backfill has been cancelled." in answer.text
    assert "Cancelled by admin" in answer.text
    logged = AuditEntry.objects.values_list("object_id", "text")
    text = f"Cancelled backfill {backfill.pk}."
    assert sorted(logged) == sorted([(str(backfill.pk), text), (str(schedule.pk), text)])
    again = admin_client.post(url(backfill, "cancel"), follow=True)
    assert "already ended or is already being cancelled" in again.text
    assert AuditEntry.objects.count() == 2


def test_cancelling_needs_the_right_to_cancel_runs(client: Client, backfill: Backfill) -> None:
    member(client, "Job viewers")
    assert "Cancel this backfill" not in client.get(url(backfill)).text
    assert client.post(url(backfill, "cancel")).status_code == 403
    backfill.refresh_from_db()
    assert backfill.cancelled_at is None


def test_seeing_needs_the_right_to_see_runs(client: Client, backfill: Backfill) -> None:
    user = member(client, "Job viewers")
    assert client.get(reverse(LIST)).status_code == 200
    user.groups.clear()
    for address in reverse(LIST), url(backfill), url(backfill, "history"):
        assert client.get(address).status_code == 403
    assert client.post(url(backfill, "cancel")).status_code == 403


def test_nothing_of_it_can_be_edited_or_deleted(admin_client: Client, backfill: Backfill) -> None:
    for name in "change", "delete":
        assert admin_client.post(url(backfill, name), {"post": "yes"}).status_code == 403
    assert admin_client.get(reverse("admin:jobledger_backfill_add")).status_code == 403
    assert admin_client.get(url(backfill, "history")).headers["Location"] == url(backfill)
    assert Backfill.objects.exists()


def test_the_list_has_all_of_them_with_their_progress(admin_client: Client, backfill: Backfill) -> None:
    text = admin_client.get(reverse(LIST)).text
    assert url(backfill) in text
    assert "0 of 3 done; 3 waiting" in text
    Backfill.objects.all().delete()
    assert "No backfills yet" in admin_client.get(reverse(LIST)).text


def test_what_has_not_run_of_a_cancelled_one_is_not_waiting(admin_client: Client, backfill: Backfill) -> None:
    admin_client.post(url(backfill, "cancel"))
    text = admin_client.get(url(backfill)).text
    assert "0 of 3 done; 3 not run" in text
    assert text.count('<span class="last">not run</span>') == 3
    assert "waiting" not in text
    assert "0 of 3 done; 3 not run" in admin_client.get(reverse(LIST)).text


def test_times_are_in_the_zone_of_the_schedule_with_the_offset_of_repeated_hours(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    london = CrontabSchedule.objects.create(minute="30", hour="*", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.filter(pk=schedule.pk).update(crontab=london, interval=None)
    since, until = datetime(2025, 10, 26, 0, 10, tzinfo=UTC), datetime(2025, 10, 26, 1, 40, tzinfo=UTC)
    terms = backfilling.Terms(since=since, until=until, trigger=Trigger.CLI, username="ann")
    found = backfilling.start(PeriodicTask.objects.get(pk=schedule.pk), terms, now=NOON)
    for text in admin_client.get(url(found)).text, admin_client.get(reverse(LIST)).text:
        assert "2025-10-26 01:10:00 BST" in text
        assert "2025-10-26 01:40:00 GMT" in text
    page = admin_client.get(url(found)).text
    assert "2025-10-26 01:30:00 BST" in page
    assert "2025-10-26 01:30:00 GMT" in page
    Backfill.objects.update(schedule=None)
    assert "2025-10-26 00:10:00 UTC" in admin_client.get(url(found)).text


def test_the_page_says_that_runs_which_must_not_overlap_start_one_after_the_other(
    admin_client: Client, schedule: PeriodicTask, backfill: Backfill
) -> None:
    Backfill.objects.update(parallel=4)
    assert "<dd>1, since they must not overlap (4 asked for)</dd>" in admin_client.get(url(backfill)).text
    SchedulePolicy.objects.filter(schedule=schedule).update(concurrency=Concurrency.ALLOW)
    assert "<dd>4</dd>" in admin_client.get(url(backfill)).text
    PeriodicTask.objects.filter(pk=schedule.pk).update(task="nobody.knows")
    assert "<dd>4</dd>" in admin_client.get(url(backfill)).text


def test_what_does_not_exist_is_not_found(admin_client: Client) -> None:
    for address in "999/change/", "x/change/", "999/cancel/":
        method = admin_client.post if "cancel" in address else admin_client.get
        assert method(f"{reverse(LIST)}{address}").status_code == 404


def test_the_list_takes_as_many_queries_for_many_schedules_as_for_one(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    times = {"since": NOON, "until": NOON, "trigger": Trigger.ADMIN, "ended_at": NOON}
    for number in range(20):
        of = hourly(f"schedule {number}") if number % 2 else every(60, f"schedule {number}")
        Backfill.objects.create(schedule=of, schedule_name=of.name, job="probe", **times)
    with django_assert_max_num_queries(12):
        assert "schedule 19" in admin_client.get(reverse(LIST)).text


def test_a_schedule_whose_times_are_unreadable_does_not_hide_the_backfills(
    admin_client: Client, backfill: Backfill, schedule: PeriodicTask
) -> None:
    unreadable(schedule)
    assert url(backfill) in admin_client.get(reverse(LIST)).text
    assert "3 waiting" in admin_client.get(url(backfill)).text
