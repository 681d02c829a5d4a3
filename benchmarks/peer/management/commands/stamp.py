"""Notes when its first line is executed."""

from typing import Any

from django.core.management.base import BaseCommand

from benchmarks.jobs.text import note_time


class Command(BaseCommand):
    help = "Note when this started."

    def handle(self, *args: Any, **options: Any) -> None:
        note_time("handled")
