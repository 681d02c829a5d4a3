"""Who has the edit form of a schedule open: a note that a page renews while it is open."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django_celery_beat.models import PeriodicTask


class OpenForm(models.Model):
    """A user has had the form of a schedule open at ``seen_at``, and perhaps still has."""

    schedule = models.ForeignKey(PeriodicTask, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["schedule", "user"], name="one_open_form_per_user"),
        ]

    def __str__(self) -> str:
        return f"schedule {self.schedule_id}, user {self.user_id}"
