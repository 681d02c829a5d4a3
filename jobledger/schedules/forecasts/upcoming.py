"""Upcoming runs: what schedules will start in future spans of time, with a fixed number of queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from django.db import DatabaseError
from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.pause_lookup import PauseLookup
from jobledger.schedules.planning.forecast import Forecast, Starts
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.rules.calendar_rule import CalendarRule, LeftOut

MAX_LEFT_OUT = 50
"""For each schedule."""


@dataclass(frozen=True, kw_only=True)
class UpcomingStarts:
    """What a schedule will start."""

    schedule_id: int
    name: str
    task: str
    starts: Mapping[int, Starts]
    """By the index of the span."""


@dataclass(frozen=True, kw_only=True)
class UpcomingLeftOut:
    """What a calendar leaves out of a schedule on a day."""

    schedule_id: int
    name: str
    found: LeftOut


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """What all schedules will start."""

    schedules: Sequence[UpcomingStarts]
    is_complete: bool
    """Whether all schedules that are due before the end are included."""
    left_out: Sequence[UpcomingLeftOut] = ()
    """What calendars leave out, oldest first."""


def upcoming(edges: Sequence[datetime], *, limit: int) -> Upcoming:
    """The runs that start between the first edge, which is now, and the last one.

    Includes at most ``limit`` schedules, those that are due first. Schedules that are broken, or held by an
    open-ended pause, start nothing.
    """
    due = NextSlot.objects.filter(due_at__lt=edges[-1]).order_by("due_at", "pk")
    rows = list(due.values_list("pk", "handled_until")[: limit + 1])
    handled_until = dict(rows[:limit])
    loaded = stored_schedules.load_for_forecast(handled_until)
    pauses = PauseLookup(handled_until, edges[0])
    forecast = Forecast(edges)
    readable = {pk: loaded.schedules[pk] for pk in handled_until if pk in loaded.schedules}
    left_out = [each for schedule in readable.values() for each in _left_out(schedule, edges[0], edges[-1])]
    found = (
        _starts(forecast, schedule, handled_until[pk], pauses.of(pk, schedule.task))
        for pk, schedule in readable.items()
    )
    return Upcoming(
        schedules=[each for each in found if each],
        is_complete=len(rows) <= limit,
        left_out=sorted(left_out, key=lambda each: (each.found.slot, each.name)),
    )


def _left_out(schedule: PeriodicTask, since: datetime, until: datetime) -> Iterator[UpcomingLeftOut]:
    # Most schedules have no calendars.
    if not SchedulePolicy.of(schedule).calendars or stored_schedules.why_broken(schedule):
        return
    rule = stored_schedules.times_of(schedule).due_rule
    if isinstance(rule, CalendarRule):
        for found in islice(rule.left_out(since, until), MAX_LEFT_OUT):
            yield UpcomingLeftOut(schedule_id=schedule.pk, name=schedule.name, found=found)


def _starts(
    forecast: Forecast, schedule: PeriodicTask, handled_until: datetime, pauses: Sequence[PausePeriod]
) -> UpcomingStarts | None:
    try:
        times = stored_schedules.times_of(schedule)
        starts = forecast.starts(
            rule=times.due_rule,
            policy=times.policy,
            identity=schedule.pk,
            handled_until=handled_until,
            window=times.window,
            pauses=pauses,
        )
    except DatabaseError:
        raise
    except Exception:  # noqa: BLE001 - as in beat, one broken schedule must not affect the others
        return None
    if not starts:
        return None
    return UpcomingStarts(schedule_id=schedule.pk, name=schedule.name, task=schedule.task, starts=starts)
