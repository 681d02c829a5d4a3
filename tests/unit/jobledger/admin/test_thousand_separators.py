"""In a project whose numbers have thousand separators, those that pages send back or draw have none."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.admin import audit_log
from jobledger.models import AuditEntry, Pause, Run, Status
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.admin.schedules.edit_forms import change_url, edit_form
from tests.unit.jobledger.admin.schedules.schedules import LIST, act
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

INPUT = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


@pytest.fixture(autouse=True)
def separators(settings: Settings) -> None:
    settings.USE_THOUSAND_SEPARATOR = True


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly(pk=1234)


def confirm(client: Client, page: str, **entered: str) -> None:
    """Submit the form of a confirmation page."""
    form = page.partition('class="panel asking"')[2].partition("</form>")[0]
    client.post(reverse(LIST), {**dict(INPUT.findall(form)), **entered})


def test_schedules_are_deleted_after_the_confirmation(admin_client: Client, schedule: PeriodicTask) -> None:
    confirm(admin_client, act(admin_client, "delete_schedules", schedule).text)
    assert not PeriodicTask.objects.exists()


def test_schedules_are_paused_after_the_confirmation(admin_client: Client, schedule: PeriodicTask) -> None:
    asked = act(admin_client, "pause_schedules", schedule).text
    confirm(admin_client, asked, length="1h", on_resume="skip")
    assert Pause.objects.get().schedule == schedule


def test_a_conflict_shows_no_changes_from_before_the_form_was_opened(
    admin_client: Client, admin_user: object, schedule: PeriodicTask
) -> None:
    audit_log.log_action("ann", [schedule], "Changed earlier.")
    AuditEntry.objects.update(id=5000)
    posted = edit_form(admin_client, change_url(schedule)).after(description="mine")
    PeriodicTask.objects.update(description="theirs")
    conflict = admin_client.post(change_url(schedule), posted).text
    assert "This schedule was changed while you were editing it." in conflict
    assert "Changed earlier." not in conflict


@pytest.mark.parametrize("name", ["index", "jobledger_run_change"])
def test_progress_is_drawn_as_far_as_it_is(admin_client: Client, name: str) -> None:
    run: Run = create_run(status=Status.RUNNING, progress_done=1500, progress_total=6000)
    args = [run.pk] if name != "index" else []
    page = admin_client.get(reverse(f"admin:{name}", args=args)).text
    (drawn,) = re.findall(r"<progress [^>]*>", page)
    assert ('max="6000"' in drawn, 'value="1500"' in drawn) == (True, True)
