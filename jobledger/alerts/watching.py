"""Notices what no run's end tells: runs that wait or take too long, and schedules without a success.

Any number of processes may scan, as often as they like: the id of an alert is derived from what it is about,
so everything is told once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice

from django.db import transaction
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.alerts import deciding, durations
from jobledger.alerts.deciding import Saying, Streak
from jobledger.alerts.recording import Event, alert_id, locked_states, state_key, write
from jobledger.alerts.rules import ATTENDED, Rule, RuleBook
from jobledger.formats import MAX_DURATION
from jobledger.jobs import registry
from jobledger.jobs.declaration import AlertKind
from jobledger.models import Alert, Pause, Run, SchedulePolicy, Status, Trigger
from jobledger.models.states import WAITING_SINCE
from jobledger.paging import is_after

BATCH = 2000
"""How many runs are looked at in one statement."""

_RUN_FIELDS = (
    *("job", "trigger", "schedule", "schedule_name"),
    *("queued_at", "waiting_since", "start_after", "started_at"),
)

Noticed = tuple[Rule, Event, Saying]


def scan_runs(now: datetime) -> None:
    """Report the runs that have been queued or running for too long."""
    book = RuleBook.load()
    if not book.is_mute:
        noticed = chain(_late(book, now), _slow(book, now))
        while batch := list(islice(noticed, BATCH)):
            _write_new(batch, now)


def scan_schedules(now: datetime) -> None:
    """Report the schedules none of whose runs has succeeded for too long."""
    book = RuleBook.load()
    if not book.is_mute:
        _write_new(list(_silent(book, now)), now)


def _write_new(noticed: list[Noticed], now: datetime) -> None:
    by_id = {alert_id(rule, event, saying.kind): (rule, event, saying) for rule, event, saying in noticed}
    known = set(Alert.objects.filter(pk__in=by_id).values_list("pk", flat=True))
    new = [each for pk, each in by_id.items() if pk not in known]
    if not new:
        return
    with transaction.atomic():
        _expect_recovery([each for each in new if each[2].kind is AlertKind.SILENT])
        write(new, now)


def _late(book: RuleBook, now: datetime) -> Iterator[Noticed]:
    shortest = book.shortest_late_after
    if shortest is None:
        return
    waiting = Run.objects.startable(now).filter(queued_at__lte=now)  # the order of an index
    waiting = waiting.annotate(since=WAITING_SINCE).filter(since__lte=now - min(shortest, MAX_DURATION))
    for run in _all(waiting):
        # A retry waits from the end of its backoff.
        waited = now - max(filter(None, [run.waiting_since or run.queued_at, run.start_after]))
        for rule in _rules_about(book, AlertKind.LATE, run):
            if rule.late_after is not None and waited >= rule.late_after:
                yield rule, _lateness(run, now), _saying(AlertKind.LATE, waited=waited)


def _slow(book: RuleBook, now: datetime) -> Iterator[Noticed]:
    for run in _all(Run.objects.filter(status=Status.RUNNING, started_at__isnull=False)):
        rules = _rules_about(book, AlertKind.SLOW, run)
        if not rules or run.started_at is None:
            continue
        took = now - run.started_at
        if (limit := durations.slow_after(run.job, took)) is not None:
            for rule in rules:
                yield rule, _event(run, AlertKind.SLOW, now), _saying(AlertKind.SLOW, limit=limit, took=took)


def _all(runs: QuerySet[Run]) -> Iterator[Run]:
    """The runs, oldest first, a batch at a time: those in front may have been told of already."""
    # A backfill's runs may have to wait, and are reported as a whole.
    runs = runs.exclude(trigger=Trigger.BACKFILL).order_by("queued_at", "pk").only(*_RUN_FIELDS)
    batch = list(runs[:BATCH])
    while batch:
        yield from batch
        later = is_after("queued_at", batch[-1].queued_at, batch[-1].pk)
        batch = list(runs.filter(later)[:BATCH]) if len(batch) == BATCH else []


def _silent(book: RuleBook, now: datetime) -> Iterator[Noticed]:
    paused = set(Pause.objects.active_at(now).values_list("schedule", flat=True))
    if None in paused and not registry.exempt_from_pauses():
        return
    schedules = _limited(book, PeriodicTask.objects.filter(enabled=True))
    for pk, name, task, changed_at in schedules.values_list("pk", "name", "task", "date_changed"):
        job = registry.of_task(task)
        if job is None or pk in paused or (None in paused and not job.declaration.runs_while_paused):
            continue
        for rule in book.rules_of(job.name, pk):
            limit = rule.success_within or job.declaration.success_within
            if limit is None or not rule.is_about(AlertKind.SILENT):
                continue
            silence = _silence(pk, job, changed_at)
            if silence.unpaused_until(now) >= limit:
                event = Event(
                    job=job.name,
                    kind=AlertKind.SILENT,
                    at=now,
                    key=f"silent {pk} {silence.since}",
                    schedule_id=pk,
                    schedule_name=name,
                )
                yield rule, event, _saying(AlertKind.SILENT, limit=limit, since=silence.since)


@dataclass(frozen=True, kw_only=True)
class _Silence:
    """Since when a schedule has had no success."""

    since: datetime
    """Its last success, or its last change, such as that it was enabled again."""
    pauses: Sequence[tuple[datetime, datetime | None]]
    """Those after it, in order; None: until a user ends it."""

    def unpaused_until(self, now: datetime) -> timedelta:
        """For how long of that time the schedule was not paused."""
        unpaused, begin = timedelta(0), self.since
        for paused_at, resumed_at in self.pauses:
            unpaused += max(min(paused_at, now) - begin, timedelta(0))
            begin = max(begin, min(resumed_at or now, now))
        return unpaused + (now - begin)


def _limited(book: RuleBook, schedules: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
    """The schedules that may have a limit: there may be very many without one."""
    if book.limits_silence:
        return schedules
    jobs = registry.all_jobs().values()
    return schedules.filter(task__in=[job.task_name for job in jobs if job.declaration.success_within])


def _silence(schedule_id: int, job: registry.Job, changed_at: datetime) -> _Silence:
    succeeded = Run.objects.newest_of_schedule(schedule_id).that_ended(Status.SUCCEEDED)
    # A slot of the past says nothing about the present.
    present = succeeded.exclude(trigger=Trigger.BACKFILL)
    last = present.values_list("finished_at", flat=True).first()
    begun = SchedulePolicy.objects.filter(pk=schedule_id).values_list("anchor", flat=True).first()
    since: datetime = max(time for time in (last, begun, changed_at) if time is not None)
    own = Q(schedule=schedule_id)
    applicable = own if job.declaration.runs_while_paused else own | Q(schedule=None)
    pauses = Pause.objects.ending_after(since).filter(applicable)
    times = list(pauses.order_by("since").values_list("since", "until"))
    return _Silence(since=since, pauses=times)


def _expect_recovery(silent: Sequence[Noticed]) -> None:
    """Let the next success be told as a recovery."""
    states = locked_states([(rule, event) for rule, event, _ in silent]) if silent else {}
    for rule, event, saying in silent:
        state = states[state_key(rule, event)]
        state.state = deciding.silent(Streak.read(state.state), saying.facts["since"]).as_json()
        state.save(update_fields=["state"])


def _rules_about(book: RuleBook, kind: AlertKind, run: Run) -> list[Rule]:
    is_attended = run.trigger in ATTENDED
    rules = book.rules_of(run.job, run.schedule_id)
    return [rule for rule in rules if rule.is_about(kind, is_attended=is_attended)]


def _event(run: Run, kind: AlertKind, now: datetime) -> Event:
    return Event(
        job=run.job,
        kind=kind,
        at=now,
        key=str(run.pk),
        schedule_id=run.schedule_id,
        schedule_name=run.schedule_name,
        run_id=run.pk,
    )


def _lateness(run: Run, now: datetime) -> Event:
    """The same for a run that has superseded others, so that each of a schedule's runs is not told of."""
    event = _event(run, AlertKind.LATE, now)
    if run.schedule_id is None:
        return event
    return replace(event, key=f"{run.schedule_id} {run.waiting_since or run.queued_at}")


def _saying(kind: AlertKind, **facts: datetime | timedelta) -> Saying:
    return Saying(kind=kind, facts=facts)
