"""The slots of a schedule as it was before an edit, which are not on record when the edit is noticed.

The ledger's row has the ``timing`` with which the schedule was planned last. Its rule is made anew from that,
so that no such slot is lost, whatever was edited: the schedule, its times, or a calendar.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from django_celery_beat.models import PeriodicTask

from jobledger.calendars import use
from jobledger.calendars.use import CalendarUse
from jobledger.models import Dialect, NextSlot, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.due import slot_runs
from jobledger.schedules.due.backlog import DueSlots
from jobledger.schedules.planning import edits
from jobledger.schedules.planning.edits import Former
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.planning.verdicts import PlannedSlot
from jobledger.schedules.rules.interval import Clocked, Interval
from jobledger.schedules.rules.slots import Rule, RuleError, Window
from jobledger.schedules.rules.wallclock import zone_named
from jobledger.schedules.stored_policies import policy_from
from jobledger.schedules.stored_schedules import FIELDS, anchor_of, limited
from jobledger.schedules.stored_times import (
    CRONTAB_FIELDS,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
    rule_from,
)


def is_edited(schedule: PeriodicTask, row: NextSlot) -> bool:
    """Whether the schedule has been given other times since the row was computed, and so counts from now."""
    if row.timing == schedule.timing:
        return _has_other_grid(schedule, row)
    # What starts after others goes on counting what they have done.
    return bool(row.timing) and not (schedule.policy.after and row.look_at)


def _has_other_grid(schedule: PeriodicTask, row: NextSlot) -> bool:
    """Whether an interval counts from another time than before, such as that of an imported file.

    Its next slot tells, since the timing does not. One that a calendar has moved tells nothing.
    """
    if schedule.interval_id is None or row.slot is None or use.IS_MOVED in row.timing:
        return False
    rule = stored_schedules.times_of(schedule).rule
    return isinstance(rule, Interval) and not rule.includes(row.slot)


def unrecorded(
    schedule: PeriodicTask, row: NextSlot, pauses: Sequence[PausePeriod], now: datetime
) -> Iterator[PlannedSlot]:
    """What to record of the slots of the old timing, if the timing has been edited."""
    if not is_edited(schedule, row) or (former := former_of(row, schedule.policy)) is None:
        return
    times = stored_schedules.times_of(schedule)
    yield from edits.unrecorded(
        former, rule=times.due_rule, policy=times.policy, identity=schedule.pk, pauses=pauses, now=now
    )


def of_disabled(rows: Sequence[NextSlot], now: datetime) -> Iterator[DueSlots]:
    """What to record of schedules that have been disabled: slots moved to a time that has not come."""
    moving = {row.pk: row for row in rows if use.IS_MOVED in row.timing}
    disabled = PeriodicTask.objects.select_related("policy").filter(pk__in=moving, enabled=False)
    for schedule in disabled if moving else ():
        try:
            target = slot_runs.target_of(schedule)
            policy_from(SchedulePolicy.of(schedule))
        except ValueError:  # it is broken
            continue
        former = former_of(moving[schedule.pk], SchedulePolicy.of(schedule))
        if former and (records := list(edits.moved_ahead(former, None, now))):
            yield DueSlots(schedule=schedule, target=target, records=records)


def former_of(row: NextSlot, policy: SchedulePolicy) -> Former | None:
    """When a schedule was due before it was edited, as it was planned last; None if it was not."""
    if not row.timing or row.broken:
        return None
    try:
        rule, window = _rule_in(row, policy)
    except (ValueError, InvalidOperation):
        # Invalid, or written by other code.
        if row.slot is None:
            return None
        rule, window = Clocked(at=row.slot), Window()
    return Former(
        rule=rule, window=window, handled_until=row.handled_until, next_slot=row.slot, due_at=row.due_at
    )


def _rule_in(row: NextSlot, policy: SchedulePolicy) -> tuple[Rule, Window]:
    # The calendars come last, and may contain the separator.
    parts = row.timing.removesuffix("|").split("|", len(FIELDS) - 1)
    values = dict(zip(FIELDS, parts, strict=True))
    given = {name: None if text == "-" else text for name, text in values.items()}
    start_time = _time(given["start_time"])
    window = Window(
        start_time=start_time,
        expires=_time(given["expires"]),
        one_off=given["one_off"] in ("1", "true"),
    )
    dialect = Dialect(given["policy__dialect"] or policy.dialect)
    anchor = anchor_of(SchedulePolicy(anchor=policy.anchor, dialect=dialect), start_time)
    calendars = CalendarUse.read(given["policy__calendars"] or "")
    rule = rule_from(_times(given, dialect), anchor)
    if isinstance(rule, Interval) and row.slot is not None and not calendars.is_moved:
        # Whatever it has counted from.
        rule = replace(rule, anchor=row.slot)
    return limited(rule, calendars, window), window


def _times(given: dict[str, str | None], dialect: Dialect) -> StoredTimes:
    """The times of the one kind that is set."""
    match [
        name
        for name in ("crontab__hour", "interval__every", "solar__event", "clocked__clocked_time")
        if given[name] is not None
    ]:
        case ["crontab__hour"]:
            fields = [given[f"crontab__{field}"] or "" for field in CRONTAB_FIELDS]
            zone = zone_named(given["crontab__timezone"] or "")
            return CronTimes(expression=" ".join(fields), zone=zone, dialect=dialect)
        case ["interval__every"]:
            return IntervalTimes(
                every=int(given["interval__every"] or 0), period=given["interval__period"] or ""
            )
        case ["solar__event"]:
            place = [Decimal(given[f"solar__{name}"] or 0) for name in ("latitude", "longitude")]
            return SolarTimes(event=given["solar__event"] or "", latitude=place[0], longitude=place[1])
        case ["clocked__clocked_time"] if at := _time(given["clocked__clocked_time"]):
            return ClockedTimes(at=at)
    raise RuleError("not exactly one kind of timing")


def _time(text: str | None) -> datetime | None:
    """A time as the database writes it: without an offset, it is in UTC."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
