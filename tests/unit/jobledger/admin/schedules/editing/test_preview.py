"""The formatted preview: what saving starts, the next runs, and what prevents them."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.admin.schedules.editing.edit_form import EditForm
from jobledger.admin.schedules.editing.preview import FormattedPreview, formatted_preview, neighbours_in
from jobledger.models import NextSlot, SchedulePolicy
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def at_noon() -> Any:
    with time_machine.travel(NOON, tick=False):
        yield


def preview_of(schedule: PeriodicTask, **typed: str) -> FormattedPreview:
    """The preview of the schedule, optionally with these changes."""
    form = EditForm({**_form_data(schedule), **typed} if typed else None, stored=schedule, now=NOON)
    found = formatted_preview(form)
    assert found is not None
    return found


def _form_data(schedule: PeriodicTask) -> dict[str, str]:
    times = {"times-kind": "cron", "times-cron": "0 * * * *", "times-zone": "UTC"}
    return {**times, "enabled": "on", "policy-misfire": "once", "policy-catch_up_limit": "100"}


def test_the_preview_shows_what_saving_starts_and_the_next_run() -> None:
    found = preview_of(hourly())
    assert (found.words, found.start) == ("every hour", "Saving starts no run.")
    assert found.next == "The next run starts Mon 2026-03-02 13:00 UTC (in 1 h)."
    assert (found.new[0].text, found.new[0].relative) == ("Mon 2026-03-02 13:00 UTC", "in 1 h")


def test_the_next_run_is_none_that_a_calendar_leaves_out() -> None:
    schedule = hourly()
    limited_by(schedule, "2026-03-02")
    found = preview_of(PeriodicTask.objects.get())
    assert found.next == "The next run starts Tue 2026-03-03 00:00 UTC (in 12 h)."
    assert found.new[0].text in found.next


def test_slots_are_shown_in_their_time_zone() -> None:
    found = preview_of(hourly(), **{"times-cron": "30 13 1 7 *", "times-zone": "Europe/London"})
    assert found.new[0].text == "Wed 2026-07-01 13:30 BST"
    assert found.zone == "Europe/London"


def test_slots_in_only_one_of_the_lists_are_marked() -> None:
    found = preview_of(hourly(), **{"times-cron": "0,30 13 * * *"})
    assert [slot.is_other for slot in found.old[:2]] == [False, True]
    # Unknown after the last old slot in the preview.
    assert [slot.is_other for slot in found.new[:3]] == [False, True, False]


def test_a_disabled_schedule_says_so() -> None:
    assert preview_of(hourly(), enabled="").next == "Disabled: nothing starts until the schedule is enabled."


def test_a_schedule_without_a_next_slot_says_so() -> None:
    found = preview_of(hourly(), expires="2026-03-02T12:30")
    assert found.next == "There is no next run."


def test_a_paused_schedule_shows_the_reason() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=None, reason="move", username="ann"), now=NOON)
    assert "will not start: paused by ann until resumed: move" in preview_of(schedule).next


def test_jitter_is_shown_as_the_resulting_delay() -> None:
    schedule = hourly()
    SchedulePolicy.objects.update(jitter=timedelta(minutes=30))
    schedule.refresh_from_db()
    assert preview_of(schedule).jitter.endswith("later because of its random delay.")
    form = EditForm({**_form_data(schedule), "policy-jitter": "30 min"}, now=NOON)
    fresh = formatted_preview(form)
    assert fresh is not None
    assert (
        fresh.jitter == "Each run starts up to 30 min later; the exact delay is determined by the first save."
    )


def test_a_slot_that_is_already_due_is_shown() -> None:
    schedule = hourly()
    with time_machine.travel(NOON + timedelta(hours=1, seconds=5), tick=False):
        form = EditForm(
            {**_form_data(schedule), "times-cron": "30 * * * *"},
            stored=schedule,
            now=NOON + timedelta(hours=1, seconds=5),
        )
        found = formatted_preview(form)
    assert found is not None
    assert "Already due, and will still start: Mon 2026-03-02 13:00 UTC." in found.start


def test_invalid_timing_has_no_preview() -> None:
    schedule = hourly()
    assert formatted_preview(EditForm({**_form_data(schedule), "times-cron": "x"}, now=NOON)) is None
    assert formatted_preview(EditForm(now=NOON)) is None


def due(name: str, seconds: float) -> PeriodicTask:
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name=name, task="probes.probe", interval=interval)
    NextSlot.objects.filter(pk=schedule.pk).update(due_at=NOON + timedelta(seconds=seconds))
    return schedule


def test_neighbours_are_grouped_by_minute() -> None:
    for name, seconds in (("b", 0), ("a", 59.9), ("before", -0.1), ("later", 60), ("far", 600)):
        due(name, seconds)
    found = neighbours_in([NOON, NOON + MINUTE, NOON + 5 * MINUTE])
    assert [(each.minute, each.names) for each in found] == [(NOON, ("b", "a")), (NOON + MINUTE, ("later",))]


def test_a_schedule_is_not_its_own_neighbour() -> None:
    assert neighbours_in([NOON], exclude=due("mine", 1).pk) == []


def test_only_some_of_many_neighbours_are_named() -> None:
    for number in range(8):
        due(f"schedule {number}", number)
    (found,) = neighbours_in([NOON])
    assert (found.names[0], len(found.names), found.count, found.unnamed) == ("schedule 0", 5, 8, 3)


def test_neighbours_take_one_query_for_counts_and_one_for_names(django_assert_num_queries: Any) -> None:
    minutes = [NOON + number * MINUTE for number in range(10)]
    with django_assert_num_queries(1):
        neighbours_in(minutes)
    due("one", 0)
    due("other", 61)
    with django_assert_num_queries(2):
        neighbours_in(minutes)
    with django_assert_num_queries(0):
        assert neighbours_in([]) == []
