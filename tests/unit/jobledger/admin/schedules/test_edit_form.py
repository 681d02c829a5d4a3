"""A form is saved as a whole or not at all, and only over the version that it was opened with."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.schedules.edit_form import ConflictError, EditForm
from jobledger.models import AuditEntry, SchedulePolicy
from tests.unit.jobledger.admin.schedules.edit_forms import an_hourly_one, change_url, edit_form

pytestmark = pytest.mark.django_db


def posted(client: Client, schedule: PeriodicTask, **changes: Any) -> EditForm:
    shown = edit_form(client, change_url(schedule)).after(**changes)
    data = {name: value[0] if isinstance(value, list) else value for name, value in shown.items()}
    return EditForm(data, stored=PeriodicTask.objects.get(pk=schedule.pk), now=timezone.now())


def test_a_schedule_that_is_deleted_while_it_is_saved_is_not_made_again(
    admin_client: Client, admin_user: User
) -> None:
    schedule = an_hourly_one()
    opened = posted(admin_client, schedule, times__every="2")
    assert opened.is_valid
    PeriodicTask.objects.all().delete()
    with pytest.raises(ConflictError):
        opened.save(admin_user)
    assert not PeriodicTask.objects.exists()


def test_a_change_while_it_is_saved_is_not_overwritten(admin_client: Client, admin_user: User) -> None:
    schedule = an_hourly_one()
    opened = posted(admin_client, schedule, times__every="2")
    assert opened.is_valid
    PeriodicTask.objects.update(description="faster")
    with pytest.raises(ConflictError):
        opened.save(admin_user)
    assert PeriodicTask.objects.get().description == "faster"
    assert (IntervalSchedule.objects.count(), AuditEntry.objects.count()) == (1, 0)


def test_an_audit_log_that_cannot_be_written_lets_nothing_be_saved(
    admin_client: Client, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = an_hourly_one()
    opened = posted(
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


def test_saying_what_a_save_would_overwrite_writes_nothing(admin_client: Client) -> None:
    schedule = an_hourly_one()
    opened = posted(admin_client, schedule, times__every="2")
    assert opened.is_valid
    (change,) = opened.conflict().changes
    assert (change.name, change.old, change.new) == ("Timing", "every hour", "every 2 hours")
    assert IntervalSchedule.objects.count() == 1


def test_a_schedule_that_had_no_policy_yet_gets_the_one_that_is_chosen(
    admin_client: Client, admin_user: User
) -> None:
    schedule = an_hourly_one()
    SchedulePolicy.objects.all().delete()
    opened = posted(admin_client, schedule, policy__misfire="skip")
    assert opened.is_valid
    opened.save(admin_user)
    assert SchedulePolicy.objects.get().misfire == "skip"


def test_a_schedule_that_was_deleted_since_it_was_read_is_no_error_while_somebody_types(
    admin_client: Client,
) -> None:
    schedule = an_hourly_one()
    opened = posted(admin_client, schedule)
    PeriodicTask.objects.all().delete()
    again = EditForm(opened.details.data, stored=opened.stored, now=timezone.now())
    assert again.preview() is not None


def test_what_is_typed_leaves_what_is_stored_as_it_was(admin_client: Client) -> None:
    schedule = an_hourly_one()
    opened = posted(admin_client, schedule, name="other", times__every="2", policy__misfire="skip")
    assert opened.is_valid
    assert opened.stored is not None
    assert (opened.details.instance.name, opened.stored.name) == ("other", "mine")
    assert (opened.policy.instance.misfire, opened.stored_policy.misfire) == ("skip", "once")
