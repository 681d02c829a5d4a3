"""A run that is over can be started again: the same work, as a new run for the same slot."""

from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tasks_app.jobs.models import Run, Status, Trigger
from tasks_app.jobs.running import again, publisher
from tasks_app.jobs.running.known_tasks import known_tasks
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


def over(**values: Any) -> Run:
    return Run.objects.create(
        **{"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.FAILED, **values}
    )


def test_the_new_run_does_the_same_for_whom_asked() -> None:
    old = over(options={"level": 3, "words": ["ö"]}, who="ann", attempt=3, error="no")
    bert = User.objects.create(username="bert")
    new = again.start_again(old, trigger=Trigger.ADMIN, who="bert", user_id=bert.pk)
    assert new.pk != old.pk
    assert (new.job, new.options, new.status, new.attempt) == ("probe", old.options, Status.QUEUED, 1)
    assert (new.trigger, new.who, new.user, new.error) == (Trigger.ADMIN, "bert", bert, "")
    old.refresh_from_db()
    assert (old.status, old.error) == (Status.FAILED, "no")


def test_it_stands_for_the_same_slot_also_a_second_time() -> None:
    every_day = IntervalSchedule.objects.create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name="daily", task="probes.probe", interval=every_day)
    old = over(schedule=schedule, schedule_name="daily", scheduled_for=NOON)
    for _ in range(2):
        new = again.start_again(old, trigger=Trigger.CLI, who="ann")
        assert (new.scheduled_for, new.schedule_name, new.schedule) == (NOON, "daily", None)


def test_an_ordinary_tasks_positional_arguments_come_along() -> None:
    old = over(job="tests.probes.tasks.add", args=[1, 2], status=Status.SENT)
    new = again.start_again(old, trigger=Trigger.CLI, who="ann")
    new.refresh_from_db()
    assert (new.job, new.args) == ("tests.probes.tasks.add", [1, 2])


def test_its_message_leaves_when_it_is_in_the_database(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    published: list[Run] = []
    monkeypatch.setattr(publisher, "try_to_publish", published.extend)
    with django_capture_on_commit_callbacks(execute=True):
        new = again.start_again(over(), trigger=Trigger.CLI, who="ann")
        assert published == []
    assert published == [new]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_run_that_is_not_over_is_not_started_again(status: Status) -> None:
    with pytest.raises(again.NotStartedAgainError, match=f"is not over: {status}"):
        again.start_again(over(status=status), trigger=Trigger.CLI, who="ann")


@pytest.mark.parametrize("job", ["retired", "probes.retired"])
def test_a_job_that_is_gone_is_not_started_again(job: str) -> None:
    with pytest.raises(again.NotStartedAgainError, match=f"no job or task '{job}' any more"):
        again.start_again(over(job=job), trigger=Trigger.CLI, who="ann")


def test_looking_for_an_ordinary_task_sets_nothing_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_up() -> None:
        raise AssertionError("it sets Django up again, and with it the log")

    known_tasks.cache_clear()
    monkeypatch.setattr(current_app.loader, "import_default_modules", set_up)
    again.start_again(over(job="tests.probes.tasks.add"), trigger=Trigger.CLI, who="ann")
