"""Timetables: what ``jobledger next`` and ``jobledger simulate`` evaluate. Reads schedules, writes nothing.

A timetable is a stored schedule, enabled or not, or a cron expression from the command line. A schedule that
beat cannot evaluate is reported as broken, with the reason.
"""

import difflib
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import Error
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.calendars.use import NO_CALENDARS, CalendarUse
from jobledger.management import arguments, printing
from jobledger.schedules import stored_schedules
from jobledger.schedules.chains.obstacles import obstacles_of
from jobledger.schedules.due import slot_runs
from jobledger.schedules.forecasts.simulation import AT_ONCE, Queue
from jobledger.schedules.planning.policy import Policy
from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.chained import Chained
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, RuleError, Window, slots_between
from jobledger.schedules.words import rule_words, zone_of

Warn = Callable[[str], object]
"""Prints a message that is not part of the output."""


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """When something is due, and its policy."""

    label: str
    """The schedule's name, or the expression."""
    schedule_id: int | None
    """None for an expression."""
    task: str = ""
    """The name of its Celery task."""
    rule: Rule
    window: Window = ALWAYS
    policy: Policy
    queue: Queue = AT_ONCE
    """How its runs wait for workers."""
    zone: ZoneInfo
    """The zone in which its times are printed."""
    calendars: CalendarUse = NO_CALENDARS

    def slots_from(self, start: datetime) -> Iterator[datetime]:
        """When it is due, from that time on, regardless of pauses."""
        return slots_between(self.due_rule, start - RESOLUTION, wallclock.LATEST, window=self.window)

    def moved_from(self, slot: datetime) -> datetime | None:
        """When it would be due instead if its calendars had not moved it; None: at this time."""
        rule = self.due_rule
        origin = rule.origin(slot) if isinstance(rule, CalendarRule) else slot
        return None if origin == slot else origin

    @property
    def due_rule(self) -> Rule:
        """When it is due, considering its calendars."""
        return stored_schedules.limited(self.rule, self.calendars, self.window)

    def as_json(self, slot: datetime) -> dict[str, Any]:
        """The JSON fields that all commands print for a slot."""
        is_stored = self.schedule_id is not None
        return {
            "schedule": self.label if is_stored else None,
            "cron": None if is_stored else self.label,
            "slot": printing.iso_time(slot, self.zone),
            "slot_utc": slot.isoformat(),
        }


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The timetables that the command line selects."""

    timetables: Sequence[Timetable]
    zone: ZoneInfo
    """The zone of times on the command line that have no offset."""
    is_single: bool
    """Whether a single timetable was named; otherwise these are all enabled schedules."""


class BrokenTimetableError(Exception):
    """A schedule that cannot be evaluated; the message says why."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that select a schedule, an expression, or all enabled schedules."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("name", nargs="?", help="A schedule's name. Default: all enabled schedules.")
    which.add_argument("--cron", metavar="EXPRESSION", help="A cron expression instead of a schedule.")
    parser.add_argument(
        "--tz",
        metavar="ZONE",
        help="The zone, such as Europe/London, for --cron, for times given without an offset, and for the "
        "output. Default: the schedule's own zone, else TIME_ZONE.",
    )


def chosen(options: dict[str, Any], warn: Warn) -> Choice:
    """The timetables that the command line selects. Raises CommandError."""
    zone = None if options["tz"] is None else arguments.zone(options["tz"], "--tz")
    default = zone or timezone.get_default_timezone()
    if options["cron"] is not None:
        return _single(_expression(options["cron"], default))
    if options["name"] is not None:
        return _single(_named(options["name"], zone, warn))
    timetables = list(_enabled(zone, warn))
    if not timetables:
        warn("There are no enabled schedules.")
    return Choice(timetables=timetables, zone=default, is_single=False)


def chain_notes(choice: Choice) -> Iterator[str]:
    """A sentence for each schedule that has no times of its own, since it starts after others."""
    for each in choice.timetables:
        if isinstance(each.rule, Chained):
            words = rule_words(each.rule, each.zone)
            yield f"Schedule {each.label!r} starts {words}, and has no times of its own."
            if each.schedule_id is not None:
                schedule = PeriodicTask.objects.select_related("policy").get(pk=each.schedule_id)
                yield from (found.sentence for found in obstacles_of(schedule, clock.now()))


def stored(name: str) -> PeriodicTask:
    """The schedule with this name, enabled or not. Raises CommandError."""
    try:
        return stored_schedules.timed(PeriodicTask.objects.filter(name=name)).get()
    except (PeriodicTask.DoesNotExist, UnicodeEncodeError):
        raise CommandError(f"There is no schedule {name!r}.{_similar(name)}") from None
    except stored_schedules.UNREADABLE as error:
        raise CommandError(_broken(name, _text(error))) from error


def _single(timetable: Timetable) -> Choice:
    return Choice(timetables=[timetable], zone=timetable.zone, is_single=True)


def _expression(expression: str, zone: ZoneInfo) -> Timetable:
    try:
        rule = Cron(expression=expression, zone=zone)
    except RuleError as error:
        raise CommandError(f"--cron: {error}") from None
    return Timetable(label=expression, schedule_id=None, rule=rule, policy=Policy(), zone=zone)


def _named(name: str, zone: ZoneInfo | None, warn: Warn) -> Timetable:
    schedule = stored(name)
    try:
        timetable = of_schedule(schedule, zone)
    except BrokenTimetableError as error:
        raise CommandError(_broken(name, str(error))) from error
    if not schedule.enabled:
        warn(f"Schedule {name!r} is disabled; the output assumes that it is enabled.")
    return timetable


def _enabled(zone: ZoneInfo | None, warn: Warn) -> Iterator[Timetable]:
    """Yield the enabled schedules, sorted by name; broken ones are skipped with a warning."""
    for name, schedule, unreadable in stored_schedules.each_enabled("name"):
        try:
            if schedule is None:
                raise BrokenTimetableError(unreadable)
            yield of_schedule(schedule, zone)
        except BrokenTimetableError as error:
            warn(_broken(name, str(error)))


def of_schedule(schedule: PeriodicTask, zone: ZoneInfo | None = None) -> Timetable:
    """The timetable of a stored schedule. Raises BrokenTimetableError."""
    try:
        target = slot_runs.target_of(schedule)
        times = stored_schedules.times_of(schedule)
        _ = times.due_rule
        return Timetable(
            label=schedule.name,
            schedule_id=schedule.pk,
            task=schedule.task,
            rule=times.rule,
            window=times.window,
            policy=times.policy,
            queue=_queue(schedule, target.job),
            zone=zone or zone_of(schedule),
            calendars=times.calendars,
        )
    except Error:
        raise
    except Exception as error:  # as in beat, one broken schedule must not affect the others
        raise BrokenTimetableError(_text(error)) from error


def _queue(schedule: PeriodicTask, job: str) -> Queue:
    may_overlap = slot_runs.may_overlap(schedule, job)
    return Queue(
        may_overlap=may_overlap,
        max_live=min(slot_runs.live_limits(schedule, job)) if may_overlap else None,
        expire_after=slot_runs.expire_after(schedule),
    )


def _broken(name: str, reason: str) -> str:
    return f"Schedule {name!r} is broken: {reason}"


def _text(error: Exception) -> str:
    messages = error.messages if isinstance(error, ValidationError) else [str(error)]
    return "; ".join(messages) or type(error).__name__


def _similar(name: str) -> str:
    names = PeriodicTask.objects.values_list("name", flat=True)
    similar = difflib.get_close_matches(name, names.iterator(), n=3)
    return f" Similar names: {', '.join(similar)}." if similar else ""
