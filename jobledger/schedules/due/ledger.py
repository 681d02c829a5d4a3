"""The ledger: turns due schedules into runs, exactly one per slot, in one transaction.

``record_due`` locks a batch of due ``NextSlot`` rows, plans each schedule, and writes its runs and its next
slot together. Rows locked by another beat are skipped where the database can do so; on SQLite, its single
writer has the same effect. Nothing is published here: once a run is in the ledger, any beat can publish it,
as often as necessary.

``sync`` updates the rows of some schedules to match the schedules as they are now. A change of timing never
creates a slot in the past: the schedule counts from when the change is noticed. The slots of the old timing
that have passed but are not on record are recorded then; see ``planning.edits``.

What django-celery-beat's own scheduler has run, before or in the meantime, is not run again: ``adoption``.

A schedule that cannot be evaluated is marked as broken, with the reason, and does not affect any other.

However much there is to catch up on, a transaction writes about ``MAX_RECORDS`` runs. A schedule with more
than that remains due for its newer slots, and schedules that did not fit remain due.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.db import Error, transaction
from django.db.models import Case, F, Q, When
from django_celery_beat.models import PeriodicTask

from jobledger.alerts import recording
from jobledger.escapes import line_logger
from jobledger.jobs.declaration import Misfire
from jobledger.models import NextSlot, ProcessKind, Reason, Run, SchedulePolicy, Status, Trigger, Why
from jobledger.runs.publishing import wake_up
from jobledger.runs.service.code_version import code_version
from jobledger.runs.service.presence import present
from jobledger.schedules import adoption, locking, stored_schedules
from jobledger.schedules.due import former_slots, limits, once, slot_runs
from jobledger.schedules.due.backlog import Backlog, DueSlots
from jobledger.schedules.pause_lookup import PauseLookup
from jobledger.schedules.planning import planning
from jobledger.schedules.planning.planning import Plan
from jobledger.schedules.planning.policy import DEFAULT_GRACE, PausePeriod
from jobledger.schedules.stored_schedules import Loaded

logger = line_logger(__name__)

Slot = tuple[int | None, datetime | None]
"""A slot of a schedule."""
BATCH = 1000
MAX_RECORDS = 1000
COMPUTED = (
    *("slot", "due_at", "handled_until", "recorded_at"),
    *("timing", "target", "broken", "version", "look_at"),
)


@dataclass(frozen=True, kw_only=True)
class RecordedBatch:
    """What one call of ``record_due`` wrote to the ledger."""

    queued: list[Run] = field(default_factory=list)
    """Runs whose messages are to be published."""
    has_more: bool = False
    """Whether more schedules may be due already."""
    not_started: list[Run] = field(default_factory=list)
    """The records of slots that were missed or skipped."""
    next_due_at: datetime | None = None
    """When the schedule is due again, if there was a single one."""


def record_due(now: datetime) -> RecordedBatch:
    """Record a batch of due schedules, oldest first."""
    if not NextSlot.objects.filter(due_at__lte=now).exists():
        return RecordedBatch()
    with transaction.atomic():
        due = NextSlot.objects.filter(due_at__lte=now).order_by("due_at")
        rows = list(due.select_for_update(skip_locked=True)[:BATCH])
        runs = _advance(rows, now, max_records=MAX_RECORDS, is_beat=True)
    return RecordedBatch(
        queued=[run for run in runs if run.status == Status.QUEUED],
        not_started=[run for run in runs if run.status != Status.QUEUED],
        has_more=len(rows) == BATCH or len(runs) >= MAX_RECORDS,
    )


def record(due: Sequence[DueSlots], now: datetime) -> list[Run]:
    """Record these slots of schedules, whose rows the caller has locked; returns their runs."""
    runs = _runs_of(due, now)
    _write(runs, now)
    return runs


def sync(schedule_ids: Collection[int], now: datetime, *, is_beat: bool = False) -> None:
    """Update the rows of these schedules to match the schedules as they are now.

    Beat also takes over schedules that another scheduler has run.
    """
    with transaction.atomic():
        known = NextSlot.objects.order_by("pk").select_for_update().in_bulk(schedule_ids)
        missing = sorted(set(schedule_ids) - set(known))
        new = (NextSlot(pk=pk, handled_until=now, timing="") for pk in missing)
        _advance([*known.values(), *new], now, is_beat=is_beat)
        if not is_beat:
            wake_up.beats()


def take_over(schedule_ids: Collection[int], now: datetime) -> None:
    """Add the policies and rows that these schedules lack, without recording anything.

    Beat continues from there.
    """
    with transaction.atomic():
        missing = PeriodicTask.objects.filter(pk__in=schedule_ids, enabled=True, next_slot=None)
        rows = [NextSlot(pk=pk, handled_until=now, timing="") for pk in missing.values_list("pk", flat=True)]
        loaded = stored_schedules.load(schedule_ids)
        _add_missing_policies(loaded, now)
        for row in rows:
            if schedule := loaded.schedules.get(row.pk):
                row.handled_until = adoption.continue_after(schedule, now)
                _advance_one(schedule, row, (), PlanCache(row.handled_until), row.handled_until)
        _save(rows, loaded, [], now)


def next_due_at() -> datetime | None:
    """When the next schedule is due."""
    waiting = NextSlot.objects.filter(due_at__isnull=False)
    return waiting.order_by("due_at").values_list("due_at", flat=True).first()


def expire(now: datetime) -> int:
    """Expire a batch of the queued runs that are past their ``start_before``; returns how many."""
    late = Run.objects.to_expire().filter(start_before__lte=now)
    if not late.exists():
        return 0
    with transaction.atomic():
        pks = list(late.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
        expired = Run.objects.filter(pk__in=pks)
        skipped = set(expired.filter(_IS_SKIPPED_IF_LATE).values_list("pk", flat=True))
        count = 0
        for reason, ended in (Reason.LATE, skipped), (Reason.DEADLINE, {*pks} - skipped):
            columns = {"status": Status.EXPIRED, "publish_after": None, **Why.of(reason).columns}
            queued = Run.objects.filter(pk__in=ended).in_state(Status.QUEUED)
            count += queued.update(finished_at=now, **columns) if ended else 0
        recording.runs_ended(Run.objects.filter(pk__in=pks).in_state(Status.EXPIRED), now)
    return count


_IS_SKIPPED_IF_LATE = (
    Q(trigger=Trigger.SCHEDULE, schedule__policy__misfire=Misfire.SKIP)
    & (
        Q(schedule__policy__starting_deadline=None)
        | Q(schedule__policy__starting_deadline__gte=DEFAULT_GRACE)
    )
    & (Q(schedule__expires=None) | Q(schedule__expires__gt=F("start_before")))
    & (Q(schedule__expire_seconds=None) | Q(schedule__expire_seconds__gte=DEFAULT_GRACE.total_seconds()))
)
"""A run that expires because its misfire policy skips what is late, and not earlier for another reason."""


def update_run_counts(runs: Sequence[Run], now: datetime) -> None:
    """Maintain django-celery-beat's own fields, for other tools and for switching back to its scheduler.

    That would start whatever was due after ``last_run_at``, so missed and skipped slots count for it. This
    is kept out of ``record_due``, which has locked the ``NextSlot``: see ``locking``.
    """
    counts = Counter(run.schedule_id for run in runs if run.status == Status.QUEUED)
    recorded = {run.schedule_id for run in runs}
    # A single statement, unless missed slots are being caught up on.
    with transaction.atomic() if len(recorded) > 1 else nullcontext():
        if len(recorded) > 1:
            locking.lock(pk for pk in recorded if pk is not None)
        for count in {counts[pk] for pk in recorded}:
            schedules = PeriodicTask.objects.filter(pk__in=[pk for pk in recorded if counts[pk] == count])
            # It would not run a one-off schedule again that has been counted, even if it is enabled again.
            total = Case(When(one_off=True, then=0), default=F("total_run_count") + count)
            schedules.update(last_run_at=now, total_run_count=total)


class PlanCache:
    """Plans schedules at a given time; identical schedules are planned only once."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._plans: dict[Hashable, Plan] = {}

    def plan(self, schedule: PeriodicTask, *, handled_until: datetime, pauses: Sequence[PausePeriod]) -> Plan:
        """The schedule's plan. Raises ValueError if it cannot be evaluated."""
        key = (*_planning_inputs(schedule), handled_until, *pauses)
        if key not in self._plans:
            times = stored_schedules.times_of(schedule)
            self._plans[key] = planning.plan(
                rule=times.due_rule,
                window=times.window,
                policy=times.policy,
                pauses=pauses,
                identity=schedule.pk,
                handled_until=handled_until,
                now=self._now,
            )
        return self._plans[key]


def _planning_inputs(schedule: PeriodicTask) -> Sequence[Hashable]:
    """Everything that a plan depends on, except pauses. Jitter depends on the schedule's identity."""
    policy = schedule.policy
    identity = schedule.pk if policy.jitter else None
    anchor = policy.anchor if schedule.interval_id is not None else None
    settings = (policy.misfire, policy.catch_up_limit, policy.starting_deadline, policy.jitter)
    # Not needed, but refused if they are invalid.
    checked = (policy.concurrency, policy.left_out)
    return schedule.timing, identity, anchor, *settings, *checked


def _advance(
    rows: Sequence[NextSlot], now: datetime, *, max_records: int | None = None, is_beat: bool = False
) -> list[Run]:
    """Record what was due and update the next slots; returns the runs that were written.

    With ``max_records``, schedules are left as they are once there are so many. One that runs only once is
    left as it is while it is edited.
    """
    loaded = stored_schedules.load([row.pk for row in rows])
    rows = once.without_edited(rows, loaded)
    found = _add_missing_policies(loaded, now)
    for row in rows:
        if schedule := loaded.schedules.get(row.pk):
            adoption.leave_out_what_ran_elsewhere(
                row, schedule, now, is_beat=is_beat, is_found=row.pk in found
            )
    pauses = PauseLookup(list(loaded.schedules), min((row.handled_until for row in rows), default=now))
    plans = PlanCache(now)
    due: list[DueSlots] = []
    advanced: list[NextSlot] = []
    count = 0
    for row in rows:
        if max_records is not None and count >= max_records:
            break
        advanced.append(row)
        if row.pk in loaded.unreadable:
            _mark_broken(row, f"number {row.pk}", loaded.unreadable[row.pk])
        elif row.pk in loaded.schedules:
            schedule = loaded.schedules[row.pk]
            slots = _advance_one(schedule, row, pauses.of(row.pk, schedule.task), plans, now)
            due += slots
            count += sum(len(each.records) for each in slots)
    due += former_slots.of_disabled([row for row in advanced if row.pk not in loaded.schedules], now)
    runs = _runs_of(due, now)
    _save(advanced, loaded, runs, now)
    return runs


def _runs_of(due: Sequence[DueSlots], now: datetime) -> list[Run]:
    """The runs of these slots, not saved, for which older ones that still wait are given up."""
    backlog = Backlog(due, now)
    runs = [
        slot_runs.run_of(each.schedule, each.target, planned, now=now)
        for each in due
        for planned in backlog.settle(each)
    ]
    moved = [run for run in runs if run.moved_to]
    taken = _on_record(moved) if moved else {}
    _skip_what_was_executed(moved, taken)
    limits.skip_above_limits(runs, backlog)
    backlog.give_up(runs)
    return list(_without_taken_slots(runs, taken))


def _skip_what_was_executed(moved: Sequence[Run], taken: Mapping[Slot, Run]) -> None:
    """Skip runs whose slot ran at another time, because its calendars moved it only later."""
    for run in moved:
        other = taken.get(_slot(run))
        if other is None or run.status != Status.QUEUED or other.moved_to == run.moved_to:
            continue
        if other.status not in (Status.SKIPPED, Status.MISSED, Status.EXPIRED):
            details = {name: run.reason_details.get(name) for name in ("calendar", "name")}
            covered_at = other.moved_to or other.scheduled_for
            slot_runs.skip(run, Why.of(Reason.LEFT_OUT, **details, covered_at=covered_at))


def _without_taken_slots(runs: Sequence[Run], taken: Mapping[Slot, Run]) -> Iterator[Run]:
    """Let runs that were moved stand for their new time, if their slot was recorded before that.

    There is nothing to add to the record of a slot that is not moved after all.
    """
    for run in runs:
        other = taken.get(_slot(run)) if run.moved_to else None
        if other and run.reason == Reason.SCHEDULE_EDITED:
            continue
        if other and other.moved_to != run.moved_to:
            slot_runs.give_new_time(run)
        yield run


def _on_record(runs: Collection[Run]) -> Mapping[Slot, Run]:
    """The runs that the slots of these runs have already."""
    found = Run.objects.exclude(trigger=Trigger.BACKFILL).filter(
        schedule__in={run.schedule_id for run in runs}, scheduled_for__in={run.scheduled_for for run in runs}
    )
    return {_slot(run): run for run in found.only("schedule", "scheduled_for", "moved_to", "status")}


def _slot(run: Run) -> Slot:
    return run.schedule_id, run.scheduled_for


def _save(advanced: Sequence[NextSlot], loaded: Loaded, runs: Sequence[Run], now: datetime) -> None:
    _write(runs, now)
    kept = [row for row in advanced if row.pk in loaded.schedules or row.pk in loaded.unreadable]
    NextSlot.objects.bulk_create(
        kept, update_conflicts=True, unique_fields=["schedule"], update_fields=COMPUTED
    )
    finished = set(once.finished(advanced, loaded, runs))
    # An edit may be what records it, which updates no run counts.
    PeriodicTask.objects.filter(pk__in=finished).update(enabled=False, last_run_at=now)
    gone = {row.pk for row in advanced} - set(loaded.schedules) - set(loaded.unreadable)
    NextSlot.objects.filter(pk__in=gone | finished).delete()


def _write(runs: Sequence[Run], now: datetime) -> None:
    Run.objects.bulk_create(runs, ignore_conflicts=True)
    if not_started := [run for run in runs if run.status != Status.QUEUED]:
        recording.runs_ended(not_started, now)


def _advance_one(
    schedule: PeriodicTask, row: NextSlot, pauses: Sequence[PausePeriod], plans: PlanCache, now: datetime
) -> list[DueSlots]:
    """Move the row on; returns the schedule's slots that are to be recorded, if there are any."""
    try:
        target = slot_runs.target_of(schedule)
        records = list(former_slots.unrecorded(schedule, row, pauses, now))
        is_edited = former_slots.is_edited(schedule, row)
        plan = plans.plan(schedule, handled_until=now if is_edited else row.handled_until, pauses=pauses)
    except Error:
        raise
    except Exception as error:  # noqa: BLE001 - one broken schedule must not affect the others
        if not _is_valid_elsewhere(row, now):
            _mark_broken(row, schedule.name, str(error) or type(error).__name__)
        return []
    row.version = code_version()
    row.slot, row.due_at, row.broken = plan.next_slot, plan.due_at, ""
    row.handled_until, row.timing, row.target = plan.handled_until, schedule.timing, schedule.target
    row.look_at = (row.look_at or now) if schedule.policy.after else None
    records += plan.records
    if len(records) > MAX_RECORDS:
        row.handled_until = records[MAX_RECORDS - 1].due
        row.slot, row.due_at = records[MAX_RECORDS].due, now
        del records[MAX_RECORDS:]
    if not records:
        return []
    row.recorded_at = now
    return [DueSlots(schedule=schedule, target=target, records=records)]


def _is_valid_elsewhere(row: NextSlot, now: datetime) -> bool:
    """Whether another beat, which runs different code, can evaluate what this process cannot.

    During a deployment, two versions run at the same time. If one marked a schedule as broken and the other
    repaired it, schedules of new or removed jobs would alternate between the two states.
    """
    if row.broken or row.version in ("", code_version()):
        return False
    return present(ProcessKind.BEAT, now).filter(version=row.version).exists()


def _mark_broken(row: NextSlot, name: str, reason: str) -> None:
    if row.broken != reason:
        # Not of what the rest of the transaction repairs, such as the import of a chain.
        transaction.on_commit(partial(_log_broken, row.pk, name, reason), robust=True)
    row.slot, row.due_at, row.broken, row.version = None, None, reason, code_version()
    row.look_at = None


def _log_broken(pk: int, name: str, reason: str) -> None:
    if NextSlot.objects.filter(pk=pk, broken=reason).exists():
        logger.error("Schedule %s is broken: %s", name, reason)


def _add_missing_policies(loaded: Loaded, now: datetime) -> set[int]:
    """Create the policies of schedules that were made without this service; returns their ids."""
    missing = [schedule for schedule in loaded.schedules.values() if not hasattr(schedule, "policy")]
    if not missing:
        return set()
    policies = [adoption.policy_of_found(schedule, now) for schedule in missing]
    SchedulePolicy.objects.bulk_create(policies, ignore_conflicts=True)
    ids = {schedule.pk for schedule in missing}
    adoption.disable_what_has_run_once(ids)
    for pk in ids:
        del loaded.schedules[pk]
    # Their `timing` includes what is stored now.
    loaded.schedules.update(stored_schedules.load(ids).schedules)
    return ids
