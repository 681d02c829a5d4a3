"""Sets up OpenTelemetry's SDK from its standard variables, in each process that has something to trace."""

import atexit
import logging
import os
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from jobledger.logs.service import COMMAND, service
from jobledger.runs.output.run_log import by_service
from jobledger.tracing import spans


class ProcessExporter(SpanExporter):
    """Exports over connections of this process: those of its parent would be used by both at a time."""

    def __init__(self) -> None:
        self._pid = 0
        self._exporter: OTLPSpanExporter | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As OTLP over HTTP. What the exporter logs meanwhile is not the output of a job."""
        with by_service():
            if self._exporter is None or self._pid != os.getpid():
                self._pid, self._exporter = os.getpid(), OTLPSpanExporter()
            return self._exporter.export(spans)


def set_up() -> None:
    """Trace this process and its children: ``TRACING_SETUP``."""
    if service() == COMMAND:
        # What a command prints does not depend on a collector: cron would mail it.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    # Its own shutdown waits for a collector that is down.
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ProcessExporter()))
    trace.set_tracer_provider(provider)
    atexit.register(spans.flush)
