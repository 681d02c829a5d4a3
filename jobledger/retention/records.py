"""Rows besides runs that grow old: alerts, dead letters, backfills, pauses, tokens, the audit log.

Others are deleted by who writes them: reports of processes and addresses of the API's clients with the next
one, pings and reports to Sentry when they are sent. All else goes with its run, schedule or user, or has a
limited number of rows.

What decides whether something is told again is kept: an alert about a run that has not ended, one that has
not been delivered yet, and one that a schedule has had no success since. What is remembered about a failing
job goes when the rule or the schedule that it belongs to is gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.alerts.rules import DECLARED_KEY, SUBSCRIBER_KEY
from jobledger.conf import settings
from jobledger.jobs.declaration import AlertKind
from jobledger.models import (
    LIVE,
    SUCCESSES,
    Alert,
    AlertDelivery,
    AlertDestination,
    AlertRule,
    AlertState,
    ApiToken,
    AuditEntry,
    Backfill,
    DeadLetter,
    DeliveryState,
    DestinationKind,
    OpenForm,
    Pause,
    Run,
    Trigger,
)
from jobledger.retention.limits import before


@dataclass(frozen=True, kw_only=True)
class OldRecords:
    """The rows of one kind that are not kept."""

    name: str
    rows: QuerySet[Any]
    time_field: str


def old_records(now: datetime) -> Iterator[OldRecords]:
    """All kinds, each with an index on its time, except those of which there are never many.

    These are pauses, tokens and open forms.
    """
    if (cutoff := before(now, settings.KEEP_DAYS)) is not None:
        yield OldRecords(name="alerts", rows=_old_alerts(cutoff), time_field="time")
        letters = DeadLetter.objects.filter(received_at__lt=cutoff)
        yield OldRecords(name="dead letters", rows=letters, time_field="received_at")
        backfills = Backfill.objects.filter(ended_at__lt=cutoff)
        yield OldRecords(name="backfills", rows=backfills, time_field="ended_at")
        yield OldRecords(name="pauses", rows=_old_pauses(cutoff), time_field="until")
        unusable = ApiToken.objects.filter(Q(expires_at__lt=cutoff) | Q(revoked_at__lt=cutoff))
        yield OldRecords(name="unusable API tokens", rows=unusable, time_field="expires_at")
    if (cutoff := before(now, settings.KEEP_AUDIT_DAYS)) is not None:
        entries = AuditEntry.objects.filter(time__lt=cutoff)
        yield OldRecords(name="entries of the audit log", rows=entries, time_field="time")
    closed = OpenForm.objects.filter(seen_at__lt=now - timedelta(days=1))
    yield OldRecords(name="notes of open forms", rows=closed, time_field="seen_at")
    # They have no time, and are useless as soon as what they belong to is gone.
    yield OldRecords(name="streaks of deleted rules and schedules", rows=_useless_states(), time_field="id")


def _old_alerts(cutoff: datetime) -> QuerySet[Alert]:
    undelivered = AlertDelivery.objects.filter(
        alert=OuterRef("pk"), state__in=(DeliveryState.WAITING, DeliveryState.SENDING)
    )
    live = Run.objects.filter(pk=OuterRef("run")).in_state(*LIVE)
    exists = PeriodicTask.objects.filter(pk=OuterRef("schedule"))
    later_success = Run.objects.filter(
        schedule=OuterRef("schedule"), status__in=SUCCESSES, queued_at__gt=OuterRef("time")
    ).exclude(trigger=Trigger.BACKFILL)
    is_still_silent = Q(Exists(exists), ~Exists(later_success), kind=AlertKind.SILENT)
    return Alert.objects.filter(~Exists(undelivered), ~Exists(live), time__lt=cutoff).exclude(is_still_silent)


def _old_pauses(cutoff: datetime) -> QuerySet[Pause]:
    """The last pause of a schedule is kept: its failures count from there (``pause_after_failures``)."""
    later = Pause.objects.filter(schedule=OuterRef("schedule"), since__gt=OuterRef("since"))
    return Pause.objects.filter(Q(schedule=None) | Q(Exists(later)), until__lt=cutoff)


def _useless_states() -> QuerySet[AlertState]:
    rules = list(map(str, AlertRule.objects.values_list("pk", flat=True)))
    subscribers = AlertDestination.objects.filter(kind=DestinationKind.USER).values_list("pk", flat=True)
    keys = [*rules, *(f"{SUBSCRIBER_KEY}{pk}" for pk in subscribers)]
    is_without_rule = ~Q(rule__startswith=DECLARED_KEY) & ~Q(rule__in=keys)
    schedules = PeriodicTask.objects.filter(pk=OuterRef("schedule_key"))
    is_without_schedule = ~Q(schedule_key=0) & ~Q(Exists(schedules))
    return AlertState.objects.filter(is_without_rule | is_without_schedule)
