"""The health checks, and the page for a database outage."""

import sys
import time
from http import HTTPStatus

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views import defaults
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from jobledger import clock, health
from jobledger.health.problem import ProblemKind
from jobledger.outages import is_outage

READINESS_SECONDS = 2.0
"""How long a readiness result is cached: the view is public and takes about a dozen queries."""
RETRY_AFTER_SECONDS = 10
OUTAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>No database</title></head>
<body><h1>The database cannot be used right now</h1>
<p>Nothing was saved. Try again in a few seconds. Running jobs continue, and jobs that are due
in the meantime start when the database is back.</p></body></html>
"""


NOT_READY = (
    ProblemKind.NO_BROKER,
    ProblemKind.NO_BEAT,
    ProblemKind.LATE_BEAT,
    ProblemKind.NO_WORKER,
    ProblemKind.IDLE_WORKERS,
    ProblemKind.UNREAD_QUEUE,
)
"""The problems that keep jobs from starting on time."""


@never_cache
@require_safe
def alive(request: HttpRequest) -> HttpResponse:
    """200 if the web server responds, whatever the state of all else. Public."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def liveness(request: HttpRequest) -> HttpResponse:
    """200 if the database responds, otherwise 503. Public, so it reveals only the type of the error."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return HttpResponse(f"database: {type(error).__name__}\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readiness(request: HttpRequest) -> HttpResponse:
    """200 if jobs can start, otherwise 503, with the problems as JSON. Public, so in a few words only."""
    ready, problems = _readiness()
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JsonResponse({"ready": ready, "problems": problems}, status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """For Django's ``handler500``: a database outage is a 503 with a page that needs no database."""
    error = sys.exc_info()[1]
    if error is None or not is_outage(error):
        return defaults.server_error(request)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
    return HttpResponse(OUTAGE, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)


_last_readiness: tuple[float, tuple[bool, list[dict[str, str]]]] | None = None


def _readiness() -> tuple[bool, list[dict[str, str]]]:
    global _last_readiness  # noqa: PLW0603 - one result per process: the project's cache may itself be in Redis
    asked_at = time.monotonic()
    if _last_readiness is None or asked_at - _last_readiness[0] > READINESS_SECONDS:
        _last_readiness = asked_at, _read_readiness()
    return _last_readiness[1]


def _read_readiness() -> tuple[bool, list[dict[str, str]]]:
    try:
        found = health.read(clock.now(), server_time=timezone.now())
    except Error as error:
        return False, [{"part": "database", "problem": "no database", "text": type(error).__name__}]
    problems = [{"part": each.part, "problem": each.kind, "text": each.short} for each in found.problems]
    return not any(each.kind in NOT_READY for each in found.problems), problems
