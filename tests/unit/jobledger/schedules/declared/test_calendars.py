"""Calendars that are declared with a schedule: named in code, kept in the database."""

from typing import Any

import pytest
from pytest_django import Settings

from jobledger import Calendars, LeftOutSlots, Schedule
from jobledger.calendars.use import CalendarUse
from jobledger.models import Calendar, ScheduleCalendar, SchedulePolicy
from jobledger.schedules.declared import DeclarationError, by_name, problems
from jobledger.schedules.declared.outcomes import Action
from jobledger.schedules.declared.sync import reset, sync
from tests.unit.jobledger.schedules.builders import limited_by
from tests.unit.jobledger.schedules.declared.builders import JOB, applied, declare, of_job, stored

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def existing() -> None:
    for name in ("UK holidays", "weekend"):
        Calendar.objects.create(name=name, entries="sun")


def daily(**calendars: Any) -> Schedule:
    return Schedule("0 3 * * *", calendars=Calendars(**calendars))


def use() -> CalendarUse:
    return CalendarUse.read(SchedulePolicy.objects.get(schedule=stored()).calendars)


def test_the_named_calendars_are_used(settings: Settings) -> None:
    applied(settings, daily(not_on=["UK holidays"], only_on=("weekend",), left_out=LeftOutSlots.MOVE))
    found = set(ScheduleCalendar.objects.values_list("calendar__name", "kind"))
    assert found == {("UK holidays", "not_on"), ("weekend", "only_on")}
    assert ([each.name for each in use().not_on], use().is_moved) == (["UK holidays"], True)
    assert of_job(sync())[0].action is Action.NONE


def test_a_change_in_the_code_is_applied(settings: Settings) -> None:
    applied(settings, daily(not_on=["UK holidays"]))
    [outcome] = applied(settings, daily(not_on=["UK holidays", "weekend"], left_out=LeftOutSlots.MOVE))
    changes = {each.field: (each.stored, each.code) for each in outcome.changes}
    assert changes["not_on"] == ("UK holidays", "UK holidays, weekend")
    assert "left_out" in changes
    assert [each.name for each in use().not_on] == ["UK holidays", "weekend"]
    applied(settings, Schedule("0 3 * * *"))
    assert (use(), ScheduleCalendar.objects.count()) == (CalendarUse(), 0)


def test_what_a_user_has_chosen_in_the_admin_stays(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    limited_by(stored(), "2026-03-02")
    [outcome] = of_job(sync())
    assert [each.field for each in outcome.edited] == ["not_on"]
    assert len(use().not_on) == 1
    reset(JOB)
    assert use() == CalendarUse()


def test_a_calendar_that_does_not_exist_is_named_and_nothing_is_changed(settings: Settings) -> None:
    declare(settings, daily(not_on=["UK hollidays"]))
    with pytest.raises(DeclarationError, match=r"there is no calendar 'UK hollidays'\. Add it in the admin"):
        sync()
    assert not SchedulePolicy.objects.filter(schedule__name=JOB).exists()


@pytest.mark.parametrize(
    "calendars",
    [
        ["weekend"],
        Calendars(not_on="weekend"),
        Calendars(not_on=["a"], only_on=["a"]),
        Calendars(only_on=[1]),  # type: ignore[list-item]
        Calendars(left_out="later"),  # type: ignore[arg-type]
    ],
)
def test_anything_else_is_invalid(settings: Settings, calendars: Any) -> None:
    declare(settings, Schedule("0 3 * * *", calendars=calendars))
    assert ["calendars is " in each.text for each in problems(by_name()[JOB])] == [True]
