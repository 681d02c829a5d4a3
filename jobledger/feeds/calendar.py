"""The next runs as an iCalendar file (RFC 5545), by a fixed number of queries.

Each run is an event of its own, at its time in UTC: so no client has to know the rules of a time zone or of
cron, and calendars, pauses and jitter are considered as when beat plans. Nothing in the file says when it was
written, so it stays the same, and a client need not load it again, until a run is over or a schedule changes.
"""

import hashlib
import heapq
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from django.db import Error
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.alerts.durations import SAMPLE
from jobledger.alerts.sending.message import link_to
from jobledger.conf import settings
from jobledger.escapes import escaped
from jobledger.jobs import registry
from jobledger.models import Feed, NextSlot, Pause, Run, SchedulePolicy, Status
from jobledger.schedules import stored_schedules
from jobledger.schedules.forecasts.simulation import SimulatedSlot, simulate
from jobledger.schedules.pause_lookup import PauseLookup
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.rules.slots import RESOLUTION
from jobledger.schedules.words import described

HORIZON = timedelta(days=31)
DAY = timedelta(days=1)
MAX_SCHEDULES = 500
"""Those that are due first."""
MAX_EVENTS = 500
MAX_OF_EACH = 25
"""Of each schedule, if there are several."""
MAX_LOOKED_AT = 2000
"""Of a schedule's slots, of which some may not run."""
SHORTEST = timedelta(minutes=1)
"""An event's length: some clients do not show shorter ones."""
REFRESH = timedelta(hours=1)
INSTALL = "Calendars need a package: pip install 'django-jobledger[ical]'."
JOBS_PER_QUERY = 200
_SHOWN = (
    *("pk", "due_at", "handled_until"),
    *(f"schedule__{name}" for name in ("name", "task", "enabled", "date_changed")),
    *(f"schedule__policy__{field.attname}" for field in SchedulePolicy._meta.concrete_fields),
)
"""What the events show besides the schedule's times."""


class NotInstalledError(Exception):
    """icalendar is not installed."""


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """A run that is planned."""

    schedule: PeriodicTask
    slot: datetime
    starts_at: datetime


def written(feed: Feed, now: datetime) -> bytes:
    """The feed's calendar. Raises NotInstalledError."""
    library = installed()
    runs = next_runs(feed, now)
    lengths = usual_durations({run.schedule.task for run in runs})
    calendar = library.Calendar()
    name = f"Next runs of {escaped(feed.about)}"
    for key, value in (
        ("PRODID", "-//jobledger//next runs//EN"),
        ("VERSION", "2.0"),
        ("METHOD", "PUBLISH"),
        ("NAME", name),
        ("X-WR-CALNAME", name),
    ):
        calendar.add(key, value)
    calendar.add("REFRESH-INTERVAL", REFRESH, {"VALUE": "DURATION"})
    calendar.add("X-PUBLISHED-TTL", "PT1H")
    texts = {run.schedule.pk: _texts(run.schedule) for run in {run.schedule.pk: run for run in runs}.values()}
    if not runs:
        # There must be a component, whatever it is.
        calendar.add_component(_utc(library))
    for run in runs:
        event = _event(library, run, lengths.get(run.schedule.task, SHORTEST), texts[run.schedule.pk])
        calendar.add_component(event)
    return bytes(calendar.to_ical())


def version(feed: Feed, now: datetime) -> str:
    """A digest of what the calendar is written from, but for how long runs usually take.

    It is read in two queries, and changes at once with any of it, by whatever means and in whatever process.
    """
    rows = _due(feed).values_list(*_SHOWN, stored_schedules.timing_at("schedule__"))[:MAX_SCHEDULES]
    pauses = Pause.objects.ending_after(now).order_by("pk").values_list()
    inputs = [feed.about, _end_of(now), list(rows), list(pauses)]
    return hashlib.sha256(repr(inputs).encode(errors="surrogatepass")).hexdigest()


def installed() -> Any:
    """The library, which only calendars need. Raises NotInstalledError."""
    try:
        return importlib.import_module("icalendar")
    except ImportError as error:
        raise NotInstalledError(INSTALL) from error


def next_runs(feed: Feed, now: datetime) -> Sequence[NextRun]:
    """The runs of the feed's schedules until the end of a day, soonest first."""
    until = _end_of(now)
    handled_until = dict(_due(feed).values_list("pk", "handled_until")[:MAX_SCHEDULES])
    loaded = stored_schedules.load(handled_until)
    pauses = PauseLookup(handled_until, now)
    limit = MAX_EVENTS if len(handled_until) == 1 else MAX_OF_EACH
    found = [
        islice(_runs(schedule, handled_until[pk], pauses.of(pk, schedule.task), now, until), limit)
        for pk, schedule in sorted(loaded.schedules.items())
    ]
    merged = heapq.merge(*found, key=lambda run: (run.starts_at, run.schedule.pk))
    return list(islice(merged, MAX_EVENTS))


def usual_durations(tasks: set[str]) -> Mapping[str, timedelta]:
    """The median of each task's last successful runs, in whole minutes so that it seldom changes."""
    jobs = {job.name: task for task in sorted(tasks) if (job := registry.of_task(task))}
    names, durations = list(jobs), dict[str, list[timedelta]]()
    for first in range(0, len(names), JOBS_PER_QUERY):
        for job, begin, end in _successes(names[first : first + JOBS_PER_QUERY]):
            if begin and end:
                durations.setdefault(job, []).append(end - begin)
    return {jobs[job]: _in_minutes(median(found)) for job, found in durations.items()}  # type: ignore[type-var]  # durations can be halved


def _end_of(now: datetime) -> datetime:
    """The end of a day, so that the file stays the same for that day."""
    return (now.astimezone(UTC) + HORIZON + DAY).replace(hour=0, minute=0, second=0, microsecond=0)


def _due(feed: Feed) -> QuerySet[NextSlot]:
    return NextSlot.objects.filter(_among(feed), slot__isnull=False).order_by("due_at", "pk")


def _among(feed: Feed) -> Q:
    if feed.schedule_id:
        return Q(pk=feed.schedule_id)
    if not feed.job:
        return Q()
    job = registry.all_jobs().get(feed.job)
    return Q(schedule__task=job.task_name) if job else Q(pk=None)


def _runs(
    schedule: PeriodicTask,
    handled_until: datetime,
    pauses: Sequence[PausePeriod],
    now: datetime,
    until: datetime,
) -> Iterator[NextRun]:
    if any(pause.until is None for pause in pauses):
        return
    try:
        for slot in islice(_slots(schedule, handled_until, pauses, now, until), MAX_LOOKED_AT):
            if slot.started_at is not None and now <= slot.started_at < until:
                yield NextRun(schedule=schedule, slot=slot.scheduled_for, starts_at=slot.started_at)
    except Error:
        raise
    except Exception:  # noqa: BLE001 - as in beat, one broken schedule must not affect the others
        return


def _slots(
    schedule: PeriodicTask,
    handled_until: datetime,
    pauses: Sequence[PausePeriod],
    now: datetime,
    until: datetime,
) -> Iterator[SimulatedSlot]:
    times = stored_schedules.times_of(schedule)
    # Some may have passed and wait for their jitter, unless a pause holds them.
    delay = jitter_delay(times.policy.jitter, schedule.pk)
    waiting_since = now if any(pause.covers(now) for pause in pauses) else now - delay
    return simulate(
        rule=times.due_rule,
        policy=times.policy,
        identity=schedule.pk,
        window=times.window,
        start=max(waiting_since, handled_until + RESOLUTION),
        end=until,
        pauses=pauses,
        # What is due in a pause is looked at when it ends: all of it together, however much it is.
        downtimes=[(max(pause.since, now), pause.until) for pause in pauses if pause.until],
    )


def _successes(names: Sequence[str]) -> Any:
    """In one query: see ``admin.recent_runs``."""
    queries = [
        Run.objects.filter(
            pk__in=Run.objects.newest_of_job(name).that_ended(Status.SUCCEEDED).values("pk")[:SAMPLE]
        )
        .order_by()
        .values_list("job", "started_at", "finished_at")
        for name in names
    ]
    return queries[0].union(*queries[1:], all=True) if len(queries) > 1 else queries[0]


def _in_minutes(length: timedelta) -> timedelta:
    return max(SHORTEST, timedelta(minutes=round(length / timedelta(minutes=1))))


def _texts(schedule: PeriodicTask) -> Mapping[str, str]:
    """What all events of a schedule have in common."""
    job = registry.of_task(schedule.task)
    return {
        "SUMMARY": escaped(schedule.name),
        "DESCRIPTION": f"Job: {escaped(job.name if job else schedule.task)}\n{described(schedule)}",
        "URL": link_to("django_celery_beat_periodictask_change", str(schedule.pk)),
    }


def _event(library: Any, run: NextRun, length: timedelta, texts: Mapping[str, str]) -> Any:
    event = library.Event()
    # Of the slot, which stays the same if the jitter or the duration changes.
    event.add("UID", f"run-{run.schedule.pk}-{run.slot:%Y%m%dT%H%M%S%fZ}@{_host()}")
    event.add("DTSTAMP", run.schedule.date_changed.astimezone(UTC).replace(microsecond=0))
    event.add("DTSTART", run.starts_at.astimezone(UTC).replace(microsecond=0))
    event.add("DTEND", (run.starts_at + length).astimezone(UTC).replace(microsecond=0))
    event.add("TRANSP", "TRANSPARENT")
    event.add("SUMMARY", texts["SUMMARY"])
    event.add("DESCRIPTION", f"{texts['DESCRIPTION']}\nScheduled for {formats.exact(run.slot)}")
    if texts["URL"]:
        event.add("URL", texts["URL"])
    return event


def _utc(library: Any) -> Any:
    zone, standard = library.Timezone(), library.TimezoneStandard()
    zone.add("TZID", "UTC")
    standard.add("DTSTART", datetime(1970, 1, 1))  # noqa: DTZ001 - RFC 5545 wants local time
    standard.add("TZOFFSETFROM", timedelta(0))
    standard.add("TZOFFSETTO", timedelta(0))
    zone.add_component(standard)
    return zone


def _host() -> str:
    return urlsplit(settings.BASE_URL).hostname or "jobledger"
