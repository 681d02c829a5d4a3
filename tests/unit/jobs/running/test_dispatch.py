"""Every run begins in one place, and its message leaves after the commit."""

import uuid
from typing import Any

import pytest
from django.db import transaction
from kombu.exceptions import OperationalError

from tasks_app.jobs.models import Run, Status, Trigger
from tasks_app.jobs.running import dispatch
from tasks_app.jobs.running.messages import Sender

PROBE = dispatch.RunRequest(job="probe", options={"level": 2}, trigger=Trigger.ADMIN, who="ann")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was given to the broker."""
    messages: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(Sender, "send_job", lambda _, name, **message: messages.append((name, message)))
    return messages


@pytest.mark.django_db(transaction=True)
def test_a_message_leaves_only_after_the_commit(sent: list[tuple[str, dict[str, Any]]]) -> None:
    with transaction.atomic():
        run = dispatch.enqueue(PROBE)
        assert sent == []
    ((name, message),) = sent
    assert (name, message["kwargs"], message["task_id"]) == ("probes.probe", {"level": 2}, str(run.pk))


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_run_sends_no_message(sent: list[tuple[str, dict[str, Any]]]) -> None:
    def enqueue_and_regret() -> None:
        with transaction.atomic():
            dispatch.enqueue(PROBE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        enqueue_and_regret()
    assert (sent, Run.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_down_leaves_the_run_queued_to_be_published_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("Connection refused")

    monkeypatch.setattr(Sender, "send_job", refuse)
    run = dispatch.enqueue(PROBE)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    assert run.publish_after is not None
    assert run.publish_after > run.queued_at


@pytest.mark.django_db
def test_a_message_without_a_run_gets_one_and_a_second_delivery_the_same() -> None:
    task_id = str(uuid.uuid4())
    first = dispatch.receive(task_id, lambda: PROBE)
    second = dispatch.receive(task_id, lambda: PROBE)
    assert first == second
    assert str(first.pk) == task_id
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_a_message_of_a_dispatched_run_finds_that_run_unchanged() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, schedule_name="nightly")
    assert dispatch.receive(str(run.pk), lambda: PROBE).trigger == Trigger.SCHEDULE


@pytest.mark.django_db
def test_what_a_message_asks_for_is_not_looked_at_when_its_run_is_there() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE)

    def ask() -> dispatch.RunRequest:
        raise AssertionError("it costs a query, and may fail")

    assert dispatch.receive(str(run.pk), ask) == run


@pytest.mark.django_db
def test_options_that_no_database_keeps_are_made_readable() -> None:
    request = dispatch.RunRequest(
        job="probe", options={"wo\x00rds": ["a\x00b", {"c": "\udcff"}], "n": 1}, trigger=Trigger.CELERY
    )
    run = dispatch.receive(str(uuid.uuid4()), lambda: request)
    run.refresh_from_db()
    assert run.options == {"wo␀rds": ["a␀b", {"c": "\\udcff"}], "n": 1}


def test_a_task_id_that_is_no_uuid_always_means_the_same_run() -> None:
    assert dispatch.run_id_of("my-own-id") == dispatch.run_id_of("my-own-id")
    assert dispatch.run_id_of("my-own-id") != dispatch.run_id_of("another-id")


@pytest.mark.parametrize("form", ["{0}", "{0!s}", "urn:uuid:{0}", "{{{0}}}"])
def test_a_task_id_that_is_a_uuid_is_the_runs_id(form: str) -> None:
    task_id = uuid.uuid4()
    assert dispatch.run_id_of(form.format(task_id)) == task_id
