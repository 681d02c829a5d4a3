"""Pausing and resuming: of one schedule, or, where ``schedule`` is None, of the whole service.

During a pause the schedule starts nothing by itself. What a user starts still runs, and so does what was
queued before. A pause is never deleted: resuming ends it now, and it stays on record. The two kinds are
independent of each other: a schedule starts when neither it nor the service is paused.

``pause_all`` and ``resume_all`` do the same with very many schedules in a few statements.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Pause
from jobledger.models.schedule import PauseQuerySet
from jobledger.schedules import reconciliation

BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How something is paused."""

    until: datetime | None
    """None: until somebody resumes it."""
    reason: str = ""
    who: str = ""
    user: AbstractBaseUser | None = None
    on_resume: PausedSlots | None = None
    """None: as it is, or else not at all."""


def in_force(schedule: PeriodicTask | None, now: datetime) -> PauseQuerySet:
    """The pauses of the schedule itself, or of the whole service itself, that are in force now."""
    return Pause.objects.open_at(now).filter(schedule=schedule)


@transaction.atomic
def pause(schedule: PeriodicTask | None, terms: Terms, *, now: datetime) -> tuple[Pause, bool]:
    """Pause; returns the pause and whether it is a new one. Raises ValueError for an end that has passed.

    What is paused already stays paused, from now on until the new end. Its reason, and what becomes of its
    slots, change only where they are given.
    """
    current = list(in_force(schedule, now).select_for_update())
    pauses = _with_terms(current or [Pause(schedule=schedule, since=now)], terms, now)
    for each in pauses:
        each.save()
    return pauses[0], not current


@transaction.atomic
def resume(schedule: PeriodicTask | None, *, now: datetime) -> int:
    """End the pauses that are in force; returns how many. Pauses that begin later stay."""
    current = list(in_force(schedule, now).select_for_update())
    for each in current:
        each.until = now
        # One by one: beat looks again because of the signal that a save sends.
        each.save(update_fields=["until"])
    return len(current)


@transaction.atomic
def pause_all(schedule_ids: Collection[int], terms: Terms, *, now: datetime) -> None:
    """Pause each of the schedules, as ``pause`` does with one."""
    current = list(_in_force_of(schedule_ids, now).select_for_update())
    fresh = sorted(set(schedule_ids) - {each.schedule_id for each in current})
    pauses = _with_terms([*current, *(Pause(schedule_id=pk, since=now) for pk in fresh)], terms, now)
    Pause.objects.bulk_update(current, ["until", "who", "user", "reason", "on_resume"], batch_size=BATCH)
    Pause.objects.bulk_create(pauses[len(current) :], batch_size=BATCH)
    reconciliation.look_again(schedule_ids, now)


@transaction.atomic
def resume_all(schedule_ids: Collection[int], *, now: datetime) -> set[int]:
    """End the schedules' own pauses that are in force; returns whose."""
    current = list(_in_force_of(schedule_ids, now).select_for_update())
    Pause.objects.filter(pk__in=[each.pk for each in current]).update(until=now)
    resumed = {each.schedule_id for each in current if each.schedule_id is not None}
    reconciliation.look_again(resumed, now)
    return resumed


def _in_force_of(schedule_ids: Collection[int], now: datetime) -> PauseQuerySet:
    return Pause.objects.open_at(now).filter(schedule__in=schedule_ids)


def _with_terms(pauses: list[Pause], terms: Terms, now: datetime) -> list[Pause]:
    if terms.until is not None and terms.until <= now:
        raise ValueError(f"until: {terms.until.isoformat()} is not after now")
    for each in pauses:
        each.until, each.who, each.user_id = terms.until, terms.who, terms.user.pk if terms.user else None
        each.reason = terms.reason or each.reason
        each.on_resume = terms.on_resume or each.on_resume
    return pauses
