"""Beat records what is due while somebody edits it: neither waits for what the other one has locked."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.admin.schedules import deletion, origin
from jobledger.admin.schedules.snapshot import snapshot_of
from jobledger.jobs.declaration import Schedule
from jobledger.models import NextSlot, Run, SchedulePolicy
from jobledger.schedules.due import ledger
from tests.unit.jobledger.admin.schedules.edit_forms import edit
from tests.unit.jobledger.schedules.declared.builders import JOB, applied, declare
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture
def schedule(settings: Settings) -> PeriodicTask:
    """A declared schedule that is due."""
    applied(settings, Schedule("* * * * *"))
    NextSlot.objects.update(handled_until=timezone.now() - HOUR, due_at=timezone.now() - HOUR)
    declare(settings, Schedule("* * * * *", queue="slow"))
    return PeriodicTask.objects.get(name=JOB)


def record_in_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")
    ledger.record_due(timezone.now())


def save(schedule: PeriodicTask, user: User, client: Client) -> None:
    assert edit(client, schedule, description="edited").status_code == 302


def settle(schedule: PeriodicTask, user: User, client: Client) -> None:
    version = origin.origins([schedule])[schedule.pk].version
    origin.settle(user, schedule, "queue", is_code_right=True, version=version)


def delete(schedule: PeriodicTask, user: User, client: Client) -> None:
    seen = snapshot_of(schedule, SchedulePolicy.of(schedule)).version
    deletion.delete_schedule_seen(user, schedule, seen)


def postpone(schedule: PeriodicTask, user: User, client: Client) -> None:
    """A schedule that is limited to one run, and is disabled once beat has recorded that."""
    PeriodicTask.objects.update(one_off=True)
    assert edit(client, schedule, times__cron="0 0 1 1 *").status_code == 302


@pytest.mark.parametrize(
    ("change", "module", "last_step"),
    [
        (save, ledger, "sync"),
        (postpone, ledger, "sync"),
        (settle, ledger, "sync"),
        (delete, deletion, "delete_schedules"),
    ],
)
def test_a_schedule_is_recorded_that_an_edit_has_locked(
    change: Callable[[PeriodicTask, User, Client], None],
    module: Any,
    last_step: str,
    schedule: PeriodicTask,
    admin_user: User,
    admin_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows")
    step = getattr(module, last_step)

    def after_beat(*args: Any, **kwargs: Any) -> Any:
        with side_by_side(tmp_path) as database:
            database.call([record_in_time])
        return step(*args, **kwargs)

    monkeypatch.setattr(module, last_step, after_beat)
    change(schedule, admin_user, admin_client)
    assert Run.objects.filter(job=JOB).exists()
