"""Delivers alerts: each once to each destination, several of them in one message.

Any number of processes may try. One of them claims a *destination* with a conditional update, for longer than
sending can take, so that a destination gets one message at a time; if the process dies, the claim ends when
its absence is noticed. It marks the deliveries as being sent, commits, sends one message for all of them, and
records the result. An alert waits a little for others like it, and after a message the next one waits for a
few minutes: a thousand lost runs are one message, or two.

If the destination does not accept the message, its deliveries wait again, and the destination is left alone
for a time that doubles with each failure. A delivery that has been due for longer than the deadline is given
up. If the process dies while it is sending, nobody knows whether the message has arrived: it is not sent
again, because nothing is told twice, and the admin says so. If the database fails before anything is sent,
or when the destination has not accepted it, the process itself knows that, and lets it wait again.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import Error, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from jobledger import clock
from jobledger.alerts import subscriptions
from jobledger.alerts.sending import destinations, message
from jobledger.alerts.sending.destinations import NotDeliveredError
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertDestination,
    DeliveryState,
    DestinationKind,
    ServiceProcess,
)
from jobledger.models.states import MAX_COUNT, one_more
from jobledger.outages import is_outage
from jobledger.runs.identity import IDENTITY
from jobledger.runs.service.presence import ABSENT_AFTER

logger = line_logger(__name__)

CLAIM = timedelta(minutes=5)
FIRST_BACKOFF = timedelta(minutes=1)
MAX_BACKOFF = timedelta(hours=1)
MAX_ALERTS = 5000
"""In one message."""
INTERRUPTED = "The process that was sending it has died. It is not sent again, since it may have arrived."

_unsent: dict[uuid.UUID, int] = {}
"""The ids of messages that this process has claimed, but has not sent, with those of their destinations."""


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A destination that this process may send one message to."""

    destination: AlertDestination
    message_id: uuid.UUID
    alerts: Sequence[Alert]


def ready_destinations(now: datetime) -> list[int]:
    """The ids of the destinations that something can be sent to now."""
    due = waiting().filter(due_at__lte=now)
    pks = list(due.order_by().values_list("destination", flat=True).distinct())
    return list(_ready(now).filter(pk__in=pks, enabled=True).values_list("pk", flat=True)) if pks else []


def waiting() -> QuerySet[AlertDelivery]:
    """What is to be sent at some time."""
    return AlertDelivery.objects.filter(state=DeliveryState.WAITING, destination__isnull=False)


def deliver(destination_id: int) -> bool:
    """Send what is due to the destination; returns whether it was sent.

    False if there is nothing to send, another process is sending, or the destination did not accept it.
    """
    message_id = uuid.uuid4()
    try:
        claimed = claim(destination_id, clock.now(), message_id)
        if claimed is None or not (sent := _send(claimed)):
            return False
    except Error:
        # It may be on record that it is being sent, even if the database has not answered.
        _unsent[message_id] = destination_id
        raise
    _record_success(sent)
    return True


def _send(claimed: Claimed) -> Claimed | None:
    """Send the message; returns what it is about, or None if nothing was sent, which is on record then.

    An outage of the database is raised: whether it is noticed before the message is sent, or once the
    destination has not accepted it, nothing was sent.
    """
    try:
        is_user = claimed.destination.kind == DestinationKind.USER
        wanted = _without_unwanted(claimed) if is_user else claimed
        if wanted is not None:
            text = message.compose(wanted.alerts)
            if is_user:
                text = subscriptions.with_unsubscribe(text, wanted.destination, wanted.alerts)
            destinations.send(wanted.destination, text, wanted.message_id)
    except NotDeliveredError as error:
        _record_failure(claimed, str(error))
        return None
    except Exception as error:
        if not is_outage(error):
            _record_failure(claimed, _unexpected(error))
        raise
    return wanted


def send_test(destination: AlertDestination) -> None:
    """Send a test at once, and what is waiting soon, if it arrives. Raises NotDeliveredError."""
    try:
        destinations.send(destination, message.test_message(destination.name), uuid.uuid4())
    except NotDeliveredError:
        raise
    except Exception as error:
        # Such as a mail backend that cannot be imported.
        logger.exception("Cannot send a test to %s", destination.name)
        raise NotDeliveredError(_unexpected(error)) from error
    AlertDestination.objects.filter(pk=destination.pk).update(failures=0, error="", not_before=None)


def _unexpected(error: Exception) -> str:
    return f"{type(error).__name__}; see the log."


def take_back() -> None:
    """Let what this process has claimed, but could not begin to send, wait again."""
    for message_id, destination_id in list(_unsent.items()):
        unsent = AlertDelivery.objects.filter(message=message_id, state=DeliveryState.SENDING)
        waiting = {"state": DeliveryState.WAITING, "message": None, "changed_at": clock.now()}
        ours = AlertDestination.objects.filter(pk=destination_id, busy_by=IDENTITY)
        with transaction.atomic():
            # First, as in `claim`.
            is_ours = bool(ours.select_for_update().values_list("pk", flat=True))
            if unsent.update(**waiting, attempts=F("attempts") - 1) and is_ours:
                ours.update(busy_until=None)
        del _unsent[message_id]


def claim(destination_id: int, now: datetime, message_id: uuid.UUID) -> Claimed | None:
    """Claim the destination and what is due to it; None if another process has it, or nothing is due."""
    with transaction.atomic():
        ready = _ready(now).filter(pk=destination_id)
        if not ready.update(busy_until=now + CLAIM, busy_by=IDENTITY):
            return None
        _mark_interrupted(AlertDelivery.objects.filter(destination=destination_id), now)
        waiting = AlertDelivery.objects.filter(destination=destination_id, state=DeliveryState.WAITING)
        # With those that are still waiting for others.
        soon = waiting.filter(due_at__lte=now + timedelta(seconds=settings.ALERT_WAIT_SECONDS))
        pks = list(soon.order_by("created_at", "pk").values_list("pk", flat=True)[:MAX_ALERTS])
        sending = {"state": DeliveryState.SENDING, "message": message_id, "changed_at": now}
        waiting.filter(pk__in=pks).update(**sending, attempts=one_more("attempts"))
        alerts = Alert.objects.filter(deliveries__message=message_id).select_related("run")
        claimed = Claimed(
            destination=AlertDestination.objects.select_related("user").get(pk=destination_id),
            message_id=message_id,
            alerts=list(alerts.order_by("time", "pk")),
        )
        if not claimed.alerts:
            AlertDestination.objects.filter(pk=destination_id).update(busy_until=None)
            return None
    return claimed


def tidy(now: datetime) -> None:
    """Give up what could not be delivered in time, and mark what was interrupted."""
    overdue = AlertDelivery.objects.filter(
        # Null also if the destination was deleted while the alert was recorded: there is no constraint.
        Q(attempts__gt=0) | Q(destination__enabled=None) | Q(destination__enabled=False),
        state=DeliveryState.WAITING,
        due_at__lte=now - timedelta(seconds=settings.ALERT_DEADLINE_SECONDS),
    )
    pks = list(overdue.values_list("pk", flat=True)[:MAX_ALERTS])
    AlertDelivery.objects.filter(pk__in=pks, state=DeliveryState.WAITING).update(
        state=DeliveryState.FAILED, changed_at=now
    )
    sending = AlertDelivery.objects.filter(state=DeliveryState.SENDING)
    _mark_interrupted(sending.filter(changed_at__lte=now - CLAIM), now)


def backoff(failures: int) -> timedelta:
    """How long a destination is left alone after so many failures in a row."""
    return min(FIRST_BACKOFF * (1 << min(failures - 1, 10)), MAX_BACKOFF)


def _without_unwanted(claimed: Claimed) -> Claimed | None:
    """What the subscriber still wants and may be told; None if that is nothing, which is not tried again."""
    wanted = subscriptions.wanted(claimed.destination, claimed.alerts)
    unwanted = _sent(claimed).exclude(alert__in=wanted.alerts)
    with transaction.atomic():
        if not wanted.alerts:
            _claimed_destination(claimed).update(busy_until=None)
        unwanted.update(
            state=DeliveryState.WITHDRAWN, changed_at=clock.now(), message=None, error=wanted.why_others_not
        )
    if not wanted.alerts:
        return None
    return replace(claimed, alerts=wanted.alerts)


def _ready(now: datetime) -> QuerySet[AlertDestination]:
    return AlertDestination.objects.filter(
        Q(not_before=None) | Q(not_before__lte=now),
        Q(busy_until=None) | Q(busy_until__lte=now) | _is_abandoned(now),
    )


def _is_abandoned(now: datetime) -> Q:
    """Whether the process that claimed the destination is no longer there.

    A beat that has only just started may not have reported yet.
    """
    running = ServiceProcess.objects.filter(identity=OuterRef("busy_by"), ended_at=None)
    present = running.filter(seen_at__gte=now - ABSENT_AFTER)
    return Q(~Exists(present), busy_until__lte=now + CLAIM - ABSENT_AFTER)


def _mark_interrupted(deliveries: QuerySet[AlertDelivery], now: datetime) -> None:
    pks = list(deliveries.filter(state=DeliveryState.SENDING).values_list("pk", flat=True)[:MAX_ALERTS])
    found = AlertDelivery.objects.filter(pk__in=pks, state=DeliveryState.SENDING)
    found.update(state=DeliveryState.UNKNOWN, changed_at=now, error=INTERRUPTED)


def _record_success(claimed: Claimed) -> None:
    now = clock.now()
    with transaction.atomic():
        # First, as in `claim`.
        _claimed_destination(claimed).update(
            busy_until=None,
            not_before=now + timedelta(seconds=settings.ALERT_INTERVAL_SECONDS),
            failures=0,
            error="",
            delivered_at=now,
        )
        _sent(claimed).update(state=DeliveryState.DELIVERED, changed_at=now, error="")
    logger.info("Delivered to %s: %d alerts", claimed.destination.name, len(claimed.alerts))


def _record_failure(claimed: Claimed, error: str) -> None:
    now, failures = clock.now(), min(claimed.destination.failures + 1, MAX_COUNT)
    with transaction.atomic():
        _claimed_destination(claimed).update(
            busy_until=None, not_before=now + backoff(failures), failures=failures, error=error
        )
        _sent(claimed).update(state=DeliveryState.WAITING, changed_at=now, error=error, message=None)
    logger.warning("Cannot deliver alerts to %s: %s", claimed.destination.name, error)


def _sent(claimed: Claimed) -> QuerySet[AlertDelivery]:
    return AlertDelivery.objects.filter(message=claimed.message_id)


def _claimed_destination(claimed: Claimed) -> QuerySet[AlertDestination]:
    """Not if another process has claimed it since, because sending took too long."""
    return AlertDestination.objects.filter(
        pk=claimed.destination.pk, busy_until=claimed.destination.busy_until
    )
