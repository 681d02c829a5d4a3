"""A harmless job that runs every minute, so that newcomers can see the service at work."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobledger import JobCommand, Schedule


class Command(JobCommand):
    help = "Prints a greeting with the run's scheduled time. Changes nothing."
    time_limit = timedelta(minutes=1)
    schedules = (Schedule("* * * * *"),)

    def handle(self, *args: Any, **options: Any) -> None:
        slot = timezone.localtime(self.scheduled_for, timezone.get_default_timezone())
        self.stdout.write(f"Hello! This run is for {slot:%Y-%m-%d %H:%M:%S %Z}.")
