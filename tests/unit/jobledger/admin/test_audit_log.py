"""Every action adds an entry; edits also record old and new values."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.audit_log import Change
from jobledger.models import AuditEntry

LOG = "/admin/jobledger/auditentry/"

pytestmark = pytest.mark.django_db


def a_schedule() -> PeriodicTask:
    interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.HOURS)
    return PeriodicTask.objects.create(name="hourly", task="probes.probe", interval=interval)


def test_the_values_of_an_edit_can_be_read() -> None:
    change = Change(name="cron", old="0 3 * * *", new="0 4 * * *")
    audit_log.log_edit(User.objects.create(username="ann"), a_schedule(), [change])
    entry = AuditEntry.objects.get()
    assert audit_log.changes_of(entry) == [change]
    assert (entry.text, entry.object_name, entry.username) == (
        "Changed cron.",
        "hourly",
        "ann",
    )


@pytest.mark.parametrize(("verb", "expected"), [("added", "Added."), ("deleted", "Deleted.")])
def test_additions_and_deletions_have_values(verb: str, expected: str) -> None:
    change = Change(name="cron", old="", new="0 4 * * *")
    audit_log.log_edit(User.objects.create(username="ann"), a_schedule(), [change], verb=verb)
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.text) == (verb, expected)
    assert audit_log.changes_of(entry) == [change]


def test_other_actions_are_text() -> None:
    audit_log.log_action(User.objects.create(username="ann"), [a_schedule()], "Paused until noon.")
    entry = AuditEntry.objects.get()
    assert entry.text == "Paused until noon."
    assert audit_log.changes_of(entry) == []


def test_entries_are_kept_when_the_user_is_deleted(admin_client: Client) -> None:
    ann, schedule = User.objects.create(username="ann"), a_schedule()
    audit_log.log_action(ann, [schedule], "Paused until noon.")
    page = reverse("admin:auth_user_delete", args=[ann.pk])
    assert admin_client.post(page, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="ann").exists()
    history = reverse("admin:django_celery_beat_periodictask_history", args=[schedule.pk])
    page = admin_client.get(history).text
    assert "ann" in page
    assert "Paused until noon." in page


def test_entries_are_kept_when_the_schedule_is_deleted(admin_client: Client) -> None:
    schedule = a_schedule()
    audit_log.log_edit(User.objects.create(username="ann"), schedule, [], verb="deleted")
    schedule.delete()
    entry = AuditEntry.objects.get()
    for address in (LOG, f"{LOG}?q=hourly", f"{LOG}{entry.pk}/change/"):
        page = admin_client.get(address).text
        assert "hourly" in page
        assert "Deleted." in page


def test_entries_cannot_be_changed(admin_client: Client) -> None:
    audit_log.log_action(User.objects.create(username="ann"), [a_schedule()], "Paused.")
    entry = AuditEntry.objects.get()
    for address in (f"{LOG}add/", f"{LOG}{entry.pk}/change/", f"{LOG}{entry.pk}/delete/"):
        assert admin_client.post(address, {"text": "forged", "post": "yes"}).status_code == 403
    assert AuditEntry.objects.get().text == "Paused."


def test_viewing_requires_permission(client: Client) -> None:
    client.force_login(User.objects.create_user("ann", is_staff=True))
    assert client.get(LOG).status_code == 403


def test_only_differences_are_changes() -> None:
    found = audit_log.differences({"a": "1", "b": "2", "gone": "x"}, {"a": "1", "b": "3", "new": "y"})
    assert [(each.name, each.old, each.new) for each in found] == [
        ("b", "2", "3"),
        ("gone", "x", ""),
        ("new", "", "y"),
    ]


def test_an_action_requires_a_user() -> None:
    with pytest.raises(ValueError, match="without a user"):
        audit_log.log_action(AnonymousUser(), [a_schedule()], "Paused.")


def test_a_schedule_with_invalid_timing_has_entries_too() -> None:
    schedule = a_schedule()
    crontab = CrontabSchedule.objects.create()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus'")
    PeriodicTask.objects.update(interval=None, crontab=crontab)
    audit_log.log_action(
        User.objects.create(username="ann"), PeriodicTask.objects.filter(pk=schedule.pk), "Resumed."
    )
    assert AuditEntry.objects.get().object_name == "hourly"


def test_the_list_has_a_title_and_readable_types(admin_client: Client, admin_user: User) -> None:
    audit_log.log_action(admin_user, [a_schedule()], "Enabled.")
    page = admin_client.get(LOG).text
    assert "<h1>Audit log</h1>" in page
    assert '<td class="field-type">schedule</td>' in page
