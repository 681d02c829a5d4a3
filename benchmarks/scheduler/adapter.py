"""The differences between the schedulers: how to inspect their state, and how to make all schedules due."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from celery import beat
from celery.beat import Scheduler
from django_celery_beat.models import PeriodicTask

from proj.celery import app


class Adapter(ABC):
    """A scheduler, in the process that measures it."""

    burst_sample: int | None = None
    """How many of the due schedules to measure, if all would take too long; None: all of them."""

    def scheduler(self) -> Scheduler:
        """A new scheduler, created as ``celery beat`` does."""
        return beat.Service(app, scheduler_cls=app.conf.beat_scheduler).get_scheduler()

    @abstractmethod
    def knows(self, scheduler: Scheduler, schedule: PeriodicTask) -> bool:
        """Whether the scheduler uses the schedule's current crontab."""

    @abstractmethod
    def sweep_interval_seconds(self) -> float:
        """How often it looks for edits that send no signal."""

    @abstractmethod
    def slices(self) -> Iterator[float]:
        """Look for such edits once; yields the seconds that each slice takes. Empty if a reload does it."""

    @abstractmethod
    def scheduler_with_all_due(self) -> Scheduler:
        """A scheduler that has started, with all schedules due. Its start is measured separately."""
