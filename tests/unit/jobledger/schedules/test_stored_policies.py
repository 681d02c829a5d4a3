"""A policy with a value that no form accepts breaks its schedule, which says why, and no other."""

from datetime import timedelta
from typing import Any

import pytest

from jobledger.jobs.declaration import Concurrency
from jobledger.models import NextSlot, Pause, Run, SchedulePolicy, Status
from jobledger.runs import overlap
from jobledger.schedules.due import ledger, slot_runs
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = [pytest.mark.django_db, pytest.mark.every_database]

HOUR = timedelta(hours=1)


def with_policy(name: str = "odd", **values: Any) -> Any:
    schedule = hourly(name, handled_until=NOON - HOUR)
    SchedulePolicy.objects.filter(schedule=schedule).update(**values)
    return schedule


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"misfire": "maybe"}, "misfire: 'maybe' is none of skip, once, all"),
        ({"concurrency": "maybe"}, "concurrency: 'maybe' is none of forbid, queue, replace, allow"),
        ({"left_out": "maybe"}, "left_out: 'maybe' is none of skip, move"),
        ({"dialect": "maybe"}, "dialect: 'maybe' is none of cron, celery"),
        ({"after": "maybe"}, "after: 'maybe' is none of success, end"),
        ({"jitter": -HOUR}, "jitter: -1 day, 23:00:00 is negative"),
        ({"jitter": timedelta(days=40_000)}, "jitter: 40000 days, 0:00:00 is more than 36525 days"),
        ({"starting_deadline": -HOUR}, "starting_deadline: -1 day, 23:00:00 is not positive"),
        (
            {"starting_deadline": timedelta(days=3_000_000)},
            "starting_deadline: 3000000 days, 0:00:00 is more than 36525 days",
        ),
    ],
)
def test_an_invalid_value_breaks_its_schedule_and_no_other(values: dict[str, Any], why: str) -> None:
    odd, other = with_policy(**values), hourly("other", handled_until=NOON - HOUR)
    ledger.record_due(NOON)
    assert NextSlot.objects.get(schedule=odd).broken == why
    assert not Run.objects.filter(schedule=odd).exists()
    assert Run.objects.get(schedule=other).status == Status.QUEUED


def test_schedules_with_the_same_times_and_another_overlap_rule_are_told_apart() -> None:
    fine, odd = with_policy("fine"), with_policy("odd", concurrency="maybe")
    ledger.record_due(NOON)
    broken = dict(NextSlot.objects.values_list("schedule", "broken"))
    assert broken[fine.pk] == ""
    assert broken[odd.pk].startswith("concurrency: ")


def test_runs_that_were_queued_with_an_unknown_overlap_rule_do_not_overlap() -> None:
    schedule = with_policy(concurrency="maybe")
    run = Run.objects.create(job="probe", trigger="schedule", schedule=schedule)
    guard = overlap.guard_of(Run.objects.get(pk=run.pk))
    assert (guard.key, guard.concurrency) == ("probe", Concurrency.FORBID)
    assert not slot_runs.may_overlap(schedule, "probe")


def test_an_expiry_that_no_date_can_have_breaks_its_schedule() -> None:
    schedule = hourly("odd", handled_until=NOON - HOUR)
    schedule.expire_seconds = 2**40
    with pytest.raises(slot_runs.BrokenScheduleError) as raised:
        slot_runs.target_of(schedule)
    assert str(raised.value) == "expire_seconds: 1099511627776 is not a number from 0 to 3155760000"


def test_a_pause_that_says_something_unknown_skips_what_is_due() -> None:
    paused, other = hourly("paused", handled_until=NOON - HOUR), hourly("other", handled_until=NOON - HOUR)
    # Without a signal, as with SQL.
    Pause.objects.bulk_create([Pause(schedule=paused, since=NOON - HOUR, on_resume="maybe")])
    ledger.record_due(NOON)
    assert Run.objects.get(schedule=paused).status == Status.SKIPPED
    assert Run.objects.get(schedule=other).status == Status.QUEUED
