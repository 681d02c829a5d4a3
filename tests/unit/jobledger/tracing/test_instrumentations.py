"""Beside OpenTelemetry's own instrumentations of Celery and Django, a run is one span, below theirs."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from celery import current_app
from celery.app.trace import build_tracer
from django.http import HttpResponse
from django.test import Client
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobledger.jobs import registry
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.publishing import publisher
from tests.unit.broker import Broker, Message

pytestmark = pytest.mark.django_db

CALLER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.fixture
def instrumented(exported: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    current_app.loader.import_default_modules()
    instrumentor = CeleryInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument()
    yield exported
    instrumentor.uninstrument()


def execute(message: Message) -> None:
    """As a worker's child does."""
    task = current_app.tasks[message.name]
    request = {**message.headers, "args": message.args, "kwargs": message.kwargs, "delivery_info": {}}
    tracer = build_tracer(message.name, task, app=current_app)
    tracer(message.task_id, message.args, message.kwargs, request)


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name.partition("/")[0]: span for span in exporter.get_finished_spans()}


def assert_nested(found: dict[str, ReadableSpan], *names: str) -> None:
    for outer, inner in pairwise(names):
        parent, context = found[inner].parent, found[outer].context
        assert parent is not None
        assert context is not None
        assert (parent.trace_id, parent.span_id) == (context.trace_id, context.span_id), (outer, inner)


def test_a_run_is_below_the_span_of_its_task_which_is_below_that_of_its_message(
    instrumented: InMemorySpanExporter, broker: Broker
) -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.ADMIN, trace_context=CALLER)
    publisher.publish([run])
    execute(broker.messages[0])
    found = spans_of(instrumented)
    assert sorted(found) == ["apply_async", "run", "run probe"]
    assert_nested(found, "apply_async", "run", "run probe")
    parent = found["apply_async"].parent
    assert parent is not None
    assert f"{parent.span_id:016x}" in CALLER["traceparent"]


def test_so_is_a_run_of_a_call(instrumented: InMemorySpanExporter, broker: Broker) -> None:
    current_app.tasks[registry.find("probe").task_name].apply_async(ignore_result=True)
    execute(broker.messages[0])
    assert_nested(spans_of(instrumented), "apply_async", "run", "run probe")


def test_a_run_that_a_request_starts_is_below_the_span_of_the_request(
    exported: InMemorySpanExporter, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*args: object) -> HttpResponse:
        request = dispatch.RunRequest(job="probe", trigger=Trigger.ADMIN)
        dispatch.enqueue(request)
        return HttpResponse("started")

    monkeypatch.setattr("django.core.handlers.base.BaseHandler._get_response", started)
    DjangoInstrumentor().instrument()
    try:
        Client().get("/livez", headers=CALLER)
    finally:
        DjangoInstrumentor().uninstrument()
    run = Run.objects.get()
    (span,) = exported.get_finished_spans()
    assert span.context is not None
    assert f"{span.context.span_id:016x}" in run.trace_context["traceparent"]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" in CALLER["traceparent"]
