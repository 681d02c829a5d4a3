"""Every run is created in one place, and its message is published after the commit."""

import uuid
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.db import transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.models import Run, Status, Trigger
from jobledger.runs import dispatch
from jobledger.runs.ordinary_tasks import known_tasks
from jobledger.runs.publishing import publisher
from tests.unit.broker import Broker
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


def finished(**values: Any) -> Run:
    return Run.objects.create(
        **{"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.FAILED, **values}
    )


def test_a_repeated_run_does_the_same_for_the_user_who_requested_it() -> None:
    routing = {"queue": "slow"}
    old = finished(
        options={"level": 3, "words": ["ö"]}, routing=routing, username="ann", attempt=3, error="no"
    )
    bert = User.objects.create(username="bert")
    new = dispatch.run_again(old, trigger=Trigger.ADMIN, username="bert", user_id=bert.pk)
    assert new.pk != old.pk
    assert (new.job, new.options, new.status, new.attempt) == ("probe", old.options, Status.QUEUED, 1)
    assert new.routing == routing
    assert (new.trigger, new.username, new.user, new.error) == (Trigger.ADMIN, "bert", bert, "")
    old.refresh_from_db()
    assert (old.status, old.error) == (Status.FAILED, "no")


def test_a_repeated_run_is_for_the_same_slot_each_time() -> None:
    every_day = IntervalSchedule.objects.create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name="daily", task="probes.probe", interval=every_day)
    old = finished(schedule=schedule, schedule_name="daily", scheduled_for=NOON)
    for _ in range(2):
        new = dispatch.run_again(old, trigger=Trigger.CLI, username="ann")
        assert (new.scheduled_for, new.schedule_name, new.schedule) == (NOON, "daily", None)


def test_a_repeated_ordinary_task_gets_the_same_positional_arguments() -> None:
    old = finished(job="tests.probes.tasks.add", args=[1, 2], status=Status.SENT)
    new = dispatch.run_again(old, trigger=Trigger.CLI, username="ann")
    new.refresh_from_db()
    assert (new.job, new.args) == ("tests.probes.tasks.add", [1, 2])


def test_a_repeated_run_is_published_once_it_is_in_the_database(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    published: list[Run] = []
    monkeypatch.setattr(publisher, "try_to_publish", published.extend)
    with django_capture_on_commit_callbacks(execute=True):
        new = dispatch.run_again(finished(), trigger=Trigger.CLI, username="ann")
        assert published == []
    assert published == [new]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_run_that_has_not_finished_cannot_run_again(status: Status) -> None:
    with pytest.raises(dispatch.CannotRunAgainError, match=f"is still {status}"):
        dispatch.run_again(finished(status=status), trigger=Trigger.CLI, username="ann")


@pytest.mark.parametrize("job", ["retired", "probes.retired"])
def test_a_job_that_no_longer_exists_cannot_run_again(job: str) -> None:
    with pytest.raises(dispatch.CannotRunAgainError, match=f"Job or task '{job}' no longer exists"):
        dispatch.run_again(finished(job=job), trigger=Trigger.CLI, username="ann")


def test_a_task_that_may_not_be_scheduled_cannot_run_again() -> None:
    with pytest.raises(dispatch.CannotRunAgainError, match="one of Celery's own tasks"):
        dispatch.run_again(finished(job="celery.chord_unlock"), trigger=Trigger.CLI, username="ann")


def test_looking_up_an_ordinary_task_does_not_set_up_django_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_up() -> None:
        raise AssertionError("this sets up Django again, including logging")

    known_tasks.cache_clear()
    monkeypatch.setattr(current_app.loader, "import_default_modules", set_up)
    dispatch.run_again(finished(job="tests.probes.tasks.add"), trigger=Trigger.CLI, username="ann")


PROBE = dispatch.RunRequest(job="probe", options={"level": 2}, trigger=Trigger.ADMIN, username="ann")


@pytest.mark.django_db(transaction=True)
def test_a_message_is_published_only_after_the_commit(broker: Broker) -> None:
    with transaction.atomic():
        run = dispatch.enqueue(PROBE)
        assert broker.messages == []
    (message,) = broker.messages
    assert (message.name, message.kwargs, message.task_id) == ("probes.probe", {"level": 2}, str(run.pk))


@pytest.mark.django_db(transaction=True)
def test_no_message_is_published_after_a_rollback(broker: Broker) -> None:
    def enqueue_and_regret() -> None:
        with transaction.atomic():
            dispatch.enqueue(PROBE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        enqueue_and_regret()
    assert (broker.messages, Run.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_while_the_broker_is_down_the_run_stays_queued_to_be_published_later(
    broker: Broker,
) -> None:
    broker.is_down = True
    run = dispatch.enqueue(PROBE)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    assert run.publish_after is not None
    assert run.publish_after > run.queued_at


@pytest.mark.django_db
def test_a_message_without_a_run_gets_one_which_a_second_delivery_reuses() -> None:
    task_id = str(uuid.uuid4())
    first = dispatch.receive(task_id, lambda: PROBE)
    second = dispatch.receive(task_id, lambda: PROBE)
    assert first == second
    assert str(first.pk) == task_id
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_a_delivery_that_another_one_overtakes_gets_its_run() -> None:
    pk = uuid.uuid4()

    def ask() -> dispatch.RunRequest:
        Run.objects.create(pk=pk, job="probe", trigger=Trigger.CELERY, username="the other delivery")
        return PROBE

    assert dispatch.receive(str(pk), ask).username == "the other delivery"


@pytest.mark.django_db
def test_the_message_of_an_existing_run_does_not_change_it() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, schedule_name="nightly")
    assert dispatch.receive(str(run.pk), lambda: PROBE).trigger == Trigger.SCHEDULE


@pytest.mark.django_db
def test_a_messages_request_is_not_evaluated_if_its_run_exists() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE)

    def ask() -> dispatch.RunRequest:
        raise AssertionError("this costs a query and may fail")

    assert dispatch.receive(str(run.pk), ask) == run


@pytest.mark.django_db
def test_options_that_databases_cannot_store_are_made_readable() -> None:
    request = dispatch.RunRequest(
        job="probe", options={"wo\x00rds": ["a\x00b", {"c": "\udcff"}], "n": 1}, trigger=Trigger.CELERY
    )
    run = dispatch.receive(str(uuid.uuid4()), lambda: request)
    run.refresh_from_db()
    assert run.options == {"wo␀rds": ["a␀b", {"c": "\\udcff"}], "n": 1}


def test_a_task_id_that_is_not_a_uuid_always_maps_to_the_same_run() -> None:
    assert dispatch.run_id_of("my-own-id") == dispatch.run_id_of("my-own-id")
    assert dispatch.run_id_of("my-own-id") != dispatch.run_id_of("another-id")


@pytest.mark.parametrize("form", ["{0}", "{0!s}", "urn:uuid:{0}", "{{{0}}}"])
def test_a_task_id_that_is_a_uuid_is_the_runs_id(form: str) -> None:
    task_id = uuid.uuid4()
    assert dispatch.run_id_of(form.format(task_id)) == task_id


@pytest.mark.parametrize(("column", "value"), [("options", [1]), ("args", {"a": 1}), ("routing", "queue")])
def test_a_run_with_a_value_of_the_wrong_type_is_not_repeated_without_it(column: str, value: Any) -> None:
    old = finished()
    Run.objects.filter(pk=old.pk).update(**{column: value})
    old.refresh_from_db()
    with pytest.raises(dispatch.CannotRunAgainError, match=f"its {column} cannot be used: .* is stored"):
        dispatch.run_again(old, trigger=Trigger.CLI, username="ann")
    assert Run.objects.count() == 1
