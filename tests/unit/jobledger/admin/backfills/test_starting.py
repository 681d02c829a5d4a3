"""The page that starts a backfill: a preview of each slot, then the runs."""

import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.backfills import starting
from jobledger.jobs.declaration import Concurrency
from jobledger.models import AuditEntry, Backfill, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules import pausing
from jobledger.schedules.backfills import backfilling
from tests.unit.jobledger.admin.schedules.schedules import member, unreadable
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

MORNING = {"since": "2026-03-02T09:00", "until": "2026-03-02T12:00", "parallel": "1"}


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly(handled_until=NOON)


def url(schedule: PeriodicTask) -> str:
    return reverse("admin:jobledger_backfill_start", args=[schedule.pk])


def page_of(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])


def preview(client: Client, schedule: PeriodicTask, **values: str) -> str:
    return client.get(url(schedule), {**MORNING, **values}).text


def succeeded_at_ten(schedule: PeriodicTask) -> Run:
    ten = NOON.replace(hour=10)
    return Run.objects.create(
        job="probe", schedule=schedule, scheduled_for=ten, trigger=Trigger.SCHEDULE, status=Status.SUCCEEDED
    )


def test_the_preview_says_of_each_slot_what_happens_and_why(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    run = succeeded_at_ten(schedule)
    text = preview(admin_client, schedule)
    assert "2 runs, 1 left out" in text
    rows = [line for line in text.splitlines() if 'scope="row"' in line]
    assert ["will run" in row for row in rows] == [True, False, True]
    assert f"run {run.short_id} has succeeded" in rows[1]
    assert reverse("admin:jobledger_run_change", args=[run.pk]) in rows[1]
    assert not Backfill.objects.exists()


def test_without_a_range_there_is_only_the_form(admin_client: Client, schedule: PeriodicTask) -> None:
    text = admin_client.get(url(schedule)).text
    assert 'value="2026-02-23T00:00:00"' in text
    assert "left out" not in text


def test_the_runs_are_started_as_previewed(admin_client: Client, schedule: PeriodicTask) -> None:
    succeeded_at_ten(schedule)
    answer = admin_client.post(url(schedule), MORNING)
    found = Backfill.objects.get()
    assert answer.headers["Location"] == reverse("admin:jobledger_backfill_change", args=[found.pk])
    assert (found.username, found.trigger, found.slots.count(), found.left_out) == ("admin", "admin", 2, 1)
    text = f"Started backfill {found.pk}: 2 runs."
    assert sorted(AuditEntry.objects.values_list("object_type", "text")) == [
        ("django_celery_beat.periodictask", text),
        ("jobledger.backfill", text),
    ]


def test_nothing_starts_if_the_schedule_starts_something_else_than_was_previewed(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    found = re.search(r'name="target" value="(\w+)"', preview(admin_client, schedule))
    assert found is not None
    previewed = {**MORNING, "target": found[1]}
    for changes in {"task": "probes.allowing"}, {"task": "probes.probe", "kwargs": '{"fail": true}'}:
        PeriodicTask.objects.update(**changes)
        assert "has been edited since the preview" in admin_client.post(url(schedule), previewed).text
        assert not Backfill.objects.exists()
    PeriodicTask.objects.update(kwargs="{}", description="new")
    assert admin_client.post(url(schedule), previewed).status_code == 302


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"since": "soon"}, "Enter a valid time"),
        ({"until": "2026-03-02T09:00"}, "The range ends before it starts."),
        ({"until": "2026-03-03T09:00"}, "The range must end in the past."),
        ({"since": "2020-03-03T09:00"}, "The range has more than 10,000 slots"),
        ({"since": "2026-03-02T11:01"}, "Schedule &#x27;hourly&#x27; has no slot in this range."),
        ({"parallel": "0"}, "greater than or equal to 1"),
        ({"parallel": "101"}, "less than or equal to 100"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    admin_client: Client, schedule: PeriodicTask, values: dict[str, str], error: str
) -> None:
    assert error in preview(admin_client, schedule, **values)
    assert error in admin_client.post(url(schedule), {**MORNING, **values}).text
    assert not Backfill.objects.exists()


def test_covered_slots_run_if_that_is_wanted(admin_client: Client, schedule: PeriodicTask) -> None:
    covering = succeeded_at_ten(schedule)
    Run.objects.filter(pk=covering.pk).update(coalesced=1)
    assert "1 run, 2 left out" in preview(admin_client, schedule)
    assert "2 runs, 1 left out" in preview(admin_client, schedule, covered="on")
    admin_client.post(url(schedule), {**MORNING, "covered": "True"})
    assert Backfill.objects.get().slots.count() == 2


def test_the_preview_says_what_will_hold_the_runs_up(admin_client: Client, schedule: PeriodicTask) -> None:
    assert "they start one after the other" in preview(admin_client, schedule)
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    assert "they start one after the other" not in preview(admin_client, schedule)
    pausing.pause(schedule, pausing.Terms(until=None), now=NOON)
    assert "The runs will wait: its schedule is paused" in preview(admin_client, schedule)


def test_the_preview_warns_of_what_nobody_knows(admin_client: Client, schedule: PeriodicTask) -> None:
    text = preview(admin_client, schedule, since="2026-01-31T09:00")
    assert "3 of them may have succeeded" in text
    assert "a plain command" not in text
    run = succeeded_at_ten(schedule)
    Run.objects.filter(pk=run.pk).update(scheduled_for=NOON.replace(hour=10, minute=5))
    assert "One run on record in this range is for other times" in preview(admin_client, schedule)
    PeriodicTask.objects.update(task="probes.plain_probe")
    assert "a plain command" in preview(admin_client, schedule)


def test_the_preview_tells_the_two_slots_of_a_repeated_hour_apart(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    london = CrontabSchedule.objects.create(minute="30", hour="*", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.filter(pk=schedule.pk).update(crontab=london, interval=None)
    text = preview(admin_client, schedule, since="2025-10-26T00:00", until="2025-10-26T03:00")
    assert re.findall(r'scope="row">([^<]*)', text) == [
        "2025-10-26 00:30:00 BST",
        "2025-10-26 01:30:00 BST",
        "2025-10-26 01:30:00 GMT",
        "2025-10-26 02:30:00 GMT",
    ]


def test_an_ordinary_task_cannot_be_backfilled_and_the_page_says_why(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    PeriodicTask.objects.filter(pk=schedule.pk).update(task="probes.add")
    answer = admin_client.get(url(schedule), follow=True)
    assert answer.redirect_chain[-1][0] == page_of(schedule)
    assert "starts an ordinary Celery task, which does not learn the time" in answer.text


def test_long_previews_are_cut(
    admin_client: Client, schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "LISTED", 2)
    assert "and 1 more slots" in preview(admin_client, schedule)


def test_a_second_backfill_of_the_schedule_has_to_wait(admin_client: Client, schedule: PeriodicTask) -> None:
    admin_client.post(url(schedule), MORNING)
    text = preview(admin_client, schedule)
    assert "an unfinished backfill" in text
    assert "Start 3 runs" not in text
    assert "already has an unfinished backfill" in admin_client.post(url(schedule), MORNING).text
    assert Backfill.objects.count() == 1


def test_an_unreadable_schedule_has_no_slots(admin_client: Client, schedule: PeriodicTask) -> None:
    assert "is broken" in preview(admin_client, unreadable(schedule))


def test_whoever_may_start_the_job_may_backfill_it(client: Client, schedule: PeriodicTask) -> None:
    user = member(client, "Job viewers")
    assert client.get(url(schedule)).status_code == 403
    assert client.post(url(schedule), MORNING).status_code == 403
    assert "Backfill" not in client.get(page_of(schedule)).text
    user.user_permissions.add(Permission.objects.get(codename="start_job_probe"))
    assert url(schedule) in client.get(page_of(schedule)).text
    assert client.post(url(schedule), MORNING).status_code == 302


def test_whoever_may_not_see_schedules_may_not(client: Client, schedule: PeriodicTask) -> None:
    user = member(client, "Job viewers")
    user.groups.clear()
    user.user_permissions.add(Permission.objects.get(codename="start_run"))
    assert client.get(url(schedule)).status_code == 403


def test_the_schedules_page_links_the_one_in_progress(admin_client: Client, schedule: PeriodicTask) -> None:
    terms = backfilling.Terms(since=NOON.replace(hour=9), until=NOON, trigger=Trigger.CLI, username="ann")
    found = backfilling.start(schedule, terms, now=NOON)
    text = admin_client.get(page_of(schedule)).text
    assert reverse("admin:jobledger_backfill_change", args=[found.pk]) in text


def test_a_user_who_may_not_see_runs_returns_to_the_schedule(client: Client, schedule: PeriodicTask) -> None:
    user = member(client, "Job viewers")
    user.groups.clear()
    names = ("start_run", "view_periodictask")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    succeeded_at_ten(schedule)
    assert not re.search("/jobledger/(run|backfill)/", preview(client, schedule))
    answer: Any = client.post(url(schedule), MORNING)
    assert answer.url == page_of(schedule)


def test_times_are_in_the_schedules_zone_as_on_the_command_line(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    CrontabSchedule.objects.update(timezone=ZoneInfo("America/New_York"))
    form = admin_client.get(url(schedule)).text
    assert "In America/New_York, the schedule&#x27;s time zone." in form
    assert 'value="2026-03-02T07:00:00"' in form
    values = {**MORNING, "since": "2026-03-02T05:00", "until": "2026-03-02T07:00"}
    text = preview(admin_client, schedule, **values)
    assert re.findall(r'scope="row">(.*?)<', text) == ["2026-03-02 05:00:00 EST", "2026-03-02 06:00:00 EST"]
    admin_client.post(url(schedule), values)
    found = Backfill.objects.get()
    assert (found.since, found.until) == (NOON.replace(hour=10), NOON)


def test_the_options_of_its_runs_are_displayed_with_secrets_masked(admin_client: Client) -> None:
    schedule = hourly("mine", task="probes.choosing", kwargs='{"api_key": "s3cret"}', handled_until=NOON)
    shown = "<code>{&quot;api_key&quot;: &quot;********&quot;}</code>"
    text = preview(admin_client, schedule)
    assert f"Each run starts job choosing with {shown}." in text
    page = admin_client.post(url(schedule), MORNING, follow=True).text
    assert f"<dt>Options</dt><dd>{shown}</dd>" in page
    assert "s3cret" not in text + page


def test_without_options_it_says_so(admin_client: Client, schedule: PeriodicTask) -> None:
    assert "Each run starts job probe without options." in preview(admin_client, schedule)
