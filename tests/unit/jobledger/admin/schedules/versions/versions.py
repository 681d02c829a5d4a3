"""Brings back versions of schedules, as users do."""

from typing import Any

from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from jobledger.models import AuditEntry
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import edit
from tests.unit.jobledger.admin.schedules.schedules import act

DELETED = reverse("admin:django_celery_beat_periodictask_deleted")


def version_url(entry: AuditEntry, which: str) -> str:
    return reverse("admin:django_celery_beat_periodictask_version", args=[entry.pk, which])


def newest_entry() -> AuditEntry:
    found = AuditEntry.objects.filter(object_type="django_celery_beat.periodictask").order_by("-pk").first()
    assert found is not None
    return found


def bring_back(client: Client, entry: AuditEntry, which: str, **entered: str) -> Any:
    """Confirm the page."""
    url = version_url(entry, which)
    return client.post(url, {**form_in(client.get(url).text, "bring-back").after(), **entered})


def edited(client: Client, schedule: PeriodicTask, **changes: Any) -> AuditEntry:
    assert edit(client, schedule, **changes).status_code == 302
    return newest_entry()


def deleted(client: Client, schedule: PeriodicTask) -> AuditEntry:
    act(client, "delete_schedules", schedule, confirmed="1", last=str(schedule.pk))
    return newest_entry()
