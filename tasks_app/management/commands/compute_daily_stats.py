"""Stores the number and total of each day's orders in ``DailyStat``. Idempotent."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from jobledger import JobCommand
from tasks_app import days, parser_types
from tasks_app.models import DailyStat, Order, OrderFigures

MAX_DAYS = 3660
DAYS_PER_WRITE = 500
NO_ORDERS = OrderFigures(count=0, total=Decimal("0.00"))


class Command(JobCommand):
    help = (
        "Stores the number and total of each day's orders. A day is from midnight to midnight in the "
        "project's time zone. Default: the day before the run's scheduled time."
    )
    time_limit = timedelta(minutes=30)

    def add_arguments(self, parser: CommandParser) -> None:
        start = parser.add_mutually_exclusive_group()
        start.add_argument("--date", type=parser_types.day, metavar="YYYY-MM-DD", help="A single day.")
        start.add_argument(
            "--from",
            dest="date_from",
            type=parser_types.day,
            metavar="YYYY-MM-DD",
            help="The first day of a range; requires --to.",
        )
        parser.add_argument(
            "--to",
            dest="date_to",
            type=parser_types.day,
            metavar="YYYY-MM-DD",
            help=f"The last day of the range (inclusive); at most {MAX_DAYS} days in total.",
        )

    def handle(
        self,
        *args: Any,
        date: date | None,
        date_from: date | None,
        date_to: date | None,
        **options: Any,
    ) -> None:
        """Compute all days in one query. Each batch of days is stored before it is reported."""
        remaining = _stats(*self._range(date, date_from, date_to))
        while stats := list(islice(remaining, DAYS_PER_WRITE)):
            _store(stats)
            for stat in stats:
                self.stdout.write(f"{stat.date}: {stat.order_count} orders, {stat.order_sum}")

    def _range(self, only: date | None, first: date | None, last: date | None) -> tuple[date, date]:
        """The first and the last day. Raises CommandError for contradictory options."""
        if first is None and last is None:
            only = only or self._day_before()
            return only, only
        if first is None or last is None or only is not None:
            raise CommandError("A range needs both --from and --to, and cannot be combined with --date.")
        if first > last:
            raise CommandError(f"--from {first} is after --to {last}.")
        if (last - first).days >= MAX_DAYS:
            raise CommandError(f"{first} to {last} is more than {MAX_DAYS} days.")
        return first, last

    def _day_before(self) -> date:
        local = timezone.localtime(self.scheduled_for, timezone.get_default_timezone())
        return local.date() - days.ONE_DAY


def _stats(first: date, last: date) -> Iterator[DailyStat]:
    """Yield the figures of each day, also of those without orders."""
    zone = timezone.get_default_timezone()
    (start, _), (_, end) = days.bounds(first, zone), days.bounds(last, zone)
    found = Order.objects.created_within(start, end).figures_by_day(zone)
    for day in days.between(first, last):
        figures = found.get(day, NO_ORDERS)
        yield DailyStat(date=day, order_count=figures.count, order_sum=figures.total)


def _store(stats: list[DailyStat]) -> None:
    DailyStat.objects.bulk_create(
        stats,
        update_conflicts=True,
        unique_fields=["date"],
        update_fields=["order_count", "order_sum", "computed_at"],
    )
