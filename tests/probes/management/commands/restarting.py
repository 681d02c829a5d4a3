"""The lasting job that bears being done twice, and is tried again when it fails."""

import os
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "Last for some seconds; start again when lost, or when it failed on the first attempts."
    restart_when_lost = True
    max_retries = 2
    retry_backoff = timedelta(seconds=1)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--fail-first", type=int, default=0, help="Fail on so many attempts.")

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        if self.run and self.run.attempt <= options["fail_first"]:
            raise OSError(f"attempt {self.run.attempt} failed in process {os.getpid()}")
