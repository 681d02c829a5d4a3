"""The ledger: schedules that are due become runs, each slot exactly one, in one transaction.

``record_due`` takes a batch of due ``NextSlot`` rows under row locks (where the database has them, rows that
another beat holds are passed over; SQLite's one writer at a time does the same), plans each schedule, and
writes its runs and its next slot together. Nothing is published here: a run that is in the ledger is
published by whoever gets to it, as often as it takes.

``follow`` brings the rows of some schedules in line with what the schedules are now. A change of times never
creates a slot in the past: the schedule counts from the moment at which the change is noticed. A slot of the
old times that was due but not yet recorded is recorded then.

A schedule that cannot be evaluated is marked broken, with the reason, and stops no other.
"""

import logging
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, transaction
from django.db.models import F
from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot, Reason, Run, SchedulePolicy, Status, Why
from jobledger.schedules import slot_runs, stored_schedules
from jobledger.schedules.planning import planning
from jobledger.schedules.planning.planning import Plan
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.planning.verdicts import PlannedSlot
from jobledger.schedules.stored_schedules import PauseBook

logger = logging.getLogger(__name__)

BATCH = 1000
COMPUTED = ("slot", "due_at", "handled_until", "timing", "target", "broken")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What one batch has put into the ledger."""

    due_count: int
    """How many schedules were due; a full batch means that there may be more."""
    queued: list[Run]
    """Runs whose messages are to be published."""


def record_due(now: datetime) -> Recorded:
    """Record a batch of the schedules that are due, oldest first."""
    if not NextSlot.objects.filter(due_at__lte=now).exists():
        return Recorded(due_count=0, queued=[])
    with transaction.atomic():
        due = NextSlot.objects.filter(due_at__lte=now).order_by("due_at")
        rows = list(due.select_for_update(skip_locked=True)[:BATCH])
        runs = _settle(rows, now)
    queued = [run for run in runs if run.status == Status.QUEUED]
    return Recorded(due_count=len(rows), queued=queued)


def follow(schedule_ids: Collection[int], now: datetime) -> None:
    """Bring the rows of these schedules in line with what the schedules are now."""
    with transaction.atomic():
        known = NextSlot.objects.select_for_update().in_bulk(schedule_ids)
        new = (NextSlot(pk=pk, handled_until=now, timing="") for pk in set(schedule_ids) - set(known))
        _settle([*known.values(), *new], now)


def next_due_at() -> datetime | None:
    """When the next schedule is due."""
    waiting = NextSlot.objects.filter(due_at__isnull=False)
    return waiting.order_by("due_at").values_list("due_at", flat=True).first()


def expire(now: datetime) -> int:
    """Move queued runs past their ``start_before`` to expired; returns how many."""
    late = Run.objects.filter(status=Status.QUEUED, start_before__lte=now)
    if not late.exists():
        return 0
    deadline = Why.of(Reason.DEADLINE).columns
    return late.update(status=Status.EXPIRED, finished_at=now, publish_after=None, **deadline)


def note_last_runs(runs: Sequence[Run], now: datetime) -> None:
    """Keep django-celery-beat's own figures, for other tools and for a way back to its scheduler.

    Nothing here reads them. Not part of recording: whoever edits a schedule locks it before its next slot.
    """
    counts = Counter(run.schedule_id for run in runs)
    # One statement, but where missed slots are caught up.
    for count in set(counts.values()):
        schedules = PeriodicTask.objects.filter(pk__in=[pk for pk in counts if counts[pk] == count])
        schedules.update(last_run_at=now, total_run_count=F("total_run_count") + count)


class _Plans:
    """What becomes of schedules' slots at one time; schedules that are alike are planned once."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._made: dict[Hashable, Plan] = {}

    def of(self, schedule: PeriodicTask, *, handled_until: datetime, pauses: Sequence[PausePeriod]) -> Plan:
        """One schedule's plan. Raises ValueError for what cannot be evaluated."""
        key = (*_what_matters(schedule), handled_until, *pauses)
        if key not in self._made:
            times = stored_schedules.times_of(schedule)
            self._made[key] = planning.plan(
                rule=times.rule,
                window=times.window,
                policy=times.policy,
                pauses=pauses,
                identity=schedule.pk,
                handled_until=handled_until,
                now=self._now,
            )
        return self._made[key]


def _what_matters(schedule: PeriodicTask) -> Sequence[Hashable]:
    """To planning. Jitter is made from the schedule's identity, and an interval may count from its anchor."""
    policy = schedule.policy
    identity = schedule.pk if policy.jitter else None
    anchor = policy.anchor if schedule.interval_id is not None else None
    choices = (policy.misfire, policy.catch_up_limit, policy.starting_deadline, policy.jitter)
    return schedule.timing, identity, anchor, *choices


def _settle(rows: Sequence[NextSlot], now: datetime) -> list[Run]:
    """Account for what was due, and name the next slots; returns the runs that were written."""
    loaded = stored_schedules.load([row.pk for row in rows])
    _complete_policies(loaded.schedules.values())
    book = PauseBook(list(loaded.schedules), min((row.handled_until for row in rows), default=now))
    plans = _Plans(now)
    runs = []
    for row in rows:
        if row.pk in loaded.unreadable:
            _mark_broken(row, f"number {row.pk}", loaded.unreadable[row.pk])
        elif row.pk in loaded.schedules:
            runs += _settle_one(loaded.schedules[row.pk], row, book, plans, now)
    Run.objects.bulk_create(runs, ignore_conflicts=True)
    kept = [row for row in rows if row.pk in loaded.schedules or row.pk in loaded.unreadable]
    NextSlot.objects.bulk_create(
        kept, update_conflicts=True, unique_fields=["schedule"], update_fields=COMPUTED
    )
    spent = {run.schedule_id for run in runs if run.schedule and run.schedule.one_off}
    PeriodicTask.objects.filter(pk__in=spent).update(enabled=False)
    gone = {row.pk for row in rows} - set(loaded.schedules) - set(loaded.unreadable)
    NextSlot.objects.filter(pk__in=gone | spent).delete()
    return runs


def _settle_one(
    schedule: PeriodicTask, row: NextSlot, book: PauseBook, plans: _Plans, now: datetime
) -> list[Run]:
    try:
        target = slot_runs.target_of(schedule)
        pauses = book.of(schedule.pk)
        records = list(_overtaken(schedule, row, pauses, now))
        since = now if row.timing != schedule.timing else row.handled_until
        found = plans.of(schedule, handled_until=since, pauses=pauses)
    except DatabaseError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one schedule must not stop the others
        _mark_broken(row, schedule.name, str(error) or type(error).__name__)
        return []
    row.slot, row.due_at, row.broken = found.next_slot, found.due_at, ""
    row.handled_until, row.timing, row.target = found.handled_until, schedule.timing, schedule.target
    records += found.records
    return [slot_runs.run_of(schedule, target, each, now=now) for each in records]


def _overtaken(
    schedule: PeriodicTask, row: NextSlot, pauses: Sequence[PausePeriod], now: datetime
) -> Iterable[PlannedSlot]:
    """The slot of the old times that had come, but was not recorded yet, when they were edited."""
    if row.timing == schedule.timing or row.slot is None or row.slot > now:
        return
    policy = stored_schedules.policy_from(schedule.policy)
    yield planning.overtaken(row.slot, due_at=row.due_at, policy=policy, pauses=pauses, now=now)


def _mark_broken(row: NextSlot, name: str, reason: str) -> None:
    if row.broken != reason:
        logger.error("Schedule %s is broken: %s", name, reason)
    row.slot, row.due_at, row.broken = None, None, reason


def _complete_policies(schedules: Iterable[PeriodicTask]) -> None:
    """A schedule that came by a road without signals gets its policy here."""
    missing = [schedule for schedule in schedules if not hasattr(schedule, "policy")]
    for schedule in missing:
        schedule.policy = SchedulePolicy.of(schedule)
    SchedulePolicy.objects.bulk_create([schedule.policy for schedule in missing], ignore_conflicts=True)
