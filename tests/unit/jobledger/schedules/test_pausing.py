"""A schedule, or the whole service, is paused and resumed; pauses stay on record."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import PausedSlots
from jobledger.models import NextSlot, Pause, Run
from jobledger.runs import reasons
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger
from jobledger.schedules.pausing import Terms
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def paused(schedule: PeriodicTask | None) -> bool:
    return pausing.active_pauses(schedule, NOON).exists()


def test_a_pause_records_its_end_reason_and_user() -> None:
    schedule, user = hourly(), User.objects.create(username="ann")
    terms = Terms(until=NOON + HOUR, reason="move", username="ann", user=user, on_resume=PausedSlots.RUN_ONCE)
    pause, is_new = pausing.pause(schedule, terms, now=NOON)
    assert is_new
    stored = Pause.objects.get()
    assert stored == pause
    assert (stored.schedule, stored.since, stored.until) == (schedule, NOON, NOON + HOUR)
    assert (stored.reason, stored.username, stored.user, stored.on_resume) == ("move", "ann", user, "once")


def test_a_pause_without_an_end_lasts_until_it_is_resumed_and_skips_its_slots() -> None:
    pausing.pause(hourly(), Terms(until=None), now=NOON)
    stored = Pause.objects.get()
    assert (stored.until, stored.on_resume) == (None, "skip")


def test_pausing_again_changes_the_end() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=None, reason="move", on_resume=PausedSlots.RUN_ONCE), now=NOON - HOUR)
    _, is_new = pausing.pause(schedule, Terms(until=NOON + HOUR, username="bob"), now=NOON)
    assert not is_new
    stored = Pause.objects.get()
    assert (stored.since, stored.until, stored.username) == (NOON - HOUR, NOON + HOUR, "bob")
    assert (stored.reason, stored.on_resume) == ("move", "once")


def test_pausing_again_can_change_the_reason_and_what_happens_to_the_slots() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=None, reason="move", on_resume=PausedSlots.RUN_ONCE), now=NOON - HOUR)
    pausing.pause(schedule, Terms(until=None, reason="fire", on_resume=PausedSlots.SKIP), now=NOON)
    stored = Pause.objects.get()
    assert (stored.reason, stored.on_resume) == ("fire", "skip")


def test_pausing_after_a_pause_has_ended_creates_a_new_one() -> None:
    schedule = hourly()
    Pause.objects.create(schedule=schedule, since=NOON - HOUR, until=NOON, reason="move")
    pause, is_new = pausing.pause(schedule, Terms(until=None), now=NOON)
    assert is_new
    assert pause.reason == ""
    assert Pause.objects.count() == 2


def test_an_end_in_the_past_is_rejected() -> None:
    with pytest.raises(ValueError, match="is in the past"):
        pausing.pause(None, Terms(until=NOON), now=NOON)


def test_a_schedule_and_the_service_are_paused_independently() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=None), now=NOON - MINUTE)
    pausing.pause(None, Terms(until=None), now=NOON - MINUTE)
    assert pausing.resume(None, now=NOON) == 1
    assert (paused(schedule), paused(None)) == (True, False)


def test_resuming_ends_all_active_pauses_and_deletes_none() -> None:
    schedule, other = hourly("one"), hourly("other")
    for each in schedule, schedule, other:
        Pause.objects.create(schedule=each, since=NOON - HOUR)
    over = Pause.objects.create(schedule=schedule, since=NOON - 2 * HOUR, until=NOON - HOUR)
    later = Pause.objects.create(schedule=schedule, since=NOON + HOUR)
    assert pausing.resume(schedule, now=NOON) == 2
    assert (paused(schedule), paused(other)) == (False, True)
    ends = dict(Pause.objects.values_list("pk", "until"))
    assert list(ends.values()).count(NOON) == 2
    assert (ends[over.pk], ends[later.pk]) == (NOON - HOUR, None)


def test_resuming_what_is_not_paused_does_nothing() -> None:
    assert pausing.resume(hourly(), now=NOON) == 0


def test_a_paused_slot_is_skipped_with_the_reason_of_the_pause() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    pausing.pause(schedule, Terms(until=None, reason="move", username="ann"), now=NOON - MINUTE)
    ledger.record_due(NOON)
    run = Run.objects.get()
    assert (run.status, run.reason) == ("skipped", "paused")
    assert reasons.explanation(run) == "Schedule hourly was paused by ann until resumed: move."


def test_a_held_slot_starts_as_soon_as_its_schedule_is_resumed(clock: time_machine.Traveller) -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    pausing.pause(schedule, Terms(until=NOON + 8 * HOUR, on_resume=PausedSlots.RUN_ONCE), now=NOON - MINUTE)
    ledger.record_due(NOON)
    assert not Run.objects.exists()
    clock.move_to(NOON + 10 * MINUTE)
    pausing.resume(schedule, now=NOON + 10 * MINUTE)
    assert NextSlot.objects.get().due_at == NOON + 10 * MINUTE
    ledger.record_due(NOON + 10 * MINUTE)
    assert [(run.scheduled_for, run.status) for run in Run.objects.all()] == [(NOON, "queued")]


def test_many_schedules_are_paused_together() -> None:
    one, two, other = hourly("one"), hourly("two"), hourly("other")
    pausing.pause_all(
        [one.pk, two.pk], Terms(until=NOON + HOUR, reason="move", username="ann"), now=NOON - HOUR
    )
    assert (paused(one), paused(two), paused(other)) == (True, True, False)
    assert {(each.reason, each.username) for each in Pause.objects.all()} == {("move", "ann")}


def test_pausing_many_changes_the_end_of_those_already_paused() -> None:
    one, two = hourly("one"), hourly("two")
    pausing.pause(one, Terms(until=None, reason="move", on_resume=PausedSlots.RUN_ONCE), now=NOON - HOUR)
    pausing.pause_all([one.pk, two.pk], Terms(until=NOON + HOUR, username="bob"), now=NOON)
    standing = Pause.objects.get(schedule=one)
    assert (standing.since, standing.until, standing.username) == (NOON - HOUR, NOON + HOUR, "bob")
    assert (standing.reason, standing.on_resume) == ("move", "once")
    assert Pause.objects.filter(schedule=two).count() == 1


def test_resuming_many_returns_which_were_paused() -> None:
    one, two = hourly("one"), hourly("two")
    pausing.pause(one, Terms(until=None), now=NOON - HOUR)
    assert pausing.resume_all([one.pk, two.pk], now=NOON - MINUTE) == {one.pk}
    assert not paused(one)


def test_resuming_many_makes_beat_plan_held_slots_again() -> None:
    schedule = hourly(handled_until=NOON - 2 * HOUR)
    pausing.pause_all([schedule.pk], Terms(until=None, on_resume=PausedSlots.RUN_ONCE), now=NOON - 2 * HOUR)
    ledger.record_due(NOON - MINUTE)
    assert NextSlot.objects.get().slot == NOON - HOUR
    assert NextSlot.objects.get().due_at != NOON - MINUTE
    pausing.resume_all([schedule.pk], now=NOON - MINUTE)
    assert NextSlot.objects.get().due_at == NOON - MINUTE


def test_the_number_of_statements_does_not_depend_on_the_number_of_schedules(
    django_assert_max_num_queries: Any,
) -> None:
    ids = [hourly(f"number {number}").pk for number in range(30)]
    with django_assert_max_num_queries(10):
        pausing.pause_all(ids, Terms(until=None), now=NOON - HOUR)
        pausing.resume_all(ids, now=NOON - MINUTE)
