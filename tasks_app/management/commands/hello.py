"""Something harmless that happens every minute, so that a newcomer sees the service work."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobledger import JobCommand, Schedule


class Command(JobCommand):
    """The job ``hello``."""

    help = "Prints a greeting with the run's scheduled time. Changes nothing."
    time_limit = timedelta(minutes=1)
    schedules = (Schedule("* * * * *"),)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the slot in the project's time zone."""
        slot = timezone.localtime(self.scheduled_for, timezone.get_default_timezone())
        self.stdout.write(f"Hello! This run is for {slot:%Y-%m-%d %H:%M:%S %Z}.")
