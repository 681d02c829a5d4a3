"""The preview in sentences: what a save starts, what comes next, and what stands in its way."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.admin.schedules.edit_form import EditForm
from jobledger.admin.schedules.preview import FormattedPreview, formatted_preview, neighbours_in
from jobledger.models import NextSlot, SchedulePolicy
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def at_noon() -> Any:
    with time_machine.travel(NOON, tick=False):
        yield


def shown(schedule: PeriodicTask, **typed: str) -> FormattedPreview:
    """The preview of the schedule as it is, or after something was typed."""
    form = EditForm({**_typed(schedule), **typed} if typed else None, stored=schedule, now=NOON)
    found = formatted_preview(form)
    assert found is not None
    return found


def _typed(schedule: PeriodicTask) -> dict[str, str]:
    times = {"times-kind": "cron", "times-cron": "0 * * * *", "times-zone": "UTC"}
    return {**times, "enabled": "on", "policy-misfire": "once", "policy-catch_up_limit": "100"}


def test_it_says_that_saving_starts_nothing_and_what_comes_next() -> None:
    found = shown(hourly())
    assert (found.words, found.start) == ("every hour", "Saving starts no run.")
    assert found.next == "The next run starts at Mon 2026-03-02 13:00 UTC (in 1 h)."
    assert (found.new[0].text, found.new[0].relative) == ("Mon 2026-03-02 13:00 UTC", "in 1 h")


def test_slots_are_shown_by_the_clock_of_their_zone() -> None:
    found = shown(hourly(), **{"times-cron": "30 13 1 7 *", "times-zone": "Europe/London"})
    assert found.new[0].text == "Wed 2026-07-01 13:30 BST"
    assert found.zone == "Europe/London"


def test_of_old_and_new_slots_those_are_marked_that_only_one_of_them_has() -> None:
    found = shown(hourly(), **{"times-cron": "0,30 13 * * *"})
    assert [slot.is_other for slot in found.old[:2]] == [False, True]
    # Beyond the last old slot that is looked at, nobody knows.
    assert [slot.is_other for slot in found.new[:3]] == [False, True, False]


def test_what_is_disabled_says_so() -> None:
    assert shown(hourly(), enabled="").next == "Disabled: nothing starts until the schedule is enabled."


def test_what_has_no_slot_any_more_says_so() -> None:
    found = shown(hourly(), expires="2026-03-02T12:30")
    assert found.next == "There is no next run."


def test_what_is_paused_says_why() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=None, reason="move", who="ann"), now=NOON)
    assert "does not start: paused by ann until resumed: move" in shown(schedule).next


def test_a_spread_is_told_as_the_delay_it_is() -> None:
    schedule = hourly()
    SchedulePolicy.objects.update(jitter=timedelta(minutes=30))
    assert shown(schedule).jitter.endswith("later because of its random delay.")
    form = EditForm({**_typed(schedule), "policy-jitter": "30 min"}, now=NOON)
    fresh = formatted_preview(form)
    assert fresh is not None
    assert fresh.jitter == "Each run starts up to 30 min later; the exact delay is fixed by the first save."


def test_a_slot_that_had_come_and_waits_is_named() -> None:
    schedule = hourly()
    with time_machine.travel(NOON + timedelta(hours=1, seconds=5), tick=False):
        form = EditForm(
            {**_typed(schedule), "times-cron": "30 * * * *"},
            stored=schedule,
            now=NOON + timedelta(hours=1, seconds=5),
        )
        found = formatted_preview(form)
    assert found is not None
    assert "Already due, and still started: Mon 2026-03-02 13:00 UTC." in found.start


def test_times_that_cannot_be_read_have_no_preview() -> None:
    schedule = hourly()
    assert formatted_preview(EditForm({**_typed(schedule), "times-cron": "x"}, now=NOON)) is None
    assert formatted_preview(EditForm(now=NOON)) is None


def due(name: str, seconds: float) -> PeriodicTask:
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name=name, task="probes.probe", interval=interval)
    NextSlot.objects.filter(pk=schedule.pk).update(due_at=NOON + timedelta(seconds=seconds))
    return schedule


def test_each_minute_names_those_that_are_due_in_it() -> None:
    for name, seconds in (("b", 0), ("a", 59.9), ("before", -0.1), ("later", 60), ("far", 600)):
        due(name, seconds)
    found = neighbours_in([NOON, NOON + MINUTE, NOON + 5 * MINUTE])
    assert [(each.minute, each.names) for each in found] == [(NOON, ("b", "a")), (NOON + MINUTE, ("later",))]


def test_a_schedule_is_no_neighbour_of_itself() -> None:
    assert neighbours_in([NOON], but=due("mine", 1).pk) == []


def test_many_are_counted_and_some_are_named() -> None:
    for number in range(8):
        due(f"schedule {number}", number)
    (found,) = neighbours_in([NOON])
    assert (found.names[0], len(found.names), found.count, found.unnamed) == ("schedule 0", 5, 8, 3)


def test_one_query_counts_and_one_a_minute_names(django_assert_num_queries: Any) -> None:
    minutes = [NOON + number * MINUTE for number in range(10)]
    with django_assert_num_queries(1):
        neighbours_in(minutes)
    due("one", 0)
    due("other", 61)
    with django_assert_num_queries(3):
        neighbours_in(minutes)
    with django_assert_num_queries(0):
        assert neighbours_in([]) == []
