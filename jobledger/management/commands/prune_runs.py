"""Deletes old runs and alerts, so that the ledger does not grow forever. A job with a schedule of its own."""

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from jobledger import JobCommand, Schedule, clock
from jobledger.formats import size

MAX_MINUTES = 24 * 60


class Command(JobCommand):
    help = (
        "Delete old runs with their output, old alerts, dead letters and entries of the audit log: what the "
        "settings KEEP_DAYS, KEEP_RUNS and KEEP_AUDIT_DAYS, and the jobs themselves, do not keep."
    )
    max_retries = 2
    restart_when_lost = True
    schedules = (Schedule("17 4 * * *"),)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be deleted.")
        parser.add_argument(
            "--max-minutes",
            type=_minutes,
            default=60,
            help="Stop after so long; the next run continues (default: %(default)s).",
        )

    def handle(self, *args: Any, dry_run: bool, max_minutes: int, verbosity: int, **options: Any) -> None:
        # Every process imports all jobs to know them, and few ever execute this one.
        from jobledger.metrics import totals
        from jobledger.retention.batches import Count, Deletion
        from jobledger.retention.pruning import Pruning

        if not dry_run:
            totals.count_all(clock.now())
        bin_ = Count() if dry_run else Deletion()
        seconds = timedelta(minutes=max_minutes).total_seconds()
        pruning = Pruning(bin_, clock.now(), seconds=seconds)
        verb, total = "would be deleted" if dry_run else "deleted", 0
        for pruned in (*pruning.runs(), *pruning.records()):
            total += pruned.count
            self.stdout.write(f"{pruned.count:,} {pruned.what} {verb}")
        if not total:
            self.stdout.write("Nothing is old enough to be deleted.")
        elif bin_.output_bytes:
            self.stdout.write(f"With {size(bin_.output_bytes)} of output")
        if verbosity > 1 and isinstance(bin_, Deletion):
            self.stdout.write(f"The longest transaction took {bin_.longest_seconds * 1000:.0f} ms")
        if not pruning.is_complete:
            self.stdout.write(f"Stopped after {max_minutes} min. There is more; the next run continues.")


def _minutes(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MAX_MINUTES:
        return int(text)
    raise ArgumentTypeError(f"expected a number of minutes from 1 to {MAX_MINUTES}")
