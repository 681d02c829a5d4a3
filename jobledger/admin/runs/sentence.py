"""One sentence that says what happened to a run and why. Pure: from values, and the moment is given.

``short`` says only what stands beside the state's mark in a list; ``sentence`` says all of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.admin import display
from jobledger.admin.display import duration, exact
from jobledger.models import Run, Status, Trigger
from jobledger.runs.attempts import WORKER_STOPPED
from jobledger.schedules.planning import verdicts
from jobledger.schedules.planning.planning import EDITED_MEANWHILE

LATE = timedelta(seconds=60)
SILENT = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The run that another one waits for."""

    short_id: str
    started_at: datetime | None
    started_by: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run."""

    status: Status
    now: datetime
    queued_at: datetime
    trigger: Trigger = Trigger.SCHEDULE
    who: str = ""
    schedule_name: str = ""
    scheduled_for: datetime | None = None
    folded: int = 0
    attempt: int = 1
    publish_after: datetime | None = None
    publish_count: int = 0
    start_before: datetime | None = None
    is_guarded: bool = False
    """Whether it waits, or has waited, for another run of the job."""
    holder: Holder | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancelled_by: str = ""
    exit_code: int | None = None
    error: str = ""

    @property
    def took(self) -> str:
        """How long it ran; empty when it did not."""
        return display.took(self.started_at, self.finished_at)

    @property
    def slot(self) -> str:
        """The slot as it is told."""
        return exact(self.scheduled_for) if self.scheduled_for else exact(self.queued_at)

    @property
    def first_line(self) -> str:
        """The error's first line, without its full stop."""
        return self.error.strip().partition("\n")[0].rstrip().rstrip(".")


def facts_of(run: Run, now: datetime, *, holder: Run | None = None, error: str | None = None) -> Facts:
    """What a run's row says. ``error`` stands for the row's own where that was not loaded."""
    return Facts(
        status=Status(run.status),
        now=now,
        queued_at=run.queued_at,
        trigger=Trigger(run.trigger),
        who=run.who,
        schedule_name=run.schedule_name,
        scheduled_for=run.scheduled_for,
        folded=run.folded,
        attempt=run.attempt,
        publish_after=run.publish_after,
        publish_count=run.publish_count,
        start_before=run.start_before,
        is_guarded=bool(run.concurrency_key),
        holder=_holder(holder) if holder else None,
        started_at=run.started_at,
        heartbeat_at=run.heartbeat_at,
        finished_at=run.finished_at,
        cancel_requested_at=run.cancel_requested_at,
        cancelled_by=run.cancelled_by,
        exit_code=run.exit_code,
        error=run.error if error is None else error,
    )


def started_by(trigger: Trigger, who: str, schedule_name: str) -> str:
    """Who or what started a run: ``schedule nightly``, ``anna in the admin``."""
    match trigger:
        case Trigger.SCHEDULE:
            return f"schedule {schedule_name}" if schedule_name else "a schedule"
        case Trigger.ADMIN:
            of = f", for schedule {schedule_name}" if schedule_name else ""
            return f"{who or 'somebody'} in the admin{of}"
        case Trigger.CELERY:
            return "celery call"
        case Trigger.CLI:
            return f"{who or 'somebody'} on the command line"
    return "another job"


def sentence(facts: Facts) -> str:
    """What happened and why."""
    return _TELLERS[facts.status](facts)


def short(facts: Facts) -> str:
    """The reason alone, for a list where the state stands beside it; empty where there is none."""
    match facts.status:
        case Status.SUCCEEDED | Status.SENT:
            return f"attempt {facts.attempt}" if facts.attempt > 1 else ""
        case Status.FAILED | Status.TIMED_OUT | Status.LOST:
            return facts.first_line
        case Status.RUNNING:
            return _end_asked(facts) or _silent(facts)
        case Status.QUEUED:
            return _why_queued(facts)
        case Status.CANCELLED:
            return f"by {_canceller(facts)}"
        case Status.MISSED:
            return _why_missed(facts)
        case Status.EXPIRED:
            return "not started in time"
    return _why_skipped(facts)


def _queued(facts: Facts) -> str:
    end = f"; it expires at {exact(facts.start_before)} unless it starts before" if facts.start_before else ""
    return f"Queued: {_why_queued(facts)}{end}."


def _why_queued(facts: Facts) -> str:
    # Between the choice of the retry and its publishing nobody has counted a message.
    if facts.attempt > 1 and not facts.publish_count and not facts.is_guarded:
        at = f" at {exact(facts.publish_after)}" if facts.publish_after else ""
        return f"attempt {facts.attempt - 1} did not succeed; attempt {facts.attempt} starts{at}"
    if facts.is_guarded and facts.holder:
        return f"waits for {_held_by(facts.holder)}"
    if facts.is_guarded:
        return "waits for its turn: another run of the same job was running"
    since = exact(facts.queued_at)
    if not facts.publish_count:
        return f"it is not on record yet that the broker has its message (since {since})"
    times = "" if facts.publish_count == 1 else f" (asked {facts.publish_count} times)"
    return f"not yet picked up by a worker since {since}{times}"


def _held_by(holder: Holder) -> str:
    started = f" (started {exact(holder.started_at)} by {holder.started_by})" if holder.started_at else ""
    return f"run {holder.short_id} of the same job{started}"


def _running(facts: Facts) -> str:
    begin = facts.started_at or facts.queued_at
    attempt = f", attempt {facts.attempt}" if facts.attempt > 1 else ""
    length = display.took(begin, facts.now)
    news = "; ".join(part for part in (_end_asked(facts), _silent(facts)) if part)
    return f"Running since {exact(begin)} ({length}{attempt})" + (f": {news}." if news else ".")


def _end_asked(facts: Facts) -> str:
    if facts.cancel_requested_at is None:
        return ""
    return f"{facts.cancelled_by or 'somebody'} asked for its end at {exact(facts.cancel_requested_at)}"


def _silent(facts: Facts) -> str:
    if facts.heartbeat_at is None or facts.now - facts.heartbeat_at < SILENT:
        return ""
    return f"not heard of since {exact(facts.heartbeat_at)}"


def _succeeded(facts: Facts) -> str:
    took = f" in {facts.took}" if facts.took else ""
    return f"Succeeded{took}{_at_attempt(facts)}{_how_late(facts)}."


def _failed(facts: Facts) -> str:
    after = f" after {facts.took}" if facts.took else ""
    code = f" with exit code {facts.exit_code}" if facts.exit_code is not None else ""
    return f"Failed{after}{code}{_at_attempt(facts)}{_because(facts)}."


def _timed_out(facts: Facts) -> str:
    after = f" after {facts.took}" if facts.took else ""
    return f"Timed out{after}{_at_attempt(facts)}{_because(facts)}."


def _lost(facts: Facts) -> str:
    after = f" after {facts.took}" if facts.took else ""
    return f"Lost{after}{_at_attempt(facts)}{_because(facts)}."


def _cancelled(facts: Facts) -> str:
    when = f" after {facts.took}" if facts.took else " before it started,"
    # What is more than the usual: that it had to be killed, for example.
    usual = (f"Cancelled by {facts.cancelled_by}.", "Interrupted by hand.")
    line = facts.error.strip().partition("\n")[0]
    more = next((line.removeprefix(each).strip() for each in usual if line.startswith(each)), line)
    return f"Cancelled{when} by {_canceller(facts)}." + (f" {more}" if more else "")


def _canceller(facts: Facts) -> str:
    if facts.cancelled_by == WORKER_STOPPED:
        return "its worker, which was told to stop"
    return facts.cancelled_by or "hand, where it ran"


def _skipped(facts: Facts) -> str:
    return f"Skipped: {_why_skipped(facts)}{_folded(facts)}."


def _why_skipped(facts: Facts) -> str:
    reason = facts.first_line.removeprefix("overlap: ")
    if reason == "paused" or reason.startswith(("paused:", "paused (")):
        what = f"schedule {facts.schedule_name}" if facts.schedule_name else "it"
        return f"{what} was {reason}"
    return reason or "no reason is on record"


def _missed(facts: Facts) -> str:
    return f"Missed: {_why_missed(facts)}{_folded(facts)}."


def _why_missed(facts: Facts) -> str:
    reason = facts.first_line
    if reason == verdicts.DEADLINE_PASSED:
        return f"nothing could start it at {facts.slot}, and its starting deadline has passed since"
    if reason.startswith("late:"):
        return f"beat was not running at {facts.slot}; {_why_not_caught_up(reason)}"
    if reason == EDITED_MEANWHILE:
        return f"{reason}, {facts.slot}"
    return reason or f"nothing could start it at {facts.slot}"


def _why_not_caught_up(reason: str) -> str:
    if reason.startswith(verdicts.FOLDED):
        slot = reason.removeprefix(verdicts.FOLDED)
        return f"one run, of the slot {slot}, stands for all that were missed"
    if reason.startswith(verdicts.BEYOND_LIMIT):
        limit = reason.removeprefix(verdicts.BEYOND_LIMIT)
        return f"only the {limit} newest missed slots were run (misfire policy: run each of them)"
    if reason == verdicts.LATE:
        return "the slot was not made up for (misfire policy: do not run missed slots)"
    return reason.removeprefix("late: ")


def _folded(facts: Facts) -> str:
    if not facts.folded:
        return ""
    slots = "slot" if facts.folded == 1 else "slots"
    return f" (this row stands for {facts.folded:,} earlier {slots} as well)"


def _expired(facts: Facts) -> str:
    until = f", {exact(facts.start_before)}" if facts.start_before else ""
    return f"Expired: no worker picked it up before its starting deadline{until}."


def _sent(facts: Facts) -> str:
    at = f" at {exact(facts.finished_at)}" if facts.finished_at else ""
    return f"Sent to Celery{at}: an ordinary task, what became of it is not on record here."


def _at_attempt(facts: Facts) -> str:
    return f", at attempt {facts.attempt}" if facts.attempt > 1 else ""


def _how_late(facts: Facts) -> str:
    """How long after its slot it began: of attempts after the first that is no news."""
    if facts.scheduled_for is None or facts.started_at is None or facts.attempt > 1:
        return ""
    late = facts.started_at - facts.scheduled_for
    if late < LATE or facts.trigger is not Trigger.SCHEDULE:
        return ""
    return f", begun {duration(late)} after its slot"


def _because(facts: Facts) -> str:
    return f": {facts.first_line}" if facts.first_line else ""


def _holder(run: Run) -> Holder:
    by = started_by(Trigger(run.trigger), run.who, run.schedule_name)
    return Holder(short_id=run.short_id, started_at=run.started_at, started_by=by)


_TELLERS: Mapping[Status, Callable[[Facts], str]] = {
    Status.QUEUED: _queued,
    Status.RUNNING: _running,
    Status.SUCCEEDED: _succeeded,
    Status.FAILED: _failed,
    Status.TIMED_OUT: _timed_out,
    Status.LOST: _lost,
    Status.CANCELLED: _cancelled,
    Status.SKIPPED: _skipped,
    Status.EXPIRED: _expired,
    Status.MISSED: _missed,
    Status.SENT: _sent,
}
