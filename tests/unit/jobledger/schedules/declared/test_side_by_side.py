"""Several deployments, and users, at once: each schedule is created once, and nobody waits for ever."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.admin.schedules import origin
from jobledger.jobs.declaration import Schedule
from jobledger.models import DeclaredSchedule, NextSlot
from jobledger.schedules.declared.outcomes import Action, Outcome
from jobledger.schedules.declared.sync import reset, sync
from tests.unit.jobledger.admin.schedules.edit_forms import page_url
from tests.unit.jobledger.schedules.declared.builders import applied, declare, of_job
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 5


def numbered(hour: int, **values: str) -> list[Schedule]:
    return [Schedule(f"{minute} {hour} * * *", name=f"number {minute}", **values) for minute in range(COUNT)]  # type: ignore[arg-type]


def test_deployments_at_once_create_each_schedule_once(settings: Settings, tmp_path: Path) -> None:
    declare(settings, *numbered(3))
    outcomes: list[Outcome] = []
    with side_by_side(tmp_path) as threads:
        threads.call([lambda: outcomes.extend(sync())] * 3)
        assert PeriodicTask.objects.filter(name__startswith="number").count() == COUNT
        assert DeclaredSchedule.objects.filter(schedule=None).count() == 0
        assert NextSlot.objects.filter(schedule__name__startswith="number").count() == COUNT
    found = Counter(each.action for each in of_job(outcomes))
    assert found == {Action.CREATE: COUNT, Action.NONE: 2 * COUNT}


def test_a_deployment_and_users_do_not_get_between_each_other(settings: Settings, tmp_path: Path) -> None:
    applied(settings, *numbered(3))
    declare(settings, *numbered(4, queue="slow"))
    user = User.objects.create_superuser("ann")
    client = Client()
    client.force_login(user)

    def delete() -> None:
        url = page_url("delete", PeriodicTask.objects.get(name="number 0"))
        assert client.post(url, {"post": "yes"}).status_code == 302

    def settle() -> None:
        schedule = PeriodicTask.objects.get(name="number 1")
        found = origin.origins([schedule])[schedule.pk]
        with suppress(origin.OriginConflictError):  # the deployment may be first
            origin.settle(user, schedule, "queue", is_code_right=True, version=found.version)

    with side_by_side(tmp_path) as threads:
        threads.call([sync, delete, settle, lambda: reset("number 2"), sync])
        sync()
        left = PeriodicTask.objects.filter(name__startswith="number").order_by("name")
        assert {(each.crontab.hour, each.queue) for each in left} == {("4", "slow")}
        assert [each.name for each in left] == [f"number {number}" for number in range(1, COUNT)]
