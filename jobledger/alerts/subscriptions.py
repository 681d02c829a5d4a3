"""Subscriptions: users who are told by mail when runs of a job, or of one schedule, fail and recover.

Each subscriber has a destination of their own, so what they are told is grouped, delivered and retried like
any other alert. Its address is that of the user's account at the time of sending. ``rules`` has the rule of a
subscriber, and ``recording`` leaves out what another rule, or another user's subscription, tells the same
address of the same event.

Who has no right to see runs any more, is no longer active, or has no address is told nothing, but stays
subscribed, in case that changes again.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

from django.core import signing
from django.db import transaction
from django.urls import NoReverseMatch, reverse
from django_celery_beat.models import PeriodicTask

from jobledger import permissions
from jobledger.alerts.rules import SUBSCRIBER_KEY, comparable, topics_of
from jobledger.alerts.sending.message import Message, link_to
from jobledger.conf import settings
from jobledger.escapes import escaped
from jobledger.models import Alert, AlertDestination, AlertState, DestinationKind, Subscription
from jobledger.models.alert import mail_address

MAX_NAME_LENGTH = 60
MAX_DESTINATION_LENGTH = 100
_SALT = "jobledger.unsubscribe"


class NoAddressError(Exception):
    """The user's account has no mail address."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of some alerts a subscriber is to be told."""

    alerts: Sequence[Alert]
    why_others_not: str


def subscribe(user: Any, *, job: str = "", schedule: PeriodicTask | None = None) -> bool:
    """Subscribe the user to a job or to a schedule; returns whether this is new. Raises NoAddressError."""
    if not mail_address(user):
        raise NoAddressError
    destination, _ = AlertDestination.objects.get_or_create(
        user=user, defaults={"name": destination_name(user), "kind": DestinationKind.USER}
    )
    _, is_new = Subscription.objects.get_or_create(destination=destination, job=job, schedule=schedule)
    return is_new


def destination_name(user: Any) -> str:
    """That of the user's own destination: unique, and not too long, also if the user's key is a UUID."""
    suffix = f" (user {user.pk})"
    longest = min(MAX_NAME_LENGTH, MAX_DESTINATION_LENGTH - len(suffix))
    return escaped(user.get_username())[:longest] + suffix


def unsubscribe(subscriptions: Iterable[Subscription]) -> None:
    """End the subscriptions. What is waiting to be sent because of them is not sent."""
    with transaction.atomic():
        for subscription in subscriptions:
            subscription.delete()
            _forget_streaks(subscription)


def of_user(user: Any) -> Sequence[Subscription]:
    """The user's subscriptions."""
    if user.pk is None:
        return []
    found = Subscription.objects.filter(destination__user=user.pk).select_related("schedule")
    return list(found.order_by("job", "schedule__name", "pk"))


def addresses_of(destination_ids: Collection[int]) -> Mapping[int, str]:
    """The addresses of subscribers by their destinations, as ``comparable``, if they can be told anything.

    Whether they may is asked when something is sent. But of several with the same address, one who may not
    must not keep the others from being told.
    """
    found = AlertDestination.objects.filter(pk__in=destination_ids).select_related("user")
    users = {each.pk: each.user for each in found if each.is_usable}
    addresses = {pk: comparable(mail_address(user)) for pk, user in users.items()}
    counts = Counter(addresses.values())
    return {
        pk: address
        for pk, address in addresses.items()
        if counts[address] == 1 or not _why_not_told(users[pk])
    }


def wanted(destination: AlertDestination, alerts: Sequence[Alert]) -> Wanted:
    """Which of the alerts the subscriber may be told and still wants."""
    if why := _why_not_told(destination.user):
        return Wanted(alerts=[], why_others_not=why)
    topics = set(destination.subscriptions.values_list("job", "schedule"))
    return Wanted(
        alerts=[alert for alert in alerts if topics.intersection(topics_of(alert.job, alert.schedule_id))],
        why_others_not="The user has unsubscribed.",
    )


def with_unsubscribe(message: Message, destination: AlertDestination, alerts: Sequence[Alert]) -> Message:
    """The message with links that end the subscriptions that it is sent for (RFC 8058)."""
    topics = {topic for alert in alerts for topic in topics_of(alert.job, alert.schedule_id)}
    found = destination.subscriptions.select_related("schedule").order_by("pk")
    about = [each for each in found if (each.job, each.schedule_id) in topics]
    names = ", ".join(escaped(str(each)) for each in about)
    lines = ["", "-- ", f"You have subscribed to failures of: {names}."]
    link, page = unsubscribe_link(about), link_to("jobledger_following")
    lines += [f"Unsubscribe: {link}"] if link else []
    lines += [f"Your subscriptions: {page}"] if page else []
    headers = {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    return replace(
        message, body="\n".join([message.body.rstrip(), *lines]) + "\n", headers=headers if link else {}
    )


def unsubscribe_link(subscriptions: Iterable[Subscription]) -> str:
    """An address that needs no login; empty without BASE_URL, or if the project has no such page."""
    if not settings.BASE_URL:
        return ""
    token = signing.Signer(salt=_SALT).sign(".".join(str(each.pk) for each in subscriptions))
    try:
        return urljoin(settings.BASE_URL, reverse("jobledger:unsubscribe", args=[token]))
    except NoReverseMatch:
        return ""


def of_token(token: str) -> Sequence[Subscription]:
    """Those of the subscriptions of a link that have not ended. Raises signing.BadSignature."""
    pks = signing.Signer(salt=_SALT).unsign(token).split(".")
    found = Subscription.objects.filter(pk__in=[int(pk) for pk in pks if pk])
    return list(found.select_related("schedule").order_by("pk"))


def _why_not_told(user: Any) -> str:
    """Why the user is told nothing; empty if nothing stands in the way."""
    if user is None or not permissions.may_sign_in(user):
        return "The user can no longer sign in."
    if not permissions.may_view(user):
        return "The user may no longer view runs."
    return "" if mail_address(user) else "The user's account has no mail address."


def _forget_streaks(subscription: Subscription) -> None:
    """A user who subscribes again begins anew, unless another subscription covers the same runs."""
    remaining = Subscription.objects.filter(destination=subscription.destination_id)
    states = AlertState.objects.filter(rule=f"{SUBSCRIBER_KEY}{subscription.destination_id}")
    if subscription.schedule_id is None:
        states = states.filter(job=subscription.job)
    else:
        states = states.filter(schedule_key=subscription.schedule_id)
    states = states.exclude(job__in=remaining.filter(schedule=None).values("job")).exclude(
        schedule_key__in=remaining.exclude(schedule=None).values("schedule")
    )
    # In the order in which they are locked together when a run ends.
    in_order = states.order_by("job", "schedule_key", "rule").select_for_update()
    AlertState.objects.filter(pk__in=list(in_order.values_list("pk", flat=True))).delete()
