"""Calendars that are declared in code are merged with users' edits, before the schedules that use them."""

from collections.abc import Sequence

import pytest
from pytest_django import Settings

from jobledger import Calendars, Schedule
from jobledger.calendars.use import CalendarUse
from jobledger.models import AuditEntry, Calendar, NextSlot, SchedulePolicy
from jobledger.schedules.declared import DeclarationError
from jobledger.schedules.declared.outcomes import Action, Outcome
from jobledger.schedules.declared.sync import reset, sync
from tests.unit.builders import output_of, override
from tests.unit.jobledger.schedules.declared.builders import JOB, stored

pytestmark = pytest.mark.django_db

NAME = "UK holidays"


def declare(settings: Settings, entries: str | Sequence[str] | None) -> None:
    """A calendar with these entries, and a schedule that uses it; None: no calendar."""
    calendars = {} if entries is None else {NAME: entries}
    schedule = Schedule("0 3 * * *", calendars=Calendars(not_on=[NAME]))
    override(settings, CALENDARS=calendars, EXPOSED_COMMANDS={JOB: {"schedules": [schedule]}})


def synced(settings: Settings, entries: str | Sequence[str] | None, *, dry_run: bool = False) -> Outcome:
    declare(settings, entries)
    [outcome] = [each for each in sync(dry_run=dry_run) if each.is_calendar]
    return outcome


def entries() -> str:
    return Calendar.objects.get(name=NAME).entries


def edit(text: str) -> None:
    calendar = Calendar.objects.get(name=NAME)
    calendar.entries = text
    calendar.save()


def test_a_declared_calendar_is_added_before_the_schedules_that_use_it(settings: Settings) -> None:
    assert synced(settings, ["sun", "12-25 # Christmas"], dry_run=True).action is Action.CREATE
    assert not Calendar.objects.exists()
    assert synced(settings, ["sun", "12-25 # Christmas"]).action is Action.CREATE
    assert entries() == "sun\n12-25 # Christmas"
    use = CalendarUse.read(SchedulePolicy.objects.get(schedule=stored()).calendars)
    assert [each.name for each in use.not_on] == [NAME]
    assert AuditEntry.objects.get(object_name=NAME).text == "Added as declared in code."
    assert synced(settings, "sun\n12-25 # Christmas\n").action is Action.NONE


def test_a_change_in_the_code_is_applied_and_planned(settings: Settings) -> None:
    synced(settings, "sun")
    outcome = synced(settings, ["sat", "sun"])
    assert [(each.label, each.stored, each.code) for each in outcome.changes] == [
        ("Entries", "sun", "sat; sun")
    ]
    assert (entries(), "sat" in NextSlot.objects.get(schedule=stored()).timing) == ("sat\nsun", True)
    assert AuditEntry.objects.filter(object_name=NAME, verb="changed").get().changes == [
        ["Entries", "sun", "sat\nsun"]
    ]


def test_what_users_have_edited_stays_and_is_drift_once_the_code_changes_too(settings: Settings) -> None:
    synced(settings, "sun")
    edit("sun\n2026-12-24\r\n")
    outcome = synced(settings, "sun")
    assert (outcome.action, len(outcome.edited), outcome.needs_attention) == (Action.NONE, 1, False)
    outcome = synced(settings, "sat")
    assert (outcome.action, len(outcome.drift), outcome.needs_attention) == (Action.NONE, 1, True)
    assert entries() == "sun\n2026-12-24\r\n"
    assert reset(NAME).action is Action.CHANGE
    assert (entries(), synced(settings, "sat").action) == ("sat", Action.NONE)


def test_one_that_users_have_made_is_adopted_if_it_is_the_same(settings: Settings) -> None:
    for name, stored_entries in ((NAME, "sun"), ("other", "sat")):
        Calendar.objects.create(name=name, entries=stored_entries)
    assert synced(settings, "sun").action is Action.NONE
    assert synced(settings, "mon").action is Action.CHANGE
    assert Calendar.objects.get(name="other").declared == ""


def test_one_that_was_renamed_is_created_again_and_one_that_is_no_longer_declared_stays(
    settings: Settings,
) -> None:
    synced(settings, "sun")
    Calendar.objects.update(name="renamed")
    assert synced(settings, "sun").action is Action.CREATE
    declare(settings, None)
    sync()
    assert set(Calendar.objects.values_list("name", "declared")) == {("renamed", ""), (NAME, "")}


@pytest.mark.parametrize(
    ("calendars", "problem"),
    [
        ({NAME: "someday"}, r"CALENDARS\"\]\['UK holidays'\]: line 1, 'someday'"),
        ({NAME: []}, "it has no entries"),
        ({" a": "sun"}, "has the name ' a'"),
        ({"a" * 101: "sun"}, "up to 100 characters"),
    ],
)
def test_nothing_is_changed_if_a_calendar_is_not_valid(
    settings: Settings, calendars: dict[str, str], problem: str
) -> None:
    override(settings, CALENDARS=calendars)
    with pytest.raises(DeclarationError, match=problem):
        sync()
    assert not Calendar.objects.exists()


def test_the_command_names_what_is_a_calendar(settings: Settings) -> None:
    declare(settings, "sun")
    assert "Would create calendar UK holidays\n" in output_of("jobledger", "sync", "--dry-run")
    assert "Created calendar UK holidays\n" in output_of("jobledger", "sync")
    declare(settings, "sat")
    assert output_of("jobledger", "sync") == "Changed calendar UK holidays: Entries: sun -> sat\n"
