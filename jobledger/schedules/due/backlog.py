"""The runs of schedules that wait to be started, and those of them that give way to a newer run.

``planning.backlog`` decides; this module reads the runs that wait, and records what becomes of them, in the
transaction that records the newer run. Giving a run up and a worker's claim exclude each other: both are
conditional updates of a queued run, and one that is locked, because it is just being claimed, is left alone.

The newer run inherits the row of the longest waiting run that gives way, and with it the id, the message and
the place: in the workers' queue, and among the runs that wait for another run of their job. Otherwise a
schedule whose runs wait longer than its period would never run, since each would give way before its turn.
The time at which it was queued stays its own. If the message differs, because the schedule has been edited,
the newer run gets its own, and a worker that takes the other one does nothing.

Only first attempts of a schedule's own runs give way. A retry goes on with what has begun, a user who starts
a run means that one, and the message of an ordinary task is executed whatever becomes of its run.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, JSONField, Value, When
from django.db.models.functions import Cast
from django_celery_beat.models import PeriodicTask

from jobledger.alerts import recording
from jobledger.jobs import registry
from jobledger.jobs.declaration import Misfire
from jobledger.metrics import totals
from jobledger.models import Reason, Run, Status, Trigger
from jobledger.models.run import RunQuerySet, is_time
from jobledger.schedules.due import slot_runs
from jobledger.schedules.due.slot_runs import Target
from jobledger.schedules.planning import backlog
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.stored_policies import policy_from

BATCH = 250
"""How many runs an update changes: it has a condition for each."""
_READ = (
    *("job", "trigger", "schedule", "schedule_name", "scheduled_for", "moved_to"),
    *("args", "options", "routing", "time_limit", "time_limit_grace"),
    *("coalesced", "queued_at", "waiting_since", "reason", "reason_details"),
)
_IN_MESSAGE = ("job", "args", "options", "routing", "time_limit", "time_limit_grace")
"""What the message of a run consists of."""
_OF_SLOT = ("scheduled_for", "moved_to", "coalesced", "reason", "reason_details")
_INHERITED = (*_OF_SLOT, "start_before", "schedule_name", "queued_at", "waiting_since")
"""What changes in a row that a newer run inherits."""


def in_backlog() -> RunQuerySet:
    """The runs that would give way to a newer run of their schedule."""
    waiting = Run.objects.queued_by_schedule(Trigger.SCHEDULE, Trigger.CHAIN)
    # Not an ordinary task.
    return waiting.filter(scheduled_for__isnull=False, start_after=None).exclude(job__contains=".")


def kept_in_backlog() -> Iterable[tuple[int | None, str, int]]:
    """How many runs wait whose policy starts each missed run, by their schedules and jobs."""
    waiting = in_backlog().filter(schedule__policy__misfire=Misfire.ALL).order_by()
    return waiting.values_list("schedule", "job").annotate(count=Count("pk"))


@dataclass(frozen=True, kw_only=True)
class DueSlots:
    """The slots of a schedule to be recorded."""

    schedule: PeriodicTask
    target: Target
    records: Sequence[PlannedSlot]
    """Oldest first."""


@dataclass(frozen=True, kw_only=True)
class _GivenUp:
    run: Run
    planned: PlannedSlot
    why: Mapping[str, Any]
    """The columns that say why the run was still waiting."""


class Backlog:
    """The waiting runs of schedules of which some slots are to be recorded now."""

    def __init__(self, due: Sequence[DueSlots], now: datetime) -> None:
        self._now = now
        self._given_up: dict[int, list[_GivenUp]] = {}
        self._keeping = {each.schedule.pk for each in due if each.schedule.policy.misfire == Misfire.ALL}
        self._waiting = _waiting([each.schedule.pk for each in due if _newest(each) is not None], now)

    def settle(self, due: DueSlots) -> Sequence[PlannedSlot]:
        """What to record of the schedule, once it is known which runs give way."""
        schedule = due.schedule
        if due.target.job not in registry.all_jobs():
            return due.records
        policy, waiting = policy_from(schedule.policy), self._waiting.get(schedule.pk, {})
        settled = backlog.settle(
            due.records,
            list(waiting),
            policy=policy,
            may_overlap=slot_runs.may_overlap(schedule, due.target.job),
            horizon=self._now - jitter_delay(policy.jitter, schedule.pk),
        )
        if settled.given_up:
            self._given_up[schedule.pk] = [
                _given_up(waiting[each.scheduled_for], each) for each in settled.given_up
            ]
        return settled.records

    def given_up_of_schedules(self) -> Counter[int]:
        """How many runs of each schedule give way, apart from those ``kept_in_backlog``."""
        return Counter(
            {pk: len(given_up) for pk, given_up in self._given_up.items() if pk not in self._keeping}
        )

    def given_up_of_jobs(self) -> Counter[str]:
        """The same for jobs."""
        given_up = (each for pk, each in self._given_up.items() if pk not in self._keeping)
        return Counter(one.run.job for each in given_up for one in each)

    def give_up(self, recorded: Sequence[Run]) -> None:
        """Record what becomes of the runs that give way to these, which are not saved yet."""
        newer = {(run.schedule_id, run.scheduled_for): run for run in recorded}
        pairs = [
            (each, newer[pk, each.planned.coalesced_into])
            for pk, given_up in self._given_up.items()
            for each in given_up
        ]
        # Nothing gives way to a run that its job's limits do not let start.
        pairs = [(each, run) for each, run in pairs if run.status != Status.SKIPPED]
        if not pairs:
            return
        locked = _lock([each.run.pk for each, _ in pairs])
        pairs = [(each, run) for each, run in pairs if each.run.pk in locked]
        for each, run in pairs:
            _end(each.run, each.planned)
            if each.planned.verdict is Verdict.MISSED and run.status == Status.QUEUED:
                since = each.run.waiting_since or each.run.queued_at
                run.waiting_since = min(since, run.waiting_since or since)
        heirs = _inherit(pairs, recorded, self._now)
        ended = [each.run for each, _ in pairs if each.run.pk not in heirs]
        _save(ended, self._now)
        recording.runs_ended(ended, self._now)


def _given_up(run: Run, planned: PlannedSlot) -> _GivenUp:
    why = {"reason": run.reason, "reason_details": run.reason_details}
    return _GivenUp(run=run, planned=planned, why=why)


def _inherit(
    pairs: Sequence[tuple[_GivenUp, Run]], recorded: Sequence[Run], now: datetime
) -> Collection[UUID]:
    """Let newer runs, which are not saved yet, inherit rows; returns the ids of these.

    What is then saved in the newer run's place is the record of the run that gave way.
    """
    places = dict[UUID, _GivenUp]()
    for each, run in pairs:
        if _may_inherit(each, run) and (run.pk not in places or _since(each) < _since(places[run.pk])):
            places[run.pk] = each
    newer = {run.pk: run for run in recorded if run.pk in places}
    for pk in _known(newer.values()):
        del places[pk], newer[pk]
    if not places:
        return ()
    heirs = {str(pk): str(each.run.pk) for pk, each in places.items()}
    for run in (*recorded, *(each.run for each, _ in pairs)):
        if heir := heirs.get(run.reason_details.get("run", "")):
            run.reason_details = {**run.reason_details, "run": heir}
    _exchange_queued_at([(each.run, newer[pk]) for pk, each in places.items()], now)
    for pk, each in places.items():
        _swap(each, newer[pk], now)
    rows = [each.run for each in places.values()]
    Run.objects.in_state(Status.QUEUED).bulk_update(rows, _INHERITED, batch_size=BATCH)
    return {row.pk for row in rows}


def _may_inherit(each: _GivenUp, newer: Run) -> bool:
    """Not if the policy lets each of the waiting runs start, which keep their order."""
    if newer.status != Status.QUEUED or each.planned.why.reason is Reason.CATCH_UP_LIMIT:
        return False
    return all(getattr(each.run, name) == getattr(newer, name) for name in _IN_MESSAGE)


def _since(each: _GivenUp) -> tuple[datetime, datetime]:
    return each.run.waiting_since or each.run.queued_at, each.planned.scheduled_for


def _known(runs: Collection[Run]) -> set[UUID]:
    """Those whose slots have been recorded before, so that they will not be saved."""
    if not runs:
        return set()
    found = Run.objects.filter(schedule__in={run.schedule_id for run in runs}).exclude(
        trigger=Trigger.BACKFILL
    )
    slots = set(
        found.filter(scheduled_for__in={run.scheduled_for for run in runs}).values_list(
            "schedule", "scheduled_for"
        )
    )
    ids = set(Run.objects.filter(pk__in=[run.pk for run in runs]).values_list("pk", flat=True))
    return {run.pk for run in runs if run.pk in ids or (run.schedule_id, run.scheduled_for) in slots}


def _exchange_queued_at(pairs: Sequence[tuple[Run, Run]], now: datetime) -> None:
    """Let each slot keep the time at which its run was queued, unless runs are just being counted by it."""
    for row, newer in pairs:
        row.waiting_since = newer.waiting_since or newer.queued_at
    exchanged = [totals.Exchanged(row.pk, newer.pk, row.queued_at) for row, newer in pairs]
    if totals.note_exchanged(exchanged, now):
        for row, newer in pairs:
            row.queued_at, newer.queued_at = newer.queued_at, row.queued_at


def _swap(each: _GivenUp, newer: Run, now: datetime) -> None:
    """Exchange what the slots of a waiting run and of a newer one, which is not saved yet, say."""
    row = each.run
    for name in _OF_SLOT:
        older_value, newer_value = getattr(row, name), getattr(newer, name)
        setattr(row, name, newer_value)
        setattr(newer, name, older_value)
    row.start_before, row.schedule_name = newer.start_before, newer.schedule_name
    if each.why["reason"] == Reason.OVERLAP:
        # It goes on waiting for another run of the job.
        row.reason, row.reason_details = each.why["reason"], each.why["reason_details"]
    newer.status, row.status = row.status, newer.status
    newer.publish_after, newer.start_before, newer.finished_at, newer.waiting_since = None, None, now, None


def _waiting(schedule_ids: Collection[int], now: datetime) -> Mapping[int, Mapping[datetime, Run]]:
    """The runs that may give way, by their schedules and slots."""
    found = defaultdict[int, dict[datetime, Run]](dict)
    runs = in_backlog().filter(is_time(now), schedule__in=schedule_ids).only(*_READ)
    for run in runs if schedule_ids else ():
        if run.schedule_id is not None and run.scheduled_for is not None:
            found[run.schedule_id][run.scheduled_for] = run
    return found


def _newest(due: DueSlots) -> datetime | None:
    return backlog.newest_of(due.records, policy_from(due.schedule.policy))


def _lock(pks: Collection[UUID]) -> set[UUID]:
    """Those that are still queued, except runs that are locked by a process that is about to claim them."""
    queued = Run.objects.filter(pk__in=pks).in_state(Status.QUEUED).select_for_update(skip_locked=True)
    return set(queued.values_list("pk", flat=True))


def _end(run: Run, planned: PlannedSlot) -> None:
    why = slot_runs.why_of(run.schedule_id or 0, planned)
    run.status, run.reason = slot_runs.STATUSES[planned.verdict], why.columns["reason"]
    run.reason_details = why.columns["reason_details"]


def _save(runs: Iterable[Run], now: datetime) -> None:
    """In few statements: what is the same for all, and what is the same for each schedule."""
    groups = defaultdict[tuple[str, str], list[Run]](list)
    for run in runs:
        groups[run.status, run.reason].append(run)
    for (status, reason), group in groups.items():
        for chunk in (group[first : first + BATCH] for first in range(0, len(group), BATCH)):
            details = {run.schedule_id: Value(run.reason_details, JSONField()) for run in chunk}
            of_schedule = Case(*(When(schedule=pk, then=each) for pk, each in details.items()))
            Run.objects.filter(pk__in=[run.pk for run in chunk]).in_state(Status.QUEUED).update(
                status=status,
                reason=reason,
                reason_details=Cast(of_schedule, JSONField()),
                publish_after=None,
                finished_at=now,
            )
