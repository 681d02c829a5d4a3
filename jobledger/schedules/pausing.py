"""Pausing and resuming a schedule, or the whole service if ``schedule`` is None.

A paused schedule starts nothing. Runs that users start still run, and so do runs that were queued before. A
pause is never deleted: resuming ends it, and it stays on record. The two kinds are independent: a schedule
starts runs when neither it nor the service is paused. Jobs that declare ``runs_while_paused`` are exempt from
pauses of the whole service, but not from those of their schedules.

``pause_all`` and ``resume_all`` do the same for many schedules in a few statements.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.jobs import registry
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Pause
from jobledger.models.schedule import PauseQuerySet
from jobledger.schedules import reconciliation

BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The end of a pause, its reason and its user."""

    until: datetime | None
    """None: until it is resumed."""
    reason: str = ""
    username: str = ""
    user: AbstractBaseUser | None = None
    on_resume: PausedSlots | None = None
    """None: leave it as it is, or use the default for a new pause."""


def active_pauses(schedule: PeriodicTask | None, now: datetime) -> PauseQuerySet:
    """The active pauses of the schedule itself, or of the service itself."""
    return Pause.objects.active_at(now).filter(schedule=schedule)


def exemptions() -> str:
    """Which jobs a pause of the whole service does not stop, as a sentence; empty if there are none."""
    names = [job.name for job in registry.exempt_from_pauses()]
    return f"Not paused, since they declare runs_while_paused: {', '.join(names)}." if names else ""


def terms_of(pause: Pause, now: datetime) -> str:
    """``by ann until 2026-11-22 12:00:00 UTC (in 2 h): database moves``."""
    return pause.terms(lambda until: f"{formats.exact(until)} ({formats.relative(until, now)})")


def since_of(pause: Pause, now: datetime) -> str:
    """``2026-11-22 12:00:00 UTC (2 h ago)``."""
    return f"{formats.exact(pause.since)} ({formats.relative(pause.since, now)})"


@transaction.atomic
def pause(schedule: PeriodicTask | None, terms: Terms, *, now: datetime) -> tuple[Pause, bool]:
    """Pause; returns the pause and whether it is new. Raises ValueError if the end is in the past.

    An active pause gets the new end and user. Its reason and ``on_resume`` change only if they are given.
    """
    current = list(active_pauses(schedule, now).order_by("pk").select_for_update())
    pauses = _with_terms(current or [Pause(schedule=schedule, since=now)], terms, now)
    for each in pauses:
        each.save()
    return pauses[0], not current


@transaction.atomic
def resume(schedule: PeriodicTask | None, *, now: datetime) -> int:
    """End the active pauses; returns how many. Pauses that start later are left alone."""
    current = list(active_pauses(schedule, now).order_by("pk").select_for_update())
    for each in current:
        each.until = now
        # Not a queryset update: the post_save signal makes beat plan again.
        each.save(update_fields=["until"])
    return len(current)


@transaction.atomic
def pause_all(schedule_ids: Collection[int], terms: Terms, *, now: datetime) -> None:
    """Pause each of the schedules, as ``pause`` does for one."""
    current = list(_active_pauses_of(schedule_ids, now).order_by("pk").select_for_update())
    fresh = sorted(set(schedule_ids) - {each.schedule_id for each in current})
    pauses = _with_terms([*current, *(Pause(schedule_id=pk, since=now) for pk in fresh)], terms, now)
    Pause.objects.bulk_update(current, ["until", "username", "user", "reason", "on_resume"], batch_size=BATCH)
    Pause.objects.bulk_create(pauses[len(current) :], batch_size=BATCH)
    reconciliation.recheck_held(schedule_ids, now)


@transaction.atomic
def resume_all(schedule_ids: Collection[int], *, now: datetime) -> set[int]:
    """End the active pauses of these schedules; returns the ids of the schedules that were paused."""
    current = list(_active_pauses_of(schedule_ids, now).order_by("pk").select_for_update())
    Pause.objects.filter(pk__in=[each.pk for each in current]).update(until=now)
    resumed = {each.schedule_id for each in current if each.schedule_id is not None}
    reconciliation.recheck_held(resumed, now)
    return resumed


def _active_pauses_of(schedule_ids: Collection[int], now: datetime) -> PauseQuerySet:
    return Pause.objects.active_at(now).filter(schedule__in=schedule_ids)


def _with_terms(pauses: list[Pause], terms: Terms, now: datetime) -> list[Pause]:
    if terms.until is not None and terms.until <= now:
        raise ValueError(f"until: {terms.until.isoformat()} is in the past")
    for each in pauses:
        each.until, each.username, each.user_id = (
            terms.until,
            terms.username,
            terms.user.pk if terms.user else None,
        )
        each.reason = terms.reason or each.reason
        each.on_resume = terms.on_resume or each.on_resume
    return pauses
