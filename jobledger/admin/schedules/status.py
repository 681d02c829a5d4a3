"""How a schedule stands at a moment: on, off, paused, broken or over; its next slot and its last run."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import Q, TextChoices, prefetch_related_objects
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display, recent_runs
from jobledger.admin.pauses import told
from jobledger.admin.recent_runs import LatestRun
from jobledger.models import NextSlot, Pause, Run
from jobledger.schedules.stored_schedules import KINDS, UNREADABLE
from jobledger.schedules.words import described


@dataclass(frozen=True, kw_only=True)
class State:
    """What the page of a schedule says first."""

    mark: SafeString
    reason: str
    """Why it does not start by itself; empty where it does."""
    next_slot: SafeString
    shows_runs: bool
    """Whether they were asked for: not for who may not see runs."""
    last_run: Run | None
    last_mark: SafeString | None
    last_when: SafeString
    own_pause: Pause | None
    service_pause: Pause | None


def state_of(schedule: PeriodicTask, now: datetime, *, with_runs: bool) -> State:
    """At the moment; of runs only for who may see them."""
    row = NextSlot.objects.filter(pk=schedule.pk).first()
    pauses = Pause.objects.open_at(now).filter(Q(schedule=schedule.pk) | Q(schedule=None)).order_by("pk")
    own = next((pause for pause in pauses if pause.schedule_id is not None), None)
    service = next((pause for pause in pauses if pause.schedule_id is None), None)
    mark, reason = _mark(schedule, row, own, service)
    last = _last_run(schedule) if with_runs else None
    return State(
        mark=mark,
        reason=reason,
        next_slot=display.both(row.slot if row else None, now),
        shows_runs=with_runs,
        last_run=last,
        last_mark=display.of_status(last.status) if last else None,
        last_when=display.when(last.queued_at if last else None, now),
        own_pause=own,
        service_pause=service,
    )


class Standing(TextChoices):
    """How a schedule stands, whether or not it is paused; named after the shapes in ``marks.svg``."""

    ON = "on", "on"
    OFF = "off", "off"
    BROKEN = "broken", "broken"
    OVER = "over", "over"

    @property
    def can_be_paused(self) -> bool:
        """Whether a pause says more of it than its standing does."""
        return self not in (Standing.OFF, Standing.BROKEN)


def standing_of(row: NextSlot | None, *, is_on: bool) -> Standing:
    """Judged by what beat has written about it; a schedule that beat has not seen yet is on."""
    if not is_on:
        return Standing.OFF
    if row is not None and row.broken:
        return Standing.BROKEN
    return Standing.OVER if row is not None and row.slot is None else Standing.ON


def paused_in_words(pause: Pause) -> str:
    """Until when, by whom and why."""
    return told(pause.until, reason=pause.reason, who=pause.who)


def _last_run(schedule: PeriodicTask) -> Run | None:
    return Run.objects.filter(schedule=schedule.pk).order_by("-queued_at").defer("traceback").first()


def _mark(
    schedule: PeriodicTask, row: NextSlot | None, own: Pause | None, service: Pause | None
) -> tuple[SafeString, str]:
    match standing_of(row, is_on=schedule.enabled):
        case Standing.OFF:
            return display.mark("off", "switched off"), ""
        case Standing.BROKEN:
            return display.mark("broken", "broken"), row.broken if row else ""
        case _ if own is not None:
            return display.mark("paused", "paused"), paused_in_words(own)
        case _ if service is not None:
            return display.mark("paused", "the whole service is paused"), paused_in_words(service)
        case Standing.OVER:
            return display.mark("over", "over"), "There is no slot to come."
        case _:
            return display.mark("on", "switched on"), ""


RUNS_SHOWN = 20
UNREADABLE_TIMES = "times that cannot be read"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One schedule at the moment."""

    now: datetime
    is_on: bool
    times: str
    """In plain language."""
    zone: ZoneInfo
    """The one that the times are written in."""
    next_slot: NextSlot | None
    """None where the schedule is off, or beat has not seen it yet."""
    pauses: Sequence[Pause]
    """Those in force: its own before those of the whole service."""
    runs: Sequence[LatestRun]
    """The last ones, newest first."""
    shows_runs: bool
    """Whether they were asked for: not for who may not see runs."""

    @property
    def standing(self) -> Standing:
        """How it stands, whether or not it is paused."""
        return standing_of(self.next_slot, is_on=self.is_on)

    @property
    def broken(self) -> str:
        """Why it cannot be evaluated; empty where it can."""
        return self.next_slot.broken if self.next_slot else ""

    @property
    def pause_of_next_slot(self) -> Pause | None:
        """The pause that the next slot lies in."""
        slot = self.next_slot and self.next_slot.slot
        if not slot:
            return None
        return next((each for each in self.pauses if each.until is None or slot < each.until), None)


def of(schedules: Sequence[PeriodicTask], now: datetime, *, with_runs: bool) -> dict[int, Row]:
    """A row for each of the schedules, by its key."""
    unreadable = unreadable_of(schedules)
    ids = [schedule.pk for schedule in schedules]
    pauses = _pauses(ids, now)
    runs = recent_runs.of_schedules(ids, RUNS_SHOWN) if with_runs else {}
    return {
        schedule.pk: Row(
            now=now,
            is_on=schedule.enabled,
            times=UNREADABLE_TIMES if schedule.pk in unreadable else described(schedule),
            zone=_zone(schedule, is_readable=schedule.pk not in unreadable),
            next_slot=getattr(schedule, "next_slot", None),
            pauses=[*pauses.get(schedule.pk, ()), *pauses.get(None, ())],
            runs=runs.get(schedule.pk, ()),
            shows_runs=with_runs,
        )
        for schedule in schedules
    }


def unreadable_of(schedules: Sequence[PeriodicTask]) -> set[int]:
    """Read the times of all of them; returns the keys of those whose times cannot be read."""
    try:
        prefetch_related_objects(schedules, *KINDS)
    except UNREADABLE:
        return {schedule.pk for schedule in schedules if not _is_readable(schedule)}
    return set()


def _is_readable(schedule: PeriodicTask) -> bool:
    try:
        prefetch_related_objects([schedule], *KINDS)
    except UNREADABLE:
        return False
    return True


def _pauses(schedule_ids: Collection[int], now: datetime) -> dict[int | None, list[Pause]]:
    concerned = {None, *schedule_ids}
    found: dict[int | None, list[Pause]] = {}
    # Pauses are few: they are sorted out here.
    for pause in Pause.objects.open_at(now):
        if pause.schedule_id in concerned:
            found.setdefault(pause.schedule_id, []).append(pause)
    return found


def _zone(schedule: PeriodicTask, *, is_readable: bool) -> ZoneInfo:
    zone = schedule.crontab.timezone if is_readable and schedule.crontab_id is not None else None
    return zone if isinstance(zone, ZoneInfo) else ZoneInfo(timezone.get_current_timezone_name())
