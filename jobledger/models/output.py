"""The output of runs, in append-only chunks."""

from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

from jobledger.models.run import Run


class Stream(models.TextChoices):
    STDOUT = "stdout", "stdout"
    STDERR = "stderr", "stderr"

    @classmethod
    def _missing_(cls, value: object) -> "Stream":
        """What came by SQL, or from another version, is shown all the same."""
        return cls.STDOUT


class RunOutputQuerySet(models.QuerySet["RunOutput"]):
    def in_order(self) -> Self:
        """By attempt, then in the order in which it was written."""
        return self.order_by("attempt", "number")

    def after(self, attempt: int, number: int) -> Self:
        """What was written after this chunk, in order."""
        later = models.Q(attempt__gt=attempt) | models.Q(attempt=attempt, number__gt=number)
        return self.filter(later).in_order()


class RunOutput(models.Model):
    """A chunk of the output of an attempt of a run. Never modified."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="output", db_index=False)
    attempt = models.PositiveIntegerField(default=1)
    number = models.PositiveIntegerField()
    stream = models.CharField(max_length=8, choices=Stream)
    text = models.TextField()
    written_at = models.DateTimeField(default=timezone.now)

    objects = RunOutputQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "attempt", "number"], name="one_chunk_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.stream} {self.number}"
