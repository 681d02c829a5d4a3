"""Schedules in the admin: what is done to those that are selected."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tasks_app.jobs.models import Run
from tasks_app.jobs.running.messages import Sender

pytestmark = pytest.mark.django_db

LIST = "admin:django_celery_beat_periodictask_changelist"


@pytest.fixture
def every_day() -> IntervalSchedule:
    return IntervalSchedule.objects.create(every=1, period="days")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tasks that were given to the broker."""
    names: list[str] = []
    monkeypatch.setattr(Sender, "send_job", lambda _, name, **message: names.append(name))
    return names


@pytest.mark.django_db(transaction=True)
def test_run_now_starts_a_run_that_says_who_asked(
    admin_client: Client, admin_user: User, every_day: IntervalSchedule, sent: list[str]
) -> None:
    schedule = PeriodicTask.objects.create(
        name="mine", task="probes.probe", kwargs='{"level": 3}', interval=every_day
    )
    admin_client.post(reverse(LIST), {"action": "run_tasks", "_selected_action": [schedule.pk]})
    run = Run.objects.get()
    assert (run.trigger, run.who, run.user, run.schedule) == ("admin", "admin", admin_user, schedule)
    assert (run.job, run.options, sent) == ("probe", {"level": 3}, ["probes.probe"])


def test_the_list_of_schedules_can_be_opened(admin_client: Client, every_day: IntervalSchedule) -> None:
    PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every_day)
    assert "mine" in admin_client.get(reverse(LIST)).text
