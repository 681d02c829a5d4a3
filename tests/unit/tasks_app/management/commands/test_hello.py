"""``hello`` shows a newcomer that the service works."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from jobledger.models import RunOutput
from tasks_app.management.commands.hello import Command
from tests.unit.builders import run_for_slot, utc

pytestmark = pytest.mark.django_db


def test_it_names_the_slot_in_the_projects_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/London"
    run = run_for_slot("hello", utc(2026, 7, 1, 2))
    assert RunOutput.objects.get(run=run).text == "Hello! This run is for 2026-07-01 03:00:00 BST.\n"


def test_it_declares_a_schedule_for_every_minute() -> None:
    assert [schedule.cron for schedule in Command.schedules] == ["* * * * *"]
    assert Command.time_limit == timedelta(minutes=1)
