"""The calendars of a file are imported with its schedules, so that they mean the same elsewhere."""

import json
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.versions.importing import Outcome, import_schedules
from jobledger.models import AuditEntry, Calendar, NextSlot, SchedulePolicy
from jobledger.schedules.documents import all_documents, calendar_documents
from jobledger.schedules.documents.files import JSON, YAML, InvalidFileError, file_text, read
from tests.unit.jobledger.schedules.builders import hourly, limited_by

pytestmark = pytest.mark.django_db

ENTRIES = "sat, sun\n# a comment\n2026-12-24 # Christmas Eve"


def exported(kind: str = YAML) -> str:
    documents: Any = dict(all_documents(PeriodicTask.objects.all()))
    return file_text(documents, kind, calendars=calendar_documents())


def imported(text: str, kind: str = YAML, **options: Any) -> dict[str, str]:
    found: list[Outcome] = import_schedules(read(text, kind), user="root", **options)
    return {f"{'calendar ' if each.is_calendar else ''}{each.name}": each.action for each in found}


def file_of(**content: Any) -> str:
    return json.dumps({"jobledger_schedules": 1, **content})


@pytest.mark.parametrize("kind", [YAML, JSON])
def test_a_file_makes_the_same_schedules_and_calendars_elsewhere(kind: str) -> None:
    limited_by(hourly(), ENTRIES, only_on="mon-fri", moved=True)
    Calendar.objects.filter(name="closed hourly").update(description="no work")
    Calendar.objects.create(name="unused", entries="12-24\r\n22:00 to 06:00\r\n")
    text = exported(kind)
    copy = SchedulePolicy.objects.get().calendars
    PeriodicTask.objects.all().delete()
    Calendar.objects.all().delete()
    assert imported(text, kind) == {
        "calendar closed hourly": "add",
        "calendar open hourly": "add",
        "calendar unused": "add",
        "hourly": "add",
    }
    assert (exported(kind), SchedulePolicy.objects.get().calendars) == (text, copy)
    assert Calendar.objects.get(name="closed hourly").entries == ENTRIES
    assert set(imported(text, kind).values()) == {"none"}


def test_a_changed_calendar_is_saved_and_logged_and_its_schedules_are_planned_anew() -> None:
    limited_by(hourly(), ENTRIES)
    text = exported(JSON).replace("sat, sun", "mon-sat")
    before = NextSlot.objects.get().timing
    assert imported(text, JSON, dry_run=True) == {"calendar closed hourly": "change", "hourly": "none"}
    assert NextSlot.objects.get().timing == before
    assert imported(text, JSON) == {"calendar closed hourly": "change", "hourly": "none"}
    assert Calendar.objects.get().entries == ENTRIES.replace("sat, sun", "mon-sat")
    assert "mon-sat" in NextSlot.objects.get().timing
    entry = AuditEntry.objects.get()
    assert (entry.object_name, entry.verb) == ("closed hourly", "changed")


def test_a_file_that_says_nothing_about_calendars_leaves_them_alone() -> None:
    Calendar.objects.create(name="unused", entries="sun")
    assert imported(file_of(schedules={}), JSON, prune=True) == {}
    assert Calendar.objects.count() == 1


def test_unused_calendars_that_are_not_in_the_file_are_deleted_only_with_prune() -> None:
    limited_by(hourly(), ENTRIES)
    Calendar.objects.create(name="unused", entries="sun")
    schedules = json.loads(exported(JSON))["schedules"]
    text = file_of(calendars={}, schedules=schedules)
    assert imported(text, JSON) == {
        "calendar closed hourly": "keep",
        "calendar unused": "keep",
        "hourly": "none",
    }
    pruned = {"calendar closed hourly": "keep", "calendar unused": "delete", "hourly": "none"}
    assert imported(text, JSON, prune=True) == pruned
    assert [each.name for each in Calendar.objects.all()] == ["closed hourly"]
    assert AuditEntry.objects.get(object_name="unused").verb == "deleted"
    gone = {"calendar closed hourly": "delete", "hourly": "delete"}
    assert imported(file_of(calendars={}, schedules={}), JSON, prune=True) == gone


@pytest.mark.parametrize(
    ("calendar", "problem"),
    [
        ({"entries": ["sun", "someday"]}, "calendars.a.entries: Line 2, 'someday': "),
        ({}, "calendars.a.entries: This field is required."),
        ({"entries": "sun"}, "calendars.a.entries: expected a list of texts"),
        ({"entry": ["sun"]}, "calendars.a.entry: "),
        ([], "calendars.a: expected an object"),
    ],
)
def test_a_calendar_that_is_not_valid_is_located_and_nothing_is_imported(calendar: Any, problem: str) -> None:
    schedule = {"job": "probe", "cron": "0 3 * * *", "timezone": "UTC", "not_on": ["a"]}
    text = file_of(calendars={"b": {"entries": ["sat"]}, "a": calendar}, schedules={"mine": schedule})
    with pytest.raises(InvalidFileError) as caught:
        imported(text, JSON)
    [found] = map(str, caught.value.problems)
    assert found.startswith(problem)
    assert (Calendar.objects.count(), PeriodicTask.objects.filter(name="mine").count()) == (0, 0)
