"""Deletes old auth tokens in batches, without loading them."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from jobledger import JobCommand
from tasks_app.models import AuthToken
from tasks_app.parser_types import whole_number

MAX_DAYS = 36_500
MAX_BATCH_SIZE = 100_000
# SQLite has one writer at a time, and those that wait look for their turn every 25 ms in the beginning.
PAUSE_SECONDS = 0.03
# The others wait as long as a transaction takes; but each one writes pages that the next one writes again.
TRANSACTION_SECONDS = 0.08
FIRST_BATCH = 2000


class Command(JobCommand):
    help = (
        "Deletes auth tokens older than a number of days (24 hours each) before the run's scheduled time, "
        "or before now if it has none."
    )
    time_limit = timedelta(minutes=30)
    max_retries = 3

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=whole_number(0, MAX_DAYS),
            default=30,
            help="Maximum age of a token in days (default: %(default)s).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count the tokens without deleting them.")
        parser.add_argument(
            "--batch-size",
            type=whole_number(1, MAX_BATCH_SIZE),
            default=40_000,
            help="How many tokens to delete per transaction at most (default: %(default)s).",
        )

    def handle(
        self,
        *args: Any,
        days: int,
        dry_run: bool,
        batch_size: int,
        verbosity: int,
        **options: Any,
    ) -> None:
        cutoff = self.scheduled_for - timedelta(days=days)
        expired = AuthToken.objects.filter(created_at__lt=cutoff)
        if dry_run:
            self.stdout.write(f"[dry-run] {expired.count()} candidates for deletion")
            return
        total = 0
        for deleted in _deleted_in_batches(expired, batch_size):
            total += deleted
            if verbosity > 1:
                self.stdout.write(f"{total} deleted so far")
        day = timezone.localtime(cutoff, timezone.get_default_timezone()).date()
        self.stdout.write(f"Deleted {total} tokens (cutoff={day})")


def _deleted_in_batches(expired: QuerySet[AuthToken], batch_size: int) -> Iterator[int]:
    """How many each transaction has deleted. After a quick one, the next may delete more, up to the limit."""
    size = min(batch_size, FIRST_BATCH)
    while True:
        began_at = time.monotonic()
        deleted = _delete_oldest(expired, size)
        seconds = time.monotonic() - began_at
        if not deleted:
            return
        yield deleted
        if deleted == size:
            time.sleep(PAUSE_SECONDS)
        if seconds < TRANSACTION_SECONDS / 2:
            size = min(batch_size, size * 2)
        elif seconds > TRANSACTION_SECONDS * 2:
            size = max(1, size // 2)


def _delete_oldest(expired: QuerySet[AuthToken], batch_size: int) -> int:
    """Delete one batch in one transaction; returns how many tokens were deleted.

    The batch is a range of times, which the database deletes with less work than a list of keys.
    """
    oldest = expired.order_by("created_at")
    next_batch = oldest.values_list("created_at", flat=True)[batch_size : batch_size + 1].first()
    if next_batch is None:
        return _deleted(expired)
    # Not of those that have expired: of two limits, SQLite may look for all rows within the wider one.
    older = AuthToken.objects.filter(created_at__lt=next_batch)
    # None are older than the next batch if very many were created at the same time.
    same_time = AuthToken.objects.filter(pk__in=oldest.values("pk")[:batch_size])
    return _deleted(older) or _deleted(same_time)


def _deleted(tokens: QuerySet[AuthToken]) -> int:
    _, deleted_by_model = tokens.delete()
    return deleted_by_model.get(AuthToken._meta.label, 0)
