"""The preview as shown on the page: slots in the schedule's time zone, and the effects of saving."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from jobledger import formats
from jobledger.admin.schedules.editing.edit_form import EditForm
from jobledger.models import NextSlot, pause_terms
from jobledger.reason import slot_count
from jobledger.schedules.forecasts.preview import SLOTS, Preview
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.rules.calendar_rule import LeftOut
from jobledger.schedules.rules.chained import Chained
from jobledger.schedules.rules.clock_changes import Consequence
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import CronRule
from jobledger.schedules.rules.surprises import never_in_cron, surprises
from jobledger.schedules.stored_schedules import Times
from jobledger.schedules.words import calendar_words, rule_words

NEVER = "Its calendars leave no time at which it runs."
NAMED = 5
"""The maximum number of neighbours that are named for each minute; the others are only counted."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Other schedules that are due in the same minute."""

    minute: datetime
    names: tuple[str, ...]
    count: int

    @property
    def unnamed(self) -> int:
        """How many other neighbours there are."""
        return self.count - len(self.names)


@dataclass(frozen=True, kw_only=True)
class PreviewedSlot:
    time: datetime
    text: str
    """In the schedule's time zone."""
    relative: str
    is_other: bool
    """Whether only one of the lists before and after saving has this slot, within the range of both."""
    neighbours: Neighbours | None = None
    moved_from: str = ""
    """Its own time, if a calendar moves it."""


@dataclass(frozen=True, kw_only=True)
class FormattedPreview:
    words: str
    start: str
    """Which runs saving starts: none, or those that were already due."""
    next: str
    old: list[PreviewedSlot]
    new: list[PreviewedSlot]
    is_same: bool
    left_out: list[str]
    """What calendars leave out, and why."""
    never: str
    """Why no run ever starts, if calendars are the reason."""
    jitter: str
    zone: str
    clock_changes: list[tuple[str, str]]
    """The time of each clock change, and its effect."""
    surprises: list[str]
    """What the expression means where somebody may think otherwise."""
    has_neighbours: bool


def formatted_preview(form: EditForm) -> FormattedPreview | None:
    """The preview of an edit form; None while its timing is not valid."""
    preview, times = form.preview(), form.times_after_save
    if preview is None or times is None:
        return None
    zone = _zone_of(times)
    is_chained = isinstance(times.rule, Chained)
    others = neighbours_in(preview.minutes, exclude=form.stored.pk if form.stored else None)
    return FormattedPreview(
        words=rule_words(times.rule, zone) + calendar_words(times.calendars),
        start=_start(preview, zone),
        next=_next(preview, times, zone, form.now),
        old=_slots(preview.old_slots, preview.new_slots, zone, form.now),
        new=[
            replace(each, moved_from=clock(preview.moved[each.time], zone))
            if each.time in preview.moved
            else each
            for each in _slots(preview.new_slots, preview.old_slots, zone, form.now, preview.delay, others)
        ],
        is_same=preview.is_same,
        left_out=[left_out_words(each, zone) for each in preview.left_out],
        never="" if preview.new_slots or not times.calendars or is_chained else NEVER,
        jitter=_jitter(preview.delay, times.policy.jitter),
        zone=str(zone) if isinstance(times.rule, CronRule) else "",
        clock_changes=[(_change(each), each.sentence) for each in preview.clock_changes],
        surprises=[*map(formats.as_sentence, _surprises(times))],
        has_neighbours=bool(others),
    )


def left_out_words(found: LeftOut, zone: tzinfo) -> str:
    """``Fri 2026-12-25 03:00 GMT: Christmas Day (UK holidays)``."""
    earlier = found.count - 1
    also = f" and {slot_count(earlier)} before it that day" if earlier else ""
    covered = f", covered by the run of {clock(found.covered_at, zone)}" if found.covered_at else ""
    stays = ", with no other day to move it to" if found.has_no_other_day else ""
    return f"{clock(found.slot, zone)}{also}: {found.name} ({found.calendar}){covered}{stays}"


def _surprises(times: Times) -> Iterator[str]:
    if isinstance(times.rule, Cron):
        yield from (*surprises(times.rule.parsed), *never_in_cron(times.rule.parsed))


def neighbours_in(minutes: Sequence[datetime], *, exclude: int | None = None) -> list[Neighbours]:
    """The schedules, except one, that are due in these minutes. Minutes without any are omitted.

    Only the next slot of each schedule is considered, so this is fast regardless of the number of schedules.
    The result is complete for the next minute, and a hint for later ones. It takes one query for the counts,
    and one for the names if there are any.
    """
    others = NextSlot.objects.exclude(pk=exclude)
    counts = zip(minutes, _counts(others, minutes), strict=True)
    by_minute = {minute: count for minute, count in counts if count}
    names = _names(others, by_minute)
    return [
        Neighbours(minute=minute, names=tuple(names[minute]), count=count)
        for minute, count in by_minute.items()
    ]


def _counts(others: QuerySet[NextSlot], minutes: Sequence[datetime]) -> list[int]:
    if not minutes:
        return []
    span = others.filter(due_at__gte=min(minutes), due_at__lt=max(minutes) + _MINUTE)
    counts = {f"in_{place}": Count("pk", filter=_due_in(minute)) for place, minute in enumerate(minutes)}
    found = span.aggregate(**counts)
    return [found[name] for name in counts]


def _names(others: QuerySet[NextSlot], minutes: Collection[datetime]) -> dict[datetime, list[str]]:
    """The names of the first schedules in each of the minutes, in order."""
    if not minutes:
        return {}
    # Sliced in a subquery, because SQLite does not support LIMIT in the terms of a compound SELECT.
    first, *more = (
        NextSlot.objects.filter(pk__in=_first_due(others, minute)).values_list(
            "due_at", "pk", "schedule__name"
        )
        for minute in minutes
    )
    found: dict[datetime, list[str]] = {minute: [] for minute in minutes}
    for due_at, _, name in sorted(first.union(*more, all=True)):
        if due_at is not None:
            found[due_at.replace(second=0, microsecond=0)].append(name)
    return found


def _first_due(others: QuerySet[NextSlot], minute: datetime) -> QuerySet[NextSlot, Any]:
    return others.filter(_due_in(minute)).order_by("due_at", "pk").values("pk")[:NAMED]


def _due_in(minute: datetime) -> Q:
    return Q(due_at__gte=minute, due_at__lt=minute + _MINUTE)


def clock(time: datetime, zone: tzinfo) -> str:
    """The local time in a time zone."""
    local = time.astimezone(zone)
    seconds = ":%S" if local.second else ""
    return f"{local:%a %Y-%m-%d %H:%M}{local.strftime(seconds)} {local.tzname()}"


def _zone_of(times: Times) -> tzinfo:
    return times.rule.zone if isinstance(times.rule, CronRule) else timezone.get_current_timezone()


def _slots(
    slots: tuple[datetime, ...],
    other_slots: tuple[datetime, ...],
    zone: tzinfo,
    now: datetime,
    delay: timedelta | None = None,
    at_same_time: list[Neighbours] | None = None,
) -> list[PreviewedSlot]:
    last = max(other_slots, default=now)
    by_minute = {each.minute: each for each in at_same_time or ()}
    return [
        PreviewedSlot(
            time=slot,
            text=clock(slot, zone),
            relative=formats.relative(slot, now),
            is_other=slot not in other_slots and (slot <= last or len(other_slots) < SLOTS),
            neighbours=by_minute.get((slot + (delay or timedelta(0))).replace(second=0, microsecond=0)),
        )
        for slot in slots
    ]


def _start(preview: Preview, zone: tzinfo) -> str:
    if not preview.started:
        return "Saving starts no run."
    slots = ", ".join(clock(slot, zone) for slot in preview.started)
    return f"Already due, and will still start: {slots}."


def _next(preview: Preview, times: Times, zone: tzinfo, now: datetime) -> str:
    if not times.enabled:
        return "Disabled: nothing starts until the schedule is enabled."
    if isinstance(times.rule, Chained):
        return f"The next run starts {rule_words(times.rule, zone)}."
    if preview.next_slot is None:
        return "There is no next run."
    if preview.held_by:
        return f"The next run, {clock(preview.next_slot, zone)}, will not start: {_pause(preview.held_by)}."
    at = preview.next_slot + (preview.delay or timedelta(0))
    return f"The next run starts {clock(at, zone)} ({formats.relative(at, now)})."


def _pause(pause: PausePeriod) -> str:
    until = formats.exact(pause.until) if pause.until else None
    return f"paused {pause_terms(until, username=pause.user, reason=pause.reason)}"


def _jitter(delay: timedelta | None, jitter: timedelta) -> str:
    if delay is None:
        length = formats.duration(jitter)
        return f"Each run starts up to {length} later; the exact delay is determined by the first save."
    if not delay:
        return ""
    return f"Each run starts {formats.duration(delay)} later because of its random delay."


def _change(consequence: Consequence) -> str:
    change = consequence.change
    return "{day}, from {before} to {after}:".format(
        day=f"{change.wall_before:%a %Y-%m-%d}",
        before=f"{change.wall_before:%H:%M}",
        after=f"{change.wall_after:%H:%M}",
    )
