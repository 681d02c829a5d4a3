"""Trace context crosses from the caller to the run's row, and to its message."""

import os
from typing import Any

import pytest
from celery import current_app
from celery.app.task import Context
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobledger.jobs import registry
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.publishing import publisher
from jobledger.runs.received import request_of
from jobledger.tracing import context
from jobledger.tracing.middleware import TraceContextMiddleware
from tests.unit.broker import Broker

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
CALLER = {"traceparent": PARENT, "tracestate": "vendor=1"}


def enqueue() -> Run:
    return dispatch.enqueue(dispatch.RunRequest(job="probe", trigger=Trigger.ADMIN))


@pytest.mark.parametrize(
    "parent",
    [
        "",
        None,
        7,
        "00",
        PARENT.upper(),
        f"{PARENT}\n",
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_an_invalid_context_is_none(parent: object) -> None:
    assert context.of({"traceparent": parent, "tracestate": "a=1"}) == {}


@pytest.mark.parametrize("state", ["", None, ["a=1"], "ä=1", "a=1\n", "a" * 513])
def test_an_invalid_state_is_left_out(state: object) -> None:
    assert context.of({"traceparent": PARENT, "tracestate": state}) == {"traceparent": PARENT}


def test_a_context_names_its_trace_and_its_span() -> None:
    assert (context.trace_id_of(CALLER), context.span_id_of(CALLER)) == (TRACE, SPAN)
    assert (context.trace_id_of({}), context.span_id_of({})) == ("", "")


@pytest.mark.django_db
def test_a_run_that_a_request_starts_continues_its_callers_trace(broker: Broker) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(enqueue().pk))

    request = RequestFactory().get("/", headers=CALLER)
    response = TraceContextMiddleware(view)(request)
    assert Run.objects.get(pk=response.content.decode()).trace_context == CALLER
    assert enqueue().trace_context == {}


def test_a_request_that_fails_leaves_no_context() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        TraceContextMiddleware(view)(RequestFactory().get("/", headers=CALLER))
    assert context.current() == {}


@pytest.mark.django_db
def test_a_process_that_was_started_in_a_trace_continues_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in context.as_variables(CALLER).items():
        monkeypatch.setenv(name, value)
    assert enqueue().trace_context == CALLER


def test_a_service_does_not_belong_to_the_trace_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    context.leave_trace_of_start()
    assert "TRACEPARENT" not in os.environ
    assert context.current() == {}


@pytest.mark.django_db
def test_the_message_of_a_run_carries_what_is_on_its_row(
    broker: Broker, exported: InMemorySpanExporter
) -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.ADMIN, trace_context=CALLER)
    with trace.get_tracer("another").start_as_current_span("of another run"):
        publisher.publish([run])
    headers = broker.messages[0].headers
    assert {name: headers[name] for name in CALLER} == CALLER


@pytest.mark.django_db
def test_the_message_of_a_run_without_a_trace_is_in_none(
    broker: Broker, exported: InMemorySpanExporter
) -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE)
    with trace.get_tracer("another").start_as_current_span("of another run"):
        publisher.publish([run])
    assert "traceparent" not in broker.messages[0].headers


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["delay", "apply_async", "send_task"])
def test_a_call_by_celery_carries_the_trace_of_its_caller(
    way: str, broker: Broker, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    current_app.loader.import_default_modules()
    name = registry.find("probe").task_name
    monkeypatch.setattr(current_app.tasks[name], "ignore_result", True)
    with trace.get_tracer("caller").start_as_current_span("call") as span:
        if way == "send_task":
            current_app.send_task(name, kwargs={"words": []}, ignore_result=True)
        else:
            getattr(current_app.tasks[name], way)()
    found = broker.messages[0].headers["traceparent"]
    assert found.split("-")[2] == f"{span.get_span_context().span_id:016x}"


@pytest.mark.django_db
@pytest.mark.parametrize("message", [Context(CALLER), Context({"headers": CALLER})], ids=["own", "nested"])
def test_the_run_of_a_call_continues_the_trace_of_its_message(message: Any) -> None:
    assert request_of(message, registry.find("probe"), {}).trace_context == CALLER


@pytest.mark.django_db
def test_a_message_does_not_get_the_trace_of_the_worker(exported: InMemorySpanExporter) -> None:
    with trace.get_tracer("worker").start_as_current_span("receives"):
        assert request_of(Context({}), registry.find("probe"), {}).trace_context == {}
