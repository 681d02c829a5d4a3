"""What keeps a schedule from starting after others, as far as their state tells.

Such a schedule is not at fault, so its own status says nothing of it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.models import OPEN, After, NextSlot, Run, SchedulePolicy
from jobledger.schedules.chains import links
from jobledger.schedules.chains.starting import COUNTED, starts_followers
from jobledger.schedules.pause_lookup import PauseLookup


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why the schedule does not start, or did not after the last run of one of the others."""

    text: str
    """``import is disabled``."""
    is_lasting: bool = False
    """Whether it stays so until a user changes a schedule."""
    is_past: bool = False
    """Whether the next run of the other schedule may start it all the same."""

    @property
    def sentence(self) -> str:
        when = "It did not start last time" if self.is_past else "It does not start"
        return f"{when}: {self.text}."


def obstacles_of(schedule: PeriodicTask, now: datetime) -> list[Obstacle]:
    """All that is known of the schedules after which it starts; empty if it has times of its own."""
    if not links.starts_after_others(schedule):
        return []
    try:
        condition = After(SchedulePolicy.of(schedule).after)
    except ValueError:  # it is broken, which its own status says
        return []
    others = [link.schedule for link in links.predecessors_of(schedule) if link.schedule is not None]
    return [found for other in others for found in _obstacles(other, condition, now)]


def lasting_obstacle(schedule: PeriodicTask, *, seen: Collection[int] = ()) -> str:
    """Why the schedule will not start until a user changes something; empty if it may."""
    if not links.starts_after_others(schedule) or schedule.pk in seen:
        return ""
    others = [link.schedule for link in links.predecessors_of(schedule) if link.schedule is not None]
    found = (_lasting(other, [*seen, schedule.pk]) for other in others)
    return next(filter(None, found), "")


def _obstacles(other: PeriodicTask, condition: After, now: datetime) -> Iterator[Obstacle]:
    if text := _lasting(other, []):
        yield Obstacle(text=text, is_lasting=True)
    elif any(pause.covers(now) for pause in PauseLookup([other.pk], now).of(other.pk, other.task)):
        yield Obstacle(text=f"{other.name} is paused")
    newest = Run.objects.newest_of_schedule(other.pk)
    last = newest.filter(trigger__in=COUNTED).exclude(OPEN).first()
    if last is not None and last.scheduled_for is not None and not starts_followers(last, condition):
        due = formats.exact(last.scheduled_for)
        status = last.get_status_display()
        yield Obstacle(text=f"the run of {other.name} for {due} is recorded as {status}", is_past=True)


def _lasting(other: PeriodicTask, seen: Collection[int]) -> str:
    if not other.enabled:
        return f"{other.name} is disabled"
    row = NextSlot.objects.filter(pk=other.pk).first()
    if row is not None and row.broken:
        return f"{other.name} is broken"
    if links.starts_after_others(other):
        return lasting_obstacle(other, seen=seen)
    return f"{other.name} has no next run" if row is not None and row.slot is None else ""
