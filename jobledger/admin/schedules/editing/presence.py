"""Shows who else has the edit form of a schedule open.

The form announces itself when it is opened, and every half minute, with htmx; the answer names the others.
What has not been announced for two minutes is closed: browsers let a hidden page wait for one. Without
JavaScript, nobody is shown. It is a courtesy: what someone else has saved is never overwritten unnoticed.
"""

from datetime import datetime, timedelta
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobledger.admin.rights import User
from jobledger.models import OpenForm

LIFETIME = timedelta(minutes=2)


def others(user: User, schedule: PeriodicTask, now: datetime) -> list[str]:
    """The names of the other users who have the form open, with one query."""
    open_forms = OpenForm.objects.filter(schedule=schedule, seen_at__gt=now - LIFETIME).exclude(user=user.pk)
    return sorted(each.user.get_username() for each in open_forms.select_related("user"))


def announce(user: Any, schedule: PeriodicTask, now: datetime) -> None:
    """Note that the user has the form open."""
    OpenForm.objects.bulk_create(
        [OpenForm(schedule=schedule, user=user, seen_at=now)],
        update_conflicts=True,
        unique_fields=["schedule", "user"],
        update_fields=["seen_at"],
    )


def withdraw(user: Any, schedule: PeriodicTask) -> None:
    """Note that the user has saved the form. Where it is still open, it announces itself again."""
    OpenForm.objects.filter(schedule=schedule, user=user.pk).delete()
