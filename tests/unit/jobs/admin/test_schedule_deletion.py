"""A schedule can be deleted whatever is wrong with its times."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from tests.unit.jobs.scheduling.builders import every, hourly

pytestmark = pytest.mark.django_db

LIST = reverse("admin:django_celery_beat_periodictask_changelist")


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
    assert LogEntry.objects.get().object_repr == "odd"


def test_it_is_deleted_among_others(admin_client: Client, unreadable: PeriodicTask) -> None:
    chosen = [unreadable.pk, every(60, "good").pk]
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
    assert not PeriodicTask.objects.exists()
    assert {entry.object_repr for entry in LogEntry.objects.all()} == {"odd", "good"}
