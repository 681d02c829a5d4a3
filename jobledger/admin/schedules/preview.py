"""The preview as a page shows it: every slot by the schedule's own clock, and what it means in sentences."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from django.utils import timezone

from jobledger.admin import display
from jobledger.admin.schedules.edit_form import Sheet
from jobledger.schedules import neighbours
from jobledger.schedules.neighbours import Neighbours
from jobledger.schedules.preview import SLOTS, Preview, Times
from jobledger.schedules.rules.clock_changes import Consequence
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.words import rule_words

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One slot."""

    moment: datetime
    shown: str
    """By the clock of the schedule's zone."""
    relative: str
    is_other: bool
    """Whether only one of the two, before and after the save, has it, as far as both are looked at."""
    neighbours: Neighbours | None = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that the page says."""

    words: str
    start: str
    """What the save starts: nothing, or what had come already."""
    next: str
    old: list[Line]
    new: list[Line]
    is_same: bool
    spread: str
    zone: str
    changes: list[tuple[str, str]]
    """When a clock changes, and what that means."""
    has_neighbours: bool


def shown(sheet: Sheet) -> Shown | None:
    """Of a sheet; None while its times cannot be read."""
    preview, times = sheet.preview(), sheet.foreseen
    if preview is None or times is None:
        return None
    zone = _zone_of(times)
    company = neighbours.in_minutes(preview.minutes, but=sheet.stored.pk if sheet.stored else None)
    return Shown(
        words=rule_words(times.rule, zone),
        start=_start(preview, zone),
        next=_next(preview, times, zone, sheet.now),
        old=_lines(preview.old_slots, preview.new_slots, zone, sheet.now),
        new=_lines(preview.new_slots, preview.old_slots, zone, sheet.now, preview.delay, company),
        is_same=preview.is_same,
        spread=_spread(preview.delay, times.policy.jitter),
        zone=str(zone) if isinstance(times.rule, Cron) else "",
        changes=[(_change(each), each.sentence) for each in preview.clock_changes],
        has_neighbours=bool(company),
    )


def clock(moment: datetime, zone: tzinfo) -> str:
    """A moment by the clock of a zone."""
    local = moment.astimezone(zone)
    seconds = ":%S" if local.second else ""
    return f"{local:%a %Y-%m-%d %H:%M}{local.strftime(seconds)} {local.tzname()}"


def _zone_of(times: Times) -> tzinfo:
    return times.rule.zone if isinstance(times.rule, Cron) else timezone.get_current_timezone()


def _lines(
    slots: tuple[datetime, ...],
    others: tuple[datetime, ...],
    zone: tzinfo,
    now: datetime,
    delay: timedelta | None = None,
    company: list[Neighbours] | None = None,
) -> list[Line]:
    last = max(others, default=now)
    by_minute = {each.minute: each for each in company or ()}
    return [
        Line(
            moment=slot,
            shown=clock(slot, zone),
            relative=display.relative(slot, now),
            is_other=slot not in others and (slot <= last or len(others) < SLOTS),
            neighbours=by_minute.get((slot + (delay or timedelta(0))).replace(second=0, microsecond=0)),
        )
        for slot in slots
    ]


def _start(preview: Preview, zone: tzinfo) -> str:
    if not preview.started:
        return "Saving starts nothing."
    slots = ", ".join(clock(slot, zone) for slot in preview.started)
    return f"Saving changes nothing of what had come already: the slot of {slots} starts."


def _next(preview: Preview, times: Times, zone: tzinfo, now: datetime) -> str:
    if not times.enabled:
        return "It is switched off: it starts nothing until it is switched on."
    if preview.next_slot is None:
        return "There is no slot to come: it starts nothing any more."
    if preview.held_by:
        return f"The next slot, {clock(preview.next_slot, zone)}, does not start: {preview.held_by}."
    at = preview.due_at or preview.next_slot
    return f"It starts next at {clock(at, zone)} ({display.relative(at, now)})."


def _spread(delay: timedelta | None, jitter: timedelta) -> str:
    if delay is None:
        length = display.duration(jitter)
        return f"Each starts up to {length} later; the first save settles by how much."
    if not delay:
        return ""
    return f"Each starts {display.duration(delay)} later, by its spread."


def _change(consequence: Consequence) -> str:
    change = consequence.change
    return "{day}, from {before} to {after}:".format(
        day=f"{change.wall_before:%a %Y-%m-%d}",
        before=f"{change.wall_before:%H:%M}",
        after=f"{change.wall_after:%H:%M}",
    )
