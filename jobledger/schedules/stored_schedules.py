"""Stored schedules: reads django-celery-beat's rows for planning, and writes them.

A schedule's times are read as ``StoredTimes``, as the user entered them, and rules are built only from these.
So times are validated alike, whether they come from a form, from code or from anywhere else.

``timing`` is a text that the database builds from all of a schedule's times. It changes if and only if they
do, by whatever means. Comparing it with the stored value finds every edit, including those that send no
signal.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, Error
from django.db.models import F, Func, QuerySet, TextField, Value, prefetch_related_objects
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobledger.calendars.use import NO_CALENDARS, CalendarUse
from jobledger.models import After, Dialect, NextSlot, SchedulePolicy
from jobledger.schedules.chains import links
from jobledger.schedules.planning.policy import Policy
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.chained import Chained
from jobledger.schedules.rules.cron_expression import CronRule, fields_of
from jobledger.schedules.rules.slots import ALWAYS, Rule, RuleError, Window
from jobledger.schedules.stored_policies import member_of, policy_from
from jobledger.schedules.stored_times import (
    CRONTAB_FIELDS,
    ChainTimes,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
    after_of,
    rule_from,
)

READ_BATCH_SIZE = 1000
PREFETCH_BATCH_SIZE = 500
KINDS = ("crontab", "interval", "solar", "clocked")

FIELDS = (
    *(f"crontab__{field}" for field in CRONTAB_FIELDS),
    *("crontab__timezone", "interval__every", "interval__period"),
    *("solar__event", "solar__latitude", "solar__longitude", "clocked__clocked_time"),
    *("start_time", "expires", "one_off", "policy__dialect", "policy__after", "policy__calendars"),
)
NEVER = datetime(9998, 1, 1, tzinfo=UTC)
"""Stored for what starts after others, since django-celery-beat knows no schedule without a time."""
_ASSIGNED = "_assigned_predecessors"
UNREADABLE = (ValidationError, ValueError, TypeError, AttributeError, DataError)
"""What Django's fields and drivers raise for values that only SQL can have written, such as infinity."""


def _as_text(field: str) -> Func:
    # A single node per field: Django copies and resolves each node of an expression for every query.
    return Func(F(field), template="COALESCE(CAST(%(expressions)s AS text), '-')", output_field=TextField())


def timing_at(path: str, *, without: Collection[str] = ()) -> Func:
    """The timing of the schedule to which this path leads, such as ``schedule__``.

    ``without`` are the kinds of which it is not, whose tables then need not be read.
    """
    fields = (
        Value("-") if field.partition("__")[0] in without else _as_text(path + field) for field in FIELDS
    )
    # Not Django's Concat, which nests its arguments in pairs, deeper than SQLite's parser allows.
    return Func(
        *fields,
        template="(%(expressions)s || '|')",
        arg_joiner=" || '|' || ",
        output_field=TextField(),
    )


def target_at(path: str) -> Func:
    """The same for what the schedule starts, and for the queue."""
    return Func(
        *(F(path + field) for field in ("task", "args", "kwargs")),
        *(_as_text(path + field) for field in ("queue", "exchange", "routing_key")),
        template="(%(expressions)s)",
        arg_joiner=" || '|' || ",
        output_field=TextField(),
    )


TIMING, TARGET = timing_at(""), target_at("")


@dataclass(frozen=True, kw_only=True)
class Times:
    """When a schedule is due, and its policy, as needed for planning."""

    rule: Rule
    """Without calendars."""
    window: Window = ALWAYS
    policy: Policy
    enabled: bool = True
    calendars: CalendarUse = NO_CALENDARS

    @property
    def due_rule(self) -> Rule:
        """When it is due, considering its calendars. Raises RuleError if its slots cannot be moved."""
        return limited(self.rule, self.calendars, self.window)

    def has_same_slots(self, other: "Times") -> bool:
        """Whether the ledger treats both as having the same slots."""
        return (self.rule, self.window, self.calendars) == (other.rule, other.window, other.calendars)


@dataclass(frozen=True, kw_only=True)
class StoredSchedule:
    """A schedule's times, and its state in the ledger."""

    times: Times
    schedule_id: int
    handled_until: datetime | None = None
    """Every slot up to here has its run; None if the schedule is not in the ledger."""
    slot: datetime | None = None
    """The first slot without a run."""
    due_at: datetime | None = None
    """When beat plans it next."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Enabled schedules with everything that planning needs."""

    schedules: dict[int, PeriodicTask]
    unreadable: dict[int, str]
    """Why Django cannot read a row at all, for example because of an unknown time zone."""


def load(schedule_ids: Collection[int]) -> Loaded:
    """Load those of the schedules that are enabled, with their ``timing`` and ``target``.

    An unreadable row does not affect the others.
    """
    return _load(timed(_enabled()), schedule_ids)


def load_for_forecast(schedule_ids: Collection[int]) -> Loaded:
    """The same without ``timing`` and ``target``, which take a third of the time."""
    return _load(_complete(_enabled()), schedule_ids)


def load_any(schedule_ids: Collection[int]) -> Loaded:
    """The same for schedules that are enabled or not."""
    return _load(_complete(PeriodicTask.objects.all()), schedule_ids)


def _enabled() -> QuerySet[PeriodicTask]:
    found: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(enabled=True)
    return found


def _load(schedules: QuerySet[PeriodicTask], schedule_ids: Collection[int]) -> Loaded:
    try:
        return Loaded(schedules=schedules.in_bulk(schedule_ids), unreadable={})
    except UNREADABLE:
        return _load_one_by_one(schedules, schedule_ids)


def each_enabled(order_by: str) -> Iterator[tuple[str, PeriodicTask | None, str]]:
    """Yield every enabled schedule, as ``each``."""
    return each(_enabled().order_by(order_by))


def each(schedules: QuerySet[PeriodicTask]) -> Iterator[tuple[str, PeriodicTask | None, str]]:
    """Yield the schedules, read in batches: the name of each, and the schedule or why it is unreadable."""
    names = dict(schedules.values_list("pk", "name"))
    remaining = iter(names)
    while batch := list(islice(remaining, READ_BATCH_SIZE)):
        loaded = _load(timed(schedules), batch)
        for pk in batch:
            if pk in loaded.schedules or pk in loaded.unreadable:
                yield names[pk], loaded.schedules.get(pk), loaded.unreadable.get(pk, "")


def timed(schedules: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
    """Add the schedules' times, their policies, their ``timing`` and their ``target``."""
    timed: QuerySet[PeriodicTask] = _complete(schedules).annotate(timing=TIMING, target=TARGET)
    return timed


def _complete(schedules: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
    # Not prefetched, for the reason that is given below.
    complete: QuerySet[PeriodicTask] = schedules.select_related("policy", *KINDS)
    return complete


def prefetch_times(schedules: Sequence[PeriodicTask]) -> None:
    """Read the times of schedules that are already loaded. Raises one of UNREADABLE."""
    # Django has a condition for each row that it prefetches, of which SQLite allows fewer than 1,000.
    for first in range(0, len(schedules), PREFETCH_BATCH_SIZE):
        prefetch_related_objects(schedules[first : first + PREFETCH_BATCH_SIZE], *KINDS)


def _load_one_by_one(schedules: QuerySet[PeriodicTask], schedule_ids: Collection[int]) -> Loaded:
    found: dict[int, PeriodicTask] = {}
    unreadable: dict[int, str] = {}
    for pk in schedule_ids:
        try:
            found |= schedules.in_bulk([pk])
        except UNREADABLE as error:
            messages = error.messages if isinstance(error, ValidationError) else [str(error)]
            unreadable[pk] = "; ".join(messages)
    return Loaded(schedules=found, unreadable=unreadable)


def times_of(schedule: PeriodicTask) -> Times:
    """When the schedule is due, and its policy. Raises ValueError if they cannot be evaluated."""
    policy = SchedulePolicy.of(schedule)
    if policy.after:
        member_of(After, policy, "after")
        _check_chain(schedule)
    return Times(
        rule=rule_from(_read(schedule), anchor_of(policy, schedule.start_time)),
        window=_window(schedule, policy),
        policy=policy_from(policy),
        enabled=schedule.enabled,
        calendars=CalendarUse.read(policy.calendars),
    )


def _check_chain(schedule: PeriodicTask) -> None:
    missing = [link.name for link in links.predecessors_of(schedule) if link.schedule is None]
    if missing:
        raise RuleError(f"after: there is no schedule {missing[0]!r}", field="after")
    if schedule.clocked_id is None or schedule.clocked.clocked_time != NEVER:
        raise RuleError("after: it has times of its own as well as predecessors", field="after")


def _window(schedule: PeriodicTask, policy: SchedulePolicy) -> Window:
    # What starts after others is stored as a clocked schedule, which django-celery-beat runs once.
    one_off = schedule.one_off and not policy.after
    return Window(start_time=schedule.start_time, expires=schedule.expires, one_off=one_off)


def limited(rule: Rule, calendars: CalendarUse, window: Window) -> Rule:
    """The rule limited by calendars, whose days are days in the rule's zone, or else in the project's."""
    if not calendars:
        return rule
    if isinstance(rule, Chained):
        if calendars.is_moved:
            message = "calendars: what starts after other schedules cannot be moved; choose to skip it"
            raise RuleError(message, field="calendars")
        return rule
    zone = rule.zone if isinstance(rule, CronRule) else timezone.get_default_timezone()
    return CalendarRule(base=rule, use=calendars, zone=zone, window=window)


def anchor_of(policy: SchedulePolicy, start_time: datetime | None) -> datetime:
    """What an interval counts from.

    By Celery's rules that is the last run, which is the policy's anchor, rather than the start time.
    """
    if start_time is None:
        return policy.anchor
    return max(start_time, policy.anchor) if policy.dialect == Dialect.CELERY else start_time


def why_broken(schedule: PeriodicTask) -> str:
    """Why the times or the policy cannot be evaluated; empty if they can."""
    try:
        _ = times_of(schedule).due_rule
    except Error:
        raise
    except Exception as error:  # noqa: BLE001 - as in beat, one broken schedule must not affect the others
        return str(error) or type(error).__name__
    return ""


def stored_schedule(schedule: PeriodicTask) -> StoredSchedule | None:
    """A schedule as it has been read from the database; None if it cannot be evaluated."""
    try:
        return _stored(schedule)
    except Error:
        raise
    except Exception:  # noqa: BLE001 - the schedule's own page reports the error
        return None


def _stored(schedule: PeriodicTask) -> StoredSchedule:
    row = getattr(schedule, "next_slot", None) or NextSlot()
    return StoredSchedule(
        times=times_of(schedule),
        schedule_id=schedule.pk,
        handled_until=row.handled_until,
        slot=row.slot,
        due_at=row.due_at,
    )


def of(schedule: PeriodicTask) -> StoredTimes | None:
    """The schedule's times as stored; None if it has none, or they cannot be read."""
    try:
        return _read(schedule)
    except UNREADABLE:
        return None


def assign(schedule: PeriodicTask, times: StoredTimes) -> None:
    """Set the schedule's times. Saves the related row if necessary, but not the schedule itself.

    The caller sets ``after`` of its policy and, once the schedule is saved, the links to its predecessors.
    """
    if isinstance(times, ChainTimes):
        setattr(schedule, _ASSIGNED, times.after)
        schedule.one_off = True
    if of(schedule) == times and SchedulePolicy.of(schedule).after == after_of(times):
        return
    kind, model, values = _row(times)
    for each in KINDS:
        setattr(schedule, each, None)
    setattr(schedule, kind, _equal_or_new(model, values))
    # django-celery-beat requires it for clocked schedules.
    schedule.one_off = schedule.one_off or kind == "clocked"


def _chain(schedule: PeriodicTask, policy: SchedulePolicy) -> ChainTimes:
    # Links are saved after the schedule.
    names = getattr(schedule, _ASSIGNED, None) or tuple(
        link.current_name for link in links.predecessors_of(schedule)
    )
    return ChainTimes(after=names, after_failure=policy.after == After.END)


def _read(schedule: PeriodicTask) -> StoredTimes:
    policy = SchedulePolicy.of(schedule)
    if policy.after:
        return _chain(schedule, policy)
    match [kind for kind in KINDS if getattr(schedule, f"{kind}_id") is not None]:
        case ["crontab"]:
            return CronTimes(
                expression=_expression(schedule.crontab),
                zone=schedule.crontab.timezone,
                dialect=member_of(Dialect, policy, "dialect"),
            )
        case ["interval"]:
            return IntervalTimes(every=schedule.interval.every, period=schedule.interval.period)
        case ["solar"]:
            solar = schedule.solar
            return SolarTimes(event=solar.event, latitude=solar.latitude, longitude=solar.longitude)
        case ["clocked"]:
            return ClockedTimes(at=schedule.clocked.clocked_time)
        case kinds:
            found = ", ".join(kinds) or "none"
            raise RuleError(f"exactly one of {', '.join(KINDS)} is required, not {found}")


def _row(times: StoredTimes) -> tuple[str, Any, dict[str, Any]]:
    match times:
        case CronTimes():
            fields = dict(zip(CRONTAB_FIELDS, fields_of(times.expression), strict=True))
            return "crontab", CrontabSchedule, {**fields, "timezone": times.zone}
        case IntervalTimes():
            return "interval", IntervalSchedule, {"every": times.every, "period": times.period}
        case ClockedTimes():
            return "clocked", ClockedSchedule, {"clocked_time": times.at}
        case ChainTimes():
            return "clocked", ClockedSchedule, {"clocked_time": NEVER}
        case SolarTimes():
            place = {"latitude": times.latitude, "longitude": times.longitude}
            return "solar", SolarSchedule, {"event": times.event, **place}


def _expression(crontab: CrontabSchedule) -> str:
    """The stored expression, even if it is invalid, so that a user can fix it."""
    return " ".join("".join(getattr(crontab, field).split()) or "?" for field in CRONTAB_FIELDS)


def _equal_or_new(model: Any, values: dict[str, Any]) -> Any:
    # Only solar rows have a unique constraint: there may be several identical rows of the other kinds.
    return model.objects.filter(**values).order_by("pk").first() or model.objects.create(**values)
