"""What the service keeps beside django-celery-beat's schedules."""

from django.db import models
from django_celery_beat.models import PeriodicTask


class DeclaredSchedule(models.Model):
    """Remembers that a schedule declared in code was put into the database: it is put there once only.

    ``declared`` is what the code said then: the common ancestor for merging a later change of the
    code with what people edited meanwhile. The row outlives a schedule that somebody deleted.
    """

    name = models.CharField(max_length=200, unique=True)
    schedule = models.ForeignKey(
        PeriodicTask, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    declared = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """The schedule's name."""
        return self.name
