"""Overviews of schedules: status, pauses, next slot and recent runs, loaded in bulk."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from django.db.models import TextChoices, prefetch_related_objects
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display, recent_runs
from jobledger.admin.display import Marks, RunUrls
from jobledger.admin.duration_chart import duration_chart
from jobledger.admin.recent_runs import NewestRuns, RecentRun
from jobledger.jobs import registry
from jobledger.models import PROBLEMS, NextSlot, Pause
from jobledger.schedules import pausing
from jobledger.schedules.chains import links
from jobledger.schedules.chains.links import Follower
from jobledger.schedules.stored_schedules import (
    KINDS,
    UNREADABLE,
    prefetch_times,
)
from jobledger.schedules.words import described

RUNS_SHOWN = 20
UNREADABLE_TIMES = "invalid timing"


class ScheduleStatus(TextChoices):
    """The status regardless of pauses. The values are the names of symbols in ``marks.svg``."""

    ENABLED = "enabled", "enabled"
    DISABLED = "disabled", "disabled"
    BROKEN = "broken", "broken"
    FINISHED = "finished", "finished"


@dataclass(frozen=True, kw_only=True)
class ScheduleOverview:
    """A schedule at a given time."""

    now: datetime
    name: str
    is_enabled: bool
    times: str
    """In plain language."""
    zone: ZoneInfo
    """The time zone of the timing."""
    page_zone: tzinfo
    """The current time zone. To look it up for every time takes longer than to format the time."""
    next_slot: NextSlot | None
    """None if the schedule is disabled, or beat has not seen it yet."""
    pauses: Sequence[Pause]
    """Active pauses: those of the schedule before those of the service."""
    newest_runs: NewestRuns
    shows_runs: bool
    """Whether runs were loaded. False for users without permission to view runs."""
    marks: Marks
    urls: RunUrls
    is_chained: bool = False
    """Whether it starts after other schedules."""
    followers: Sequence[Follower] = ()
    """The schedules that start after it."""

    @property
    def status(self) -> ScheduleStatus:
        """The status recorded by beat. A schedule that beat has not seen yet is enabled."""
        if not self.is_enabled:
            return ScheduleStatus.DISABLED
        if self.broken:
            return ScheduleStatus.BROKEN
        is_finished = self.next_slot is not None and self.next_slot.slot is None and not self.is_chained
        return ScheduleStatus.FINISHED if is_finished else ScheduleStatus.ENABLED

    @property
    def is_paused(self) -> bool:
        """Whether a pause is the reason why the schedule starts no runs, rather than its status."""
        return bool(self.pauses) and self.status not in (ScheduleStatus.DISABLED, ScheduleStatus.BROKEN)

    @property
    def mark(self) -> SafeString:
        return self.paused_mark if self.is_paused else self.status_mark

    @property
    def paused_mark(self) -> SafeString:
        return self.marks.of("paused", "paused")

    @property
    def status_mark(self) -> SafeString:
        return self.marks.of(self.status.value, self.status.label)

    @property
    def reason(self) -> str:
        """Details of why the schedule starts no runs."""
        if self.is_paused:
            terms = pausing.terms_of(self.pauses[0], self.now)
            return terms if self.is_paused_by_itself else f"whole service, {terms}"
        if self.status is ScheduleStatus.FINISHED:
            return "There is no next run."
        return self.broken if self.status is ScheduleStatus.BROKEN else ""

    @property
    def broken(self) -> str:
        """Why it cannot be evaluated; empty if it can."""
        return self.next_slot.broken if self.next_slot else ""

    @property
    def is_paused_by_itself(self) -> bool:
        return any(pause.schedule_id is not None for pause in self.pauses)

    @property
    def pause_of_next_slot(self) -> Pause | None:
        """The pause that includes the next slot."""
        slot = self.next_slot and self.next_slot.slot
        if not slot:
            return None
        return next((each for each in self.pauses if each.until is None or slot < each.until), None)

    @property
    def then_starts(self) -> str:
        return ", ".join(each.name for each in self.followers)

    @property
    def next_run_when(self) -> SafeString:
        if self.is_chained and self.is_enabled and not self.broken:
            return format_html("{}", self.times)
        return display.when(self.next_slot.slot if self.next_slot else None, self.now)

    @property
    def next_run_time(self) -> SafeString:
        if self.is_chained and self.is_enabled and not self.broken:
            return format_html("{}", self.times)
        return display.exactly_when(self.next_slot.slot if self.next_slot else None, self.now)

    @property
    def duration_chart(self) -> SafeString:
        """Empty if the schedule has no runs."""
        return duration_chart(self.runs, self.now)

    @property
    def runs(self) -> Sequence[RecentRun]:
        """The recent runs, newest first."""
        return self.newest_runs.runs

    @property
    def problems(self) -> int:
        """How many of the recent runs failed, or were missed."""
        return self.newest_runs.count(PROBLEMS)

    @property
    def problems_url(self) -> str:
        """The list of exactly these runs."""
        since = self.newest_runs.counted_since
        return self.urls.filtered(schedule=self.name, status="problem", since=since)

    @property
    def all_runs_url(self) -> str:
        return self.urls.filtered(schedule=self.name)

    @property
    def last_run(self) -> RecentRun | None:
        return self.runs[0] if self.runs else None

    @property
    def last_run_mark(self) -> SafeString:
        return self.marks.of(self.runs[0].status, self.runs[0].status.label)

    @property
    def last_run_url(self) -> str:
        return self.urls.page(self.runs[0].id)

    @property
    def last_run_time(self) -> SafeString:
        return display.when(self.runs[0].began_at, self.now, self.page_zone)


def overviews(
    schedules: Sequence[PeriodicTask],
    now: datetime,
    *,
    with_runs: bool,
    max_runs: int = RUNS_SHOWN,
    pauses: Iterable[Pause] | None = None,
) -> dict[int, ScheduleOverview]:
    """The overviews of the schedules, by primary key, in a constant number of queries.

    The pauses are read unless all that are active are among these.
    """
    unreadable = unreadable_of(schedules)
    ids = [schedule.pk for schedule in schedules]
    pauses_of = _pauses(ids, now, Pause.objects.active_at(now).order_by("pk") if pauses is None else pauses)
    runs = recent_runs.runs_of_schedules(ids, max_runs) if with_runs else {}
    marks, urls, page_zone = Marks(), RunUrls(), timezone.get_current_timezone()
    followers = links.followers(ids)
    return {
        schedule.pk: ScheduleOverview(
            now=now,
            name=schedule.name,
            is_enabled=schedule.enabled,
            times=UNREADABLE_TIMES if schedule.pk in unreadable else described(schedule, page_zone),
            zone=_zone(schedule, is_readable=schedule.pk not in unreadable),
            page_zone=page_zone,
            next_slot=getattr(schedule, "next_slot", None),
            pauses=_pauses_of(schedule, pauses_of),
            newest_runs=runs.get(schedule.pk, NewestRuns()),
            shows_runs=with_runs,
            marks=marks,
            urls=urls,
            followers=followers.get(schedule.pk, ()),
            is_chained=links.starts_after_others(schedule),
        )
        for schedule in schedules
    }


def overview(
    schedule: PeriodicTask, now: datetime, *, with_runs: bool, pauses: Iterable[Pause] | None = None
) -> ScheduleOverview:
    """The overview of one schedule, with as many runs as the duration chart shows."""
    most = recent_runs.WINDOW
    return overviews([schedule], now, with_runs=with_runs, max_runs=most, pauses=pauses)[schedule.pk]


def unreadable_of(schedules: Sequence[PeriodicTask]) -> set[int]:
    """Load the timing of all schedules; returns the primary keys of those with invalid timing."""
    try:
        prefetch_times(schedules)
        prefetch_related_objects(schedules, "policy")
    except UNREADABLE:
        return {schedule.pk for schedule in schedules if not _is_readable(schedule)}
    return set()


def without_unreadable_times(schedules: Iterable[PeriodicTask]) -> list[PeriodicTask]:
    """The schedules, without timing that cannot be read, which their ``str()`` would read."""
    found = list(schedules)
    unreadable = unreadable_of(found)
    for schedule in found:
        if schedule.pk in unreadable:
            for kind in KINDS:
                setattr(schedule, kind, None)
    return found


def _is_readable(schedule: PeriodicTask) -> bool:
    try:
        prefetch_times([schedule])
    except UNREADABLE:
        return False
    return True


def _pauses(
    schedule_ids: Collection[int], now: datetime, pauses: Iterable[Pause]
) -> dict[int | None, list[Pause]]:
    relevant_ids = {None, *schedule_ids}
    found: dict[int | None, list[Pause]] = {}
    # There are few pauses, so they are filtered in Python.
    for pause in pauses:
        if pause.schedule_id in relevant_ids and pause.is_active_at(now):
            found.setdefault(pause.schedule_id, []).append(pause)
    return found


def _pauses_of(schedule: PeriodicTask, found: Mapping[int | None, Sequence[Pause]]) -> list[Pause]:
    of_service = () if registry.runs_while_paused(schedule.task) else found.get(None, ())
    return [*found.get(schedule.pk, ()), *of_service]


def _zone(schedule: PeriodicTask, *, is_readable: bool) -> ZoneInfo:
    zone = schedule.crontab.timezone if is_readable and schedule.crontab_id is not None else None
    return zone if isinstance(zone, ZoneInfo) else ZoneInfo(timezone.get_current_timezone_name())
