"""Upcoming runs: what schedules will start in future spans of time, with a fixed number of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError
from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot
from jobledger.schedules import stored_schedules
from jobledger.schedules.planning.forecast import Forecast, Starts
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.stored_schedules import PauseLookup


@dataclass(frozen=True, kw_only=True)
class UpcomingStarts:
    """What a schedule will start."""

    schedule_id: int
    name: str
    task: str
    starts: Mapping[int, Starts]
    """By the index of the span."""


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """What all schedules will start."""

    schedules: Sequence[UpcomingStarts]
    is_complete: bool
    """Whether all schedules that are due before the end are included."""


def upcoming(edges: Sequence[datetime], *, limit: int) -> Upcoming:
    """The runs that start between the first edge, which is now, and the last one.

    Includes at most ``limit`` schedules, those that are due first. Schedules that are broken, or held by an
    open-ended pause, start nothing.
    """
    due = NextSlot.objects.filter(due_at__lt=edges[-1]).order_by("due_at", "pk")
    rows = list(due.values_list("pk", "handled_until")[: limit + 1])
    handled_until = dict(rows[:limit])
    loaded = stored_schedules.load(handled_until)
    pauses = PauseLookup(handled_until, edges[0])
    forecast = Forecast(edges)
    found = (
        _starts(forecast, schedule, handled_until[pk], pauses.of(pk, schedule.task))
        for pk in handled_until
        if (schedule := loaded.schedules.get(pk)) is not None
    )
    return Upcoming(schedules=[each for each in found if each], is_complete=len(rows) <= limit)


def _starts(
    forecast: Forecast, schedule: PeriodicTask, handled_until: datetime, pauses: Sequence[PausePeriod]
) -> UpcomingStarts | None:
    try:
        times = stored_schedules.times_of(schedule)
        starts = forecast.starts(
            rule=times.rule,
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
