"""The sample jobs and what a user would write first, in a process of the service."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from random import Random
from statistics import median
from typing import Any

import django

DAYS = 365
FIRST_DAY = date(2025, 1, 1)
EXPIRE_AFTER_DAYS = 30
BATCH = 5000
ROUNDS = 3
TURNS_OF_JOB = 3
UNCOUNTED_TURNS = 2


def main() -> None:
    """Do one thing, and print what it has taken as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samples")
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("--count", type=int, default=0, help="how many rows")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    django.setup()
    json.dump(ACTIONS[options.action](options.count), sys.stdout)


def normalize_emails(count: int) -> dict[str, float]:
    """The cost of the job, and of a loop that saves each user that changes. Half of them do.

    They take turns; what counts is the median of each. The job, which takes less than half a second, has more
    of them. Its first turns do not count: its imports, which a worker does once, and a table that was just
    filled, in whose pages nothing has been updated yet.
    """
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    users.bulk_create(
        (
            users.model(username=f"user {number}", email=f"first.last.{number}@example.com")
            for number in range(count)
        ),
        batch_size=BATCH,
    )
    ways = {"job": lambda: _call("normalize_emails"), "loop": _save_each_user}
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for name in ["job"] * UNCOUNTED_TURNS + [*["job"] * TURNS_OF_JOB, "loop"] * ROUNDS:
        _make_untidy(users)
        costs[name].append(_cost(ways[name]))
    return {"job": median(costs["job"][UNCOUNTED_TURNS:]), "loop": median(costs["loop"])}


def _make_untidy(users: Any) -> None:
    """Update all users, so that every other one has an address to normalize."""
    from django.db.models import Case, CharField, F, Value, When
    from django.db.models.functions import Concat, Upper

    from benchmarks.seed import population

    untidy = Concat(Value(" "), Upper("email"), output_field=CharField())
    emails = Case(When(odd=1, then=untidy), default="email", output_field=CharField())
    users.annotate(odd=F("pk") % 2).update(email=emails)
    population.analyze()


def _save_each_user() -> None:
    from django.contrib.auth import get_user_model

    for user in get_user_model().objects.all():
        normalized = user.email.strip().lower()
        if user.email != normalized:
            user.email = normalized
            user.save(update_fields=["email"])


def fill_tokens(count: int) -> dict[str, float]:
    """Tokens in the order of their creation, half of which have expired."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from tasks_app.models import AuthToken, new_token_key

    (user, _), now = get_user_model().objects.get_or_create(username="owner"), timezone.now()
    age = 2 * timedelta(days=EXPIRE_AFTER_DAYS)
    times = (now - age + age * (number + 0.5) / count for number in range(count))
    AuthToken.objects.bulk_create(
        (AuthToken(user=user, key=new_token_key(time), created_at=time) for time in times),
        batch_size=BATCH,
    )
    return {"count": count}


def cleanup_tokens(count: int) -> dict[str, float]:
    """Delete the older half with the job."""
    return _deleted(lambda days: _call("cleanup_tokens", days=days))


def delete_tokens(count: int) -> dict[str, float]:
    """Delete the older half with a single ``delete()``."""
    from django.utils import timezone

    from tasks_app.models import AuthToken

    def delete(days: int) -> None:
        AuthToken.objects.filter(created_at__lt=timezone.now() - timedelta(days=days)).delete()

    return _deleted(delete)


def _deleted(delete_older_than: Callable[[int], object]) -> dict[str, float]:
    from tasks_app.models import AuthToken

    # None are so old: it imports what each way needs, which a worker does once, a tenth of the job's time.
    delete_older_than(3 * EXPIRE_AFTER_DAYS)
    before = AuthToken.objects.count()
    cpu_before = time.process_time()
    seconds = _seconds(lambda: delete_older_than(EXPIRE_AFTER_DAYS))
    cpu_seconds = time.process_time() - cpu_before
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "deleted": before - AuthToken.objects.count(),
    }


def compute_daily_stats(count: int) -> dict[str, float]:
    """The cost of the job for a year, and of a loop that looks up each day and stores it."""
    from django.contrib.auth import get_user_model

    from benchmarks.seed import population
    from tasks_app.models import DailyStat, Order

    user, random = get_user_model().objects.create(username="customer"), Random(count)
    start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    Order.objects.bulk_create(
        (
            Order(
                user=user,
                created_at=start + timedelta(days=DAYS) * random.random(),
                total=Decimal(random.randrange(100, 10_000)) / 100,
            )
            for _ in range(count)
        ),
        batch_size=BATCH,
    )
    population.analyze()
    last = FIRST_DAY + timedelta(days=DAYS - 1)
    # Imports what each run needs, which a worker does once: half of a run's time.
    _call("compute_daily_stats", date=FIRST_DAY)
    DailyStat.objects.all().delete()
    seconds = {"job": _cost(lambda: _call("compute_daily_stats", date_from=FIRST_DAY, date_to=last))}
    DailyStat.objects.all().delete()
    seconds["loop"] = _cost(_compute_each_day)
    return seconds


def _compute_each_day() -> None:
    from django.db.models import Count, Sum

    from tasks_app.models import DailyStat, Order

    for number in range(DAYS):
        day = FIRST_DAY + timedelta(days=number)
        found = Order.objects.filter(created_at__date=day).aggregate(count=Count("pk"), total=Sum("total"))
        figures = {"order_count": found["count"], "order_sum": found["total"] or 0}
        DailyStat.objects.update_or_create(date=day, defaults=figures)


def _call(name: str, **options: Any) -> None:
    from django.core.management import call_command

    call_command(name, stdout=StringIO(), **options)


def _cost(action: Callable[[], object]) -> float:
    """CPU seconds if the database works in this process, which vary less; otherwise seconds."""
    from django.db import connection

    if connection.vendor != "sqlite":
        return _seconds(action)
    began = time.process_time()
    action()
    return time.process_time() - began


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


ACTIONS: dict[str, Callable[[int], dict[str, float]]] = {
    "normalize_emails": normalize_emails,
    "fill_tokens": fill_tokens,
    "cleanup_tokens": cleanup_tokens,
    "delete_tokens": delete_tokens,
    "compute_daily_stats": compute_daily_stats,
}

if __name__ == "__main__":
    main()
