"""What differs between the schedulers that are measured: seeing what one knows, and making all due."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from celery import beat
from celery.beat import Scheduler
from django_celery_beat.models import PeriodicTask

from proj.celery import app


class Adapter(ABC):
    """One scheduler, in the process that measures it."""

    part_of_burst: int | None = None
    """How many of many due schedules are measured, where all would take too long; None: all of them."""

    def scheduler(self) -> Scheduler:
        """A new one, made as ``celery beat`` makes it."""
        return beat.Service(app, scheduler_cls=app.conf.beat_scheduler).get_scheduler()

    @abstractmethod
    def knows(self, scheduler: Scheduler, schedule: PeriodicTask) -> bool:
        """Whether it goes by the schedule's present crontab."""

    @abstractmethod
    def sweep_every_seconds(self) -> float:
        """How often it looks for edits that send no signal."""

    @abstractmethod
    def slices(self) -> Iterator[float]:
        """Looks for them once; the seconds that each part of it takes. None where a reload does it."""

    @abstractmethod
    def scheduler_of_due(self) -> Scheduler:
        """A running one, at a slot that all schedules have. Its start is a figure of its own."""
