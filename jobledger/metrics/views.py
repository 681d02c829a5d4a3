"""``/metrics``, for Prometheus: closed until the project sets a token or the networks of its clients."""

from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

from jobledger import clock
from jobledger.conf import settings
from jobledger.health.reading import NoAnswerError, Reading
from jobledger.metrics.totals import NotCountedError
from jobledger.public_views import probe

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

CLOSED = "Metrics are off. Set METRICS_TOKEN or METRICS_NETWORKS."
BAD_TOKEN = "A valid token is required, as the header “Authorization: Bearer …”."  # noqa: S105 - no password
BAD_ADDRESS = "METRICS_NETWORKS does not include this client's address."
BEHIND_PROXY = "METRICS_NETWORKS does not apply to requests that come through a proxy."
RETRY_AFTER_SECONDS = 5
WITHIN_SECONDS = 7.0
"""Prometheus waits for ten, by default, and the answer has to reach it."""
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED")


@probe
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics; 404 if they are off, and 403 if the client may not read them."""
    if not (settings.METRICS_TOKEN or settings.METRICS_NETWORKS):
        return _text(CLOSED, HTTPStatus.NOT_FOUND)
    if refusal := _refusal(request):
        return _text(refusal, HTTPStatus.FORBIDDEN)
    # Imported here, because most processes that load the URLs never need it.
    from jobledger.metrics import exposition

    try:
        text, content_type = exposition.encoded(families.get(), request.headers.get("Accept", ""))
    except NotCountedError as error:
        return _unavailable(f"There are many new runs to count: try again. {error}.")
    except Error as error:
        return _unavailable(f"database: {type(error).__name__}")
    except NoAnswerError as error:
        return _unavailable(f"database: {error}")
    return HttpResponse(text, content_type=content_type)


def _read_families() -> "Sequence[Family]":
    from jobledger.metrics import exposition

    return exposition.read(clock.now())


families = Reading(_read_families, within_seconds=WITHIN_SECONDS)


def _refusal(request: HttpRequest) -> str:
    """Why the client may not read them, or an empty string. What is set must apply, both if both are."""
    if settings.METRICS_TOKEN and not constant_time_compare(_token(request), settings.METRICS_TOKEN):
        return BAD_TOKEN
    if not settings.METRICS_NETWORKS:
        return ""
    # The address would be that of the proxy, which anybody can have forward a request.
    if any(name in request.META for name in _FORWARDED):
        return BEHIND_PROXY
    return "" if _is_allowed(request.META.get("REMOTE_ADDR", "")) else BAD_ADDRESS


def _token(request: HttpRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_allowed(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:  # a Unix socket's client has none
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ip_network(each) for each in settings.METRICS_NETWORKS)


def _unavailable(text: str) -> HttpResponse:
    response = _text(text, HTTPStatus.SERVICE_UNAVAILABLE)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _text(text: str, status: HTTPStatus) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
