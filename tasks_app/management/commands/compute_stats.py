"""Stores the number and total of a user's orders in ``UserStat``. Idempotent."""

from datetime import date, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from jobledger import Concurrency, JobCommand
from tasks_app import days, parser_types
from tasks_app.models import MAX_TAGS, Order, UserStat


class Command(JobCommand):
    help = "Stores the number and total of a user's orders since a given day."
    # Runs for different users do not conflict, and two runs for the same user have the same result.
    concurrency = Concurrency.ALLOW
    time_limit = timedelta(minutes=10)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_id", type=parser_types.user_id, metavar="USER_ID", help="The user's id.")
        parser.add_argument(
            "--since",
            type=parser_types.day,
            default=parser_types.EARLIEST_DAY,
            metavar="YYYY-MM-DD",
            help="The first day, in the project's time zone (default: all orders).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Print the figures without storing them.")
        parser.add_argument(
            "--tags",
            type=parser_types.tag,
            nargs="+",
            default=[],
            metavar="TAG",
            help="Only orders that have all of these tags.",
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
        if not get_user_model()._default_manager.filter(pk=user_id).exists():
            raise CommandError(f"User {user_id} not found.")
        tags = sorted(set(tags))
        if len(tags) > MAX_TAGS:
            raise CommandError(f"{len(tags)} tags are too many; the maximum is {MAX_TAGS}.")
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
        with_tags = f" with tags {', '.join(tags)}" if tags else ""
        line = f"User {user_id} since {since}{with_tags}: {figures}"
        self.stdout.write(f"[dry-run] {line}" if dry_run else line)
