"""Writes many lines, with everything recorded."""

from argparse import ArgumentParser
from typing import Any

from benchmarks.jobs.text import LINE
from jobledger import JobCommand


class Command(JobCommand):
    help = "Write lines to stdout."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1_000_000)

    def handle(self, *args: Any, count: int, **options: Any) -> None:
        for number in range(count):
            self.stdout.write(f"{LINE}{number}")
