"""Every action leaves an entry; an edit also its old and new values."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.audit_log import Change

pytestmark = pytest.mark.django_db


def a_schedule() -> PeriodicTask:
    interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.HOURS)
    return PeriodicTask.objects.create(name="hourly", task="probes.probe", interval=interval)


def test_an_edit_can_be_read_again() -> None:
    change = Change(name="cron", old="0 3 * * *", new="0 4 * * *")
    audit_log.log_edit(User.objects.create(username="ann"), a_schedule(), [change])
    entry = LogEntry.objects.get()
    assert audit_log.changes_of(entry) == [change]
    assert (entry.get_change_message(), entry.object_repr, entry.user.username) == (
        "Changed cron.",
        "hourly",
        "ann",
    )


@pytest.mark.parametrize(
    ("verb", "said"), [("added", "Added."), ("deleted", "Deleted periodic task “hourly")]
)
def test_what_was_added_or_deleted_says_so_with_its_values(verb: str, said: str) -> None:
    change = Change(name="cron", old="", new="0 4 * * *")
    audit_log.log_edit(User.objects.create(username="ann"), a_schedule(), [change], verb=verb)
    entry = LogEntry.objects.get()
    assert (entry.is_addition(), entry.is_deletion()) == (verb == "added", verb == "deleted")
    assert entry.get_change_message().startswith(said)
    assert audit_log.changes_of(entry) == [change]


def test_another_action_is_a_sentence() -> None:
    audit_log.log_action(User.objects.create(username="ann"), [a_schedule()], "Paused until noon.")
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Paused until noon."
    assert audit_log.changes_of(entry) == []


@pytest.mark.parametrize("message", ["", "[1, 2]", "{}", '[{"changed": {"fields": ["name"]}}]', "no json ["])
def test_an_entry_of_somebody_else_has_no_values(message: str) -> None:
    assert audit_log.changes_of(LogEntry(change_message=message)) == []


def test_only_what_differs_is_a_change() -> None:
    found = audit_log.differences({"a": "1", "b": "2", "gone": "x"}, {"a": "1", "b": "3", "new": "y"})
    assert [(each.name, each.old, each.new) for each in found] == [
        ("b", "2", "3"),
        ("gone", "x", ""),
        ("new", "", "y"),
    ]


def test_nobody_can_do_nothing() -> None:
    with pytest.raises(ValueError, match="without a user"):
        audit_log.log_action(AnonymousUser(), [a_schedule()], "Paused.")


def test_a_schedule_whose_times_cannot_be_read_has_entries_too() -> None:
    schedule = a_schedule()
    crontab = CrontabSchedule.objects.create()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus'")
    PeriodicTask.objects.update(interval=None, crontab=crontab)
    audit_log.log_action(
        User.objects.create(username="ann"), PeriodicTask.objects.filter(pk=schedule.pk), "Resumed."
    )
    assert LogEntry.objects.get().object_repr == "hourly"
