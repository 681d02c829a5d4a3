"""Writes many lines, like the job of the same name."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from benchmarks.jobs.text import LINE


class Command(BaseCommand):
    help = "Write lines to stdout."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1_000_000)

    def handle(self, *args: Any, count: int, **options: Any) -> None:
        for number in range(count):
            self.stdout.write(f"{LINE}{number}")
