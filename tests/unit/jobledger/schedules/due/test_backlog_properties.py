"""What ``simulate`` says would happen is what the ledger records, whoever was away, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from django_celery_beat.models import PeriodicTask
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobledger.jobs.declaration import Concurrency, Misfire
from jobledger.models import Run, SchedulePolicy, Status
from jobledger.schedules import stored_schedules
from jobledger.schedules.due import ledger, slot_runs
from jobledger.schedules.forecasts.simulation import Queue, simulate
from jobledger.schedules.rules.slots import RESOLUTION
from tests.unit.jobledger.schedules.builders import NOON, hourly, wound_back

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

MINUTE = timedelta(minutes=1)
END = NOON + 60 * MINUTE
LATEST = 150
"""By then, in minutes after noon, everybody is back, and nothing waits any longer."""
Periods = list[tuple[datetime, datetime]]
Row = tuple[datetime | None, str, datetime | None, str, int]
"""A slot, what becomes of it, when it starts, why, and how many other slots it stands for."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A schedule that is due every few minutes, and who was away when."""

    every: int = 10
    misfire: Misfire = Misfire.ONCE
    catch_up_limit: int = 2
    deadline: int | None = None
    concurrency: Concurrency = Concurrency.FORBID
    expire_seconds: int | None = None
    no_beat: Periods
    no_workers: Periods

    def times(self) -> Sequence[datetime]:
        """When beat or a worker has something to do."""
        slots = [NOON + number * MINUTE for number in range(0, LATEST, self.every)]
        ends = [time for period in (*self.no_beat, *self.no_workers) for time in period]
        lasts = [
            timedelta(0),
            timedelta(minutes=self.deadline or 0),
            timedelta(seconds=self.expire_seconds or 0),
            # How late a run may start if late ones are skipped.
            MINUTE,
        ]
        return sorted({time + last for time in (*slots, *ends) for last in lasts})


def minutes(number: int) -> datetime:
    return NOON + number * MINUTE


def period(begin: int, length: int) -> tuple[datetime, datetime]:
    return minutes(begin), minutes(begin + length)


PERIODS = st.lists(st.builds(period, st.integers(-5, 60), st.integers(1, 60)), max_size=3)
CASES = st.builds(
    Case,
    every=st.sampled_from([5, 10, 12]),
    misfire=st.sampled_from(Misfire),
    catch_up_limit=st.sampled_from([1, 2, 100]),
    deadline=st.none() | st.sampled_from([3, 10, 25]),
    concurrency=st.sampled_from(Concurrency),
    expire_seconds=st.none() | st.sampled_from([90, 600]),
    no_beat=PERIODS,
    no_workers=PERIODS,
)


def made(case: Case) -> PeriodicTask:
    schedule = hourly(minute=f"*/{case.every}", expire_seconds=case.expire_seconds)
    deadline = None if case.deadline is None else case.deadline * MINUTE
    SchedulePolicy.objects.filter(schedule=schedule).update(
        misfire=case.misfire,
        catch_up_limit=case.catch_up_limit,
        starting_deadline=deadline,
        concurrency=case.concurrency,
    )
    return wound_back(schedule, NOON - RESOLUTION)


def recorded(case: Case, schedule: PeriodicTask) -> list[Row]:
    """What the ledger says in the end of all slots before ``END``."""
    for now in case.times():
        start_all(case, now)
        if not is_within(case.no_beat, now):
            while ledger.record_due(now).has_more:
                pass
            ledger.expire(now)
        start_all(case, now)
    runs = Run.objects.filter(schedule=schedule, scheduled_for__lt=END).order_by("scheduled_for")
    return [(run.scheduled_for, str(run.status), run.started_at, run.reason, run.coalesced) for run in runs]


def start_all(case: Case, now: datetime) -> None:
    if not is_within(case.no_workers, now):
        Run.objects.startable(now).update(status=Status.SUCCEEDED, started_at=now, publish_after=None)


def simulated(case: Case, schedule: PeriodicTask) -> list[Row]:
    stored = stored_schedules.timed(PeriodicTask.objects.filter(pk=schedule.pk)).get()
    times = stored_schedules.times_of(stored)
    may_overlap = slot_runs.may_overlap(stored, "probe")
    queue = Queue(
        no_workers=case.no_workers,
        may_overlap=may_overlap,
        max_live=min(slot_runs.live_limits(stored, "probe")) if may_overlap else None,
        expire_after=slot_runs.expire_after(stored),
    )
    slots = simulate(
        rule=times.rule,
        policy=times.policy,
        identity=schedule.pk,
        start=NOON,
        end=END,
        downtimes=case.no_beat,
        queue=queue,
    )
    return [
        (each.scheduled_for, STATUSES[each.verdict], each.started_at, each.why.reason or "", each.coalesced)
        for each in slots
    ]


STATUSES = {"run": "succeeded", "missed": "missed", "expired": "expired", "skipped": "skipped"}


def is_within(periods: Periods, at: datetime) -> bool:
    return any(begin <= at < end for begin, end in periods)


@settings(max_examples=20)
@given(CASES)
@example(Case(no_beat=[], no_workers=[period(5, 90)]))
@example(Case(misfire=Misfire.SKIP, no_beat=[period(15, 30)], no_workers=[period(5, 90)]))
@example(Case(misfire=Misfire.ALL, no_beat=[period(25, 50)], no_workers=[period(5, 90)]))
@example(
    Case(
        misfire=Misfire.ALL,
        concurrency=Concurrency.ALLOW,
        catch_up_limit=100,
        no_beat=[],
        no_workers=[period(5, 90)],
    )
)
def test_the_simulation_and_the_ledger_agree_for_any_outages_of_beat_and_workers(case: Case) -> None:
    PeriodicTask.objects.all().delete()
    Run.objects.all().delete()
    schedule = made(case)
    expected = simulated(case, schedule)
    assert recorded(case, schedule) == expected
    # Each slot is counted once, however many a row stands for.
    counted = sum(1 + coalesced for coalesced in Run.objects.values_list("coalesced", flat=True))
    assert counted == (case.times()[-1] - NOON) // (case.every * MINUTE) + 1
