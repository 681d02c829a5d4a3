"""Dead letters: messages that workers could not process, recorded so that nothing is dropped silently."""

import uuid

from django.db import models

from jobledger.formats import exact


class DeadLetter(models.Model):
    """A message that is not a task of this service. It was acknowledged, so it is not redelivered."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    received_at = models.DateTimeField(db_index=True)
    worker = models.CharField(max_length=200, blank=True, help_text="The worker that it was delivered to.")
    queue = models.CharField(max_length=200, blank=True)
    task = models.CharField(max_length=200, blank=True, help_text="The task's name, if it has one.")
    task_id = models.CharField("task ID", max_length=200, blank=True)
    reason = models.CharField(max_length=500, help_text="Why it could not be processed.")
    size = models.PositiveBigIntegerField(help_text="In bytes.")
    content = models.TextField(blank=True, help_text="The start of the message. It may contain secrets.")

    class Meta:
        verbose_name = "dead letter"
        verbose_name_plural = "dead letters"
        ordering = ("-received_at", "-pk")

    def __str__(self) -> str:
        return self.reason

    @property
    def summary(self) -> str:
        """For a sentence: which message it is, and why it could not be processed."""
        task = f" for the task “{self.task}”" if self.task else ""
        end = "" if self.reason.endswith("?") else "."
        return f"a message{task}, received at {exact(self.received_at)}: {self.reason}{end}"
