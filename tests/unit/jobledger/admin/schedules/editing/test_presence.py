"""Users see who else has the form of a schedule open."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django_celery_beat.models import PeriodicTask

from jobledger.models import OpenForm
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import change_url, create_hourly, edit, page_url
from tests.unit.jobledger.admin.schedules.schedules import member
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

ALSO = "Also editing this schedule: "


@pytest.fixture
def schedule() -> PeriodicTask:
    return create_hourly()


@pytest.fixture
def editor() -> Client:
    client = Client()
    member(client, "Schedule editors")
    return client


def announce(client: Client, schedule: PeriodicTask) -> Any:
    return client.post(page_url("presence", schedule), headers={"HX-Request": "true"})


def test_an_open_form_is_seen_by_others(admin_client: Client, editor: Client, schedule: PeriodicTask) -> None:
    assert announce(editor, schedule).text.strip() == ""
    assert f"{ALSO}member." in announce(admin_client, schedule).text
    assert f"{ALSO}admin." in announce(editor, schedule).text


def test_it_says_nothing_of_oneself_or_of_other_schedules(
    admin_client: Client, editor: Client, schedule: PeriodicTask
) -> None:
    announce(editor, hourly("other"))
    announce(admin_client, schedule)
    assert ALSO not in announce(admin_client, schedule).text


def test_who_has_saved_is_not_shown_any_more(
    admin_client: Client, editor: Client, schedule: PeriodicTask
) -> None:
    announce(editor, schedule)
    edit(editor, schedule, times__every="0")
    assert f"{ALSO}member." in announce(admin_client, schedule).text
    edit(editor, schedule, times__every="2")
    assert ALSO not in announce(admin_client, schedule).text
    assert OpenForm.objects.get().user.get_username() == "admin"


def test_a_form_that_is_no_longer_announced_is_closed(
    admin_client: Client, editor: Client, schedule: PeriodicTask
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        announce(editor, schedule)
        clock.shift(timedelta(seconds=119))
        member_is_seen = f"{ALSO}member." in announce(admin_client, schedule).text
        clock.shift(timedelta(seconds=1))
        assert (member_is_seen, ALSO in announce(admin_client, schedule).text) == (True, False)


def test_an_open_form_is_one_row_that_is_renewed(
    admin_client: Client, schedule: PeriodicTask, admin_user: User, django_assert_num_queries: Any
) -> None:
    announce(admin_client, schedule)
    first = OpenForm.objects.get()
    # The session, the user, the schedule; the note, and the others.
    with django_assert_num_queries(5):
        announce(admin_client, schedule)
    again = OpenForm.objects.get()
    assert (again.pk, again.user) == (first.pk, admin_user)
    assert again.seen_at > first.seen_at


def test_viewers_neither_announce_themselves_nor_see_editors(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    announce(admin_client, schedule)
    viewer = Client()
    member(viewer, "Job viewers")
    assert announce(viewer, schedule).status_code == 403
    assert page_url("presence", schedule) not in viewer.get(change_url(schedule)).text


def test_a_closed_form_is_forgotten_when_old_rows_are_deleted(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        announce(admin_client, schedule)
        clock.shift(timedelta(days=1, seconds=1))
        call_command("prune_runs")
    assert not OpenForm.objects.exists()


def test_the_form_sends_nothing_else_of_its_input(admin_client: Client, schedule: PeriodicTask) -> None:
    page = admin_client.get(change_url(schedule)).text
    (element,) = [line for line in page.splitlines() if page_url("presence", schedule) in line]
    assert 'hx-params="csrfmiddlewaretoken"' in element
    assert "name=" not in element
    assert form_in(page, "edit-form").values


def test_a_name_is_shown_as_text(admin_client: Client, schedule: PeriodicTask) -> None:
    user = User.objects.create(username="<b>bob", is_staff=True, is_superuser=True)
    other = Client()
    other.force_login(user)
    announce(other, schedule)
    assert f"{ALSO}&lt;b&gt;bob." in announce(admin_client, schedule).text
