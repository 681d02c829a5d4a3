"""Notes when its first line is executed, and what it was due for."""

import time
from typing import Any

from benchmarks.jobs.text import note_time
from jobledger import JobCommand


class Command(JobCommand):
    help = "Note when this started."

    def handle(self, *args: Any, **options: Any) -> None:
        now = time.time()
        note_time("due", self.scheduled_for.timestamp())
        note_time("handled", now)
