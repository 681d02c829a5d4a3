"""Each attempt of a run is one span, which says how it ended, in the trace of whoever started it."""

import os
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pytest_django import Settings

from jobledger.jobs import secrets
from jobledger.models import Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.runs import attempts, dispatch, reasons
from jobledger.runs.execution import runner
from jobledger.runs.outcome import Outcome, outcome_of
from jobledger.tracing import context, spans
from tests.probes.management.commands.probe import Command
from tests.unit.builders import NOON, override, run_for_slot
from tests.unit.jobledger.alerts.builders import CANCELLED, LOST, TIMED_OUT, end, running

pytestmark = pytest.mark.django_db

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
OUT_OF_MEMORY = Outcome(status=Status.FAILED, why=Why.of(Reason.OUT_OF_MEMORY), exit_code=137)
SILENT = Outcome(status=Status.LOST, why=Why.of(Reason.LOST_HEARTBEAT, worker="w"), exit_code=None)
KILLED = replace(LOST, exit_signal="SIGKILL", error="Worker exited prematurely: signal 9 (SIGKILL) Job: 6.")


def run_probe(trace_context: context.TraceContext | None = None, job: str = "probe", **options: Any) -> Run:
    found = {"trace_context": trace_context} if trace_context else {}
    run = Run.objects.create(job=job, options=options, trigger=Trigger.ADMIN, **found)
    assert runner.execute(run.pk, worker="w") is not None
    run.refresh_from_db()
    return run


def only(exported: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exported.get_finished_spans()
    return span


def parent_of(span: ReadableSpan) -> tuple[str, str] | None:
    if span.parent is None:
        return None
    return f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}"


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("jobledger."): value for name, value in (span.attributes or {}).items()}


def test_a_run_is_a_span_with_its_facts(exported: InMemorySpanExporter) -> None:
    run = run_for_slot("probe", NOON)
    span = only(exported)
    assert (span.name, span.kind, span.status.status_code) == ("run probe", SpanKind.CONSUMER, StatusCode.OK)
    assert attributes_of(span) == {
        "job": "probe",
        "run_id": str(run.pk),
        "attempt": 1,
        "trigger": "schedule",
        "scheduled_for": NOON.isoformat(),
        "status": "succeeded",
        "process.exit.code": 0,
    }


@pytest.mark.parametrize("trigger", ["api", "chain", "task"])
def test_whatever_starts_a_run_in_a_worker_has_sent_a_message(
    exported: InMemorySpanExporter, trigger: str
) -> None:
    run = Run.objects.create(job="probe", trigger=trigger)
    runner.execute(run.pk, worker="w")
    assert only(exported).kind == SpanKind.CONSUMER


def test_a_run_of_a_schedule_names_it_and_begins_a_trace(exported: InMemorySpanExporter) -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, schedule_name="nightly")
    runner.execute(run.pk, worker="w")
    span = only(exported)
    assert attributes_of(span)["schedule"] == "nightly"
    assert span.parent is None
    run.refresh_from_db()
    assert span.context is not None
    assert context.trace_id_of(run.trace_context) == f"{span.context.trace_id:032x}"


def test_a_failure_is_an_error_with_an_exception_without_secrets(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_dests_of", lambda job: {"warn": True})
    run_probe(crash="refused s3cr3t-value", warn="s3cr3t-value")
    span = only(exported)
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "RuntimeError: refused ********",
    )
    (event,) = span.events
    facts = dict(event.attributes or {})
    assert (event.name, facts["exception.type"]) == ("exception", "RuntimeError")
    assert str(facts["exception.stacktrace"]).startswith("Traceback")
    assert "s3cr3t" not in span.to_json()


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (LOST, "LostProcess"),
        (TIMED_OUT, "TimeLimit"),
        (OUT_OF_MEMORY, "OutOfMemory"),
        (KILLED, "LostProcess"),
        (SILENT, "LostHeartbeat"),
        (outcome_of(SystemExit(3)), "ExitCode"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_message_of_a_failure_is_the_one_on_the_runs_page(
    exported: InMemorySpanExporter, outcome: Outcome, kind: str
) -> None:
    run = end(outcome)
    span = only(exported)
    (event,) = span.events
    assert span.status.description == reasons.explanation(run) != ""
    assert event.attributes == {"exception.type": kind, "exception.message": reasons.explanation(run)}


def test_the_message_of_an_exception_does_not_repeat_its_type(exported: InMemorySpanExporter) -> None:
    run = end(outcome_of(RuntimeError("boom")))
    span = only(exported)
    assert span.status.description == reasons.explanation(run) == "RuntimeError: boom"
    facts = dict(span.events[0].attributes or {})
    assert (facts["exception.type"], facts["exception.message"]) == ("RuntimeError", "boom")


def test_a_command_error_is_an_error(exported: InMemorySpanExporter) -> None:
    run_probe(fail="nothing to do", returncode=3)
    span = only(exported)
    assert span.status.description == "nothing to do"
    assert attributes_of(span)["process.exit.code"] == 3
    assert dict(span.events[0].attributes or {})["exception.type"] == "CommandError"


def test_the_span_lasts_as_long_as_the_job_and_is_active_in_it(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def handle(*args: Any, **options: Any) -> None:
        with trace.get_tracer("job").start_as_current_span("part"):
            found.append(os.environ["TRACEPARENT"])

    monkeypatch.setattr(Command, "handle", handle)
    run_probe()
    part, span = exported.get_finished_spans()
    assert part.parent == span.context
    assert span.start_time is not None
    assert part.start_time is not None
    assert span.start_time <= part.start_time
    assert span.context is not None
    assert found[0][:-2] == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert "TRACEPARENT" not in os.environ


def test_a_thread_of_the_job_continues_its_trace(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, str]] = []

    def handle(*args: Any, **options: Any) -> None:
        thread = threading.Thread(target=lambda: found.append(context.current()))
        thread.start()
        thread.join()

    monkeypatch.setattr(Command, "handle", handle)
    run_probe(CALLER)
    assert context.trace_id_of(found[0]) == TRACE
    assert context.span_id_of(found[0]) != SPAN


def test_a_run_continues_the_trace_of_its_caller(exported: InMemorySpanExporter) -> None:
    run = run_probe(CALLER)
    assert parent_of(only(exported)) == (TRACE, SPAN)
    assert run.trace_context == CALLER


def test_an_active_span_such_as_that_of_an_instrumentation_is_the_parent(
    exported: InMemorySpanExporter,
) -> None:
    with trace.get_tracer("celery").start_as_current_span("run/tasks_app.probe") as active:
        run_probe(CALLER)
    span = exported.get_finished_spans()[0]
    assert span.parent == active.get_span_context()
    assert span.kind == SpanKind.INTERNAL


def test_every_attempt_is_a_span_in_the_same_trace(exported: InMemorySpanExporter) -> None:
    run = run_probe(job="restarting", fail_first=1, seconds=0)
    assert run.status == Status.QUEUED
    Run.objects.update(start_after=None)
    runner.execute(run.pk, worker="w")
    first, second = exported.get_finished_spans()
    assert [attributes_of(each)["attempt"] for each in (first, second)] == [1, 2]
    assert [each.status.status_code for each in (first, second)] == [StatusCode.ERROR, StatusCode.OK]
    assert first.context is not None
    assert parent_of(second) == (f"{first.context.trace_id:032x}", f"{first.context.span_id:016x}")


@pytest.mark.parametrize("outcome", [LOST, TIMED_OUT, OUT_OF_MEMORY], ids=["lost", "timed out", "memory"])
def test_a_run_whose_process_died_is_a_span_with_its_times(
    exported: InMemorySpanExporter, outcome: Outcome
) -> None:
    run = end(outcome, trace_context=CALLER)
    span = only(exported)
    assert parent_of(span) == (TRACE, SPAN)
    assert (span.status.status_code, attributes_of(span)["status"]) == (StatusCode.ERROR, run.status)
    assert span.start_time is not None
    assert span.end_time is not None
    assert run.started_at is not None
    assert abs(span.start_time / 1e9 - run.started_at.timestamp()) < 0.001
    assert run.finished_at is not None
    assert abs(span.end_time / 1e9 - run.finished_at.timestamp()) < 0.000_002


def die(run: Run) -> dict[str, str]:
    """Begin an attempt whose span dies with its process, and rescue the run; returns what its job saw."""
    with spans.of_attempt(run):
        seen = context.active()
    spans.forget(run)
    assert attempts.end(Run.objects.get(pk=run.pk), LOST)
    return seen


@pytest.mark.parametrize("caller", [{}, CALLER], ids=["nobody", "a caller"])
def test_the_span_of_a_lost_run_is_the_one_that_its_job_has_seen(
    exported: InMemorySpanExporter, caller: dict[str, str]
) -> None:
    seen = die(running(trace_context=caller))
    span = only(exported)
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == context.trace_id_of(seen)
    assert f"{span.context.span_id:016x}" == context.span_id_of(seen)
    assert parent_of(span) == ((TRACE, SPAN) if caller else None)


def test_all_attempts_of_a_run_whose_process_dies_are_below_the_first(exported: InMemorySpanExporter) -> None:
    run = running(job="restarting")
    die(run)
    Run.objects.update(status=Status.RUNNING, started_at=timezone.now())
    die(Run.objects.get())
    first, second = exported.get_finished_spans()
    assert first.context is not None
    assert second.context is not None
    assert parent_of(first) is None
    assert parent_of(second) == (f"{first.context.trace_id:032x}", f"{first.context.span_id:016x}")
    assert context.span_id_of_attempt(run.pk, 2) == f"{second.context.span_id:016x}"


def test_a_tracer_that_is_not_the_sdks_chooses_the_ids_itself(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = trace.get_tracer("other")
    other = SimpleNamespace(start_span=tracer.start_span)
    monkeypatch.setattr(trace, "get_tracer", lambda *args: other)
    run = run_probe()
    span = only(exported)
    assert span.context is not None
    assert f"{span.context.span_id:016x}" == context.span_id_of(run.trace_context)
    assert f"{span.context.span_id:016x}" != context.span_id_of_attempt(run.pk, 1)


def test_a_run_that_was_rescued_meanwhile_is_one_span(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(*args: Any, **options: Any) -> None:
        Run.objects.update(status=Status.LOST, finished_at=timezone.now())

    monkeypatch.setattr(Command, "handle", handle)
    run_probe()
    assert exported.get_finished_spans() == ()
    assert spans._open == {}


def test_a_cancelled_run_is_no_error(exported: InMemorySpanExporter) -> None:
    end(CANCELLED)
    span = only(exported)
    assert span.status.status_code == StatusCode.UNSET
    assert attributes_of(span)["status"] == "cancelled"


def test_a_call_on_the_command_line_continues_the_trace_of_its_environment(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", CALLER["traceparent"])
    call_command("probe", "hello")
    span = only(exported)
    assert parent_of(span) == (TRACE, SPAN)
    assert attributes_of(span)["trigger"] == "cli"
    assert Run.objects.get().trace_context == CALLER
    assert os.environ["TRACEPARENT"] == CALLER["traceparent"]


def test_a_job_that_another_one_calls_is_its_child(exported: InMemorySpanExporter) -> None:
    run_probe(child="hello")
    inner, outer = exported.get_finished_spans()
    assert inner.parent == outer.context
    assert attributes_of(inner)["trigger"] == "job"


def test_a_skipped_run_is_no_span(exported: InMemorySpanExporter) -> None:
    running(job="probe", concurrency_key="probe")
    with pytest.raises(CommandError):
        call_command("probe")
    assert exported.get_finished_spans() == ()


def test_a_tracer_that_fails_fails_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Broken())
    assert run_probe().status == "succeeded"


def test_without_a_provider_nothing_is_recorded() -> None:
    assert run_probe().trace_context == {}


def test_without_opentelemetry_the_callers_trace_reaches_the_jobs_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spans, "_tracing", lambda: None)
    monkeypatch.setattr(context, "active", dict)
    found: list[str | None] = []
    monkeypatch.setattr(
        Command, "handle", lambda *args, **options: found.append(os.environ.get("TRACEPARENT"))
    )
    run_probe(CALLER)
    assert found == [CALLER["traceparent"]]


def test_the_projects_function_is_called_once_and_before_the_first_span(
    exported: InMemorySpanExporter, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "tests.unit.jobledger.tracing.test_spans.set_up", lambda: calls.append(1), raising=False
    )
    spans._set_up.cache_clear()
    override(settings, TRACING_SETUP="tests.unit.jobledger.tracing.test_spans.set_up")
    run_probe()
    run_probe()
    assert calls == [1]
    assert len(exported.get_finished_spans()) == 2


def test_the_thread_of_the_sdk_is_not_taken_for_one_that_the_job_has_left(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=[60], daemon=True)
    monkeypatch.setattr(f"{__name__}.set_up", thread.start, raising=False)
    spans._set_up.cache_clear()
    override(settings, TRACING_SETUP=f"{__name__}.set_up")
    run = run_probe()
    assert thread.is_alive()
    release.set()
    assert run.left_behind == []


def test_a_function_that_is_missing_is_reported_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    spans._set_up.cache_clear()
    override(settings, TRACING_SETUP="opentelemetry_of_nobody.set_up")
    assert [run_probe().status, run_probe().status] == ["succeeded", "succeeded"]
    assert caplog.text.count("TRACING_SETUP") == 1
    assert "Install django-jobledger[tracing]" in caplog.text


def test_a_collector_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), threading.Event()

    class Hanging:
        def force_flush(self) -> None:
            asked.set()
            release.wait(60)

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Hanging())
    spans.flush(within_seconds=0.01)
    assert asked.wait(10)
    release.set()


def test_a_queued_run_keeps_the_context_of_its_caller() -> None:
    with trace.use_span(
        trace.NonRecordingSpan(
            trace.SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=trace.TraceFlags(1))
        )
    ):
        run = dispatch.enqueue(dispatch.RunRequest(job="probe", trigger=Trigger.ADMIN))
    assert run.trace_context == CALLER


def test_a_lost_attempt_that_is_repeated_is_a_span(exported: InMemorySpanExporter) -> None:
    run = running(job="restarting", trigger=Trigger.ADMIN, trace_context=CALLER)
    attempts.end(run, LOST)
    assert RunAttempt.objects.count() == 1
    Run.objects.update(start_after=None, options={"fail_first": 0, "seconds": 0})
    runner.execute(run.pk, worker="w")
    assert [attributes_of(each)["status"] for each in exported.get_finished_spans()] == ["lost", "succeeded"]
    assert {parent_of(each) for each in exported.get_finished_spans()} == {(TRACE, SPAN)}
