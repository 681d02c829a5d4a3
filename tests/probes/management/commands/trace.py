"""A job that leaves a trace of its own: a line for each execution, which no ledger had a hand in."""

import os
import time
from argparse import ArgumentParser
from typing import Any

from jobledger import Concurrency, JobCommand
from jobledger.runs.execution import runner


class Command(JobCommand):
    # Every slot is to leave its line, also those of schedules that are due together.
    concurrency = Concurrency.ALLOW
    max_live_per_schedule = max_live = 1_000_000
    help = "Append this run's id, its slot and this process to the file TRACE_FILE."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=0.0, help="How long to go on afterwards.")

    def handle(self, *args: Any, **options: Any) -> None:
        run = runner.current_run()
        line = f"{run.pk if run else '-'} {self.scheduled_for.isoformat()} {os.getpid()}\n"
        # One write to a file opened for appending: lines of several processes do not mix.
        target = os.open(os.environ["TRACE_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(target, line.encode())
        finally:
            os.close(target)
        time.sleep(options["seconds"])
