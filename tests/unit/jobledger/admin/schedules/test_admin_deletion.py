"""Actions on selected schedules in the admin, and deletion in batches."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.admin import rights
from jobledger.admin.schedules import deletion
from jobledger.models import AlertRule, AuditEntry, Run
from tests.unit.broker import Broker
from tests.unit.jobledger.schedules.builders import every, hourly

pytestmark = pytest.mark.django_db

LIST = "admin:django_celery_beat_periodictask_changelist"


@pytest.fixture
def every_day() -> IntervalSchedule:
    return IntervalSchedule.objects.create(every=1, period="days")


@pytest.mark.django_db(transaction=True)
def test_run_now_records_the_user(
    admin_client: Client, admin_user: User, every_day: IntervalSchedule, broker: Broker
) -> None:
    schedule = PeriodicTask.objects.create(
        name="mine", task="probes.probe", kwargs='{"level": 3}', interval=every_day
    )
    admin_client.post(reverse(LIST), {"action": "run_tasks", "_selected_action": [schedule.pk]})
    run = Run.objects.get()
    assert (run.trigger, run.username, run.user, run.schedule) == ("admin", "admin", admin_user, schedule)
    assert (run.job, run.options) == ("probe", {"level": 3})
    assert [message.name for message in broker.messages] == ["probes.probe"]


def test_the_list_of_schedules_can_be_opened(admin_client: Client, every_day: IntervalSchedule) -> None:
    PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every_day)
    assert "mine" in admin_client.get(reverse(LIST)).text


@pytest.fixture
def unreadable() -> PeriodicTask:
    """A schedule with an unknown time zone, which is possible only with SQL."""
    schedule = hourly("odd")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Nowhere/City'")
    return schedule


def delete(client: Client, ids: list[int], **more: object) -> Any:
    """Post the form of the confirmation page."""
    posted = {"action": "delete_schedules", "_selected_action": ids, "confirmed": "1", "last": max(ids)}
    return client.post(reverse(LIST), {**posted, **more})


def change_url(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_delete", args=[schedule.pk])


def test_the_confirmation_page_names_the_schedule(admin_client: Client, unreadable: PeriodicTask) -> None:
    page = admin_client.get(change_url(unreadable))
    assert page.status_code == 200
    assert "odd" in page.text


def test_a_deletion_is_in_the_audit_log(admin_client: Client, unreadable: PeriodicTask) -> None:
    admin_client.post(change_url(unreadable), {"post": "yes"})
    assert not PeriodicTask.objects.exists()
    assert AuditEntry.objects.get().object_name == "odd"


@pytest.mark.parametrize("is_batch", [False, True])
def test_the_alert_rules_about_a_schedule_are_deleted_and_logged_with_it(
    client: Client, is_batch: bool
) -> None:
    rights.create_groups()
    editor = User.objects.create_user("editor", is_staff=True)
    editor.groups.set(Group.objects.filter(name="Schedule editors"))
    client.force_login(editor)
    schedule = hourly("nightly")
    AlertRule.objects.create(name="nightly alone", schedule=schedule)
    if is_batch:
        delete(client, [schedule.pk])
    else:
        client.post(change_url(schedule), {"post": "yes"})
    assert not AlertRule.objects.filter(name="nightly alone").exists()
    entries = AuditEntry.objects.values_list("object_name", "verb", "username")
    assert sorted(entries) == [("nightly", "deleted", "editor"), ("nightly alone", "deleted", "editor")]


def test_a_schedule_with_invalid_timing_is_deleted_with_others(
    admin_client: Client, unreadable: PeriodicTask
) -> None:
    ids = [unreadable.pk, every(60, "good").pk]
    delete(admin_client, ids)
    assert not PeriodicTask.objects.exists()
    assert {entry.object_name for entry in AuditEntry.objects.all()} == {"odd", "good"}


# Deletion in batches


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Five schedules. Each request deletes two."""
    monkeypatch.setattr(deletion, "BATCH", 2)
    monkeypatch.setattr(deletion, "MAX_REQUEST_SECONDS", 0)
    return [every(60, f"schedule {number}").pk for number in range(5)]


def test_deletion_requires_confirmation(admin_client: Client, five: list[int]) -> None:
    asked = admin_client.post(reverse(LIST), {"action": "delete_schedules", "_selected_action": five}).text
    assert "Delete 5 schedules" in asked
    assert "schedule 4" in asked
    assert PeriodicTask.objects.count() == 5


def test_a_request_deletes_a_batch_and_shows_the_progress(admin_client: Client, five: list[int]) -> None:
    page = delete(admin_client, five).text
    assert PeriodicTask.objects.count() == AuditEntry.objects.count() + 1 == 3
    assert "3 schedules left to delete" in page
    assert "2 deleted so far" in page
    assert 'hx-trigger="load"' in page


def test_the_last_batch_redirects_to_the_list(admin_client: Client, five: list[int]) -> None:
    delete(admin_client, five)
    delete(admin_client, five, deleted="2")
    answer = delete(admin_client, five, deleted="4")
    assert answer.status_code == 302
    assert "Deleted 5 schedules." in admin_client.get(answer.url).text
    assert not PeriodicTask.objects.exists()


def test_a_page_that_continues_automatically_is_redirected_too(admin_client: Client, five: list[int]) -> None:
    answer = admin_client.post(
        reverse(LIST),
        {"action": "delete_schedules", "_selected_action": five[:1], "confirmed": "1", "last": five[0]},
        headers={"HX-Request": "true"},
    )
    assert answer.headers["HX-Redirect"] == reverse(LIST)


def test_schedules_added_after_the_confirmation_are_not_deleted(
    admin_client: Client, five: list[int]
) -> None:
    later = every(60, "later").pk
    for deleted in ("0", "2", "4"):
        delete(admin_client, [*five, later], last=five[-1], select_across="1", deleted=deleted)
    assert list(PeriodicTask.objects.values_list("pk", flat=True)) == [later]


def test_an_incomplete_confirmation_is_asked_again(admin_client: Client, five: list[int]) -> None:
    delete(admin_client, five, last="nonsense")
    assert PeriodicTask.objects.count() == 5
