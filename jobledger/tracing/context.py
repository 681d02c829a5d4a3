"""Trace context, as W3C's headers ``traceparent`` and ``tracestate``: from the caller to the run.

The caller is whoever has an active span in this thread, has sent the request that is being answered
(``middleware``), or has started this process with ``TRACEPARENT`` in its environment. Most of
this needs no OpenTelemetry: a context also crosses processes that do not have it.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any
from uuid import UUID

from celery.signals import before_task_publish

TraceContext = Mapping[str, str]
"""``traceparent``, and possibly ``tracestate``; empty: none."""

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
_VALID = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[ -~]{1,512}")

_given: ContextVar[TraceContext | None] = ContextVar("given_trace_context", default=None)


def connect() -> None:
    """From now on, messages carry the context of whoever sends them."""
    before_task_publish.connect(_add_to_message, dispatch_uid="jobledger.tracing.publish")


def current() -> dict[str, str]:
    """The context of the calling code."""
    if (found := active()) or (called_from := _given.get()) is None:
        return found or of_environment(os.environ)
    return dict(called_from)


def of(carrier: Mapping[str, Any]) -> dict[str, str]:
    """The context in a message's or a request's headers; empty if there is none, or an invalid one."""
    parent, state = carrier.get(TRACEPARENT), carrier.get(TRACESTATE)
    if not isinstance(parent, str) or not _VALID.fullmatch(parent):
        return {}
    if not isinstance(state, str) or not _STATE.fullmatch(state):
        return {TRACEPARENT: parent}
    return {TRACEPARENT: parent, TRACESTATE: state}


def of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The same in the variables of a process."""
    if TRACEPARENT.upper() not in environment:
        return {}
    return of({name: environment.get(name.upper()) for name in (TRACEPARENT, TRACESTATE)})


def as_variables(context: TraceContext) -> dict[str, str]:
    """The environment variables for a process that continues the trace."""
    return {name.upper(): value for name, value in context.items()}


def trace_id_of(context: TraceContext) -> str:
    """The trace's id; empty without a context."""
    return context[TRACEPARENT].split("-")[1] if context else ""


def span_id_of(context: TraceContext) -> str:
    """The id of the span that the context is of; empty without one."""
    return context[TRACEPARENT].split("-")[2] if context else ""


def span_id_of_attempt(run_id: UUID, attempt: int) -> str:
    """The id of the attempt's own span, which does not depend on who makes it: see ``spans``."""
    return hashlib.blake2b(f"{run_id.hex}:{attempt}".encode(), digest_size=8).hexdigest()


def as_opentelemetry(context: TraceContext) -> Any:
    """For OpenTelemetry's API, which this imports."""
    empty = import_module("opentelemetry.context").Context()
    return _propagator().extract(dict(context), context=empty)


@contextmanager
def given(context: TraceContext) -> Iterator[None]:
    """In the block, the code is called from this context, which may be empty, unless a span is active."""
    token = _given.set(context)
    try:
        yield
    finally:
        _given.reset(token)


@contextmanager
def restored(context: TraceContext) -> Iterator[None]:
    """In the block, nothing but this context is active, also for instrumentations."""
    api = sys.modules.get("opentelemetry.context")
    token = api and api.attach(as_opentelemetry(context))
    try:
        with given(context):
            yield
    finally:
        if api:
            api.detach(token)


@contextmanager
def variables_set(context: TraceContext) -> Iterator[None]:
    """In the block, processes that are started, and threads, continue the trace."""
    names = [name.upper() for name in (TRACEPARENT, TRACESTATE)] if context else []
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update(as_variables(context))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def leave_trace_of_start() -> None:
    """What a service executes for years does not belong to the trace of whoever has started it."""
    for name in TRACEPARENT, TRACESTATE:
        os.environ.pop(name.upper(), None)


def _add_to_message(headers: Any = None, **kwargs: object) -> None:
    if isinstance(headers, dict) and TRACEPARENT not in headers:
        headers.update(current())


def active() -> dict[str, str]:
    """That of the active span, whatever is wrong with it."""
    carrier = dict[str, str]()
    if "opentelemetry.trace" in sys.modules:
        with suppress(Exception):
            _propagator().inject(carrier)
    return of(carrier)


@cache
def _propagator() -> Any:
    # Not the global one, whose format the project chooses: this one is stored.
    return import_module("opentelemetry.trace.propagation.tracecontext").TraceContextTextMapPropagator()
