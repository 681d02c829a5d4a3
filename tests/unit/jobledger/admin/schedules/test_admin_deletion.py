"""Schedules in the admin: what is done to those that are selected."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.admin.schedules import deletion
from jobledger.models import AuditEntry, Run
from tests.unit.broker import Broker
from tests.unit.jobledger.schedules.builders import every, hourly

pytestmark = pytest.mark.django_db

LIST = "admin:django_celery_beat_periodictask_changelist"


@pytest.fixture
def every_day() -> IntervalSchedule:
    return IntervalSchedule.objects.create(every=1, period="days")


@pytest.mark.django_db(transaction=True)
def test_run_now_starts_a_run_that_says_who_asked(
    admin_client: Client, admin_user: User, every_day: IntervalSchedule, broker: Broker
) -> None:
    schedule = PeriodicTask.objects.create(
        name="mine", task="probes.probe", kwargs='{"level": 3}', interval=every_day
    )
    admin_client.post(reverse(LIST), {"action": "run_tasks", "_selected_action": [schedule.pk]})
    run = Run.objects.get()
    assert (run.trigger, run.who, run.user, run.schedule) == ("admin", "admin", admin_user, schedule)
    assert (run.job, run.options) == ("probe", {"level": 3})
    assert [message.name for message in broker.messages] == ["probes.probe"]


def test_the_list_of_schedules_can_be_opened(admin_client: Client, every_day: IntervalSchedule) -> None:
    PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every_day)
    assert "mine" in admin_client.get(reverse(LIST)).text


@pytest.fixture
def unreadable() -> PeriodicTask:
    """One in a zone that there is not, as only SQL can put it there."""
    schedule = hourly("odd")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Nowhere/City'")
    return schedule


def delete(client: Client, chosen: list[int], **more: object) -> Any:
    """As the confirmation posts it."""
    posted = {"action": "delete_schedules", "_selected_action": chosen, "confirmed": "1", "last": max(chosen)}
    return client.post(reverse(LIST), {**posted, **more})


def address(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_delete", args=[schedule.pk])


def test_the_page_that_asks_names_it(admin_client: Client, unreadable: PeriodicTask) -> None:
    page = admin_client.get(address(unreadable))
    assert page.status_code == 200
    assert "odd" in page.text


def test_it_is_deleted_and_stays_in_the_trail(admin_client: Client, unreadable: PeriodicTask) -> None:
    admin_client.post(address(unreadable), {"post": "yes"})
    assert not PeriodicTask.objects.exists()
    assert AuditEntry.objects.get().object_name == "odd"


def test_it_is_deleted_among_others(admin_client: Client, unreadable: PeriodicTask) -> None:
    chosen = [unreadable.pk, every(60, "good").pk]
    delete(admin_client, chosen)
    assert not PeriodicTask.objects.exists()
    assert {entry.object_name for entry in AuditEntry.objects.all()} == {"odd", "good"}


# Many are deleted in slices.


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Five schedules, of which a request deletes two."""
    monkeypatch.setattr(deletion, "SLICE", 2)
    monkeypatch.setattr(deletion, "SECONDS_A_REQUEST", 0)
    return [every(60, f"schedule {number}").pk for number in range(5)]


def test_deleting_is_asked_first(admin_client: Client, five: list[int]) -> None:
    asked = admin_client.post(reverse(LIST), {"action": "delete_schedules", "_selected_action": five}).text
    assert "Delete 5 schedules" in asked
    assert "schedule 4" in asked
    assert PeriodicTask.objects.count() == 5


def test_a_request_deletes_some_and_shows_how_far_it_is(admin_client: Client, five: list[int]) -> None:
    page = delete(admin_client, five).text
    assert PeriodicTask.objects.count() == AuditEntry.objects.count() + 1 == 3
    assert "3 schedules left to delete" in page
    assert "2 deleted so far" in page
    assert 'hx-trigger="load"' in page


def test_the_last_slice_leads_back_to_the_list(admin_client: Client, five: list[int]) -> None:
    delete(admin_client, five)
    delete(admin_client, five, deleted="2")
    answer = delete(admin_client, five, deleted="4")
    assert answer.status_code == 302
    assert "Deleted 5 schedules." in admin_client.get(answer.url).text
    assert not PeriodicTask.objects.exists()


def test_a_page_that_continues_by_itself_is_led_back_too(admin_client: Client, five: list[int]) -> None:
    answer = admin_client.post(
        reverse(LIST),
        {"action": "delete_schedules", "_selected_action": five[:1], "confirmed": "1", "last": five[0]},
        headers={"HX-Request": "true"},
    )
    assert answer.headers["HX-Redirect"] == reverse(LIST)


def test_what_was_added_after_the_question_is_not_deleted(admin_client: Client, five: list[int]) -> None:
    later = every(60, "later").pk
    for deleted in ("0", "2", "4"):
        delete(admin_client, [*five, later], last=five[-1], select_across="1", deleted=deleted)
    assert list(PeriodicTask.objects.values_list("pk", flat=True)) == [later]


def test_a_confirmation_without_its_last_one_is_asked_again(admin_client: Client, five: list[int]) -> None:
    delete(admin_client, five, last="nonsense")
    assert PeriodicTask.objects.count() == 5
