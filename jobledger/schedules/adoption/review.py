"""Reviews what django-celery-beat's own scheduler has run so far: what changes its meaning here, and why.

Nothing is written. A schedule that was not adopted yet is reviewed as if it had been adopted now.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from celery import current_app
from django.db import Error
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.brokers import uses_redis
from jobledger.checks.schedules import Fault, TargetValidator
from jobledger.jobs import registry
from jobledger.jobs.declaration import Misfire
from jobledger.models import Dialect, NextSlot, ProcessKind, SchedulePolicy
from jobledger.runs.publishing import delivery, job_routes
from jobledger.runs.service.presence import present
from jobledger.runs.service.queues import queue_of
from jobledger.schedules import stored_schedules, words
from jobledger.schedules.adoption import (
    continue_after,
    first_difference,
    have_same_slots,
    last_slot,
    policy_of_found,
    ran_until,
    stock,
)
from jobledger.schedules.planning.planning import plan
from jobledger.schedules.planning.verdicts import Verdict
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RESOLUTION, slots_between
from jobledger.schedules.rules.wallclock import LATEST
from jobledger.schedules.stored_schedules import Times
from jobledger.schedules.stored_times import CronTimes

COUNT = 5
_CLEANUP = "celery.backend_cleanup"
_HOUR = timedelta(hours=1)
_OVERDUE = "it is overdue, and starts as soon as beat is started"
_TOLERANCE = timedelta(minutes=1)
"""Solar events are computed to a few seconds only."""


class Effect(StrEnum):
    """What the service changes about a schedule."""

    NOTE = "note"
    """Nothing, but it is worth knowing."""
    DECIDED = "decided"
    """When it is due. It was made here, or a user has chosen so."""
    KEPT = "kept"
    """Nothing, because the schedule keeps its old meaning until a user chooses otherwise."""
    CHANGES = "changes"
    """Something that nobody has decided."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    effect: Effect
    text: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """A schedule under both schedulers."""

    name: str
    task: str
    timing: str
    findings: Sequence[Finding]
    before: Sequence[datetime]
    """When the other scheduler would start it next. The first is now if it is overdue."""
    after: Sequence[datetime]
    """When this service starts it next."""
    by_cron: Sequence[datetime] | None
    """The same if it followed cron's rules; None if it does."""
    listed_from: datetime | None = None
    """If only a clock change makes a difference: when, and from when on the starts are listed."""
    is_job: bool = False
    """Otherwise, it starts an ordinary task."""
    queue: str | None = None
    """The queue of its messages, if it is known."""

    @property
    def effect(self) -> Effect | None:
        """The one that matters most; None if nothing changes."""
        return max((each.effect for each in self.findings), key=list(Effect).index, default=None)


def reviews(now: datetime) -> Iterator[Review]:
    """Review all enabled schedules, by name."""
    reviewer = _Reviewer(now)
    for name, schedule, unreadable in stored_schedules.each_enabled("name"):
        if schedule is None:
            yield _unreadable(name, unreadable)
        else:
            yield reviewer.review(schedule)


def unstored_entries() -> list[str]:
    """The entries of ``beat_schedule`` that the other scheduler would add to the database."""
    entries = set(current_app.conf.beat_schedule or {})
    return sorted(entries - set(PeriodicTask.objects.filter(name__in=entries).values_list("name", flat=True)))


def are_queues_known(now: datetime) -> bool:
    """Whether a worker has reported which queues it reads."""
    return present(ProcessKind.WORKER, now).exists()


class _Reviewer:
    def __init__(self, now: datetime) -> None:
        self._now = now
        self._targets = TargetValidator()
        self._handled_until = dict(NextSlot.objects.values_list("pk", "handled_until"))
        self._queues = [worker.queues for worker in present(ProcessKind.WORKER, now)]

    def review(self, schedule: PeriodicTask) -> Review:
        if not hasattr(schedule, "policy"):
            schedule.policy = policy_of_found(schedule, self._now)
        values = (schedule.task, schedule.args, schedule.kwargs)
        fault = self._targets.fault_of(*values, *(getattr(schedule, field) for field in job_routes.ROUTING))
        before = self._before(schedule)
        if fault and fault.is_broken:
            return _reviewed(schedule, [_of_broken(schedule, fault)], before)
        after = self._after(schedule, schedule.policy)
        findings = [*self._timing(schedule, before, after), *self._delivery(schedule, fault)]
        is_by_celery = schedule.policy.dialect == Dialect.CELERY
        by_cron = self._after(schedule, _by_cron(schedule.policy)) if is_by_celery else None
        review = _reviewed(schedule, findings, before, after, by_cron)
        return _from_difference(review, stored_schedules.of(schedule), self._now)

    def _before(self, schedule: PeriodicTask) -> list[datetime]:
        try:
            return stock.next_starts(schedule, self._now, COUNT)
        except stock.UnreadableError:
            return []

    def _after(self, schedule: PeriodicTask, policy: SchedulePolicy) -> list[datetime]:
        if schedule.one_off and schedule.total_run_count:
            return []
        schedule.policy, stored = policy, schedule.policy
        try:
            return self._starts(schedule, stored_schedules.times_of(schedule))
        except Error:
            raise
        except Exception:  # noqa: BLE001 - as in beat, one broken schedule must not affect the others
            return []
        finally:
            schedule.policy = stored

    def _starts(self, schedule: PeriodicTask, times: Times) -> list[datetime]:
        planned = plan(
            rule=times.due_rule,
            window=times.window,
            policy=times.policy,
            identity=schedule.pk,
            handled_until=self._handled(schedule),
            now=self._now,
        )
        at_once = [self._now] if any(each.verdict is Verdict.RUN for each in planned.records) else []
        following = slots_between(times.due_rule, self._now, LATEST, window=times.window, limit=COUNT)
        return (at_once if at_once and schedule.one_off else [*at_once, *following])[:COUNT]

    def _handled(self, schedule: PeriodicTask) -> datetime:
        known = self._handled_until.get(schedule.pk)
        if known is None:
            return continue_after(schedule, self._now)
        return max(known, schedule.last_run_at or known)

    def _timing(
        self, schedule: PeriodicTask, before: Sequence[datetime], after: Sequence[datetime]
    ) -> Iterator[Finding]:
        if problem := _why_unreadable(schedule, self._now):
            effect = Effect.DECIDED if after else Effect.KEPT
            yield Finding(effect=effect, text=f"it was never started before: {problem.rstrip('.')}")
        elif reason := stored_schedules.why_broken(schedule):
            yield Finding(effect=Effect.CHANGES, text=f"it is broken: {reason}")
        elif schedule.one_off and schedule.total_run_count:
            yield _note("it has run, and does not run again")
        else:
            yield from self._first_start(schedule, before, after)
            yield from self._next_starts(schedule, before, after)

    def _next_starts(
        self, schedule: PeriodicTask, before: Sequence[datetime], after: Sequence[datetime]
    ) -> Iterator[Finding]:
        times = stored_schedules.of(schedule)
        if zone := _ignored_zone(times):
            yield Finding(effect=Effect.CHANGES, text=f"it was read in another time zone, {zone}")
            return
        finding = _of_dialect(schedule, times, self._now)
        if finding:
            yield finding
        is_decided = finding is not None and finding.effect is Effect.DECIDED
        if is_decided or self._is_late_interval(schedule, before, after):
            return
        if not _are_alike(before[len(self._lost(schedule, before, after)) :], after):
            yield Finding(effect=Effect.CHANGES, text="it is due at other times")

    def _first_start(
        self, schedule: PeriodicTask, before: Sequence[datetime], after: Sequence[datetime]
    ) -> Iterator[Finding]:
        if self._is_late_interval(schedule, before, after) and not _are_alike(before, after):
            yield _note(f"{_OVERDUE}; an interval then keeps to its grid")
        elif before[:1] == after[:1] == [self._now]:
            yield _note(_OVERDUE)
        elif self._lost(schedule, before, after) == [self._now]:
            why = self._why_not_started(schedule)
            yield Finding(effect=Effect.CHANGES, text=f"it is overdue, but not started: {why}")
        elif self._lost(schedule, before, after):
            text = "it was also started as soon as its start time had come, whatever its timing"
            yield Finding(effect=Effect.CHANGES, text=text)

    def _is_late_interval(
        self, schedule: PeriodicTask, before: Sequence[datetime], after: Sequence[datetime]
    ) -> bool:
        return schedule.interval_id is not None and before[:1] == after[:1] == [self._now]

    def _lost(
        self, schedule: PeriodicTask, before: Sequence[datetime], after: Sequence[datetime]
    ) -> Sequence[datetime]:
        """The first start, if the other scheduler makes it only because the schedule is late or begins."""
        first = before[:1]
        return first if first != after[:1] and first in ([self._now], [schedule.start_time]) else []

    def _why_not_started(self, schedule: PeriodicTask) -> str:
        """Why an overdue schedule does not start, as a clause."""
        policy, last = schedule.policy, last_slot(schedule, self._now)
        if last is None or last <= ran_until(schedule, self._now):
            return "none of its times has come since its start time or its last run"
        if policy.starting_deadline is not None and self._now - last > policy.starting_deadline:
            return f"its start deadline, {formats.duration(policy.starting_deadline)}, has passed"
        if policy.misfire == Misfire.SKIP:
            return "its missed runs are skipped"
        return "it was saved here after that run was due"

    def _delivery(self, schedule: PeriodicTask, fault: Fault | None) -> Iterator[Finding]:
        if fault:
            yield Finding(effect=Effect.CHANGES, text=f"it {fault.text}")
        for problem in delivery.problems_with_headers(schedule.headers):
            yield Finding(effect=Effect.CHANGES, text=problem)
        queue = _queue_of(schedule)
        if queue and self._queues and not any(queue in read for read in self._queues):
            yield _note(f"no worker reads its queue, {queue}")


def _reviewed(
    schedule: PeriodicTask,
    findings: Sequence[Finding],
    before: Sequence[datetime],
    after: Sequence[datetime] = (),
    by_cron: Sequence[datetime] | None = None,
) -> Review:
    return Review(
        name=schedule.name,
        task=schedule.task,
        timing=words.described(schedule),
        findings=findings,
        before=before,
        after=after,
        by_cron=by_cron,
        is_job=registry.of_task(schedule.task) is not None,
        queue=_queue_of(schedule),
    )


def _queue_of(schedule: PeriodicTask) -> str | None:
    """None if an exchange or a routing key decides."""
    if schedule.exchange or schedule.routing_key:
        return None
    return queue_of(schedule.task, schedule.queue)


def _from_difference(review: Review, times: object, now: datetime) -> Review:
    """Lists the starts around the next clock change if the next ones are the same by both rules."""
    is_by_celery = review.by_cron is not None
    if review.effect not in (Effect.KEPT, Effect.DECIDED) or not isinstance(times, CronTimes):
        return review
    if not (review.before and review.before == (review.by_cron if is_by_celery else review.after)):
        return review
    cron = Cron(expression=times.expression, zone=times.zone)
    celery = CeleryCron(expression=times.expression, zone=times.zone)
    if (at := first_difference(cron, celery, now.date())) is None:
        return review
    by_cron, by_celery = (
        list(slots_between(rule, at - _HOUR - RESOLUTION, LATEST, limit=COUNT)) for rule in (cron, celery)
    )
    return replace(
        review,
        listed_from=at - _HOUR,
        before=by_celery,
        after=by_celery if is_by_celery else by_cron,
        by_cron=by_cron if is_by_celery else None,
    )


def _of_broken(schedule: PeriodicTask, fault: Fault) -> Finding:
    if schedule.task == _CLEANUP and uses_redis(current_app.conf.result_backend):
        return _note("it starts nothing here, and did nothing: Redis forgets results by itself. Delete it")
    return Finding(effect=Effect.CHANGES, text=f"it {fault.text}")


def _of_dialect(schedule: PeriodicTask, times: object, now: datetime) -> Finding | None:
    """What the stored dialect keeps or changes; None if it makes no difference."""
    is_by_celery = schedule.policy.dialect == Dialect.CELERY
    if isinstance(times, CronTimes):
        if have_same_slots(times.expression, times.zone, now.date()):
            return None
        text = "Celery reads it differently, or runs it differently when the clocks change"
        if _has_days(times):
            text = "Celery requires both day of month and day of week, cron either"
        return Finding(effect=Effect.KEPT if is_by_celery else Effect.DECIDED, text=text)
    if schedule.interval_id is not None and is_by_celery and schedule.start_time:
        return Finding(effect=Effect.KEPT, text="it counts from its last run, not from its start time")
    return None


def _ignored_zone(times: object) -> str:
    """The time zone in which a crontab was read if not in its own; empty if it was."""
    if not isinstance(times, CronTimes) or not stock.ignores_time_zones():
        return ""
    zone = str(current_app.timezone)
    return "" if zone == str(times.zone) else zone


def _why_unreadable(schedule: PeriodicTask, now: datetime) -> str:
    try:
        stock.next_starts(schedule, now, 1)
    except stock.UnreadableError as error:
        return str(error)
    return ""


def _has_days(times: CronTimes) -> bool:
    _, _, day, _, weekday = times.expression.split()
    return not (day.startswith("*") or weekday.startswith("*"))


def _by_cron(policy: SchedulePolicy) -> SchedulePolicy:
    values = {field.attname: getattr(policy, field.attname) for field in policy._meta.concrete_fields}
    return SchedulePolicy(**{**values, "dialect": Dialect.CRON})


def _are_alike(before: Sequence[datetime], after: Sequence[datetime]) -> bool:
    """Whether both start at the same times, as far as both are known."""
    is_complete = min(len(before), len(after)) < COUNT - 1
    if is_complete and len(before) != len(after):
        return False
    return all(abs(one - other) <= _TOLERANCE for one, other in zip(before, after, strict=False))


def _note(text: str) -> Finding:
    return Finding(effect=Effect.NOTE, text=text)


def _unreadable(name: str, problem: str) -> Review:
    finding = Finding(effect=Effect.CHANGES, text=f"it cannot be read: {problem}")
    return Review(name=name, task="", timing="", findings=[finding], before=[], after=[], by_cron=None)
