"""Overlap: what happens when a job is to start while it is still running.

A partial unique index on the ``concurrency_key`` of running rows prevents it. So the lock is the running row
itself: it cannot outlive its run, and it applies however the job was started. The runs that wait for it are
counted while that row is locked.

Backfills give way to everything else, whatever the policy: their runs wait until no other run wants the key,
and a run that finds a run of a backfill in its way waits for the end of that one, instead of being skipped or
cancelling it.

Neither are runs of a schedule that starts each missed run (``Misfire.ALL``) skipped because of each other:
they wait for their turn, oldest first. The schedule's catch-up limit says how many of them wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import (
    Case,
    CharField,
    DateTimeField,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    UUIDField,
    Value,
    When,
)

from jobledger import clock, compiled
from jobledger.alerts import recording
from jobledger.compiled import Given
from jobledger.jobs import registry
from jobledger.jobs.declaration import MAX_CATCH_UP, Concurrency, JobDeclaration, Misfire
from jobledger.jobs.json_text import readable
from jobledger.jobs.registry import Job
from jobledger.models import (
    CANCEL_ACCEPTED,
    LIVE,
    NO_REASON,
    Reason,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
    Why,
)
from jobledger.models.states import WAITING_SINCE
from jobledger.runs.elsewhere.awaiting import MAX_SILENCE
from jobledger.runs.ledger_connection import savepoint
from jobledger.runs.publishing import publisher, wake_up
from jobledger.runs.publishing.intervals import GRACE_PERIOD, MAX_INTERVAL, publish_interval

MAX_TRIES = 5
"""For a run whose key is alternately free and held; after that, its message is published again."""

MAX_COMMENT_LENGTH = 250
"""Of a user who cancels a run."""


class OverlapError(Exception):
    """The job is already running; ``why`` names the run that holds its key."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class NoKeyError(Exception):
    """A job's ``concurrency_key`` has failed: nobody knows what its run must not overlap with."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Which runs a run must not overlap with, and what happens if it would."""

    key: str
    """Empty if it may overlap with any run."""
    concurrency: Concurrency
    max_queued: int
    starts_each: bool = False
    """Whether its schedule starts each missed run, so that it may have to wait for its turn."""


_RUNNING: Mapping[str, Any] = {
    "status": Status.RUNNING,
    # Why it was queued no longer matters; the reason of a running run is that of a request to end.
    **NO_REASON.columns,
}
_OF_SLOTS = (Trigger.SCHEDULE, Trigger.CHAIN)
FREE = Guard(key="", concurrency=Concurrency.ALLOW, max_queued=0)


def guard_of(run: Run) -> Guard:
    """The guard of a run, by the policy of its schedule or else of its job. Raises NoKeyError."""
    job = registry.all_jobs().get(run.job)
    if job is None:
        return FREE
    policy = SchedulePolicy.of(run.schedule) if run.schedule else None
    guard = declared_guard(run.job, job.declaration, run.options, policy.concurrency if policy else "")
    if policy and policy.misfire == Misfire.ALL and run.trigger in _OF_SLOTS:
        # The catch-up limit says how many of them wait.
        return replace(guard, max_queued=MAX_CATCH_UP, starts_each=True)
    return guard


def declared_guard(
    name: str, declared: type[JobDeclaration], options: dict[str, Any], chosen: str = ""
) -> Guard:
    """The guard of a job with these options; a ``chosen`` policy overrides the job's own.

    Raises NoKeyError.
    """
    concurrency = concurrency_of(chosen, declared)
    if concurrency is Concurrency.ALLOW:
        return FREE
    suffix = _own_key(name, declared, options)
    key = f"{name}:{suffix}" if suffix else name
    return Guard(key=key, concurrency=concurrency, max_queued=declared.max_queued)


def concurrency_of(chosen: str, declared: type[JobDeclaration]) -> Concurrency:
    """The policy that a schedule has chosen, or else its job's own.

    With an unknown one, runs do not overlap. Its schedule is broken, so only those queued before have it.
    """
    try:
        return Concurrency(chosen or declared.concurrency)
    except ValueError:
        return Concurrency.FORBID


def _own_key(name: str, declared: type[JobDeclaration], options: dict[str, Any]) -> str:
    try:
        found: object = declared.concurrency_key(options)
        return "" if found is None else readable(str(found))[:100]
    except Exception as error:
        text = f"The concurrency_key of {name} has raised {type(error).__name__}: {error}"
        raise NoKeyError(text) from error


def holder_of(key: str) -> Run | None:
    return Run.objects.filter(concurrency_key=key, status=Status.RUNNING).first()


def held_by(holder: Run | None, reason: Reason = Reason.OVERLAP, **facts: Any) -> Why:
    """The reason of a run that cannot start because of the holder, which is None if it has finished since."""
    if holder is None:
        return Why.of(reason, **facts)
    return Why.of(
        reason,
        run=holder.pk,
        job=holder.job,
        started_at=holder.started_at,
        trigger=holder.trigger,
        user=holder.username,
        schedule=holder.schedule_name,
        **facts,
    )


def is_backfilling(run: Run) -> bool:
    """Whether the run belongs to a backfill, or is one of a job that such a run has called."""
    caller: Run | None = run
    while caller is not None and caller.trigger == Trigger.JOB:
        parents = Run.objects.filter(children=caller.pk)
        caller = parents.only("trigger").first()
    return caller is not None and caller.trigger == Trigger.BACKFILL


def why_not_now(guard: Guard) -> Why | None:
    """Why a worker that took a run with this guard now would skip it; None if it would start or wait."""
    if not guard.key or guard.concurrency is Concurrency.REPLACE:
        return None
    holder = holder_of(guard.key)
    if holder is None:
        return None
    if guard.concurrency is Concurrency.FORBID and not is_backfilling(holder):
        return held_by(holder)
    return _why_full(guard, holder, _waiting(guard).count())


def start(run: Run, guard: Guard, now: datetime, **changes: Any) -> bool:
    """Move a queued run to running or, if another run holds its key, skip it or make it wait.

    ``run`` is then up to date. Returns False if the run must not be started, because it has finished, another
    process has claimed it, or it is too early. Of any number of simultaneous calls, one claims the run.
    """
    if guard.starts_each and _lets_older_one_start(run, guard, now):
        return True
    for _ in range(MAX_TRIES):
        try:
            with savepoint():
                return _take(run, guard, now, changes)
        except IntegrityError:
            if not guard.key:
                raise
        with transaction.atomic():
            if (holder := _locked_holder(guard.key)) is not None:
                return _yield_to_holder(run, guard, holder, now)
        # The holder has finished in the meantime.
    return False


def start_at_once(run_id: UUID, job: Job, *, worker: str, worker_identity: str) -> Run | None:
    """Move a queued run of this job to running by a single statement; returns it as it is then.

    Returns None if more are needed: it may not start, its key depends on its options, another run holds the
    key, or it may have to wait for its turn. See ``start``.
    """
    if _has_keys_of_its_own(job.declaration):
        return None
    key = declared_guard(job.name, job.declaration, {}).key
    given = {"pk": run_id, "job": job.name, "declared_key": key, "now": clock.in_statement()}
    try:
        with savepoint():
            return _START.row(**given, worker=worker, worker_identity=worker_identity)
    except IntegrityError:
        return None


def _has_keys_of_its_own(declared: type[JobDeclaration]) -> bool:
    """Whether the job's key depends on a run's options."""
    function, default = (
        getattr(each.concurrency_key, "__func__", each) for each in (declared, JobDeclaration)
    )
    return function is not default


def _start() -> tuple[QuerySet[Run], dict[str, Any]]:
    policy = SchedulePolicy.objects.filter(pk=OuterRef("schedule_id"))
    job, now = Given.of(Run, "job"), Given("now", DateTimeField())
    key = Case(
        When(Exists(policy.filter(concurrency=Concurrency.ALLOW)), then=Value("")),
        When(Exists(policy.exclude(concurrency="")), then=job),
        default=Given("declared_key", CharField()),
    )
    times = {"started_at": now, "heartbeat_at": now, "publish_after": None}
    by = {name: Given.of(Run, name) for name in ("worker", "worker_identity")}
    startable = Run.objects.startable_run(Given("pk", UUIDField()), now).that_have(job=job)
    takes_turns = policy.filter(misfire=Misfire.ALL).exclude(concurrency=Concurrency.ALLOW)
    return startable.exclude(Exists(takes_turns)), {**_RUNNING, **times, **by, "concurrency_key": key}


_START = compiled.UpdateOne(Run, _start)

_SLOT = F("scheduled_for").asc(nulls_last=True)
"""Runs that are caught up on are queued at the same time."""


def wake(key: str, *, at_once: bool = True) -> None:
    """Publish the run that has waited longest for this key, now or at beat's next tick.

    To be called when the holder has ended: whoever began to wait before then has written it. If this process
    dies first, or the broker is down, beat publishes it.
    """
    if key and _IS_WAITED_FOR.execute(concurrency_key=key):
        with transaction.atomic():
            _wake(Run.objects.filter(status=Status.QUEUED, concurrency_key=key), at_once=at_once)


_IS_WAITED_FOR = compiled.Exists(
    Run,
    lambda: Run.objects.filter(status=Status.QUEUED, concurrency_key=Given.of(Run, "concurrency_key")),
)


def _wake(queued: QuerySet[Run], *, at_once: bool) -> None:
    # A run that is locked is being claimed, and skipped: the claim may be waiting for a transaction around
    # this one, which must not wait for the claim.
    unlocked = queued.select_for_update(skip_locked=True, of=("self",))
    is_last = Case(When(trigger=Trigger.BACKFILL, then=1), default=0)
    longest = unlocked.select_related("schedule").order_by(is_last, WAITING_SINCE, _SLOT, "pk").first()
    if longest is None:
        return
    grace = GRACE_PERIOD if at_once else timedelta(0)
    # From now on, it only waits for a worker.
    free = {"publish_after": clock.now() + grace, "publish_count": 0, **NO_REASON.columns}
    own = Run.objects.filter(pk=longest.pk, concurrency_key=longest.concurrency_key)
    own.in_state(Status.QUEUED).update(**free)
    longest.note(free)
    if at_once:
        transaction.on_commit(lambda: publisher.try_to_publish([longest]))
    else:
        wake_up.beats()


def request_cancel(run: Run, why: Why, now: datetime) -> bool:
    """Cancel a queued run immediately, or request a running one to end, which it does at its next heartbeat.

    A single statement, because the run may be claimed or queued again at any time. A running run keeps the
    reason until it ends, and its process reads it together with the request. Returns False if the run has
    finished or was already cancelled. A request by its worker's shutdown, after which the run might start
    again, is overridden.
    """
    is_queued = Q(status=Status.QUEUED)
    is_task = is_queued & Q(job__contains=".")
    is_cancelled = Q(status=Status.RUNNING) & CANCEL_ACCEPTED
    cancelled = Run.objects.filter(pk=run.pk).in_state(*LIVE).exclude(is_cancelled)
    with transaction.atomic():
        changed = cancelled.update(
            status=Case(When(is_queued, then=Value(Status.CANCELLED.value)), default=F("status")),
            finished_at=Case(When(is_queued, then=Value(now)), default=F("finished_at")),
            publish_after=Case(When(is_queued, then=None), default=F("publish_after")),
            # For so long, workers discard the message of an ordinary task.
            look_at=Case(When(is_task, then=Value(now + MAX_SILENCE)), default=F("look_at")),
            cancel_requested_at=Case(When(is_queued, then=None), default=Value(now)),
            **why.columns,
        )
        if changed:
            recording.runs_ended(Run.objects.filter(pk=run.pk).in_state(Status.CANCELLED), now)
    return changed == 1


def _take(run: Run, guard: Guard, now: datetime, changes: dict[str, Any]) -> bool:
    changes = {**changes, **_RUNNING, "concurrency_key": guard.key}
    if Run.objects.startable_run(run.pk, now).filter(attempt=run.attempt).update(**changes) != 1:
        return False
    run.note(changes)
    return True


def _lets_older_one_start(run: Run, guard: Guard, now: datetime) -> bool:
    """Make the run wait if an older one of its schedule, which was delivered before, is waiting for its turn.

    One in another queue, which workers may have left, is not waited for.
    """
    if not guard.key or run.scheduled_for is None:
        return False
    waiting = Run.objects.startable(now).filter(schedule=run.schedule_id, concurrency_key=guard.key)
    older = waiting.filter(trigger__in=_OF_SLOTS, scheduled_for__lt=run.scheduled_for)
    first = older.filter(routing=run.routing).order_by("scheduled_for").first()
    if first is None or not _queued(run).update(**_waiting_for(first, run, guard, now)):
        return False
    run.refresh_from_db()
    if holder_of(guard.key) is None:
        # The older one may have ended before this one waited for it.
        wake(guard.key)
    return True


def _locked_holder(key: str) -> Run | None:
    """The run that holds the key, locked: until this transaction ends, it cannot end or make others wait."""
    holder = holder_of(key)
    if holder is None:
        return None
    # An update locks the row in any database, even if it changes nothing.
    running = Run.objects.filter(pk=holder.pk, concurrency_key=key).in_state(Status.RUNNING)
    return holder if running.update(heartbeat_at=F("heartbeat_at")) else None


def _yield_to_holder(run: Run, guard: Guard, holder: Run, now: datetime) -> bool:
    """Skip the run, or make it wait until the holder has finished."""
    queued = _queued(run)
    only_waits = run.trigger == Trigger.BACKFILL or is_backfilling(holder) or _takes_turns(run, guard, holder)
    if guard.concurrency is Concurrency.FORBID and not only_waits:
        changed = queued.update(**_skipped(held_by(holder), now))
    elif run.trigger != Trigger.BACKFILL and (full := _why_full(guard, holder, _others_waiting(run, guard))):
        changed = queued.update(**_skipped(full, now))
    else:
        changed = queued.update(**_waiting_for(holder, run, guard, now))
        if changed and guard.concurrency is Concurrency.REPLACE and not only_waits:
            request_cancel(holder, Why.of(Reason.SUPERSEDED, run=run.pk), now)
    if changed:
        run.refresh_from_db()
        recording.runs_ended([run], now)
    return changed == 1


def _queued(run: Run) -> QuerySet[Run]:
    # Not a later attempt, which another delivery of the message may have caused.
    return Run.objects.filter(pk=run.pk, attempt=run.attempt).in_state(Status.QUEUED)


def _waiting_for(other: Run, run: Run, guard: Guard, now: datetime) -> dict[str, Any]:
    # Whoever ends wakes the next one. In case that it does not, their messages are sent again, but the later
    # the more are ahead: otherwise, workers would be busy with those of a thousand that wait.
    # More than these make no difference.
    first = publish_interval(1)
    ahead = _ahead_of(run, guard)[: MAX_INTERVAL // first].count()
    interval = min(first * (1 + ahead), MAX_INTERVAL)
    return {"concurrency_key": guard.key, "publish_after": now + interval, **held_by(other).columns}


def _ahead_of(run: Run, guard: Guard) -> QuerySet[Run]:
    """Not those in other queues, which workers may have left."""
    is_ahead = Q(queued_at__lt=run.queued_at)
    if run.scheduled_for is not None:
        # Runs that are caught up on are queued at the same time.
        is_ahead |= Q(queued_at=run.queued_at, scheduled_for__lt=run.scheduled_for)
    return _waiting(guard).filter(is_ahead, routing=run.routing)


def _takes_turns(run: Run, guard: Guard, holder: Run) -> bool:
    """Whether the run waits because each run of its schedule is to start, instead of being skipped.

    If the run in its way is not its schedule's, only one that is late or has waited already does; to any
    other, which is on time, the policy applies. Likewise, one that is on time replaces the run before it.
    """
    if not guard.starts_each:
        return False
    is_own = holder.schedule_id == run.schedule_id and holder.trigger in _OF_SLOTS
    if guard.concurrency is Concurrency.REPLACE:
        return is_own and _is_in_backlog(run)
    return is_own or _is_in_backlog(run)


def _is_in_backlog(run: Run) -> bool:
    """Whether the run is late, has waited already, or is not the only one of its schedule that waits."""
    if run.reason == Reason.CAUGHT_UP or run.concurrency_key:
        return True
    waiting = Run.objects.queued_by_schedule(*_OF_SLOTS).filter(schedule=run.schedule_id)
    return waiting.exclude(pk=run.pk).exists()


def _skipped(why: Why, now: datetime) -> dict[str, Any]:
    return {"status": Status.SKIPPED, "finished_at": now, "publish_after": None, **why.columns}


def _why_full(guard: Guard, holder: Run, waiting: int) -> Why | None:
    """Why no further run waits for the holder, if so many do; None if one more may."""
    if waiting < guard.max_queued:
        return None
    # There may be more than the limit: those of a schedule that starts each missed run have another one.
    return held_by(holder, Reason.QUEUE_FULL, waiting=waiting, max_queued=guard.max_queued)


def _others_waiting(run: Run, guard: Guard) -> int:
    return _waiting(guard).exclude(pk=run.pk).count()


def _waiting(guard: Guard) -> QuerySet[Run]:
    waiting = Run.objects.filter(status=Status.QUEUED, concurrency_key=guard.key)
    return waiting.exclude(trigger=Trigger.BACKFILL)
