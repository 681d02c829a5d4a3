"""The pages of calendars: entries are validated, edits are logged, and what is used cannot be deleted."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from jobledger import Calendars, Schedule
from jobledger.models import AuditEntry, Calendar, NextSlot, ScheduleCalendar
from tests.unit.builders import override
from tests.unit.jobledger.admin.change_forms import hidden_in, save
from tests.unit.jobledger.admin.schedules.schedules import member, page
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by
from tests.unit.jobledger.schedules.declared.builders import declare

pytestmark = pytest.mark.django_db

ADD, ALL = reverse("admin:jobledger_calendar_add"), reverse("admin:jobledger_calendar_changelist")


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def url(calendar: Calendar, page: str = "change") -> str:
    return reverse(f"admin:jobledger_calendar_{page}", args=[calendar.pk])


def test_a_calendar_is_added_and_shows_the_days_that_it_covers(admin_client: Client) -> None:
    values = {
        "name": "closed",
        "description": "",
        "entries": "2026-03-04 # stocktaking\n2026-03-05 10:00 to 11:00",
    }
    assert admin_client.post(ADD, values).status_code == 302
    text = admin_client.get(url(Calendar.objects.get())).text
    assert "Wed 2026-03-04: stocktaking<br>" in text
    assert "Thu 2026-03-05, 10:00 to 11:00: 2026-03-05 10:00 to 11:00<br>" in text
    assert "Wed 04 Mar 2026, Thu 05 Mar 2026" in admin_client.get(ALL).text
    assert AuditEntry.objects.get().text == "Added."


def test_the_next_days_are_different_days(admin_client: Client) -> None:
    Calendar.objects.create(name="nights", entries="22:00 to 24:00 # late\n00:00 to 06:00 # early")
    assert "Mon 02 Mar 2026, Tue 03 Mar 2026, Wed 04 Mar 2026" in admin_client.get(ALL).text


def test_an_invalid_entry_is_rejected_with_its_line(admin_client: Client) -> None:
    answer = admin_client.post(ADD, {"name": "closed", "entries": "sat\nholidays ZZ"})
    assert "Line 2, &#x27;holidays ZZ&#x27;: there is no country &#x27;ZZ&#x27;" in answer.text
    assert not Calendar.objects.exists()


def test_an_edit_is_logged_and_changes_when_the_schedules_that_use_it_run(admin_client: Client) -> None:
    limited_by(hourly(), "sun")
    calendar = Calendar.objects.get()
    save(admin_client, url(calendar), {"name": "closed", "description": "", "entries": "2026-03-02"})
    assert NextSlot.objects.get().slot == NOON + timedelta(hours=12)
    changes = {name: (old, new) for name, old, new in AuditEntry.objects.get().changes}
    assert changes == {"Name": ("closed hourly", "closed"), "Entries": ("sun", "2026-03-02")}


def test_entries_that_a_deployment_has_changed_meanwhile_are_not_overwritten_unseen(
    admin_client: Client,
) -> None:
    calendar = Calendar.objects.create(name="closed", entries="sun")
    opened = hidden_in(admin_client, url(calendar))
    Calendar.objects.filter(pk=calendar.pk).update(entries="sat")
    values = {"name": "closed", "description": "", "entries": "mon"}
    assert "This calendar was changed while" in admin_client.post(url(calendar), values | opened).text
    assert Calendar.objects.get().entries == "sat"


def test_each_entry_that_somebody_else_has_changed_is_told_apart(admin_client: Client) -> None:
    calendar = Calendar.objects.create(name="closed", entries="sat\nsun")
    opened = hidden_in(admin_client, url(calendar))
    values = {"name": "closed", "description": "", "entries": "sat\nsun\n12-24 # Eve"}
    save(admin_client, url(calendar), values)
    refused = admin_client.post(url(calendar), {**values, "entries": "mon"} | opened).text
    assert "Entries: sat, sun → sat, sun, 12-24 # Eve" in refused


def test_its_page_links_to_the_schedules_that_use_it(admin_client: Client) -> None:
    schedule = limited_by(hourly("a <b>"), "sun")
    text = admin_client.get(url(Calendar.objects.get())).text
    page_of_schedule = reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])
    assert f'<a href="{page_of_schedule}">a &lt;b&gt;</a> (not on)' in text


def test_one_that_is_used_is_not_deleted_and_its_schedules_are_named(admin_client: Client) -> None:
    schedule = limited_by(hourly("nightly"), "sun")
    calendar = Calendar.objects.get()
    assert "Schedule nightly" in admin_client.get(url(calendar, "delete")).text
    admin_client.post(url(calendar, "delete"), {"post": "yes"})
    assert Calendar.objects.exists()
    ScheduleCalendar.objects.all().delete()
    admin_client.post(url(calendar, "delete"), {"post": "yes"})
    assert not Calendar.objects.exists()
    assert AuditEntry.objects.get().verb == "deleted"
    schedule.refresh_from_db()


def test_a_calendar_that_is_not_valid_any_more_has_a_page_all_the_same(admin_client: Client) -> None:
    calendar = Calendar.objects.create(name="broken", entries="holidays ZZ")
    assert "holidays ZZ" in admin_client.get(url(calendar)).text
    assert admin_client.get(ALL).status_code == 200


@pytest.mark.parametrize(
    ("group", "may_view", "may_edit"),
    [("Job viewers", True, False), ("Job operators", True, False), ("Schedule editors", True, True)],
)
def test_each_group_may_do_what_it_should(client: Client, group: str, may_view: bool, may_edit: bool) -> None:
    member(client, group)
    calendar = Calendar.objects.create(name="closed", entries="sun")
    assert (client.get(url(calendar)).status_code == 200) == may_view
    assert (f'href="{ALL}"' in page(client)) == may_view
    save(client, url(calendar), {"name": "closed", "description": "", "entries": "sat"})
    assert (Calendar.objects.get().entries == "sat") == may_edit


@pytest.fixture
def declared(settings: Settings) -> Calendar:
    """A calendar that a declared schedule names."""
    declare(settings, Schedule("0 3 * * *", calendars=Calendars(not_on=["closed"])))
    return Calendar.objects.create(name="closed", entries="sun")


NAMED = "The code names the calendar “closed” (schedule plain_probe of the job plain_probe), which no longer"


def test_renaming_a_calendar_that_the_code_names_is_warned_of(
    admin_client: Client, declared: Calendar
) -> None:
    assert "Its name is in the code: schedule plain_probe of the job plain_probe." in (
        admin_client.get(url(declared)).text
    )
    values = {"name": "closed", "description": "new", "entries": "sun"}
    assert NAMED not in save(admin_client, url(declared), values, follow=True).text
    assert NAMED in save(admin_client, url(declared), {**values, "name": "open"}, follow=True).text


def test_one_that_is_declared_itself_is_said_to_come_back(
    admin_client: Client, declared: Calendar, settings: Settings
) -> None:
    override(settings, CALENDARS={"closed": "sun"})
    values = {"name": "open", "description": "", "entries": "sun"}
    assert "the next `sync` adds it again" in save(admin_client, url(declared), values, follow=True).text


@pytest.mark.parametrize("is_bulk", [True, False])
def test_deleting_a_calendar_that_the_code_names_is_warned_of(
    admin_client: Client, declared: Calendar, is_bulk: bool
) -> None:
    values = {"action": "delete_selected", "_selected_action": str(declared.pk)} if is_bulk else {}
    answer = admin_client.post(
        ALL if is_bulk else url(declared, "delete"), {**values, "post": "yes"}, follow=True
    )
    assert NAMED in answer.text
    assert not Calendar.objects.exists()
