"""Following jobs and schedules: the user's own subscriptions and feeds, and the buttons on other pages.

Users need no permission besides that to see what they follow. ``SubscriptionAdmin`` and ``FeedAdmin`` list
those of all users, for administrators, who may end them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log, rights
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin_site import page_url, page_view
from jobledger.alerts import subscriptions
from jobledger.alerts.subscriptions import NoAddressError
from jobledger.feeds import addresses, calendar
from jobledger.feeds.addresses import TooManyFeedsError
from jobledger.jobs import registry
from jobledger.models import Feed, FeedKind, Subscription
from jobledger.models.alert import mail_address

NO_ADDRESS = (
    "Your account has no mail address, so nothing can be sent to you. "
    "Ask an administrator to enter one for your account."
)
LIST, TOPIC = "list", "topic"
"""Which page a button is on."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What a user may follow; neither job nor schedule: everything."""

    job: str = ""
    schedule: PeriodicTask | None = None

    @property
    def name(self) -> str:
        if self.schedule is not None:
            return f"schedule {self.schedule.name}"
        return f"job {self.job}" if self.job else "all schedules"

    @property
    def phrase(self) -> str:
        """The name within a sentence."""
        return f"the {self.name}" if self.job or self.schedule else self.name

    def url(self, user: rights.User) -> str:
        """The page of the job or the schedule; empty if it is gone, or the user may no longer open it."""
        if self.schedule is not None:
            may_open, page = rights.may_view_schedules(user), "django_celery_beat_periodictask_change"
            return page_url(page, self.schedule.pk) if may_open else ""
        if self.job:
            may_open = self.job in registry.all_jobs() and rights.may_view(user)
            return page_url("jobledger_job", self.job) if may_open else ""
        return page_url("jobledger_following")


@dataclass(frozen=True, kw_only=True)
class ListedFeed:
    feed: Feed
    topic: Topic
    url: str
    """That of its topic."""
    address: str
    """Empty if it cannot be shown."""
    works: bool
    """Whether the user may still see what it shows."""

    @property
    def is_badge(self) -> bool:
        return self.feed.kind == FeedKind.BADGE


def urls(site: AdminSite, prefix: str = "jobledger/following/") -> list[URLPattern]:
    views: Mapping[str, tuple[Any, str]] = {
        "": (page, "jobledger_following"),
        "subscribe/": (subscribe_view, "jobledger_subscribe"),
        "unsubscribe/": (unsubscribe_view, "jobledger_unsubscribe"),
        "feeds/add/": (add_view, "jobledger_feed_add_own"),
        "feeds/renew/": (renew_view, "jobledger_feed_renew_own"),
        "feeds/revoke/": (revoke_view, "jobledger_feed_revoke_own"),
    }
    return [
        path(f"{prefix}{route}", page_view(site, view), {"site": site}, name=name)
        for route, (view, name) in views.items()
    ]


def buttons(user: rights.User, topic: Topic) -> Mapping[str, Any]:
    """What the page of a job or a schedule offers to its viewers."""
    if not rights.may_view(user):
        return {}
    return {
        "following": topic,
        "subscription_id": _subscription_id(user, topic),
        "has_feeds": addresses.is_available(),
    }


def own_subscription(user: rights.User) -> Subquery:
    """The key of the user's subscription to a schedule, to be read together with the schedule."""
    own = Subscription.objects.filter(destination__user=user.pk, schedule=OuterRef("pk"))
    return Subquery(own.values("pk")[:1])


@never_cache
@require_safe
def page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The user's own subscriptions and feeds, and what to make a feed of, if the URL says so."""
    topic = _topic(request, request.GET)
    return TemplateResponse(
        request,
        "jobledger/following/page.html",
        {
            **site.each_context(request),
            "title": "Subscriptions and feeds" if addresses.is_available() else "Subscriptions",
            "address": mail_address(request.user),
            "no_address": NO_ADDRESS,
            "subscriptions": [
                (each, topic, topic.url(request.user))
                for each in subscriptions.of_user(request.user)
                for topic in [Topic(job=each.job, schedule=each.schedule)]
            ],
            "may_view": rights.may_view(request.user),
            "has_feeds": addresses.is_available(),
            "topic": topic,
            "kinds": _kinds(request.user, topic),
            "feeds": list(_own_feeds(request)) if addresses.is_available() else [],
            "missing": _missing(),
        },
    )


@require_POST
def subscribe_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    topic = _topic(request, request.POST)
    if not rights.may_view(request.user) or topic == Topic():
        raise PermissionDenied
    try:
        subscriptions.subscribe(request.user, job=topic.job, schedule=topic.schedule)
    except NoAddressError:
        messages.error(request, NO_ADDRESS)
    else:
        address = mail_address(request.user)
        messages.success(request, f"Failures and recoveries of the {topic.name} will be mailed to {address}.")
    return _back(request, topic)


@require_POST
def unsubscribe_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    pk = _number(request.POST.get("subscription", ""))
    found = [each for each in subscriptions.of_user(request.user) if each.pk == pk]
    if not found:
        messages.warning(request, "You are not subscribed to this.")
        return HttpResponseRedirect(page_url("jobledger_following"))
    topic = Topic(job=found[0].job, schedule=found[0].schedule)
    subscriptions.unsubscribe(found)
    messages.success(request, f"You have unsubscribed from the {topic.name}.")
    return _back(request, topic)


@require_POST
@transaction.atomic
def add_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    topic = _topic(request, request.POST)
    kind = _kind(request.POST.get("kind", ""))
    if kind not in _kinds(request.user, topic):
        raise PermissionDenied
    try:
        feed = addresses.add(request.user, kind, job=topic.job, schedule=topic.schedule)
    except TooManyFeedsError:
        messages.error(request, f"You have {addresses.MAX_FEEDS} feeds. Revoke some of them first.")
    else:
        audit_log.log_action(request.user, [feed], "Made its address.")
        messages.success(request, f"The address of the {feed} is below.")
    return HttpResponseRedirect(page_url("jobledger_following"))


@require_POST
@transaction.atomic
def renew_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    feed = _own_feed(request)
    addresses.renew(feed)
    audit_log.log_action(request.user, [feed], "Renewed its address.")
    messages.success(request, f"The {feed} has a new address. The old one no longer works.")
    return HttpResponseRedirect(page_url("jobledger_following"))


@require_POST
@transaction.atomic
def revoke_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    feed = _own_feed(request)
    audit_log.log_action(request.user, [feed], "Revoked its address.")
    feed.delete()
    messages.success(request, f"The address of the {feed} no longer works.")
    return HttpResponseRedirect(page_url("jobledger_following"))


class Listed(ShownFiltersOnly):
    """What users have made for themselves: administrators may view and end it."""

    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class SubscriptionAdmin(Listed):
    list_display = ("about", "user", "created_at")
    list_select_related = ("schedule", "destination__user")
    fields = ("about", "user", "created_at")

    @admin.display(description="subscription to")
    def about(self, subscription: Subscription) -> str:
        return str(subscription)

    @admin.display(description="user")
    def user(self, subscription: Subscription) -> str:
        return str(subscription.destination.user)

    def delete_model(self, request: HttpRequest, obj: Subscription) -> None:
        self.delete_queryset(request, [obj])

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Ends them as their users would."""
        found = list(queryset)
        audit_log.log_action(request.user, found, "Ended the subscription.")
        subscriptions.unsubscribe(found)


class FeedAdmin(Listed):
    """Without their addresses, which only their makers see."""

    list_display = ("about", "kind", "user", "created_at", "renewed_at")
    list_select_related = ("schedule", "user")
    list_filter = ("kind",)
    fields = ("about", "kind", "user", "created_at", "renewed_at")

    @admin.display(description="feed of")
    def about(self, feed: Feed) -> str:
        return feed.about

    def delete_model(self, request: HttpRequest, obj: Feed) -> None:
        audit_log.log_action(request.user, [obj], "Revoked its address.")
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        audit_log.log_action(request.user, list(queryset), "Revoked its address.")
        super().delete_queryset(request, queryset)


def _subscription_id(user: rights.User, topic: Topic) -> int | None:
    if topic.schedule is not None and hasattr(topic.schedule, "own_subscription"):
        found: int | None = topic.schedule.own_subscription
        return found
    own = Subscription.objects.filter(destination__user=user.pk)
    return own.filter(job=topic.job, schedule=topic.schedule).values_list("pk", flat=True).first()


def _kinds(user: Any, topic: Topic) -> list[FeedKind]:
    """The feeds that the user may make of this."""
    if not addresses.is_available():
        return []
    return [
        kind
        for kind in FeedKind
        if (kind is FeedKind.CALENDAR or topic != Topic())
        and not (kind is FeedKind.CALENDAR and _missing())
        and addresses.may_make(user, kind, has_schedule=topic.schedule is not None)
    ]


def _missing() -> str:
    """What is missing for calendars; empty if nothing is."""
    try:
        calendar.installed()
    except calendar.NotInstalledError as error:
        return str(error)
    return ""


def _own_feeds(request: HttpRequest) -> Any:
    user = request.user
    for feed in Feed.objects.filter(user=user.pk).select_related("schedule").order_by("kind", "job", "pk"):
        topic = Topic(job=feed.job, schedule=feed.schedule)
        yield ListedFeed(
            feed=feed,
            topic=topic,
            url=topic.url(user),
            address=addresses.address_of(feed, request),
            works=addresses.may_make(user, FeedKind(feed.kind), has_schedule=bool(feed.schedule_id)),
        )


def _own_feed(request: HttpRequest) -> Feed:
    if not addresses.is_available():
        raise Http404
    pk = _number(request.POST.get("feed", ""))
    return get_object_or_404(Feed.objects.select_related("schedule"), pk=pk, user=request.user.pk)


def _topic(request: HttpRequest, data: Any) -> Topic:
    """The job or the schedule that is named. Raises PermissionDenied if the user may not see it."""
    job, schedule = data.get("job", ""), data.get("schedule", "")
    if schedule:
        found = get_object_or_404(PeriodicTask, pk=_number(schedule))
        if not rights.may_view_schedules(request.user):
            raise PermissionDenied
        return Topic(schedule=found)
    if job and job not in registry.all_jobs():
        raise Http404(f"There is no job {job}.")
    if job and not rights.may_view(request.user):
        raise PermissionDenied
    return Topic(job=job)


def _kind(text: str) -> FeedKind:
    if text not in FeedKind.values:
        raise Http404
    return FeedKind(text)


def _number(text: str) -> int:
    """Raises Http404 for what is no number that a row can have."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Http404
    return int(text)


def _back(request: HttpRequest, topic: Topic) -> HttpResponse:
    is_listed = request.POST.get("page") == LIST
    page = "" if is_listed else topic.url(request.user)
    return HttpResponseRedirect(page or page_url("jobledger_following"))
