"""The secret addresses of feeds: who makes them, finds what is there, and sees them again."""

from typing import Any
from urllib.parse import urljoin

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django_celery_beat.models import PeriodicTask

from jobledger import permissions
from jobledger.conf import settings
from jobledger.feeds import secret_names
from jobledger.models import Feed, FeedKind

EXTENSIONS = {FeedKind.BADGE: "svg", FeedKind.CALENDAR: "ics"}
MAX_FEEDS = 100
"""Of each user."""


class TooManyFeedsError(Exception):
    """The user has as many feeds as one may have."""


def add(user: Any, kind: FeedKind, *, job: str = "", schedule: PeriodicTask | None = None) -> Feed:
    """The user's feed of this, which is new unless there is one. Raises TooManyFeedsError."""
    own = Feed.objects.filter(user=user)
    if found := own.filter(kind=kind, job=job, schedule=schedule).first():
        return found
    if own.count() >= MAX_FEEDS:
        raise TooManyFeedsError
    return Feed.objects.create(kind=kind, user=user, job=job, schedule=schedule, **secret_names.new())


def renew(feed: Feed) -> None:
    """Give the feed another address; from now on, the old one is unknown."""
    Feed.objects.filter(pk=feed.pk).update(**secret_names.new(), renewed_at=timezone.now())


@sensitive_variables("secret")
def find(name: str) -> Feed | None:
    """The feed whose address ends with this name, if its maker may still see it."""
    secret, _, extension = name.rpartition(".")
    feeds = Feed.objects.select_related("user", "schedule__next_slot")
    found = feeds.filter(digest=secret_names.digest_of(secret)).first()
    if found is None or EXTENSIONS[FeedKind(found.kind)] != extension:
        return None
    return found if may_make(found.user, FeedKind(found.kind), has_schedule=bool(found.schedule)) else None


def may_make(user: Any, kind: FeedKind, *, has_schedule: bool) -> bool:
    """Whether the user may see what such a feed shows."""
    if not permissions.may_sign_in(user):
        return False
    shows_schedules = has_schedule or kind is FeedKind.CALENDAR
    if shows_schedules and not permissions.may_view_schedules(user):
        return False
    return kind is FeedKind.CALENDAR or permissions.may_view(user)


def is_available() -> bool:
    """Whether feeds are switched on, and the project has their address."""
    if not settings.FEEDS:
        return False
    try:
        reverse("jobledger:feed", args=["x"])
    except NoReverseMatch:
        return False
    return True


def address_of(feed: Feed, request: HttpRequest) -> str:
    """The whole address, for its owner; empty if the secret key has been replaced since it was made."""
    secret = secret_names.known(feed.seed, feed.digest)
    if not secret:
        return ""
    path = reverse("jobledger:feed", args=[f"{secret}.{EXTENSIONS[FeedKind(feed.kind)]}"])
    return urljoin(settings.BASE_URL, path) if settings.BASE_URL else request.build_absolute_uri(path)
