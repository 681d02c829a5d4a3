"""A job that does what its options say."""

import time
from argparse import ArgumentParser
from typing import Any

from django.db import connection

from benchmarks.jobs.text import LINE
from jobledger import Concurrency, JobCommand


class Command(JobCommand):
    help = "Do what the options say."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--query", action="store_true", help="Query the database once.")
        parser.add_argument("--seconds", type=float, default=0, help="Wait.")
        parser.add_argument("--kib", type=int, default=0, help="Write as many KiB.")

    def handle(self, *args: Any, query: bool, seconds: float, kib: int, **options: Any) -> None:
        time.sleep(seconds)
        for _ in range(kib * 1024 // len(LINE)):
            self.stdout.write(LINE)
        if query:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
