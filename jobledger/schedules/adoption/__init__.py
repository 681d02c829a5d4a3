"""Adoption: schedules that django-celery-beat's own scheduler has run keep their meaning, and run once.

A schedule without a policy was made without this service: before it was installed, or with SQL or
``bulk_create`` since. If cron's rules would change when it is due, it keeps Celery's (``Dialect.CELERY``)
until a user chooses otherwise. An interval counts from its last run, or from its adoption if it is overdue.

``PeriodicTask.last_run_at`` says until when the other scheduler has run a schedule. A schedule that was due
after that starts once, as that scheduler would do, but nothing that it has run is run again. Nothing is
recorded about other times before the adoption.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from celery import current_app
from django.db import Error
from django_celery_beat.models import PeriodicTask

from jobledger.models import Dialect, NextSlot, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.adoption import stock
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.clock_changes import next_changes
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RESOLUTION, RuleError, previous_slot, slots_between
from jobledger.schedules.rules.wallclock import EARLIEST
from jobledger.schedules.stored_times import (
    CronTimes,
    IntervalTimes,
)

HORIZON = timedelta(days=800)
"""Within this time, two expressions with different days differ, and a zone's clock changes."""
_DAY = timedelta(days=1)
_UTC = ZoneInfo("UTC")


def policy_of_found(schedule: PeriodicTask, now: datetime) -> SchedulePolicy:
    """The policy, not saved, that keeps the meaning of a schedule made without this service."""
    policy = SchedulePolicy.of(schedule)
    # The clock of whoever wrote its last run may be fast.
    is_ahead = policy.anchor > now
    if is_ahead or (schedule.interval_id is not None and stock.is_overdue(schedule, now)):
        policy.anchor = now.replace(microsecond=0)
    if _means_the_same(schedule, policy, now):
        policy.dialect = Dialect.CRON
    deadline = current_app.conf.beat_cron_starting_deadline
    if deadline and schedule.crontab_id is not None:
        policy.starting_deadline = timedelta(seconds=deadline)
    return policy


def leave_out_what_ran_elsewhere(
    row: NextSlot, schedule: PeriodicTask, now: datetime, *, is_beat: bool, is_found: bool
) -> None:
    """Move the row past everything that another scheduler has run, or will run.

    ``is_found``: the schedule had no policy.
    """
    if is_beat and is_found and not row.timing:
        row.handled_until = continue_after(schedule, now)
    ran_at = schedule.last_run_at
    if ran_at is None or (row.recorded_at is not None and ran_at <= row.recorded_at):
        return
    # What ran before may be this service's own run, if the schedule has been disabled since.
    if not is_found and ran_at > row.handled_until and _count_from(min(ran_at, now), schedule):
        # It is of no use any more, and does not tell that a user has edited the schedule.
        row.slot = row.due_at = None
    if is_beat and ran_at > now:
        # By mistake, or by a clock that is fast. Taken into account only once, since until that time has
        # come, every slot would seem to have run.
        row.recorded_at = ran_at
    # That scheduler may have run it again since, because it stores `last_run_at` every three minutes.
    until = ran_at if is_beat or _has_beat_recorded_since(ran_at) else now
    row.handled_until = max(row.handled_until, min(until, now))
    if row.slot is not None and row.slot <= row.handled_until:
        row.slot = row.due_at = None


def _count_from(ran_at: datetime, schedule: PeriodicTask) -> bool:
    """Let an interval count from its last run, if the other scheduler has made that since it was adopted.

    Returns whether it counts from another time than before.
    """
    policy, anchor = schedule.policy, ran_at.replace(microsecond=0)
    if schedule.interval_id is None or policy.anchor >= anchor:
        return False
    policy.anchor = anchor
    SchedulePolicy.objects.filter(pk=policy.pk).update(anchor=anchor)
    return True


def disable_what_has_run_once(schedule_ids: Collection[int]) -> None:
    """As django-celery-beat's scheduler does with one-off schedules, some time after their run."""
    found = PeriodicTask.objects.filter(pk__in=schedule_ids, one_off=True, total_run_count__gt=0)
    found.update(enabled=False, total_run_count=0, last_run_at=None)


def continue_after(schedule: PeriodicTask, now: datetime) -> datetime:
    """What counts as handled when a schedule is adopted: everything but the last slot, if that is overdue.

    However often a schedule was due, the other scheduler starts it once, unless it is too late.
    """
    if schedule.expires is not None and schedule.expires <= now:
        return now
    until, last = ran_until(schedule, now), last_slot(schedule, now)
    if last is None or last <= until:
        return until
    deadline = SchedulePolicy.of(schedule).starting_deadline
    return now if deadline is not None and now - last > deadline else last - RESOLUTION


def last_slot(schedule: PeriodicTask, now: datetime) -> datetime | None:
    """The last slot up to now; None if there is none, or if the schedule cannot be evaluated."""
    try:
        times = stored_schedules.times_of(schedule)
        return previous_slot(times.due_rule, now + RESOLUTION, window=times.window)
    except Error:
        raise
    except Exception:  # noqa: BLE001 - one broken schedule must not affect the others
        return None


def ran_until(schedule: PeriodicTask, now: datetime) -> datetime:
    """Until when django-celery-beat's scheduler has run it, by its own reckoning."""
    if schedule.last_run_at is not None:
        ran_at: datetime = schedule.last_run_at
        return min(now, ran_at)
    # What has never run starts once these times have come, even if the schedule was changed later.
    begins_at: datetime | None
    begins_at = schedule.clocked.clocked_time if schedule.clocked_id is not None else schedule.start_time
    changed_at: datetime = schedule.date_changed or now
    # Nothing is due before then, and nothing is earlier than the first time that there is.
    return min(now, max(begins_at, EARLIEST) - RESOLUTION if begins_at else changed_at)


@lru_cache(maxsize=4096)
def have_same_slots(expression: str, zone: ZoneInfo, day: date) -> bool:
    """Whether an expression means the same in both dialects, from this day on."""
    try:
        cron, celery = Cron(expression=expression, zone=zone), CeleryCron(expression=expression, zone=zone)
    except RuleError:
        return False
    # The times of day that both accept are the same.
    return (
        _have_same_days(" ".join(expression.split()[2:]), day) and first_difference(cron, celery, day) is None
    )


def _means_the_same(schedule: PeriodicTask, policy: SchedulePolicy, now: datetime) -> bool:
    match stored_schedules.of(schedule):
        case CronTimes(expression=expression, zone=zone):
            return have_same_slots(expression, zone, now.date())
        case IntervalTimes():
            return schedule.start_time is None or policy.anchor <= schedule.start_time
    return True


# Many schedules differ only in their time of day.
@lru_cache(maxsize=1024)
def _have_same_days(days: str, day: date) -> bool:
    now = _midnight(day)
    rules = (Cron(expression=f"0 0 {days}", zone=_UTC), CeleryCron(expression=f"0 0 {days}", zone=_UTC))
    cron, celery = (list(slots_between(rule, now, now + HORIZON)) for rule in rules)
    return cron == celery


def first_difference(cron: Cron, celery: CeleryCron, day: date) -> datetime | None:
    """The first slot of only one of them when the clocks change next; None if there is none."""
    for at in _changes(cron.zone, day):
        begin, end = at - _DAY, at + 2 * _DAY
        if different := set(slots_between(cron, begin, end)) ^ set(slots_between(celery, begin, end)):
            return min(different)
    return None


@lru_cache(maxsize=1024)
def _changes(zone: ZoneInfo, day: date) -> tuple[datetime, ...]:
    return tuple(change.at for change in next_changes(zone, _midnight(day)))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _has_beat_recorded_since(time: datetime) -> bool:
    """Whether it is this service's beat that is in use, although it may be down right now."""
    return NextSlot.objects.filter(recorded_at__gt=time).exists()
