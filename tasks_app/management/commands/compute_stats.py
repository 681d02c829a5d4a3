"""Counts and sums one user's orders into ``UserStat``. Run again it updates the same row."""

from datetime import date, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from jobledger import Concurrency, JobCommand
from tasks_app import days, parser_types
from tasks_app.models import MAX_TAGS, Order, UserStat


class Command(JobCommand):
    """The job ``compute_stats``."""

    help = "Stores the number and the total of a user's orders since a given day."
    # Runs for different users do not conflict, and two for the same user arrive at the same row.
    concurrency = Concurrency.ALLOW
    time_limit = timedelta(minutes=10)

    def add_arguments(self, parser: CommandParser) -> None:
        """``USER_ID``, ``--since``, ``--dry-run`` and ``--tags``."""
        parser.add_argument("user_id", type=parser_types.user_id, metavar="USER_ID", help="The user's id.")
        parser.add_argument(
            "--since",
            type=parser_types.day,
            default=parser_types.EARLIEST_DAY,
            metavar="YYYY-MM-DD",
            help="The first day, in the project's time zone (default: from the beginning).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Print the figures without storing them.")
        parser.add_argument(
            "--tags",
            type=parser_types.tag,
            nargs="+",
            default=[],
            metavar="TAG",
            help="Only orders that carry every one of these tags.",
        )

    def handle(
        self,
        *args: Any,
        user_id: Any,
        since: date,
        dry_run: bool,
        tags: list[str],
        **options: Any,
    ) -> None:
        """Compute, store unless it is a dry run, and print."""
        if not get_user_model()._default_manager.filter(pk=user_id).exists():
            raise CommandError(f"User {user_id} not found.")
        tags = sorted(set(tags))
        if len(tags) > MAX_TAGS:
            raise CommandError(f"{len(tags)} tags are too many: at most {MAX_TAGS}.")
        start = days.start_of(since, timezone.get_default_timezone())
        orders = Order.objects.filter(user=user_id, created_at__gte=start).with_every_tag(tags)
        figures = orders.figures()
        if not dry_run:
            UserStat.objects.update_or_create(
                user_id=user_id,
                since=since,
                tags=",".join(tags),
                defaults={"order_count": figures.count, "order_sum": figures.total},
            )
        of_tags = f" with tags {', '.join(tags)}" if tags else ""
        line = f"User {user_id} since {since}{of_tags}: {figures}"
        self.stdout.write(f"[dry-run] {line}" if dry_run else line)
