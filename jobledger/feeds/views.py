"""What is served at secret addresses, without a login: badges, calendars, and the end of subscriptions."""

from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import conditional_page, require_http_methods, require_safe

from jobledger import clock
from jobledger.alerts import subscriptions
from jobledger.conf import settings
from jobledger.feeds import addresses, badge, recent, status
from jobledger.feeds.secrecy import secret_address
from jobledger.models import Feed, FeedKind
from jobledger.public_views import without_body

MAX_AGE_SECONDS = {FeedKind.BADGE: 30, FeedKind.CALENDAR: 300}


@secret_address
@csrf_exempt
@login_not_required
@without_body
@require_safe
@conditional_page
def feed(request: HttpRequest, secret: str) -> HttpResponse:
    """A badge or a calendar; 404 if feeds are off, it is unknown, or its maker may no longer see it."""
    found = addresses.find(secret) if settings.FEEDS else None
    if found is None:
        return _text("Not found.", HTTPStatus.NOT_FOUND)
    response = _badge(found) if found.kind == FeedKind.BADGE else _calendar(found)
    if response.status_code == HTTPStatus.OK:
        patch_cache_control(response, private=True, max_age=MAX_AGE_SECONDS[FeedKind(found.kind)])
    return response


# A mail client posts without a cookie (RFC 8058). The signed token is what allows it.
@secret_address
@csrf_exempt
@login_not_required
@without_body
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, secret: str) -> HttpResponse:
    """GET asks, since programs follow links in mails, and POST ends the subscriptions."""
    try:
        found = subscriptions.of_token(secret)
    except BadSignature:
        return _text("This link is not valid.", HTTPStatus.NOT_FOUND)
    context: dict[str, Any] = {"subscriptions": found}
    if request.method == "POST":
        context["ended"] = [str(each) for each in found]
        subscriptions.unsubscribe(found)
    return TemplateResponse(request, "jobledger/following/unsubscribe.html", context)


def _badge(found: Feed) -> HttpResponse:
    return HttpResponse(badge.drawn(status.read(found, clock.now())), content_type="image/svg+xml")


def _calendar(found: Feed) -> HttpResponse:
    # Imported here, because most processes that load the URLs never need it.
    from jobledger.feeds import calendar

    try:
        now = clock.now()
        # The digest changes with the address.
        content = recent.get(found.digest, calendar.version(found, now), lambda: calendar.written(found, now))
    except calendar.NotInstalledError as error:
        return _text(str(error), HTTPStatus.NOT_IMPLEMENTED)
    return HttpResponse(content, content_type="text/calendar; charset=utf-8")


def _text(text: str, status: HTTPStatus) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
