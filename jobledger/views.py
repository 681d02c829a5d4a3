"""The health checks, and the page for a database outage."""

import sys
from http import HTTPStatus

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from jobledger.health import readiness
from jobledger.health.reading import NoAnswerError, Reading
from jobledger.outages import is_outage, may_be_saved
from jobledger.public_views import probe

RETRY_AFTER_SECONDS = 10
OUTAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>No database</title></head>
<body><h1>The database cannot be used right now</h1>
<p>{saved} Running jobs continue, and jobs that are due
in the meantime start when the database is back.</p></body></html>
"""
NOTHING_SAVED = "Nothing was saved. Try again in a few seconds."
UNKNOWN = "It has not answered: what you have sent may be saved, or not. Look before you send it again."


@probe
def alive(request: HttpRequest) -> HttpResponse:
    """200 if the web server responds, whatever the state of all else. Public."""
    return HttpResponse("ok\n", content_type="text/plain")


@probe
def liveness(request: HttpRequest) -> HttpResponse:
    """200 if the database responds, otherwise 503. Public, so it reveals only the type of the error."""
    try:
        wrong = database.get()
    except NoAnswerError as error:
        wrong = str(error)
    if wrong:
        return HttpResponse(f"database: {wrong}\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


def _ask_database() -> str:
    """What is wrong with it, or an empty string."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return type(error).__name__
    return ""


database = Reading(
    _ask_database, within_seconds=readiness.WITHIN_SECONDS, reused_seconds=readiness.REUSED_SECONDS
)


@probe
def ready(request: HttpRequest) -> HttpResponse:
    """200 if jobs can start, otherwise 503, with all checks as JSON. Public, so in a few words only."""
    found = readiness.read()
    status = HTTPStatus.OK if found.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JsonResponse(found.as_json(), status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """For Django's ``handler500``: a database outage is a 503 with a page that needs no database."""
    error = sys.exc_info()[1]
    if error is None or not is_outage(error):
        return defaults.server_error(request)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
    page = OUTAGE.format(saved=UNKNOWN if may_be_saved(request.method, error) else NOTHING_SAVED)
    return HttpResponse(page, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)
