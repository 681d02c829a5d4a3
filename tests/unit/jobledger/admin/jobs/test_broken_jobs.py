"""The admin's pages of a job that cannot tell its options."""

from typing import NoReturn

import pytest
from django.core.management.base import BaseCommand, CommandParser
from django.test import Client

from jobledger.jobs import registry
from jobledger.models import Run
from tests.unit.jobledger.admin.jobs.test_views import create_run, page_url, run_form_url
from tests.unit.jobledger.admin.schedules.edit_forms import change_url, create_hourly, edit_form

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> str:
    def add_arguments(self: BaseCommand, parser: CommandParser) -> NoReturn:
        raise OSError("no such file")

    monkeypatch.setattr(registry.find("choosing").command_class, "add_arguments", add_arguments)
    return "The job cannot tell its options: OSError: no such file"


def test_pages_say_why_the_options_of_a_job_are_not_known(admin_client: Client, broken: str) -> None:
    run = create_run(options={"level": "high"})
    for url in page_url("choosing"), run_form_url("choosing"), run_form_url("choosing", run):
        page = admin_client.get(url).text
        assert broken in page
        assert "no longer has" not in page
        assert "has no options" not in page


def test_a_job_whose_options_are_not_known_is_not_started(admin_client: Client, broken: str) -> None:
    for data in {}, {"dry_run": "1"}:
        assert broken in admin_client.post(run_form_url("choosing"), data).text
    assert not Run.objects.exists()
    assert admin_client.post(f"{page_url('choosing')}options/").status_code == 200


@pytest.mark.parametrize("mode", ["form", "json"])
def test_the_options_of_its_schedule_are_kept_but_not_saved(
    admin_client: Client, broken: str, mode: str
) -> None:
    schedule = create_hourly(task="probes.choosing", kwargs='{"level": "high"}')
    url = change_url(schedule)
    form = edit_form(admin_client, url)
    assert broken in admin_client.get(url).text
    data = form.after(**{"target-input_mode": mode, "target-shown_input_mode": mode})
    if mode == "json":
        data["target-kwargs"] = '{"level": "low"}'
    page = admin_client.post(url, data).text
    assert broken.removeprefix("The job ") in page
    assert "Not saved" in page
    schedule.refresh_from_db()
    assert schedule.kwargs == '{"level": "high"}'
