"""The backend for Django's tasks: what is enqueued is a run, and a run is a result."""

import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from jobledger.django_tasks.framework import InvalidTask, TaskResultDoesNotExist, TaskResultStatus, signals
from jobledger.jobs import registry
from jobledger.jobs.functions import framework
from jobledger.models import Run, Status, Trigger
from jobledger.runs import dispatch
from jobledger.runs.publishing import publisher
from jobledger.runs.results import JobFailedError
from tests.probes import elsewhere, tasks
from tests.unit.broker import Broker
from tests.unit.jobledger.django_tasks.calls import WORKER, deliver

pytestmark = pytest.mark.django_db


def test_an_enqueued_function_is_a_queued_run_of_its_job() -> None:
    result = tasks.multiply.enqueue(3, y=5)
    run = Run.objects.get()
    assert (run.job, run.options, run.trigger, run.status) == (
        "probes:multiply",
        {"x": 3, "y": 5},
        "task",
        "queued",
    )
    assert (result.id, result.status, result.enqueued_at) == (
        str(run.pk),
        TaskResultStatus.READY,
        run.queued_at,
    )
    assert (result.args, result.kwargs, result.backend, result.attempts) == ([3], {"y": 5}, "default", 0)
    assert (result.task, result.errors) == (tasks.multiply, [])


def test_its_message_is_sent_once_the_transaction_is_committed(
    broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        result = tasks.multiply.enqueue(3)
        assert broker.messages == []
    (message,) = broker.messages
    assert (message.name, message.task_id) == ("tests.probes.tasks.multiply", result.id)
    assert (list(message.args), message.kwargs) == ([], {"x": 3})


def test_nothing_is_left_of_it_if_the_transaction_is_rolled_back(broker: Broker) -> None:
    with transaction.atomic():
        tasks.multiply.enqueue(3)
        transaction.set_rollback(True)
    assert (Run.objects.count(), broker.messages) == (0, [])


def test_it_stays_queued_for_beat_while_the_broker_is_down(
    broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    broker.is_down = True
    with django_capture_on_commit_callbacks(execute=True):
        result = tasks.multiply.enqueue(3)
    broker.is_down = False
    assert publisher.publish_due(timezone.now() + timedelta(minutes=1)) == 1
    assert [message.task_id for message in broker.messages] == [result.id]


def test_a_result_has_the_value_the_times_and_the_worker() -> None:
    result = deliver(tasks.multiply.enqueue(3, y=5))
    run = Run.objects.get()
    assert (result.status, result.return_value, result.is_finished) == ("SUCCESSFUL", 15, True)
    assert (result.started_at, result.last_attempted_at) == (run.started_at, run.started_at)
    assert (result.finished_at, result.worker_ids, result.attempts) == (run.finished_at, [WORKER], 1)


def test_what_it_prints_and_logs_is_on_the_run() -> None:
    deliver(tasks.multiply.enqueue(3, 5))
    (run,) = Run.objects.all()
    text = "".join(chunk.text for chunk in run.output.order_by("number"))
    assert "multiplying 3 and 5" in text
    assert "multiplied" in text


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, "two", None), {"three": [3.5, {"four": True}], "five": None}),
        (({"a": None},), {}),
    ],
)
def test_arguments_of_any_json_arrive_as_they_were_given(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    result = deliver(tasks.echo.enqueue(*args, **kwargs))
    assert (result.args, result.kwargs) == (list(args), kwargs)
    assert result.return_value == [list(args), kwargs]


def test_positional_only_and_keyword_only_arguments_arrive() -> None:
    result = deliver(tasks.address.enqueue("anna", "Hello", urgent=True))
    assert (result.return_value, result.args, result.kwargs) == (
        "anna: Hello!",
        ["anna", "Hello"],
        {"urgent": True},
    )


def test_arguments_are_in_their_order_whatever_that_of_the_stored_object() -> None:
    result = tasks.address.enqueue("anna", "Hello", urgent=True)
    # PostgreSQL sorts the keys of an object by their length.
    Run.objects.update(options={"urgent": True, "subject": "Hello", "to": "anna"})
    read = tasks.address.get_result(result.id)
    assert (read.args, read.kwargs) == (["anna", "Hello"], {"urgent": True})


def test_a_coroutine_function_is_awaited() -> None:
    assert deliver(tasks.wait.enqueue(0)).return_value == "waited"


def test_a_task_can_be_enqueued_and_read_asynchronously() -> None:
    async def enqueue() -> tuple[Any, Any]:
        result = await tasks.multiply.aenqueue(2)
        return result, await tasks.multiply.aget_result(result.id)

    enqueued, read = async_to_sync(enqueue)()
    assert enqueued == read


def test_an_error_is_in_the_result_with_its_class_and_traceback() -> None:
    result = deliver(tasks.fail.enqueue("no such thing"))
    (error,) = result.errors
    assert (result.status, error.exception_class) == ("FAILED", LookupError)
    assert error.traceback.endswith("LookupError: no such thing\n")
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_the_error_of_a_function_that_exits_is_its_code_not_a_line_of_the_framework(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, framework().__name__)
    result = deliver(tasks.leave.enqueue(3))
    run = Run.objects.get()
    (error,) = result.errors
    assert (run.error, run.exit_code, run.output.count()) == ("", 3, 0)
    assert error.exception_class is JobFailedError
    assert error.traceback == "The job exited with code 3."
    assert not [each for each in caplog.records if each.name == framework().__name__]


def test_each_attempt_is_in_the_result_of_a_retried_one() -> None:
    result = deliver(tasks.retried.enqueue(fail=True))
    assert (result.status, result.attempts, len(result.errors)) == ("READY", 1, 1)
    deliver(result)
    deliver(result)
    assert (result.status, result.attempts, len(result.errors)) == ("FAILED", 3, 3)
    assert {error.exception_class for error in result.errors} == {RuntimeError}
    first, *_ = Run.objects.get().attempts.order_by("attempt")
    assert (result.started_at, result.last_attempted_at) == (first.started_at, Run.objects.get().started_at)


def test_the_context_knows_the_attempt() -> None:
    assert deliver(tasks.attempt_of.enqueue()).return_value == 1


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.EXPIRED, Status.CANCELLED, Status.LOST])
def test_a_run_that_ended_without_an_exception_has_failed_with_the_services_own(status: Status) -> None:
    result = tasks.multiply.enqueue(3)
    Run.objects.update(status=status, finished_at=timezone.now())
    result.refresh()
    assert (result.status, result.is_finished) == ("FAILED", True)
    assert [error.exception_class for error in result.errors] == [JobFailedError]


def test_a_running_one_is_running() -> None:
    result = tasks.multiply.enqueue(3)
    Run.objects.update(status=Status.RUNNING, started_at=timezone.now(), worker="celery@there:1")
    result.refresh()
    assert (result.status, result.worker_ids) == ("RUNNING", ["celery@there:1"])
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value


def test_a_value_that_is_not_json_fails_the_run_once() -> None:
    result = deliver(tasks.unstorable.enqueue())
    (error,) = result.errors
    assert error.exception_class is TypeError
    assert "returned cannot be stored as JSON: Unsupported type: <class 'object'>" in error.traceback


class Custom:
    """Nothing that JSON knows."""


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (Custom(), TypeError, "Unsupported type"),
        ({1, 2}, TypeError, "Unsupported type"),
        (datetime(2026, 1, 1, tzinfo=UTC), TypeError, "Unsupported type"),
        (b"\xff", ValueError, "Unsupported value"),
        (float("nan"), ValueError, "not JSON compliant|Out of range"),
        ("\0", ValueError, "a NUL"),
        ("\ud800", ValueError, "half of a character"),
        ("x" * 100_000, ValueError, "RUN_OPTIONS_LIMIT_BYTES"),
    ],
)
def test_an_argument_that_is_not_json_is_an_error_of_the_caller(
    value: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        tasks.fail.enqueue(value)
    assert "The argument message of tests.probes.tasks.fail" in str(caught.value)
    assert Run.objects.count() == 0


def test_arguments_become_what_is_stored_of_them() -> None:
    result = tasks.echo.enqueue((1, b"text"), keys={1: "one"})
    assert (result.args, result.kwargs) == ([[1, "text"]], {"keys": {"1": "one"}})


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 1}, "got an unexpected keyword argument 'z'"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_of_the_caller(
    args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(TypeError) as caught:
        tasks.multiply.enqueue(*args, **kwargs)
    assert str(caught.value) == f"tests.probes.tasks.multiply(x, y=2): {text}"


def test_a_run_whose_arguments_fit_no_longer_says_so() -> None:
    result = tasks.multiply.enqueue(1)
    Run.objects.update(options={"z": 1})
    deliver(result)
    run, result = Run.objects.get(), tasks.multiply.get_result(result.id)
    assert (run.status, run.reason) == ("failed", "bad_options")
    assert run.error == (
        "tests.probes.tasks.multiply(x, y=2): it has no argument 'z'; the argument 'x' is missing. "
        "It may have changed since the run was queued, or the schedule saved."
    )
    assert (result.args, result.kwargs) == ([], {"z": 1})


def test_a_function_that_no_worker_would_find_cannot_be_enqueued() -> None:
    with pytest.raises(InvalidTask, match="not in the module `tasks` of an installed app"):
        elsewhere.unfound.enqueue()


def test_a_function_is_found_where_the_module_tasks_imports_it() -> None:
    assert deliver(elsewhere.imported.enqueue()).return_value == "found"


@pytest.mark.parametrize("result_id", ["", "nonsense", str(uuid.uuid5(uuid.NAMESPACE_URL, "x")), None])
def test_there_is_no_result_of_an_unknown_id(result_id: Any) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        tasks.multiply.get_result(result_id)


def test_a_run_of_a_command_is_no_result() -> None:
    run = Run.objects.create(job="probe", trigger="celery")
    with pytest.raises(TaskResultDoesNotExist, match="'probe' is not a function"):
        framework().default_task_backend.get_result(str(run.pk))


def test_the_result_of_another_task_does_not_match() -> None:
    result = tasks.multiply.enqueue(1)
    with pytest.raises(Exception, match="Task does not match") as caught:
        tasks.fail.get_result(result.id)
    assert type(caught.value).__name__ == "TaskResultMismatch"


def test_the_result_of_a_scheduled_run_can_be_read() -> None:
    run = Run.objects.create(job="probes:multiply", options={"x": 4}, trigger="schedule")
    result = tasks.multiply.get_result(str(run.pk))
    assert (result.task, result.args, result.kwargs) == (tasks.multiply, [], {"x": 4})


def test_the_task_of_a_result_is_as_it_was_enqueued() -> None:
    later = timezone.now() + timedelta(hours=1)
    task = tasks.multiply.using(priority=-7, queue_name="mail", run_after=later)
    assert tasks.multiply.get_result(task.enqueue(1).id).task == task


def test_a_result_whose_queue_no_longer_exists_can_be_read() -> None:
    result = tasks.multiply.using(queue_name="mail").enqueue(1)
    Run.objects.update(enqueued_as={**Run.objects.get().enqueued_as, "queue_name": "former"})
    assert tasks.multiply.get_result(result.id).task == tasks.multiply


def test_it_does_not_start_before_its_time(
    broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    later = timezone.now() + timedelta(hours=1)
    with django_capture_on_commit_callbacks(execute=True):
        result = tasks.multiply.using(run_after=later).enqueue(3)
    assert (broker.messages, publisher.publish_due(later - timedelta(seconds=1))) == ([], 0)
    assert deliver(result).status == "READY"
    assert publisher.publish_due(later) == 1


def test_a_time_that_has_passed_is_now(
    broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        tasks.multiply.using(run_after=timezone.now() - timedelta(hours=1)).enqueue(3)
    assert len(broker.messages) == 1


def test_the_queue_and_the_priority_are_those_of_the_message(
    broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        tasks.retried.enqueue()
        tasks.multiply.enqueue(1)
    mail, other = broker.messages
    assert (mail.properties["routing_key"], mail.properties["priority"]) == ("mail", 3)
    assert (other.properties["routing_key"], other.properties["priority"]) == ("celery", 5)


@pytest.mark.parametrize("queue_name", ["unknown", "_kombu.x"])
def test_a_queue_that_the_settings_do_not_name_is_invalid(queue_name: str) -> None:
    with pytest.raises(InvalidTask, match="is not valid for backend"):
        tasks.multiply.using(queue_name=queue_name)


def test_a_queue_that_celery_cannot_use_is_invalid(settings: Settings) -> None:
    signals()  # The backport's module applies changes of the setting once it has been imported.
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": ["_kombu.x"]}}
    with pytest.raises(InvalidTask, match="cannot be used"):
        tasks.multiply.using(queue_name="_kombu.x").enqueue(1)


def test_signals_are_sent_for_each_step() -> None:
    seen: list[tuple[str, str]] = []
    names = ("task_enqueued", "task_started", "task_finished")
    receivers = {
        name: lambda *, name=name, task_result, **kwargs: seen.append((name, task_result.status))
        for name in names
    }
    for name, receiver in receivers.items():
        getattr(signals(), name).connect(receiver)
    try:
        deliver(tasks.multiply.enqueue(1))
    finally:
        for name, receiver in receivers.items():
            getattr(signals(), name).disconnect(receiver)
    assert seen == [
        ("task_enqueued", "READY"), ("task_started", "RUNNING"), ("task_finished", "SUCCESSFUL"),
    ]  # fmt: skip


def test_a_receiver_that_raises_does_not_affect_the_run() -> None:
    def receiver(**kwargs: Any) -> None:
        raise RuntimeError

    signals().task_started.connect(receiver)
    try:
        assert deliver(tasks.multiply.enqueue(1)).status == "SUCCESSFUL"
    finally:
        signals().task_started.disconnect(receiver)


def test_a_run_that_is_run_again_has_the_same_arguments() -> None:
    first = deliver(tasks.address.enqueue("anna", "Hello"))
    again = dispatch.run_again(Run.objects.get(pk=first.id), trigger=Trigger.ADMIN, username="anna")
    result = deliver(tasks.address.get_result(str(again.pk)))
    assert (result.return_value, result.args) == ("anna: Hello", ["anna", "Hello"])


def test_many_may_run_at_the_same_time() -> None:
    results = [tasks.multiply.enqueue(number) for number in range(3)]
    Run.objects.filter(pk=results[0].id).update(status=Status.RUNNING)
    assert [deliver(result).status for result in results[1:]] == ["SUCCESSFUL", "SUCCESSFUL"]


def test_what_is_declared_applies() -> None:
    declaration = registry.find("probes:retried").declaration
    assert (declaration.max_retries, declaration.time_limit) == (2, timedelta(minutes=5))
