"""Schedules are edited in the admin; a job's options are judged when they are saved."""

from typing import Any

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


def submit(client: Client, interval: IntervalSchedule, **values: str) -> Any:
    form = {
        "name": "mine",
        "task": "probes.probe",
        "interval": str(interval.pk),
        "enabled": "on",
        "args": "[]",
        "kwargs": "{}",
        "headers": "{}",
        "policy-TOTAL_FORMS": "1",
        "policy-INITIAL_FORMS": "0",
        "policy-0-misfire": "once",
        "policy-0-catch_up_limit": "100",
        "policy-0-jitter": "00:00:00",
        **values,
    }
    return client.post(reverse("admin:django_celery_beat_periodictask_add"), form)


def test_a_schedule_with_good_options_is_saved(admin_client: Client, every_day: IntervalSchedule) -> None:
    assert submit(admin_client, every_day, kwargs='{"level": 2}').status_code == 302
    assert PeriodicTask.objects.get().kwargs == '{"level": 2}'


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kwargs": '{"level": 9}'}, "argument --level: invalid choice: 9"),
        ({"kwargs": '{"lvel": 1}'}, "lvel"),
        ({"kwargs": "[1]"}, "a JSON object"),
        ({"kwargs": '{"level": '}, "Unable to parse JSON"),
        ({"args": "[1]"}, "by name"),
    ],
)
def test_bad_options_are_refused_beside_their_field(
    admin_client: Client, every_day: IntervalSchedule, values: dict[str, str], said: str
) -> None:
    response = submit(admin_client, every_day, **values)
    (field,) = values
    assert said in " ".join(response.context["adminform"].form.errors[field])
    assert not PeriodicTask.objects.exists()


def test_options_of_an_ordinary_task_are_its_own_affair(
    admin_client: Client, every_day: IntervalSchedule
) -> None:
    submit(admin_client, every_day, task="tests.probes.tasks.add", args="[1, 2]")
    assert PeriodicTask.objects.get().args == "[1, 2]"


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


def test_the_pages_of_schedules_can_be_opened(admin_client: Client, every_day: IntervalSchedule) -> None:
    schedule = PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every_day)
    change = reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])
    assert "mine" in admin_client.get(reverse(LIST)).text
    assert "probes.probe" in admin_client.get(change).text


def test_a_refusal_does_not_quote_a_secret(admin_client: Client, every_day: IntervalSchedule) -> None:
    kwargs = '{"api_key": ["hunter2"]}'
    response = submit(admin_client, every_day, task="probes.choosing", kwargs=kwargs)
    said = " ".join(response.context["adminform"].form.errors["kwargs"])
    assert "api_key: wants" in said
    assert "hunter2" not in said
