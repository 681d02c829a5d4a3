"""The audit log's table: who did what in the admin, or to schedules from the command line.

Entries are kept for as long as ``KEEP_AUDIT_DAYS`` says.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from jobledger.models.json_fields import ListField, ObjectField


class AuditEntry(models.Model):
    """One action of one user on one object.

    It is about names: it outlives the user, whose name it keeps, and the object. Django's own ``LogEntry`` is
    deleted together with its user.
    """

    time = models.DateTimeField(default=timezone.now, db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    username = models.CharField("user name", max_length=200, help_text="The user's name then.")
    token = models.CharField(
        "API token", max_length=100, blank=True, help_text="The name of the user's API token, if it was used."
    )
    object_type = models.CharField(max_length=200, help_text="The model, such as jobledger.run.")
    object_id = models.CharField(max_length=64)
    object_name = models.CharField(max_length=200)
    verb = models.CharField(
        max_length=8, blank=True, help_text="added, changed or deleted; empty: another action."
    )
    text = models.TextField(help_text="What was done.")
    changes = ListField(default=list, help_text="Names with old and new values, secrets masked.")

    before = ObjectField(
        null=True, help_text="The whole schedule before it was changed, secrets masked; null if not kept."
    )
    after = ObjectField(null=True, help_text="The same after the change.")

    class Meta:
        verbose_name = "audit log entry"
        verbose_name_plural = "audit log"
        default_permissions = ("view",)
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["object_type", "object_id", "-id"], name="audit_of_object"),
            models.Index(fields=["object_type", "verb", "-id"], name="audit_by_verb"),
        ]

    def __str__(self) -> str:
        return f"{self.object_name}: {self.text}"
