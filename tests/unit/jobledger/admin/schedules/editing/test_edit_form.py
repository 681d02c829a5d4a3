"""A form is saved completely or not at all, and only over the version it was opened with."""

from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.schedules.editing.edit_form import ConflictError, EditForm
from jobledger.models import AuditEntry, Dialect, NextSlot, SchedulePolicy
from tests.unit.jobledger.admin.schedules.edit_forms import change_url, create_hourly, edit_form
from tests.unit.jobledger.schedules.builders import NOON
from tests.unit.jobledger.schedules.stock import CREATED, stock_cron, stock_interval

pytestmark = pytest.mark.django_db


def submit(client: Client, schedule: PeriodicTask, **changes: Any) -> EditForm:
    shown = edit_form(client, change_url(schedule)).after(**changes)
    data = {name: value[0] if isinstance(value, list) else value for name, value in shown.items()}
    return EditForm(data, stored=PeriodicTask.objects.get(pk=schedule.pk), now=timezone.now())


def test_a_schedule_that_is_deleted_while_saving_is_not_created_again(
    admin_client: Client, admin_user: User
) -> None:
    schedule = create_hourly()
    opened = submit(admin_client, schedule, times__every="2")
    assert opened.is_valid
    PeriodicTask.objects.all().delete()
    with pytest.raises(ConflictError):
        opened.save(admin_user)
    assert not PeriodicTask.objects.exists()


def test_a_concurrent_change_is_not_overwritten(admin_client: Client, admin_user: User) -> None:
    schedule = create_hourly()
    opened = submit(admin_client, schedule, times__every="2")
    assert opened.is_valid
    PeriodicTask.objects.update(description="faster")
    with pytest.raises(ConflictError):
        opened.save(admin_user)
    assert PeriodicTask.objects.get().description == "faster"
    assert (IntervalSchedule.objects.count(), AuditEntry.objects.count()) == (1, 0)


def test_nothing_is_saved_if_the_audit_log_cannot_be_written(
    admin_client: Client, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = create_hourly()
    opened = submit(
        admin_client, schedule, times__kind="cron", times__cron="0 5 * * *", policy__misfire="skip"
    )
    assert opened.is_valid

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(audit_log, "log_edit", fail)
    with pytest.raises(OSError, match="disk full"):
        opened.save(admin_user)
    assert PeriodicTask.objects.get().interval is not None
    assert (CrontabSchedule.objects.count(), SchedulePolicy.objects.get().misfire) == (0, "once")


def test_showing_a_conflict_writes_nothing(admin_client: Client) -> None:
    schedule = create_hourly()
    opened = submit(admin_client, schedule, times__every="2")
    assert opened.is_valid
    (change,) = opened.conflict().changes
    assert (change.name, change.old, change.new) == ("Timing", "every hour", "every 2 hours")
    assert IntervalSchedule.objects.count() == 1


def test_a_schedule_without_a_policy_gets_the_submitted_one(admin_client: Client, admin_user: User) -> None:
    schedule = create_hourly()
    SchedulePolicy.objects.all().delete()
    opened = submit(admin_client, schedule, policy__misfire="skip")
    assert opened.is_valid
    opened.save(admin_user)
    assert SchedulePolicy.objects.get().misfire == "skip"


def test_the_preview_of_a_deleted_schedule_is_not_an_error(
    admin_client: Client,
) -> None:
    schedule = create_hourly()
    opened = submit(admin_client, schedule)
    PeriodicTask.objects.all().delete()
    again = EditForm(opened.details.data, stored=opened.stored, now=timezone.now())
    assert again.preview() is not None


def test_submitting_a_form_does_not_modify_the_stored_instance(admin_client: Client) -> None:
    schedule = create_hourly()
    opened = submit(admin_client, schedule, name="other", times__every="2", policy__misfire="skip")
    assert opened.is_valid
    assert opened.stored is not None
    assert (opened.details.instance.name, opened.stored.name) == ("other", "mine")
    assert (opened.policy.instance.misfire, opened.stored_policy.misfire) == ("skip", "once")


def test_choosing_another_dialect_is_previewed_saved_and_logged(
    admin_client: Client, admin_user: User
) -> None:
    schedule = stock_cron("0 3 1-7 * mon", last_run_at=timezone.now())
    with time_machine.travel(NOON, tick=False):
        opened = submit(admin_client, schedule, times__dialect="cron")
        preview = opened.preview()
        assert preview is not None
        assert [f"{slot:%a %d}" for slot in preview.old_slots[:2]] == ["Mon 06", "Mon 04"]
        assert [f"{slot:%a %d}" for slot in preview.new_slots[:2]] == ["Tue 03", "Wed 04"]
        assert opened.is_valid
        opened.save(admin_user)
    assert SchedulePolicy.objects.get().dialect == Dialect.CRON
    assert NextSlot.objects.get().slot == preview.new_slots[0]
    (entry,) = AuditEntry.objects.all()
    assert "by Celery's rules" in str(entry.changes)


def test_saving_something_else_keeps_the_dialect_and_the_anchor(
    admin_client: Client, admin_user: User
) -> None:
    crontab = stock_cron("0 3 1-7 * mon", "crontab")
    interval = stock_interval(7, "minutes", "interval")
    for schedule in crontab, interval:
        opened = submit(admin_client, schedule, description="new")
        assert opened.is_valid
        assert opened.version == opened.opened_version
        opened.save(admin_user)
    assert SchedulePolicy.objects.get(schedule=crontab).dialect == Dialect.CELERY
    assert SchedulePolicy.objects.get(schedule=interval).anchor == CREATED
