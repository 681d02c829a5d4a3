"""Celery beat's loop: at each tick, due schedules are sent.

The schedules are django-celery-beat's, kept in the database and edited in the admin.
"""

from django_celery_beat.schedulers import DatabaseScheduler

from tasks_app.jobs.running import liveness


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # django-celery-beat has no types
    """django-celery-beat's scheduler, whose ticks can be seen by a health check."""

    def tick(self, *args: object, **kwargs: object) -> float:
        """One round: send what is due; returns the seconds until the next round."""
        seconds: float = super().tick(*args, **kwargs)
        liveness.show("beat")
        return seconds
