"""All sentences about a run, formatted from its status, its reason and its job's error, without its secrets.

``sentence`` is the whole story, ``short`` goes beside the status in a list, and ``explanation`` says why a
finished run did not succeed. Runs without a reason, or with an unknown one, still get a sentence.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from jobledger.formats import duration, exact, took
from jobledger.jobs import secrets
from jobledger.models import SUCCESSES, Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.reason import slot_count
from jobledger.runs.phrases import (
    Facts,
    canceller,
    ended_with,
    is_cancelled,
    killed,
    origin,
    phrase_of,
    started_by,
    waits,
)
from jobledger.runs.sentence import Phrase, Sentence

__all__ = [
    "Sentence",
    "cancelled_by",
    "error_message",
    "error_type",
    "explained",
    "explanation",
    "planned",
    "sentence",
    "short",
    "started_by",
    "without_secrets",
]

LATE = timedelta(seconds=60)
SILENT = timedelta(seconds=30)

# Reasons whose phrase includes the error, which does not explain enough by itself.
_NEEDS_PHRASE = (
    *(Reason.LOST_PROCESS, Reason.OUT_OF_MEMORY, Reason.SIGNAL),
    *(Reason.NO_MESSAGE, Reason.NEVER_BEGAN),
)


def sentence(run: Run, now: datetime, *, holder: Why | None = None, error: str | None = None) -> Sentence:
    """What happened and why.

    ``holder`` names the run that a queued run is waiting for now; the reason on its row may be out of date.
    ``error`` replaces the run's own if that is not loaded.
    """
    facts = Facts(run=run, holder=holder, error=_first_line(run, error))
    if facts.status is Status.RUNNING:
        return Sentence() + _running(facts, now)
    return Sentence() + _SENTENCES.get(facts.status, _of_unknown_status)(facts)


def short(run: Run, now: datetime, *, error: str | None = None) -> str:
    """Why the run is in its state, for a list that also shows the status; empty if the status is enough."""
    facts = Facts(run=run, error=_first_line(run, error))
    match facts.status:
        case Status.SENT:
            return _unknown_end(facts)
        case Status.SUCCEEDED:
            return f"attempt {run.attempt}" if run.attempt > 1 else ""
        case Status.RUNNING:
            return str(_cancel_requested(facts) or _no_heartbeat(facts, now))
        case Status.QUEUED:
            return str(_why_queued(facts))
        case Status.CANCELLED:
            return str("by " + canceller(facts))
    return str(phrase_of(facts))


def explanation(row: Run | RunAttempt) -> str:
    """Why a finished run or attempt did not succeed, in full; empty if it succeeded or is still live.

    Of an ordinary task, why it is not known whether it has succeeded.
    """
    facts = Facts(run=_as_run(row), error=without_secrets(row, row.error))
    if facts.status is Status.SENT:
        why = _unknown_end(facts)
        return f"{why[0].upper()}{why[1:]}." if why else ""
    if not facts.status.is_final or facts.status in SUCCESSES:
        return ""
    if facts.status is Status.CANCELLED:
        return f"Cancelled by {canceller(facts)}.{killed(facts)}{ended_with(facts)}"
    if facts.error and facts.reason not in _NEEDS_PHRASE:
        return facts.error
    phrase = str(phrase_of(facts))
    return f"{phrase[0].upper()}{phrase[1:]}.{killed(facts)}{_advice(facts)}" if phrase else ""


def explained(status: Status, why: Why) -> str:
    """The explanation of a run that ends with this status and reason."""
    return explanation(Run(status=status, **why.columns))


def error_type(run: Run) -> str:
    """The failure's name for programs that group errors: the exception's class, or such as TimeLimit."""
    named = run.reason_details.get("type")
    return str(named or (run.reason or Status(run.status)).title().replace("_", ""))


def error_message(run: Run) -> str:
    """The explanation of a failure, without the name of the exception's class before it."""
    return explanation(run).removeprefix(f"{error_type(run)}: ")


def without_secrets(row: Run | RunAttempt, text: str) -> str:
    """The error or the traceback of a run or attempt, with the run's secrets masked."""
    if not text:
        return ""
    run = row if isinstance(row, Run) else row.run
    return secrets.without_secrets(run.job, run.options, text, args=run.args)


def planned(reason: Why, slot: datetime, *, schedule_name: str = "", status: Status = Status.MISSED) -> str:
    """Why a slot is planned as it is; empty if it runs on time."""
    run = Run(status=status, scheduled_for=slot, schedule_name=schedule_name, **reason.columns)
    return (origin(reason.reason) or str(phrase_of(Facts(run=run)))) if reason.reason else ""


def cancelled_by(run: Run) -> str:
    """Who or what has cancelled the run; empty if it was not cancelled."""
    facts = Facts(run=run)
    return str(canceller(facts, with_place=False)) if is_cancelled(facts) else ""


def _origin(facts: Facts) -> str:
    """Why a run is not due at its own time; empty if it is."""
    return str(phrase_of(facts)) if facts.reason is Reason.MOVED else origin(facts.reason)


def _queued(facts: Facts) -> Phrase:
    late, before = _origin(facts), facts.run.start_before
    end = f"; it expires if not started before {exact(before)}" if before else ""
    return (f"Queued ({late}): " if late else "Queued: ") + _why_queued(facts) + end + "."


def _why_queued(facts: Facts) -> Phrase:
    run = facts.run
    if facts.reason is Reason.OVERLAP:
        return waits(facts)
    if run.deaths_before_start:
        return _died_before_start(run)
    # A retry that has not been published yet.
    if facts.reason is Reason.RETRY and (not run.publish_count or "." in run.job):
        return phrase_of(facts)
    since = exact(run.queued_at)
    if run.start_after is not None and run.attempt == 1 and not run.publish_count:
        return f"it was enqueued to start at {exact(run.start_after)}"
    if not run.publish_count:
        return f"not yet recorded as published (since {since})"
    times = "" if run.publish_count == 1 else f" (published {run.publish_count} times)"
    return f"not picked up by a worker since {since}{times}"


def _died_before_start(run: Run) -> str:
    count = run.deaths_before_start
    died = "a process has" if count == 1 else f"{count} processes have"
    return f"{died} died before the job could begin; queued since {exact(run.queued_at)}"


def _running(facts: Facts, now: datetime) -> Phrase:
    run = facts.run
    begin = run.started_at or run.queued_at
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    cancel, silence = _cancel_requested(facts), _no_heartbeat(facts, now)
    news = cancel + ("; " if cancel and silence else "") + silence
    return f"Running since {exact(begin)} ({took(begin, now)}{attempt})" + (": " + news if news else "") + "."


def _cancel_requested(facts: Facts) -> Phrase:
    requested_at = facts.run.cancel_requested_at
    by = "cancel requested by " + canceller(facts)
    return by + f" at {exact(requested_at)}" if requested_at else ""


def _no_heartbeat(facts: Facts, now: datetime) -> str:
    last_at = facts.run.heartbeat_at
    if last_at is None or now - last_at < SILENT:
        return ""
    return f"no heartbeat since {exact(last_at)}"


def _succeeded(facts: Facts) -> Phrase:
    took = _took(facts)
    although = ", although cancelled by " + canceller(facts) if is_cancelled(facts) else ""
    return f"Succeeded{f' in {took}' if took else ''}{_on_attempt(facts)}{_how_late(facts)}" + although + "."


def _failed(facts: Facts) -> Phrase:
    code = facts.run.exit_code
    with_code = f" with exit code {code}" if code is not None else ""
    says_no_more = facts.reason is Reason.EXIT_CODE and not facts.error
    because = "" if says_no_more else _because(facts)
    told = killed(facts) + _advice(facts)
    return f"Failed{_after(facts)}{with_code}{_on_attempt(facts)}" + because + "." + told


def _advice(facts: Facts) -> str:
    """A sentence that says what to do, where nothing that the job has written can tell; empty otherwise."""
    if facts.reason is not Reason.NEVER_BEGAN:
        return ""
    return (
        " The cause may be code that is executed before the job, such as its concurrency_key: see the "
        "worker's log, and run it again once that is fixed."
    )


def _timed_out(facts: Facts) -> Phrase:
    return f"Timed out{_after(facts)}{_on_attempt(facts)}" + _because(facts) + "." + killed(facts)


def _lost(facts: Facts) -> Phrase:
    return f"Lost{_after(facts)}{_on_attempt(facts)}" + _because(facts) + "."


def _cancelled(facts: Facts) -> Phrase:
    when = _after(facts) or " before it started"
    return f"Cancelled{when} by " + canceller(facts) + "." + killed(facts) + ended_with(facts)


def _skipped(facts: Facts) -> Phrase:
    return "Skipped: " + phrase_of(facts) + _coalesced(facts) + "."


def _missed(facts: Facts) -> Phrase:
    return "Missed: " + phrase_of(facts) + _coalesced(facts) + "."


def _expired(facts: Facts) -> Phrase:
    return "Expired: " + phrase_of(facts) + "."


def _sent(facts: Facts) -> Phrase:
    run = facts.run
    was_awaited = facts.reason not in (None, Reason.NO_RESULT_BACKEND)
    at = (
        max(filter(None, [run.sent_at or run.queued_at, run.start_after])) if was_awaited else run.finished_at
    )
    why = _unknown_end(facts) or "nothing is known of the outcome"
    return f"Sent to Celery{f' at {exact(at)}' if at else ''}: {why}."


def _of_unknown_status(facts: Facts) -> Phrase:
    """Whoever has written it, nothing else will change it."""
    known = ", ".join(Status.values)
    return f"Its status is “{facts.status}”, which is none of those that this version knows: {known}."


def _unknown_end(facts: Facts) -> str:
    """Why the end of an ordinary task is not known; empty if there is no reason."""
    within, unknown = facts.seconds("within_seconds"), "nothing is known of the outcome"
    match facts.reason:
        case Reason.AWAITS_RESULT:
            where = "its end is not in Celery's result backend yet"
            return f"{_begun(facts)}{where}, where beat looks for it for {within}"
        case Reason.NO_RESULT_BACKEND:
            return f"{unknown}, since this project has no result backend that beat can read"
        case Reason.NO_RESULT:
            return f"{unknown}: within {within}, no worker has reported it, and no result of it was stored"
        case Reason.NO_ANSWER:
            return f"{unknown}: Celery's result backend did not answer for {within}"
        case Reason.UNREADABLE_RESULT:
            return f"its result is stored, but cannot be decoded: {facts.text('error')}"
    return ""


def _begun(facts: Facts) -> str:
    """What the result backend already says of a task that has not ended; empty if it says nothing."""
    match facts.text("state"):
        case "":
            return ""
        case "RETRY":
            return "it has failed and is tried again; "
    worker = facts.text("worker")
    return f"{f'worker {worker}' if worker else 'a worker'} has begun it; "


def _took(facts: Facts) -> str:
    """How long the run took; empty if it was not executed."""
    return took(facts.run.started_at, facts.run.finished_at)


def _after(facts: Facts) -> str:
    return f" after {_took(facts)}" if _took(facts) else ""


def _on_attempt(facts: Facts) -> str:
    return f" on attempt {facts.run.attempt}" if facts.run.attempt > 1 else ""


def _how_late(facts: Facts) -> str:
    """How long after its slot the run started; only meaningful for the first attempt."""
    run = facts.run
    due_at = run.moved_to or run.scheduled_for
    if due_at is None or run.started_at is None or run.attempt > 1:
        return ""
    moved = f", moved to {exact(run.moved_to)} by its calendars" if run.moved_to else ""
    late = run.started_at - due_at
    is_late = late >= LATE and run.trigger == Trigger.SCHEDULE
    return moved + (f", started {duration(late)} late" if is_late else "")


def _coalesced(facts: Facts) -> str:
    count = facts.run.coalesced
    return f" (also covers {slot_count(count)} earlier {'run' if count == 1 else 'runs'})" if count else ""


def _because(facts: Facts) -> Phrase:
    return ": " + phrase if (phrase := phrase_of(facts)) else ""


def _first_line(run: Run, error: str | None) -> str:
    # Lists do not load ``run.error``, so it is only read if nothing replaces it.
    shown = without_secrets(run, run.error) if error is None else error
    return shown.strip().partition("\n")[0].rstrip()


def _as_run(row: Run | RunAttempt) -> Run:
    if isinstance(row, Run):
        return row
    why = Why.read(row.reason, row.reason_details)
    ended = {"exit_code": row.exit_code, "exit_signal": row.exit_signal}
    return Run(status=row.status, attempt=row.attempt, **ended, **why.columns)


_SENTENCES: Mapping[Status, Callable[[Facts], Phrase]] = {
    Status.QUEUED: _queued,
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
