"""The calendars of a schedule on its page: chosen, previewed before they are saved, and logged."""

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client

from jobledger.calendars.use import CalendarUse
from jobledger.models import AuditEntry, Calendar, NextSlot, ScheduleCalendar, SchedulePolicy
from jobledger.schedules.words import described
from tests.unit.jobledger.admin.schedules.edit_forms import (
    ADD,
    NIGHTLY,
    add,
    change_url,
    edit,
    edit_form,
)
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def weekend() -> Calendar:
    return Calendar.objects.create(name="weekend", entries="sat, sun # free")


@pytest.fixture
def tuesdays() -> Calendar:
    return Calendar.objects.create(name="tuesdays", entries="tue # training")


def previewed(client: Client, **values: Any) -> str:
    url = f"{ADD}?job=probe"
    return client.post(f"{ADD}preview/", edit_form(client, url).after(**{**NIGHTLY, **values})).text


def test_without_any_calendars_the_page_does_not_speak_of_them(admin_client: Client) -> None:
    assert "<h2>Calendars</h2>" not in admin_client.get(ADD).text


def test_the_choice_to_move_runs_says_that_weekends_are_days_like_any_other(
    admin_client: Client, weekend: Calendar
) -> None:
    assert "Saturdays and Sundays are days like any other, unless one of" in admin_client.get(ADD).text


def test_with_the_weekend_left_out_a_holiday_on_friday_moves_to_monday(
    admin_client: Client, weekend: Calendar
) -> None:
    Calendar.objects.create(name="holidays", entries="2026-03-06")
    names = ["holidays", "weekend"]
    add(admin_client, times__cron="0 9 6 * *", calendars__not_on=names, calendars__left_out="move")
    assert NextSlot.objects.get().slot == utc("2026-03-09T09:00")


def test_a_schedule_is_added_with_calendars(admin_client: Client, tuesdays: Calendar) -> None:
    add(admin_client, calendars__not_on=[tuesdays.name], calendars__left_out="move")
    link = ScheduleCalendar.objects.get()
    policy = SchedulePolicy.objects.get()
    use = CalendarUse.read(policy.calendars)
    assert (link.calendar, link.kind, use.not_on[0].name, use.is_moved) == (
        tuesdays,
        "not_on",
        "tuesdays",
        True,
    )
    # Wednesday has a run of its own.
    assert NextSlot.objects.get().slot == utc("2026-03-04 03:30")
    assert described(link.schedule).endswith(", not on tuesdays but on the next day that is free")
    changes = {name: new for name, _, new in AuditEntry.objects.get().changes}
    assert (changes["Not on"], "Only on" in changes) == ("tuesdays", False)
    assert changes["Runs that calendars leave out"].startswith("run them at the same time")


def test_an_edit_replaces_the_calendars_and_is_logged(
    admin_client: Client, tuesdays: Calendar, weekend: Calendar
) -> None:
    add(admin_client, calendars__not_on=[tuesdays.name])
    schedule = ScheduleCalendar.objects.get().schedule
    edit(admin_client, schedule, calendars__not_on=[], calendars__only_on=[weekend.name])
    link = ScheduleCalendar.objects.get()
    assert (link.calendar, link.kind) == (weekend, "only_on")
    changes = {name: (old, new) for name, old, new in AuditEntry.objects.order_by("-pk")[0].changes}
    assert (changes["Not on"], changes["Only on"]) == (("tuesdays", ""), ("", "weekend"))


def test_saving_without_a_change_keeps_the_calendars(admin_client: Client, tuesdays: Calendar) -> None:
    add(admin_client, calendars__not_on=[tuesdays.name])
    schedule = ScheduleCalendar.objects.get().schedule
    before = SchedulePolicy.objects.values().get()
    edit(admin_client, schedule)
    assert (SchedulePolicy.objects.values().get(), ScheduleCalendar.objects.count()) == (before, 1)


def test_the_preview_says_what_is_left_out_before_it_is_saved(
    admin_client: Client, tuesdays: Calendar
) -> None:
    text = previewed(admin_client, calendars__not_on=[tuesdays.name])
    assert "Tue 2026-03-03 03:30 GMT: training (tuesdays)" in text
    assert "Tue 2026-03-03 03:30 GMT</time>" not in text
    assert "not on tuesdays" in text
    assert not SchedulePolicy.objects.exists()


def test_the_preview_says_from_when_a_run_is_moved(admin_client: Client, weekend: Calendar) -> None:
    values: dict[str, Any] = {
        "times__cron": "30 3 7 * *",
        "calendars__not_on": [weekend.name],
        "calendars__left_out": "move",
    }
    text = previewed(admin_client, **values)
    assert "Mon 2026-03-09 03:30 GMT" in text
    assert "moved from Sat 2026-03-07 03:30 GMT" in text


def test_the_preview_says_if_nothing_is_left(admin_client: Client, weekend: Calendar) -> None:
    text = previewed(admin_client, calendars__only_on=[weekend.name])
    assert "Its calendars leave no time at which it runs." in text


def test_a_calendar_cannot_be_used_in_both_ways(admin_client: Client, weekend: Calendar) -> None:
    answer = add(admin_client, calendars__not_on=[weekend.name], calendars__only_on=[weekend.name])
    assert "Already left out: weekend." in answer.text
    assert not SchedulePolicy.objects.exists()


def test_what_is_due_very_often_cannot_be_moved(admin_client: Client, weekend: Calendar) -> None:
    values: dict[str, Any] = {
        "times__cron": "* * * * *",
        "calendars__not_on": [weekend.name],
        "calendars__left_out": "move",
    }
    assert "cannot be moved" in add(admin_client, **values).text
    assert "cannot be moved" in previewed(admin_client, **values)
    assert not SchedulePolicy.objects.exists()


def test_a_calendar_that_is_not_valid_is_an_error_of_the_form(
    admin_client: Client, weekend: Calendar
) -> None:
    Calendar.objects.update(entries="holidays ZZ")
    answer = add(admin_client, calendars__not_on=[weekend.name])
    assert "there is no country" in answer.text
    assert not SchedulePolicy.objects.exists()


def test_an_edited_calendar_is_no_conflict(admin_client: Client, weekend: Calendar) -> None:
    schedule = limited_by(hourly(), "sun")
    shown = edit_form(admin_client, change_url(schedule))
    calendar = Calendar.objects.get(name="closed hourly")
    calendar.entries = "sat"
    calendar.save()
    assert admin_client.post(change_url(schedule), shown.after(name="renamed")).status_code == 302
    assert CalendarUse.read(SchedulePolicy.objects.get().calendars).not_on[0].text == "sat"
