"""With real processes: a run's span reaches a collector, and its failure reaches Sentry, once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.service import service
from tests.receivers import QuietHandler, serving
from tests.unit.jobledger.sentry.receiver import sentry_server
from tests.waiting import wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(kw_only=True)
class Collector:
    """What it has received so far."""

    port: int = 0
    spans: list[Any] = field(default_factory=list)

    def of(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collector() -> Iterator[Collector]:
    """A server on loopback that takes OTLP over HTTP."""
    received = Collector()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            content = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                received.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as received.port:
        yield received


def test_a_call_is_a_span_in_its_callers_trace_and_its_failure_an_event() -> None:
    with collector() as spans, sentry_server() as sentry:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{spans.port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "SENTRY_DSN": sentry.dsn,
            "TRACEPARENT": f"00-{TRACE}-{SPAN}-01",
            "WORKER_CONCURRENCY": "1",
        }
        with service(**variables) as started:
            started.start_beat()
            started.start_worker()
            started.celery("call", "probes.isolated", "--kwargs", "{}")
            started.celery("call", "probes.probe", "--kwargs", '{"crash": "boom"}')
            wait_until(lambda: len(sentry.events) == 1, what="the event has arrived")
            # Long before the next export is due, its child ends and exports what it has.
            started.stop("worker")
            wait_until(lambda: len(spans.of("run probe")) == 1, what="the span has arrived")
            (isolated,) = spans.of("run isolated")
    (span,) = spans.of("run probe")
    for each in span, isolated:
        assert (each.trace_id.hex(), each.parent_span_id.hex()) == (TRACE, SPAN)
    facts = {pair.key: pair.value.string_value for pair in span.attributes}
    assert facts["jobledger.status"] == "failed"
    (event,) = sentry.events
    assert event["tags"]["run_id"] == facts["jobledger.run_id"]
    assert event["contexts"]["trace"]["trace_id"] == TRACE
