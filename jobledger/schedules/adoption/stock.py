"""What django-celery-beat's own scheduler would do with a schedule, by its own classes and Celery's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import Error
from django_celery_beat.models import PeriodicTask

_LONG_AGO = timedelta(days=365 * 30)


class UnreadableError(ValueError):
    """That scheduler leaves the schedule out, or does not start because of it; the message says why."""


def next_starts(schedule: PeriodicTask, now: datetime, count: int) -> list[datetime]:
    """When it would start the schedule next, if it were started now. Raises UnreadableError."""
    if schedule.scheduler is None:
        raise UnreadableError("it has no times")
    try:
        return list(islice(_starts(schedule, now), count))
    except Error:
        raise
    except Exception as error:
        raise UnreadableError(str(error) or type(error).__name__) from error


def is_overdue(schedule: PeriodicTask, now: datetime) -> bool:
    """Whether it would start the schedule at once."""
    try:
        return next_starts(schedule, now, 1) == [now]
    except UnreadableError:
        return False


def ignores_time_zones() -> bool:
    """Whether it reads all crontabs in the time zone of the Celery app, not in their own."""
    return not getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True)


def _starts(schedule: PeriodicTask, now: datetime) -> Iterator[datetime]:
    if schedule.one_off and schedule.total_run_count:
        return
    timing, at = schedule.schedule, _first(schedule, now)
    while schedule.expires is None or at < schedule.expires:
        yield at
        if schedule.one_off:
            return
        at = _following(timing, at)


def _first(schedule: PeriodicTask, now: datetime) -> datetime:
    """Whatever was due after its last run starts at once, but not before the start time."""
    begin = max(now, schedule.start_time or now)
    at = _following(schedule.schedule, _last_run(schedule, now))
    deadline = current_app.conf.beat_cron_starting_deadline
    if at < begin and deadline is not None and schedule.crontab_id is not None:
        recent = _following(schedule.schedule, begin - timedelta(seconds=deadline, microseconds=1))
        at = at if recent <= begin else _following(schedule.schedule, begin)
    return max(at, begin)


def _last_run(schedule: PeriodicTask, now: datetime) -> datetime:
    ran_at: datetime | None = schedule.last_run_at
    if ran_at:
        return ran_at
    changed_at: datetime = schedule.date_changed or now
    # So it starts the schedule when the start time has come, whatever its timing.
    return changed_at - _LONG_AGO if schedule.start_time else changed_at


def _following(timing: Any, last: datetime) -> datetime:
    timing.nowfun = lambda: last
    # In the zone of the app, as the scheduler does; crontabs convert it to their own.
    following: datetime = last + timing.remaining_estimate(last.astimezone(current_app.timezone))
    return following.astimezone(UTC)
