"""Limits for requests: of each token and each address, in a minute, in all web servers together."""

from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from math import ceil

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.module_loading import import_string

from jobledger import clock
from jobledger.api.problems import ProblemError
from jobledger.conf import settings
from jobledger.models import ApiClient, ApiToken
from jobledger.models.api_token import WINDOW

KEPT = timedelta(hours=1)
USED_AT_INTERVAL = timedelta(minutes=1)
UNKNOWN = "unknown"
"""Of clients of a Unix socket, which have no address."""


def check_address(request: HttpRequest) -> None:
    """Count a request of the client's address. Raises ProblemError if there were too many."""
    now, limit = clock.now(), settings.API_ADDRESS_REQUESTS_PER_MINUTE
    address = _address(request)[:64]
    count = partial(ApiClient.objects.count_request, address, limit, now)
    # Again, since another request may have added the new address first.
    if not (count() or _is_new(address, now) or count()):
        raise _too_many(f"this address may send {limit}", now)


def check_token(token: ApiToken) -> None:
    """Count a request with the token, which is its last use. Raises ProblemError if there were too many."""
    now, limit = clock.now(), settings.API_REQUESTS_PER_MINUTE
    if not ApiToken.objects.count_request(token.pk, limit, now, last_used_at=now):
        raise _too_many(f"a token may be used for {limit}", now)


def _is_new(address: str, now: datetime) -> bool:
    """Whether it was not known; forgets those that were not used lately."""
    try:
        with transaction.atomic():
            ApiClient.objects.create(address=address, requests=1, counted_since=_minute(now))
    except IntegrityError:
        return False
    ApiClient.objects.filter(counted_since__lt=now - KEPT).delete()
    return True


def _address(request: HttpRequest) -> str:
    if settings.API_CLIENT_ADDRESS:
        return import_string(settings.API_CLIENT_ADDRESS)(request) or UNKNOWN
    return request.META.get("REMOTE_ADDR", "") or UNKNOWN


def _minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)


def _too_many(limit: str, now: datetime) -> ProblemError:
    wait = ceil((_minute(now) + WINDOW - now).total_seconds())
    seconds = "1 second" if wait == 1 else f"{wait} seconds"
    return ProblemError(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"Too many requests: {limit} in a minute. Try again in {seconds}.",
        headers={"Retry-After": str(wait)},
    )
