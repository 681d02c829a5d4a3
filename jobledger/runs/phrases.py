"""A phrase for each reason, formatted from its facts. Pure; ``reasons`` puts the phrases into sentences.

A phrase starts with a lower-case letter and has no full stop.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.formats import duration, exact, size
from jobledger.models import Reason, Run, Status, Trigger, Why, pause_terms
from jobledger.runs.limits import OF_SCHEDULE
from jobledger.runs.sentence import Phrase, named_run, named_schedule


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that a phrase is made of. ``error`` replaces the run's own, which may contain secrets."""

    run: Run
    error: str = ""
    holder: Why | None = None
    """Names the run that a queued run is waiting for now; the reason on its row may be out of date."""

    @property
    def status(self) -> Status:
        return Status(self.run.status)

    @property
    def why(self) -> Why:
        return self.holder or Why.read(self.run.reason, self.run.reason_details)

    @property
    def reason(self) -> Reason | None:
        return self.why.reason

    @property
    def slot(self) -> str:
        """When the run was due."""
        return self.time("moved_to") or exact(self.run.scheduled_for or self.run.queued_at)

    def text(self, name: str) -> str:
        """A detail of the reason; empty if unknown."""
        return str(self.why.details.get(name, ""))

    def time(self, name: str) -> str:
        with suppress(ValueError, OverflowError):
            return exact(datetime.fromisoformat(self.text(name)))
        return ""

    def seconds(self, name: str) -> str:
        with suppress(ValueError, OverflowError):
            return duration(timedelta(seconds=float(self.text(name))))
        return ""

    def size(self, name: str) -> str:
        with suppress(ValueError, OverflowError):
            return size(int(self.text(name)))
        return ""


def phrase_of(facts: Facts) -> Phrase:
    """Why the run is in its state; for an unknown reason, whatever else is known."""
    if facts.reason in _PHRASES:
        return _PHRASES[facts.reason](facts)
    if facts.error:
        return _error(facts)
    match facts.status:
        case Status.SKIPPED:
            return "no reason is recorded"
        case Status.MISSED:
            return f"it could not be started at {facts.slot}"
        case Status.EXPIRED:
            return "no worker picked it up in time"
    return ""


def origin(reason: Reason | None) -> str:
    """Why a slot does not run at its own time; empty if it does."""
    return _ORIGINS.get(reason, "") if reason else ""


def canceller(facts: Facts, *, with_place: bool = True) -> Phrase:
    """Who or what has cancelled the run."""
    match facts.reason:
        case Reason.USER:
            comment, user = facts.text("comment"), facts.text("user") or "a user"
            at_place = _at_place(user, facts.text("trigger")) if with_place else user
            return f"{at_place} ({comment})" if comment else at_place
        case Reason.SUPERSEDED if run_id := facts.text("run"):
            return "the newer run " + named_run(run_id)
        case Reason.SUPERSEDED:
            return f"a newer run started by {started_by(facts.text('trigger'), facts.text('user'), '')}"
        case Reason.WORKER_SHUTDOWN:
            return "its worker's shutdown"
        case Reason.INTERRUPTED:
            return "an interrupt from its terminal"
    return "an unknown user"


def is_cancelled(facts: Facts) -> bool:
    """Whether the reason says who or what has cancelled the run."""
    if facts.status is Status.MISSED:
        return False
    return facts.reason in (Reason.USER, Reason.SUPERSEDED, Reason.WORKER_SHUTDOWN, Reason.INTERRUPTED)


def killed(facts: Facts) -> str:
    """A sentence that says how the process was killed; empty if it was not."""
    match facts.text("killed_by"):
        case "itself":
            return " It did not stop in time and was killed."
        case "worker":
            return " It did not respond and was killed by its worker."
    return ""


def ended_with(facts: Facts) -> str:
    """A sentence with the error of a cancelled run; empty if it had none."""
    return f" It ended with: {error}." if (error := _error(facts)) else ""


def waits(facts: Facts) -> Phrase:
    """Which run a queued run is waiting for."""
    return "waiting for " + _holder(facts) + _started(facts)


def started_by(trigger: str, user: str, schedule_name: str) -> str:
    """Who or what started a run: ``schedule nightly``, ``anna on the web``."""
    match trigger:
        case Trigger.SCHEDULE | Trigger.CHAIN:
            return f"{trigger} {schedule_name}" if schedule_name else f"a {trigger}"
        case Trigger.ADMIN | Trigger.API:
            return _at_place(user or "a user", trigger) + _after(", for schedule ", schedule_name)
        case Trigger.CLI:
            return _at_place(user or "a user", trigger)
        case Trigger.CRON:
            return f"cron, for {user}" if user else "cron"
        case Trigger.BACKFILL:
            of = _after(" of schedule ", schedule_name)
            return f"a backfill{of}" + _after(", started by ", user)
        case Trigger.CELERY:
            return f"celery call by {user}" if user else "celery call"
        case Trigger.TASK:
            return "an enqueued task"
    return "another job"


def _at_place(user: str, trigger: str) -> str:
    places = {
        Trigger.ADMIN: " on the web",
        Trigger.API: " through the API",
        Trigger.CLI: " on the command line",
    }
    return user + next((place for each, place in places.items() if each == trigger), "")


def _overlap(facts: Facts) -> Phrase:
    return _holder(facts) + " was still running" + _started(facts)


def _queue_full(facts: Facts) -> Phrase:
    count, limit = facts.text("waiting"), facts.text("max_queued")
    waited = "1 run was" if count == "1" else f"{count or 'other'} runs were"
    return _overlap(facts) + f", and {waited} already waiting; the limit is {limit}"


def _too_many_live(facts: Facts) -> Phrase:
    job, count, limit = facts.text("job"), facts.text("live"), facts.text("limit")
    of = f"job {job}" if job else "its schedule"
    were = "1 run of {} was" if count == "1" else count + " runs of {} were"
    return f"{were.format(of)} still queued or running; the limit is {limit}"


def _holder(facts: Facts) -> Phrase:
    run_id = facts.text("run")
    return "run " + named_run(run_id) + " of the same job" if run_id else "another run of the same job"


def _started(facts: Facts) -> str:
    started_at = facts.time("started_at")
    by = started_by(facts.text("trigger"), facts.text("user"), facts.text("schedule"))
    return f" (started {started_at} by {by})" if started_at else ""


def _paused(facts: Facts) -> Phrase:
    terms = pause_terms(
        facts.time("until") or None, username=facts.text("user"), reason=facts.text("comment")
    )
    return _what_was_paused(facts) + f" was paused {terms}"


def _what_was_paused(facts: Facts) -> Phrase:
    if facts.text("service"):
        return "the whole service"
    name = facts.run.schedule_name
    return "schedule " + named_schedule(name, facts.run.schedule_id) if name else "its schedule"


NO_OTHER_DAY = (
    "; it cannot be moved, since calendars and the schedule's end leave no day for it within a month"
)


def _left_out(facts: Facts) -> Phrase:
    entry = _after(" (", facts.text("name"))
    covered = _after("; it is covered by the run due at ", facts.time("covered_at"))
    stays = NO_OTHER_DAY if facts.text("no_other_day") else ""
    return f"calendar {facts.text('calendar')} leaves it out{entry and entry + ')'}{covered}{stays}"


def _moved(facts: Facts) -> Phrase:
    entry = _after(" (", facts.text("name"))
    moved_to = facts.time("moved_to")
    return (
        f"moved to {moved_to}, since calendar {facts.text('calendar')}{entry and entry + ')'} leaves it out"
    )


def _late(facts: Facts) -> Phrase:
    if facts.status is Status.EXPIRED and not facts.text("slot"):
        return "it had not started within a minute, and its misfire policy is to skip missed runs"
    return _not_in_time(facts) + ", and its misfire policy is to skip missed runs"


def _coalesced(facts: Facts) -> Phrase:
    run_id = facts.text("run")
    # Without its time, which changes if a newer one supersedes it as well.
    target = "run " + named_run(run_id) if run_id else f"the run due at {facts.time('slot')}"
    return f"{_beat_was_down(facts)}; " + target + " covers all missed runs"


def _catch_up_limit(facts: Facts) -> Phrase:
    limit = facts.text("limit")
    newest = "newest missed run was" if limit == "1" else f"{limit} newest missed runs were"
    return _not_in_time(facts) + f"; only the {newest} caught up"


def _schedule_expired(facts: Facts) -> Phrase:
    return f"{_beat_was_down(facts)}, and the schedule expired{_after(' at ', facts.time('expired_at'))}"


def _superseded(facts: Facts) -> Phrase:
    if facts.status is not Status.MISSED:
        return _canceller(facts)
    run_id = facts.text("run")
    # Not "which was run ...": a newer one than the next may have superseded that, and have its id now.
    return _overtaken(facts) + (
        "; run " + named_run(run_id) + " covers it" if run_id else ", which covers it"
    )


def _not_in_time(facts: Facts) -> Phrase:
    """What kept it from running: the run was queued if a newer one is named."""
    return _overtaken(facts) if facts.text("slot") else _beat_was_down(facts)


def _overtaken(facts: Facts) -> str:
    return f"it had not started when the next run was due{_after(' at ', facts.time('slot'))}"


def _beat_was_down(facts: Facts) -> str:
    return f"beat was not running at {facts.slot}"


def _deadline(facts: Facts) -> Phrase:
    if facts.status is Status.MISSED:
        limit = _after(" of ", facts.seconds("limit_seconds"))
        return f"it could not be started at {facts.slot}, and its start deadline{limit} has passed"
    before = f", {exact(facts.run.start_before)}" if facts.run.start_before else ""
    return f"no worker picked it up before its start deadline{before}"


def _schedule_edited(facts: Facts) -> Phrase:
    return f"the schedule was edited before its run of {facts.slot} was recorded"


def _retry(facts: Facts) -> Phrase:
    ended = _ENDED.get(facts.text("status"), "did not succeed")
    at = f" at {exact(facts.run.start_after)}" if facts.run.start_after else ""
    return f"attempt {facts.run.attempt - 1} {ended}; attempt {facts.run.attempt} starts{at}"


def _time_limit(facts: Facts) -> Phrase:
    set_by = ", set by its schedule" if facts.text("set_by") == OF_SCHEDULE else ""
    return "the run exceeded its time limit" + _after(" of ", facts.seconds("limit_seconds")) + set_by


def _memory_limit(facts: Facts) -> Phrase:
    return (
        "the run exceeded its memory limit"
        + _after(" of ", facts.size("limit_bytes"))
        + _after(" and used ", facts.size("used_bytes"))
    )


def _out_of_memory(facts: Facts) -> Phrase:
    return f"{_process(facts)} was killed because its container or machine ran out of memory"


def _lost_process(facts: Facts) -> Phrase:
    if facts.run.exit_signal:
        return f"{_process(facts)} was ended by {facts.run.exit_signal}"
    if code := facts.text("exit_code"):
        return f"{_process(facts)} exited with code {code} before its job had ended"
    return f"{_process(facts)} died" + _after(": ", _error(facts))


def _lost_heartbeat(facts: Facts) -> Phrase:
    last_at = facts.time("heartbeat_at")
    return f"{_process(facts)} sent no heartbeat " + (f"after {last_at}" if last_at else "in time")


def _process(facts: Facts) -> str:
    return f"its process ({facts.text('worker')})" if facts.text("worker") else "its process"


def _never_began(facts: Facts) -> Phrase:
    ended = _after("was ended by ", facts.text("signal")) or _after(
        "exited with code ", facts.text("exit_code")
    )
    ended = "ran out of memory" if facts.text("out_of_memory") else ended
    last = f"; the last one ({facts.text('worker')}) {ended}" if ended else ""
    return f"{facts.text('deaths')} processes in a row died before the job could begin{last}".lstrip()


def _exit_code(facts: Facts) -> Phrase:
    return _error(facts) or f"the job exited with code {facts.run.exit_code}"


def _signal(facts: Facts) -> Phrase:
    return f"it was ended by {facts.text('signal') or 'a signal'}" + _after(": ", _error(facts))


def _no_message(facts: Facts) -> Phrase:
    return "its message could not be created" + _after(": ", _error(facts))


def _canceller(facts: Facts) -> Phrase:
    return "cancelled by " + canceller(facts)


def _after(introduction: str, text: str) -> str:
    """The text after its introduction; empty if there is no text."""
    return f"{introduction}{text}" if text else ""


def _error(facts: Facts) -> str:
    return facts.error.rstrip().removesuffix(".")


_ENDED = {
    Status.FAILED.value: "failed",
    Status.TIMED_OUT.value: "timed out",
    Status.LOST.value: "was lost",
    Status.CANCELLED.value: "was stopped by its worker's shutdown",
}
_ORIGINS = {
    Reason.CAUGHT_UP: "catching up after beat was not running",
    Reason.AFTER_PAUSE: "held until a pause ended",
    Reason.SCHEDULE_EDITED: "due before the schedule was edited",
}
_PHRASES: Mapping[Reason | None, Callable[[Facts], Phrase]] = {
    Reason.SCHEDULE_EDITED: _schedule_edited,
    Reason.MOVED: _moved,
    Reason.RETRY: _retry,
    Reason.NO_MESSAGE: _no_message,
    Reason.OVERLAP: _overlap,
    Reason.QUEUE_FULL: _queue_full,
    Reason.TOO_MANY_LIVE: _too_many_live,
    Reason.PAUSED: _paused,
    Reason.LEFT_OUT: _left_out,
    Reason.LATE: _late,
    Reason.COALESCED: _coalesced,
    Reason.CATCH_UP_LIMIT: _catch_up_limit,
    Reason.DEADLINE: _deadline,
    Reason.SCHEDULE_EXPIRED: _schedule_expired,
    Reason.USER: _canceller,
    Reason.SUPERSEDED: _superseded,
    Reason.WORKER_SHUTDOWN: _canceller,
    Reason.INTERRUPTED: _canceller,
    Reason.TIME_LIMIT: _time_limit,
    Reason.MEMORY_LIMIT: _memory_limit,
    Reason.OUT_OF_MEMORY: _out_of_memory,
    Reason.LOST_PROCESS: _lost_process,
    Reason.LOST_HEARTBEAT: _lost_heartbeat,
    Reason.NEVER_BEGAN: _never_began,
    Reason.BAD_OPTIONS: _error,
    Reason.UNKNOWN_JOB: _error,
    Reason.COMMAND_ERROR: _error,
    Reason.EXCEPTION: _error,
    Reason.EXIT_CODE: _exit_code,
    Reason.SIGNAL: _signal,
}
