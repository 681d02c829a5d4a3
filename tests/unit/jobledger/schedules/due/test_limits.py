"""Where overlap is allowed, the slots of a schedule are skipped while too many runs are live."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import Concurrency, Misfire
from jobledger.models import NextSlot, Run, SchedulePolicy, Status, Trigger
from jobledger.runs import reasons
from jobledger.schedules.due import ledger
from jobledger.schedules.forecasts.simulation import Queue, simulate
from jobledger.schedules.planning.policy import Policy
from jobledger.schedules.rules.interval import Interval
from tests.probes.management.commands.allowing import Command as Allowing
from tests.unit.jobledger.schedules.builders import NOON, every, hourly, wound_back

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def overlapping(name: str = "overlapping", **policy: Any) -> PeriodicTask:
    schedule = hourly(name, handled_until=NOON - MINUTE, task="probes.allowing")
    SchedulePolicy.objects.filter(schedule=schedule).update(**policy)
    return schedule


def live(count: int, schedule: PeriodicTask | None = None, status: Status = Status.RUNNING) -> None:
    trigger = Trigger.SCHEDULE if schedule else Trigger.CELERY
    Run.objects.bulk_create(
        Run(job="allowing", schedule=schedule, status=status, trigger=trigger) for _ in range(count)
    )


def recorded_at_noon() -> list[tuple[str, dict[str, Any]]]:
    ledger.record_due(NOON)
    slots = Run.objects.filter(scheduled_for__isnull=False).order_by("scheduled_for")
    return list(slots.values_list("status", "reason_details"))


def test_a_schedule_with_as_many_queued_and_running_runs_as_it_may_have_skips_its_slot() -> None:
    schedule = overlapping()
    live(2, schedule)
    live(1, schedule, Status.QUEUED)
    assert recorded_at_noon() == [("skipped", {"live": 3, "limit": 3})]
    run = Run.objects.get(scheduled_for=NOON)
    assert (run.publish_after, NextSlot.objects.get().slot) == (None, NOON + HOUR)
    assert str(reasons.sentence(run, NOON)) == (
        "Skipped: 3 runs of its schedule were still queued or running; the limit is 3."
    )


def test_runs_that_are_over_and_those_of_other_schedules_do_not_count_for_a_schedule() -> None:
    schedule = overlapping()
    live(2, schedule)
    live(5, schedule, Status.SUCCEEDED)
    live(5)
    assert recorded_at_noon() == [("queued", {})]


def test_a_job_with_as_many_as_it_may_have_skips_the_slots_of_all_its_schedules() -> None:
    overlapping()
    live(100)
    assert recorded_at_noon() == [("skipped", {"live": 100, "limit": 100, "job": "allowing"})]
    text = "Skipped: 100 runs of job allowing were still queued or running; the limit is 100."
    assert str(reasons.sentence(Run.objects.get(scheduled_for=NOON), NOON)) == text


@pytest.mark.parametrize(
    ("limits", "recorded"),
    [
        ({"max_live_per_schedule": 2}, ("skipped", {"live": 2, "limit": 2})),
        ({"max_live_per_schedule": 4}, ("queued", {})),
        ({"max_live": 6}, ("skipped", {"live": 6, "limit": 6, "job": "allowing"})),
        ({"max_live": 7}, ("queued", {})),
        ({"max_live_per_schedule": 0, "max_live": 0}, ("queued", {})),  # the job's
    ],
)
def test_a_schedules_own_limits_override_its_jobs(limits: dict[str, Any], recorded: Any) -> None:
    schedule = overlapping(**limits)
    live(2, schedule)
    live(4)
    assert recorded_at_noon() == [recorded]


def test_schedules_that_are_due_together_and_slots_that_catch_up_are_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Allowing, "max_live", 1)
    wound_back(overlapping("one", misfire=Misfire.ALL), NOON - 10 * HOUR)
    overlapping("another")
    assert {status for status, _ in recorded_at_noon()} == {"queued"}


def test_schedules_that_are_due_together_are_not_cut_off_by_those_of_the_batches_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Allowing, "max_live", 3)
    monkeypatch.setattr(ledger, "BATCH", 2)
    for number in range(5):
        overlapping(f"schedule {number}")
    for _ in range(3):
        ledger.record_due(NOON)
    assert list(Run.objects.values_list("status", flat=True)) == ["queued"] * 5
    ledger.record_due(NOON + HOUR)
    later = Run.objects.filter(scheduled_for=NOON + HOUR)
    assert list(later.values_list("status", flat=True)) == ["skipped"] * 2


def test_where_runs_do_not_overlap_their_guard_is_the_limit() -> None:
    live(100, overlapping(concurrency=Concurrency.QUEUE))
    assert [status for status, _ in recorded_at_noon()] == ["queued"]


def test_a_schedule_that_allows_what_its_job_does_not_is_limited_as_well() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    live(3, schedule)
    assert [status for status, _ in recorded_at_noon()] == ["skipped"]


def test_runs_of_backfills_do_not_count() -> None:
    schedule = overlapping(max_live_per_schedule=1, max_live=1)
    live(3, schedule)
    Run.objects.update(trigger=Trigger.BACKFILL)
    assert recorded_at_noon() == [("queued", {})]


def test_what_is_not_due_costs_no_look_at_live_runs(django_assert_num_queries: Any) -> None:
    overlapping()
    with django_assert_num_queries(1):
        ledger.record_due(NOON - MINUTE - SECOND)


def test_runs_that_wait_because_each_missed_run_starts_are_limited_by_the_catch_up_limit_only() -> None:
    overlapping(misfire=Misfire.ALL, catch_up_limit=4, max_live_per_schedule=2, max_live=2)
    for hour in range(8):
        ledger.record_due(NOON + hour * HOUR)
    statuses = Run.objects.order_by("scheduled_for").values_list("status", "reason")
    assert list(statuses) == [("missed", "catch_up_limit")] * 3 + [("queued", "")] * 5


def test_runs_of_a_frequent_schedule_are_skipped_as_the_simulation_says() -> None:
    schedule = every(20, handled_until=NOON - SECOND)
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW, max_live_per_schedule=2)
    for number in range(10):
        ledger.record_due(NOON + number * 20 * SECOND)
    statuses = Run.objects.filter(schedule=schedule).order_by("scheduled_for").values_list("status", "reason")
    slots = simulate(
        rule=Interval(every=20 * SECOND, anchor=NOON),
        policy=Policy(),
        identity=schedule.pk,
        start=NOON,
        end=NOON + 100 * SECOND,
        queue=Queue(no_workers=[(NOON, NOON + HOUR)], may_overlap=True, max_live=2),
    )
    assert list(statuses)[:5] == [(each.verdict, each.why.reason) for each in slots]
    assert ("skipped", "too_many_live") in statuses


def test_those_that_run_do_count_for_it() -> None:
    live(3, overlapping(misfire=Misfire.ALL))
    assert recorded_at_noon() == [("skipped", {"live": 3, "limit": 3})]
