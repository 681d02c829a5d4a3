"""The status of a schedule or a job, as a badge says it, by a fixed number of queries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from jobledger import formats
from jobledger.feeds.badge import BadgeStatus, Tone
from jobledger.jobs import registry
from jobledger.models import PROBLEMS, SUCCESSES, Feed, NextSlot, Pause, Reason, Run, Status, Trigger

NEWEST = 50
"""How many runs are looked at for the last one that says something."""
LATE_AFTER = timedelta(minutes=1)
"""A run that is due, or queued, for longer is late."""
_COVERED = (Reason.COALESCED, Reason.SUPERSEDED)
_FIELDS = (
    *("status", "trigger", "reason", "look_at"),
    *("queued_at", "waiting_since", "start_after", "started_at", "finished_at"),
)


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What the badge is about."""

    name: str
    runs: QuerySet[Run]
    """Newest first."""
    running: Q
    """Its runs among all that are running."""
    slots: Q
    """Its schedules."""
    pauses: Q


def read(feed: Feed, now: datetime) -> BadgeStatus:
    """What the feed's badge says now."""
    subject = _subject(feed)
    runs = [run for run in subject.runs.only(*_FIELDS)[:NEWEST] if run.trigger != Trigger.BACKFILL]
    last = next((run for run in runs if _says_something(run)), None)
    state = _state(feed, subject, runs, now)
    outcome = Status(last.status) if last else None
    is_problem = outcome in PROBLEMS
    if state is None:
        text, tone = _outcome(runs, outcome)
    else:
        text, tone = state
        if is_problem and outcome is not None:
            text, tone = f"{text}, last run {outcome.label}", Tone.BAD
    ended = last and (last.finished_at or last.queued_at)
    details = f"last run {formats.exact(ended)}" if ended else ""
    return BadgeStatus(name=subject.name, text=text, tone=tone, details=details)


def _subject(feed: Feed) -> _Subject:
    if feed.schedule is not None:
        pk, task = feed.schedule.pk, feed.schedule.task
        return _Subject(
            name=feed.schedule.name,
            runs=Run.objects.newest_of_schedule(pk),
            running=Q(schedule=pk),
            slots=Q(pk=pk),
            pauses=Q(schedule=pk) | _of_service(task),
        )
    job = registry.all_jobs().get(feed.job)
    task = job.task_name if job else ""
    return _Subject(
        name=feed.job,
        runs=Run.objects.newest_of_job(feed.job),
        running=Q(job=feed.job),
        slots=Q(schedule__task=task),
        pauses=_of_service(task),
    )


def _of_service(task: str) -> Q:
    return Q(pk=None) if registry.runs_while_paused(task) else Q(schedule=None)


def _says_something(run: Run) -> bool:
    """Whether it is the outcome of a run, and no other run does its work."""
    if not run.is_over or run.status == Status.SKIPPED:
        return False
    return not (run.status == Status.MISSED and run.reason in _COVERED)


def _state(feed: Feed, subject: _Subject, runs: Sequence[Run], now: datetime) -> tuple[str, Tone] | None:
    """What is more important than how the last run ended, if anything."""
    if feed.schedule is not None:
        if not feed.schedule.enabled:
            return "disabled", Tone.CALM
        slot: NextSlot | None = getattr(feed.schedule, "next_slot", None)
        if slot and slot.broken:
            return "invalid", Tone.BAD
    if Pause.objects.active_at(now).filter(subject.pauses).exists():
        return "paused", Tone.CALM
    is_overdue = NextSlot.objects.filter(subject.slots, due_at__lt=now - LATE_AFTER).exists()
    if is_overdue or any(_is_late(run, now) for run in runs):
        return "late", Tone.WARN
    # Few runs are running at a time. With a further condition, a database might read all of the schedule's.
    running: Iterable[Any] = Run.objects.filter(status=Status.RUNNING).only("job", "schedule", "trigger")
    if any(_is_of(run, feed) for run in running):
        return "running", Tone.BUSY
    return None


def _is_late(run: Run, now: datetime) -> bool:
    times = (run.waiting_since or run.queued_at, run.start_after)
    return run.status == Status.QUEUED and now - max(filter(None, times)) >= LATE_AFTER


def _is_of(run: Run, feed: Feed) -> bool:
    if run.trigger == Trigger.BACKFILL:
        return False
    return run.schedule_id == feed.schedule_id if feed.schedule_id else run.job == feed.job


def _outcome(runs: Sequence[Run], outcome: Status | None) -> tuple[str, Tone]:
    if outcome is None:
        return (str(Status(runs[0].status).label) if runs else "no runs"), Tone.CALM
    if outcome in SUCCESSES:
        return str(outcome.label), Tone.GOOD
    return str(outcome.label), Tone.BAD if outcome in PROBLEMS else Tone.CALM
