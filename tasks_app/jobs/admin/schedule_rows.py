"""What the list of schedules says of each, read for a whole page at once.

The number of queries does not depend on the number of schedules. A schedule that Django cannot read, such as
one whose time zone is unknown, hides no other.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import prefetch_related_objects
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import latest_runs
from tasks_app.jobs.admin.latest_runs import LatestRun
from tasks_app.jobs.admin.schedule_state import Standing, standing_of
from tasks_app.jobs.models import NextSlot, Pause
from tasks_app.jobs.scheduling.described import described
from tasks_app.jobs.scheduling.timing import KINDS, UNREADABLE

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
    runs = latest_runs.of_schedules(ids, RUNS_SHOWN) if with_runs else {}
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
