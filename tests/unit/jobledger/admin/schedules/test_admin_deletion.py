"""Schedules in the admin: what is done to those that are selected."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

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
    admin_client.post(reverse(LIST), {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
    assert not PeriodicTask.objects.exists()
    assert {entry.object_name for entry in AuditEntry.objects.all()} == {"odd", "good"}
