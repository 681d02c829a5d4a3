"""A job that does nothing, like the peer's, so that all the time is the service's."""

from typing import Any

from jobledger import Concurrency, JobCommand


class Command(JobCommand):
    help = "Do nothing."
    concurrency = Concurrency.ALLOW
    # So that any number of runs may be due at once.
    max_live_per_schedule = max_live = 1_000_000

    def handle(self, *args: Any, **options: Any) -> None:
        pass
