"""Starts schedules after others: looks at what their predecessors have done, and records what follows.

Beat finds the ends of predecessors in the ledger, where nothing is lost: only runs that their schedules have
started count, at their final end. ``planning.rounds`` says which of them belong together. What follows is
planned as any other slot, by the follower's pauses, its deadline and its misfire policy, but is due when the
round is complete; it is recorded, together with what has been counted, in a transaction that holds the
follower's row. So whatever dies at any time, no start is lost and none is doubled.

While a run of a predecessor is live, beat looks every second, or less often if it takes long; otherwise, when
a predecessor is due. No other run costs a statement more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from uuid import UUID

from django.db import Error, transaction
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.escapes import line_logger
from jobledger.models import (
    After,
    ChainStart,
    NextSlot,
    Predecessor,
    Reason,
    Run,
    Status,
    Trigger,
    Why,
)
from jobledger.schedules import stored_schedules
from jobledger.schedules.due import ledger, slot_runs
from jobledger.schedules.due.backlog import DueSlots
from jobledger.schedules.pause_lookup import PauseLookup
from jobledger.schedules.planning import planning
from jobledger.schedules.planning.planning import Plan
from jobledger.schedules.planning.rounds import End, PredecessorEnds, Round, rounds, superfluous
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.chained import Listed
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import RESOLUTION
from jobledger.schedules.stored_schedules import Times

logger = line_logger(__name__)

BATCH = 100
LOOK_EVERY = timedelta(seconds=30)
"""How often beat looks even if nothing is known to be due, such as after an edit of a predecessor."""
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(seconds=5)
"""Between two looks while a run of a predecessor is live."""
SHARE = 0.02
"""How much longer a run may seem to take."""
CLOCK_TOLERANCE = timedelta(hours=1)
"""A run may have been queued before its slot by this much, if a clock was adjusted."""

COUNTED = (Trigger.SCHEDULE, Trigger.CHAIN)
"""Runs that users or backfills have started are not followed by others."""
_EXECUTED = (Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.LOST)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known of a link since the last round."""

    link: Predecessor
    ends: PredecessorEnds
    run_ids: Mapping[datetime, UUID]
    """The runs, by when they were due."""
    next_due_at: datetime | None
    """When the predecessor is due next."""
    live_since: datetime | None
    """Since when its oldest live run has been queued or running; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """What is to be recorded of a follower's rounds."""

    records: Sequence[PlannedSlot]
    counted: Sequence[Round]
    """The rounds that are over."""
    due_at: datetime | None
    """When a round is to be looked at again that waits for a pause or its delay."""


def advance(now: datetime) -> list[Run]:
    """Look at the followers that are due; returns the runs that were recorded, started or not."""
    due = NextSlot.objects.filter(look_at__lte=now)
    if not due.exists():
        return []
    with transaction.atomic():
        rows = list(due.order_by("look_at").select_for_update(skip_locked=True)[:BATCH])
        loaded = stored_schedules.load([row.pk for row in rows])
        return [run for row in rows for run in _try(row, loaded.schedules.get(row.pk), now)]


def _try(row: NextSlot, schedule: PeriodicTask | None, now: datetime) -> list[Run]:
    try:
        with transaction.atomic():
            runs, look_at = _look(row, schedule, now)
    except Error:
        raise
    except Exception:  # beat must go on, with this one later
        logger.exception("Could not look after what schedule %s starts", row.pk)
        runs, look_at = [], now + LOOK_EVERY
    changes = {"look_at": look_at, **({"recorded_at": now} if runs else {})}
    NextSlot.objects.filter(pk=row.pk).update(**changes)
    return runs


def _look(row: NextSlot, schedule: PeriodicTask | None, now: datetime) -> tuple[list[Run], datetime | None]:
    """What was recorded, and when to look again; None if it is no follower, or is broken."""
    if schedule is None or not schedule.policy.after or row.broken:
        return [], None
    times = stored_schedules.times_of(schedule)
    known = [
        _known(link, max(link.counted_until, row.handled_until), After(schedule.policy.after))
        for link in schedule.predecessors.order_by("pk")
    ]
    complete = list(rounds([each.ends for each in known]))
    if not complete:
        _forget_superfluous(known, now)
        return [], _look_again(known, None, now)
    if not _are_unlocked([each.link.pk for each in known]):
        return [], now + SHORTEST
    decision = _decide(schedule, times, complete, now)
    target = slot_runs.target_of(schedule)
    due = DueSlots(schedule=schedule, target=target, records=decision.records)
    runs = ledger.record([due], now) if decision.records else []
    _count(known, decision.counted)
    _note_starts(schedule, known, decision)
    return runs, _look_again(known, decision.due_at, now)


def _known(link: Predecessor, after: datetime, condition: After) -> _Known:
    # First, so that what is recorded in the meantime is among the runs.
    row = NextSlot.objects.filter(pk=link.schedule_id).first()
    runs = Run.objects.filter(
        schedule=link.schedule_id, trigger__in=COUNTED, queued_at__gt=after - CLOCK_TOLERANCE
    )
    found = list(
        runs.annotate(due=Coalesce("moved_to", "scheduled_for"))
        .filter(due__gt=after)
        .only("status", "scheduled_for", "moved_to", "queued_at", "started_at", "finished_at", "look_at")
    )
    live = [run for run in found if not run.is_over]
    pending = [_due(run) for run in live]
    if row is not None and row.slot is not None and row.slot > after:
        pending.append(row.slot)
    ends = sorted((_end(run, condition) for run in found if run.is_over), key=lambda end: end.due)
    return _Known(
        link=link,
        ends=PredecessorEnds(ends=ends, open_since=min(pending, default=None)),
        run_ids={_due(run): run.pk for run in found},
        next_due_at=row.due_at if row is not None else None,
        live_since=min((run.started_at or run.queued_at for run in live), default=None),
    )


def _due(run: Run) -> datetime:
    found = run.moved_to or run.scheduled_for
    assert found is not None  # noqa: S101 - runs of schedules have a slot
    return found


def _end(run: Run, condition: After) -> End:
    return End(
        due=_due(run),
        slot=run.scheduled_for or _due(run),
        counts=starts_followers(run, condition),
        ended_at=run.finished_at or run.queued_at,
    )


def starts_followers(run: Run, condition: After) -> bool:
    """Whether a schedule with this condition starts after the run, which has ended."""
    if condition is After.SUCCESS:
        return run.status == Status.SUCCEEDED
    was_executed = run.status == Status.CANCELLED and run.started_at is not None
    return run.status in _EXECUTED or was_executed


def _decide(schedule: PeriodicTask, times: Times, complete: Sequence[Round], now: datetime) -> _Decision:
    left_out = {each.slot: why for each in complete if each.starts and (why := _left_out(times, each))}
    starting = {
        at: each
        for at, each in _by_completion(complete)
        if each.starts and each.slot not in left_out and times.window.contains(each.slot)
    }
    plan = _plan(schedule, times, tuple(starting), now)
    waiting = {each.slot for at, each in starting.items() if plan and at > plan.handled_until}
    counted = list(takewhile(lambda each: each.slot not in waiting, complete))
    is_over = {each.slot for each in counted}
    skipped = [
        PlannedSlot(scheduled_for=slot, verdict=Verdict.SKIPPED, why=why)
        for slot, why in left_out.items()
        if why.reason and slot in is_over
    ]
    planned = [_for_slot(each, starting) for each in plan.records] if plan else []
    return _Decision(
        records=sorted([*skipped, *planned], key=lambda each: each.scheduled_for),
        counted=counted,
        due_at=plan.due_at if plan else None,
    )


def _by_completion(complete: Sequence[Round]) -> Iterator[tuple[datetime, Round]]:
    """The rounds with the times at which they were complete, in order and each at a time of its own."""
    last = None
    for each in complete:
        last = each.completed_at if last is None else max(each.completed_at, last + RESOLUTION)
        yield last, each


def _plan(
    schedule: PeriodicTask, times: Times, completed: tuple[datetime, ...], now: datetime
) -> Plan | None:
    """What happens to the rounds, which are due when they are complete."""
    if not completed:
        return None
    return planning.plan(
        rule=Listed(times=completed),
        policy=times.policy,
        # Those that were in force when the first of them was complete, however long beat has not been there.
        pauses=PauseLookup([schedule.pk], completed[0]).of(schedule.pk, schedule.task),
        identity=schedule.pk,
        handled_until=completed[0] - RESOLUTION,
        # Another machine's clock may be ahead of this one's.
        now=max(now, completed[-1]),
    )


def _for_slot(planned: PlannedSlot, starting: Mapping[datetime, Round]) -> PlannedSlot:
    """The same for the slots of the rounds, instead of the times at which they were complete."""
    into = planned.coalesced_into and starting[planned.coalesced_into].slot
    why = Why.of(Reason.COALESCED, slot=into) if into else planned.why
    slot = starting[planned.scheduled_for].slot
    return replace(planned, scheduled_for=slot, coalesced_into=into, why=why)


def _left_out(times: Times, complete: Round) -> Why | None:
    """Why the follower's calendars leave out the round; without a reason, if it is not due then at all."""
    if not times.calendars:
        return None
    zone = timezone.get_default_timezone()
    rule = CalendarRule(base=Clocked(at=complete.slot), use=times.calendars, zone=zone)
    if rule.runs(complete.slot):
        return None
    calendar, name = rule.why_moved(complete.slot)
    return Why.of(Reason.LEFT_OUT, calendar=calendar, name=name) if calendar else Why()


def _count(known: Sequence[_Known], counted: Sequence[Round]) -> None:
    """Note that these rounds are over."""
    if not counted:
        return
    for each, end in zip(known, counted[-1].deciding, strict=True):
        Predecessor.objects.filter(pk=each.link.pk).update(counted_until=end.due)


def _forget_superfluous(known: Sequence[_Known], now: datetime) -> None:
    until = dict(
        zip([each.link.pk for each in known], superfluous([each.ends for each in known], now), strict=True)
    )
    forgotten = [pk for pk, time in until.items() if time is not None]
    for pk in forgotten if forgotten and _are_unlocked(forgotten) else ():
        Predecessor.objects.filter(pk=pk).update(counted_until=until[pk])


def _are_unlocked(links: Sequence[int]) -> bool:
    """Lock the links, unless an edit has locked one of them, or has deleted it.

    It needs the follower's row in the ledger next, which beat holds, and must not be waited for.
    """
    unlocked = Predecessor.objects.filter(pk__in=links).order_by("pk").select_for_update(skip_locked=True)
    return len(unlocked.values_list("pk", flat=True)) == len(links)


def _note_starts(schedule: PeriodicTask, known: Sequence[_Known], decision: _Decision) -> None:
    """Note which runs have started the follower, or would have."""
    recorded = {each.scheduled_for for each in decision.records}
    starts = [
        ChainStart(schedule=schedule, scheduled_for=each.slot, predecessor_id=of.run_ids[end.due])
        for each in decision.counted
        if each.slot in recorded and each.starts
        for of, end in zip(known, each.deciding, strict=True)
    ]
    ChainStart.objects.bulk_create(starts, ignore_conflicts=True)


def _look_again(known: Sequence[_Known], due_at: datetime | None, now: datetime) -> datetime:
    times = [due_at, *(each.next_due_at for each in known)]
    lives = [now - each.live_since for each in known if each.live_since is not None]
    looks = [
        now + LOOK_EVERY,
        *(at for at in times if at is not None),
        *(now + min(max(length * SHARE, SHORTEST), LONGEST) for length in lives),
    ]
    return max(min(looks), now + SHORTEST)
