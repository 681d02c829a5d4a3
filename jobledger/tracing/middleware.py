"""The trace context of the request that is being answered."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from jobledger.tracing import context


class TraceContextMiddleware:
    """Lets runs that a request starts continue the trace of whoever has sent it.

    An instrumentation of Django makes this superfluous, and harmless: its own span takes precedence.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with context.given(context.of(request.headers)):
            return self._get_response(request)
