"""Nothing that Celery displays of a message (events, ``inspect``, its log) contains secrets."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Task, current_app
from celery.worker.request import Request

from jobledger.runs.worker.messages import returned
from jobledger.runs.worker.messages.consumer import Consumer
from jobledger.runs.worker.messages.requests import MAX_REPR_LENGTH, MaskedRequest, masked_headers
from tests.unit.jobledger.runs.worker.builders import message_of, received

SECRET = "s3cret-marker"


def everything_displayed(request: Request) -> str:
    """In events, the log, ``inspect`` and debuggers, and in the child that executes it."""
    shown = request.request_dict["argsrepr"] + request.request_dict["kwargsrepr"]
    return (
        f"{request.argsrepr}{request.kwargsrepr}{request.info()}{request.info(safe=True)}{request!r}{shown}"
    )


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {"token": SECRET, "days": 7}),
        ([], {"api_key": [SECRET]}),
        ([SECRET], {}),
        ([], {"login": {"password": SECRET}}),
    ],
)
def test_a_calls_secrets_are_masked_although_its_sender_did_not_mask_them(
    args: list[Any], kwargs: dict[str, Any]
) -> None:
    request = received("1", args=args, kwargs=kwargs)
    assert SECRET not in everything_displayed(request)
    assert SECRET in str((request.args, request.kwargs))


def test_other_arguments_are_displayed() -> None:
    shown = received("1", kwargs={"token": SECRET, "days": 7}).info()
    assert (shown["args"], shown["kwargs"]) == ("()", "{'token': '********', 'days': 7}")


def test_the_arguments_of_ordinary_tasks_are_masked_by_name() -> None:
    args = [{"password": SECRET, "host": "db"}, "plain"]
    request = MaskedRequest(message_of("1", "celery.backend_cleanup", args=args), app=current_app)
    assert SECRET not in everything_displayed(request)
    assert "'host': 'db'}, 'plain'" in request.argsrepr


def test_arguments_of_any_depth_and_length_can_be_displayed() -> None:
    deep: Any = SECRET
    for _ in range(300):
        deep = [deep]
    assert received("1", kwargs={"names": deep}).kwargsrepr
    assert len(received("1", kwargs={"names": "x" * 5000}).kwargsrepr) == MAX_REPR_LENGTH


def test_a_worker_masks_the_messages_of_every_task() -> None:
    consumer: Any = Consumer.__new__(Consumer)
    ordinary, own = SimpleNamespace(Request=Task.Request), SimpleNamespace(Request="project.requests:Own")
    for task in ordinary, own:
        task.start_strategy = lambda app, consumer: None
    consumer.app = SimpleNamespace(tasks={"a": ordinary, "b": own}, loader=None)
    consumer.strategies, consumer.hostname = {}, "here"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("celery.worker.consumer.consumer.build_tracer", lambda *args, **kwargs: None)
        consumer.update_strategies()
    assert ordinary.Request == f"{MaskedRequest.__module__}:{MaskedRequest.__name__}"
    assert own.Request == "project.requests:Own"


@pytest.mark.parametrize("refused", ["on_unknown_task", "on_unknown_message", "on_invalid_task"])
def test_a_message_that_cannot_be_executed_is_logged_without_its_arguments(
    refused: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer: Any = Consumer.__new__(Consumer)
    backend = SimpleNamespace(mark_as_failure=lambda *a, **k: None)
    consumer.app = SimpleNamespace(backend=backend, tasks=[])
    monkeypatch.setattr(returned, "MAX_RETURNS", 0)
    message = message_of("1", "gone.task", args=[SECRET], kwargs={"token": SECRET}, Authorization=SECRET)
    monkeypatch.setattr(message, "ack", lambda: None, raising=False)
    rest = [] if refused == "on_unknown_message" else [KeyError("gone.task")]
    with caplog.at_level(logging.DEBUG):
        getattr(consumer, refused)(None, message, *rest)
    assert "is a dead letter" in caplog.text
    assert SECRET not in caplog.text


def test_headers_are_logged_without_the_arguments_in_them() -> None:
    headers = {"id": "1", "argsrepr": SECRET, "kwargsrepr": SECRET, "X-Api-Key": SECRET}
    assert masked_headers(headers) == {"id": "1", "X-Api-Key": "********"}


def test_the_result_backend_hears_of_the_chord_that_waits_for_a_message() -> None:
    message = message_of("1", chord={"task": "summary"})
    context: Any = MaskedRequest(message, app=current_app).context
    assert context.id == "1"
    assert context.chord == {"task": "summary"}
