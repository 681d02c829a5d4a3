"""The SDK is set up for each process, and bothers nobody who calls a command."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from jobledger.logs import service
from proj import tracing


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[TracerProvider]]:
    found: list[TracerProvider] = []
    logger = logging.getLogger("opentelemetry")
    before = logger.level
    monkeypatch.setattr(trace, "set_tracer_provider", found.append)
    monkeypatch.setattr("atexit.register", lambda function: None)
    yield found
    logger.setLevel(before)
    for provider in found:
        provider.shutdown()


@pytest.mark.parametrize(("name", "is_logged"), [(service.COMMAND, False), (service.WORKER, True)])
def test_a_collector_that_is_down_is_logged_by_services_only(
    name: str, is_logged: bool, providers: list[TracerProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_given", name)
    tracing.set_up()
    assert len(providers) == 1
    assert logging.getLogger("opentelemetry.exporter").isEnabledFor(logging.ERROR) == is_logged


def test_a_child_exports_over_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Exporter:
        def __init__(self) -> None:
            made.append(self)

        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    monkeypatch.setattr(tracing, "OTLPSpanExporter", Exporter)
    exporter = tracing.ProcessExporter()
    exporter.export([])
    exporter.export([])
    assert len(made) == 1
    monkeypatch.setattr("os.getpid", lambda: -1)
    exporter.export([])
    assert len(made) == 2
