"""Sends the reports, in order, from beat's background threads.

If Sentry does not accept a report for now, all wait. A check-in that arrives late would be misleading, so it
is given up after ten minutes; an event is tried for as long as an alert.
"""

import importlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from django.db.models import Q

from jobledger import clock
from jobledger.conf import settings
from jobledger.escapes import escaped, line_logger
from jobledger.models import Run, SentryReport
from jobledger.models import SentryReportKind as Kind
from jobledger.sentry import events, monitors

logger = line_logger(__name__)

TIMEOUT_SECONDS = 5.0
BATCH = 100
LATE_CHECK_IN = timedelta(minutes=10)
MAX_ERROR_LENGTH = 200
REFUSALS = (400, 413, 422)
"""Sentry accepts others, but not this report, however often it is sent."""
MISSING = "SENTRY_DSN is set, but nothing can be reported: install django-jobledger[sentry] where beat runs"


class NotAcceptedError(Exception):
    """Sentry did not accept a report; the message has no secrets."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        """``is_final`` if it would never be accepted."""
        super().__init__(message)
        self.is_final = is_final


def due(now: datetime) -> Sequence[int]:
    """The ids of the reports to send now, in order."""
    if not settings.SENTRY_DSN:
        return ()
    return list(SentryReport.objects.due(now).values_list("pk", flat=True)[:BATCH])


def send(pks: Sequence[int]) -> None:
    """Send them, until one is not accepted: the others then wait with it."""
    for position, pk in enumerate(pks):
        if (report := SentryReport.objects.claim(pk, clock.now())) is None:
            continue
        try:
            _deliver(report)
        except NotAcceptedError as error:
            if error.is_final:
                _done(pk, error=str(error))
                logger.warning("Sentry does not accept the report of run %s: %s", report.run_id, error)
                continue
            _postpone(pks[position:], report, str(error))
            return


def tidy(now: datetime) -> None:
    """Give up what is too old to be sent, and forget what is older than a day."""
    waiting = SentryReport.objects.filter(due_at__isnull=False)
    is_late = ~Q(kind=Kind.FAILURE) & Q(created_at__lte=now - LATE_CHECK_IN)
    deadline = now - timedelta(seconds=settings.ALERT_DEADLINE_SECONDS)
    waiting.filter(is_late | Q(created_at__lte=deadline)).update(due_at=None)
    SentryReport.objects.forget(now)


def _deliver(report: SentryReport) -> None:
    if (event := _event_of(report)) is not None:
        if (client := _client(settings.SENTRY_DSN)) is None:
            raise NotAcceptedError(MISSING)
        client.capture_event(event)
    _done(report.pk, sent_at=None if event is None else clock.now())


def _event_of(report: SentryReport) -> dict[str, Any] | None:
    """None if there is nothing to report."""
    run: Run = report.run
    if report.kind != Kind.FAILURE:
        return monitors.check_in(run, Kind(report.kind))
    return events.failure(run) if events.is_wanted(run) else None


def _done(pk: int, **changes: Any) -> None:
    SentryReport.objects.filter(pk=pk).update(due_at=None, **changes)


def _postpone(pks: Sequence[int], failed: SentryReport, error: str) -> None:
    """All of them, since a server that is down would keep each of them waiting."""
    SentryReport.objects.postpone(pks, failed, error, clock.now())
    logger.warning("Sentry cannot be told of run %s yet: %s", failed.run_id, error)


@cache
def _client(dsn: str) -> Any:
    """A client of our own, which neither uses nor changes the project's; None if the package is missing."""
    try:
        sdk = importlib.import_module("sentry_sdk")
    except ImportError:
        return None
    return sdk.Client(
        dsn=dsn,
        transport=_transport(),
        environment=settings.SENTRY_ENVIRONMENT or settings.ENVIRONMENT or None,
        release=settings.SENTRY_RELEASE or None,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        max_value_length=10_000,
    )


def _transport() -> Any:
    """Sends at once, and says whether that was successful. Sentry's own drops what it cannot send."""
    base = importlib.import_module("sentry_sdk.transport").Transport

    def capture_envelope(transport: Any, envelope: Any) -> None:
        auth = transport.parsed_dsn.to_auth("jobledger")
        kind = "application/x-sentry-envelope"
        headers = {"Content-Type": kind, "X-Sentry-Auth": auth.to_header(), "User-Agent": "jobledger"}
        _post(auth.get_api_url(), envelope.serialize(), headers)

    return type("Transport", (base,), {"capture_envelope": capture_envelope})


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    """Raises NotAcceptedError."""
    # Imported here, because only beat needs it.
    import urllib.request

    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - the project's setting
    opener = urllib.request.build_opener(_without_redirects())
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS):
            pass
    except HTTPError as error:
        error.close()
        raise NotAcceptedError(_reason(error), is_final=error.code in REFUSALS) from error
    except (OSError, HTTPException, ValueError) as error:
        raise NotAcceptedError(_reason(error)) from error


@cache
def _without_redirects() -> Any:
    """Whoever follows a redirect leaves the report behind, and a login page answers 200 as well."""
    import urllib.request

    class Handler(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> None:
            pass

    return Handler


def _reason(error: Exception) -> str:
    return escaped(str(error) or type(error).__name__)[:MAX_ERROR_LENGTH]
