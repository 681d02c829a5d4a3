"""The past slots of a schedule in a range: which of them a backfill runs, and which it leaves out and why.

The slots are those of the schedule as it is now. What became of each is read from the ledger:

- A slot has succeeded if a run of it has: the schedule's own run, on whatever attempt, that of an earlier
  backfill, or a repeat with the same options. That of another job, which the schedule has started before it
  was edited, does not count. One with other options does, since the slot has been done as it was meant then.
- A slot is covered if another run that succeeded stands for it, as with the misfire policy ``once``. A job
  that works on the time it was scheduled for has not done the slot's own work, so a backfill can include it.
- A slot is still live if one of its runs is, and pending if its schedule has not decided about it yet.

All others run, whether they failed, were missed or skipped, or are not on record at all.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Q
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import registry
from jobledger.jobs.declaration import JobDeclaration
from jobledger.models import LIVE, SUCCESSES, NextSlot, Reason, Run, Status, Trigger
from jobledger.reason import MANY
from jobledger.retention import limits
from jobledger.schedules import stored_schedules
from jobledger.schedules.audit import ran_since
from jobledger.schedules.chains import links
from jobledger.schedules.due import slot_runs
from jobledger.schedules.due.slot_runs import Target
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.slots import RESOLUTION, slots_between
from jobledger.schedules.stored_schedules import Times

MAX_SLOTS = 10_000
"""The most slots that a range may have."""

COVERING = (Reason.COALESCED, Reason.SUPERSEDED)
"""Why a slot was not executed if another run stands for it."""

_FIELDS = ("pk", "scheduled_for", "queued_at", "status", "trigger", "schedule_name", "job", "options")
_DETAILS = ("reason", "reason_details", "coalesced")


class BackfillError(ValueError):
    """A backfill that cannot be started; the message says why."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """The invalid field (``from`` or ``to``); empty if it is none of them."""


class Decision(StrEnum):
    """What a backfill does with a slot."""

    RUN = "run"
    SUCCEEDED = "succeeded"
    """Left out: one of its runs has succeeded."""
    COVERED = "covered"
    """Left out: another run that has succeeded stands for it."""
    LIVE = "live"
    """Left out: one of its runs is queued or running."""
    PENDING = "pending"
    """Left out: its schedule will run it, or record why not."""


class Difference(StrEnum):
    """How what a run did differs from what the schedule, which has been edited since, starts now."""

    JOB = "job"
    OPTIONS = "options"


@dataclass(frozen=True, kw_only=True)
class PastSlot:
    """A slot, what a backfill does with it, and the run that the decision is based on."""

    slot: datetime
    decision: Decision
    run_id: UUID | None = None
    """The newest of its runs or, if it is left out, the one because of which it is."""
    status: Status | None = None
    """The status of that run."""
    difference: Difference | None = None
    """What is different in that run."""


@dataclass(frozen=True, kw_only=True)
class PastSlots:
    """The slots of a range, oldest first."""

    slots: Sequence[PastSlot]
    elsewhere: int = 0
    """How many runs the schedule has in the range for times that are no slots of it, as it is now."""
    forgotten: int = 0
    """How many slots run that may have succeeded, because runs of their age are no longer kept."""
    learns_slot: bool = True
    """Whether the job is told the time of its slot, which a plain command is not."""

    @property
    def to_run(self) -> list[datetime]:
        return [each.slot for each in self.slots if each.decision is Decision.RUN]

    def count(self, decision: Decision) -> int:
        return sum(each.decision is decision for each in self.slots)


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A run on record, as far as it matters."""

    pk: UUID
    scheduled_for: datetime
    queued_at: datetime
    status: Status
    trigger: str
    schedule_name: str
    job: str
    options: dict[str, Any]
    reason: str = ""
    reason_details: Mapping[str, Any]
    coalesced: int = 0

    @property
    def standing_in(self) -> UUID | None:
        """The run that stands for this slot, or for earlier ones that have no record."""
        if self.status in SUCCESSES and self.coalesced:
            return self.pk
        if self.status is not Status.MISSED or self.reason not in COVERING:
            return None
        try:
            return UUID(str(self.reason_details.get("run")))
        except ValueError:
            return None

    def difference_from(self, target: Target) -> Difference | None:
        if self.job != target.job:
            return Difference.JOB
        return Difference.OPTIONS if self.options != target.options else None


def why_never(schedule: PeriodicTask) -> str:
    """Why such a schedule cannot be backfilled, whatever the range; empty if it can, unless it is broken."""
    if registry.of_task(schedule.task) is None:
        return (
            f"schedule {schedule.name!r} starts an ordinary Celery task, which does not learn the time that "
            "it was scheduled for; only jobs can be backfilled"
        )
    if links.starts_after_others(schedule):
        return f"schedule {schedule.name!r} starts after other schedules, and has no times of its own"
    return ""


def target_of(schedule: PeriodicTask) -> Target:
    """What the schedule starts. Raises BackfillError, also for an ordinary task, which gets no slot."""
    try:
        target = slot_runs.target_of(schedule)
    except ValueError as error:
        raise BackfillError(f"schedule {schedule.name!r} is broken: {error}") from error
    if why := why_never(schedule):
        raise BackfillError(why)
    return target


def why(each: PastSlot) -> str:
    """Why a backfill runs the slot, or leaves it out."""
    run = f"run {str(each.run_id)[:8]}"
    options = ", with other options" if each.difference is Difference.OPTIONS else ""
    match each.decision:
        case Decision.SUCCEEDED:
            return f"{run} has succeeded{options}"
        case Decision.COVERED:
            return f"{run} stands for it{options}"
        case Decision.LIVE if each.status is not None:
            return f"{run} is {each.status.label}"
        case Decision.PENDING:
            return "its schedule has not decided about it yet"
    job = " of another job" if each.difference is Difference.JOB else ""
    return f"{each.status.label} ({run}{job})" if each.status else "no run on record"


def past_slots(
    schedule: PeriodicTask, since: datetime, until: datetime, *, now: datetime, includes_covered: bool = False
) -> PastSlots:
    """The slots from ``since`` until before ``until``. Raises BackfillError."""
    target = target_of(schedule)
    if since >= now:
        raise BackfillError("the range must start in the past", field="from")
    if until <= since:
        raise BackfillError("the range ends before it starts", field="to")
    if until > now:
        raise BackfillError("the range must end in the past", field="to")
    own = _own_records(schedule, since, until)
    slots = _slots(schedule, since, until, own)
    records = _by_slot([*own, *_repeats(schedule, target, own, since, until)])
    covered = {} if includes_covered else _covered(slots, own, target)
    undecided = _undecided(schedule, slots)
    decided = [
        _decided(slot, target, records.get(slot, ()), covered.get(slot), is_open=slot in undecided)
        for slot in slots
    ]
    return PastSlots(
        slots=decided,
        elsewhere=len({each.scheduled_for for each in own if each.scheduled_for < until} - set(slots)),
        forgotten=_forgotten(decided, limits.ended_before(target.job, now), ran_since(schedule)),
        learns_slot=issubclass(registry.find(target.job).command_class, JobDeclaration),
    )


def decision_now(schedule: PeriodicTask, target: Target, slot: datetime) -> Decision:
    """What is to be done with the slot of a backfill now that it is its turn: ``RUN``, or left out.

    ``target`` is what the backfill starts, from which the schedule may differ by now.
    """
    own = _own_records(schedule, slot, slot + RESOLUTION)
    repeats = _repeats(schedule, target, own, slot, slot + RESOLUTION)
    records = _by_slot([*own, *repeats]).get(slot, ())
    return _decided(slot, target, records, covered_by=None, is_open=False).decision


def _slots(
    schedule: PeriodicTask, since: datetime, until: datetime, own: Collection[_Record]
) -> list[datetime]:
    slots = list(islice(_all_slots(schedule, since, until, own), MAX_SLOTS + 1))
    if len(slots) > MAX_SLOTS:
        text = f"the range has more than {MAX_SLOTS:,} slots, which is the limit; split it"
        raise BackfillError(text, field="to")
    if not slots:
        raise BackfillError(f"schedule {schedule.name!r} has no slot in this range", field="from")
    return slots


def _all_slots(
    schedule: PeriodicTask, since: datetime, until: datetime, own: Collection[_Record]
) -> Iterator[datetime]:
    if problem := stored_schedules.why_broken(schedule):
        raise BackfillError(f"schedule {schedule.name!r} is broken: {problem}")
    times = stored_schedules.times_of(schedule)
    if _is_first_unknown(schedule, times):
        # Which of the rule's slots it was follows from when the schedule was enabled, so the ledger knows.
        return iter(sorted({each.scheduled_for for each in own if each.scheduled_for < until}))
    slots = slots_between(times.rule, since - RESOLUTION, until - RESOLUTION, window=times.window)
    due_rule = times.due_rule
    if not isinstance(due_rule, CalendarRule):
        return slots
    return (slot for slot in slots if due_rule.runs(slot))


def _is_first_unknown(schedule: PeriodicTask, times: Times) -> bool:
    return times.window.one_off and schedule.clocked_id is None


def _own_records(schedule: PeriodicTask, since: datetime, until: datetime) -> list[_Record]:
    """The runs of the schedule's slots in the range, and of the next one that is on record."""
    # Not by when they were queued: a run that has superseded others may have been queued before its slot.
    runs = Run.objects.filter(schedule=schedule.pk, scheduled_for__gte=since)
    fields = (*_FIELDS, *_DETAILS)
    own = [_record(values) for values in runs.filter(scheduled_for__lt=until).values(*fields)]
    later = runs.filter(scheduled_for__gte=until, trigger=Trigger.SCHEDULE).order_by("scheduled_for")
    return [*own, *(_record(values) for values in later.values(*fields)[:1])]


def _repeats(
    schedule: PeriodicTask, target: Target, own: Collection[_Record], since: datetime, until: datetime
) -> list[_Record]:
    """Runs that a user has started again for the same slots, which keep the schedule's name only.

    A repeat with other options, such as a dry run, may have done something else.
    """
    names = {schedule.name, *(each.schedule_name for each in own)}
    options: dict[datetime, list[dict[str, Any]]] = defaultdict(lambda: [target.options])
    for each in own:
        if each.job == target.job:
            options[each.scheduled_for].append(each.options)
    runs = Run.objects.filter(
        Q(scheduled_for__gte=since, scheduled_for__lt=until),
        schedule=None,
        job=target.job,
        schedule_name__in=names,
        queued_at__gte=since,
        status__in=(*SUCCESSES, *LIVE),
    )
    found = [_record(values) for values in runs.values(*_FIELDS)]
    return [each for each in found if each.options in options[each.scheduled_for]]


def _record(values: Mapping[str, Any]) -> _Record:
    details = {"reason_details": {}, **values}
    return _Record(**{**details, "status": Status(values["status"])})


def _by_slot(records: Collection[_Record]) -> dict[datetime, list[_Record]]:
    found: dict[datetime, list[_Record]] = defaultdict(list)
    for each in records:
        found[each.scheduled_for].append(each)
    return dict(found)


def _covered(slots: Sequence[datetime], own: Collection[_Record], target: Target) -> dict[datetime, _Record]:
    """The slots for which a run of the same job that has succeeded stands, with this run."""
    by_schedule = {each.scheduled_for: each for each in own if each.trigger == Trigger.SCHEDULE}
    covering = _standing_in(by_schedule.values())
    found: dict[datetime, _Record] = {}
    # From the newest, since a record also stands for the slots before it that have none.
    by: _Record | None = None
    left = 0
    for slot in sorted({*slots, *by_schedule}, reverse=True):
        if (record := by_schedule.get(slot)) is not None:
            by, left = record, record.coalesced
        elif by is not None and left:
            # Beyond this, they are not counted.
            left -= by.coalesced < MANY
        else:
            by = None
        run = covering.get(by.pk) if by is not None else None
        if run is not None and run.status in SUCCESSES and run.job == target.job:
            found[slot] = run
    return found


def _standing_in(records: Collection[_Record]) -> dict[UUID, _Record]:
    """The runs that stand for the slots of these records, by the ids of the records.

    A record may refer to a run that has been superseded in turn, and so on. One for which nothing stands, or
    nothing that still exists, ends its own chain.
    """
    known = {each.pk: each for each in records}
    while missing := {pk for each in known.values() if (pk := each.standing_in)} - set(known):
        runs = Run.objects.filter(pk__in=missing).values(*_FIELDS, *_DETAILS)
        read = {values["pk"]: _record(values) for values in runs}
        if not read:
            break
        known |= read
    return {each.pk: _last(each, known) for each in records}


def _last(record: _Record, known: Mapping[UUID, _Record]) -> _Record:
    """The end of the chain that begins with this record."""
    seen: set[UUID] = set()
    while (pk := record.standing_in) and pk in known and record.pk not in seen:
        seen.add(record.pk)
        record = known[pk]
    return record


def _decided(
    slot: datetime,
    target: Target,
    records: Collection[_Record],
    covered_by: _Record | None,
    *,
    is_open: bool,
) -> PastSlot:
    def past_slot(decision: Decision, run: _Record | None) -> PastSlot:
        if run is None:
            return PastSlot(slot=slot, decision=decision)
        difference = run.difference_from(target)
        return PastSlot(slot=slot, decision=decision, run_id=run.pk, status=run.status, difference=difference)

    same_job = [each for each in records if each.job == target.job]
    # First those with the same options.
    same_job.sort(key=lambda each: each.options != target.options)
    for decision, statuses in ((Decision.SUCCEEDED, SUCCESSES), (Decision.LIVE, LIVE)):
        if found := next((each for each in same_job if each.status in statuses), None):
            return past_slot(decision, found)
    if covered_by is not None:
        return past_slot(Decision.COVERED, covered_by)
    if is_open and not records:
        return past_slot(Decision.PENDING, None)
    return past_slot(Decision.RUN, max(records, key=lambda each: each.queued_at, default=None))


def _forgotten(slots: Collection[PastSlot], kept_since: datetime | None, added_at: datetime | None) -> int:
    if kept_since is None:
        return 0
    unknown = (each.slot for each in slots if each.decision is Decision.RUN and each.run_id is None)
    return sum(slot < kept_since and (added_at is None or slot >= added_at) for slot in unknown)


def _undecided(schedule: PeriodicTask, slots: Collection[datetime]) -> Collection[datetime]:
    """Those about which the schedule has not decided yet; none if it is disabled, and so never will."""
    handled_until = NextSlot.objects.filter(pk=schedule.pk).values_list("handled_until", flat=True).first()
    if not schedule.enabled or handled_until is None:
        return ()
    rule = stored_schedules.times_of(schedule).due_rule
    moved = rule.moved_across(handled_until).values() if isinstance(rule, CalendarRule) else ()
    return {slot for slot in slots if slot > handled_until}.union(moved)
