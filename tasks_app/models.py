"""The sample domain: tokens that expire, orders, and the figures that jobs compute from them."""

import secrets
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import ClassVar, Self

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import TruncDate
from django.utils import timezone

MAX_TAG_LENGTH = 50
MAX_TAGS = 20
CENT = Decimal("0.01")
TIME_DIGITS = 12
"""Of a token's key, which begins with the time of its creation."""


def new_token_key(created_at: datetime | None = None) -> str:
    """Random, but after the milliseconds of its creation, as a UUID of version 7 is.

    Tokens that expire together are then next to each other in the index of keys, too, and deleting them
    writes few of its pages (measured in ``benchmarks/README.md``).
    """
    milliseconds = int((created_at or timezone.now()).timestamp() * 1000)
    return f"{milliseconds:0{TIME_DIGITS}x}{secrets.token_hex(20)}"


class AuthToken(models.Model):
    """A client's credential in place of a password; ``cleanup_tokens`` deletes old ones."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=64, unique=True, default=new_token_key)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "auth token"
        verbose_name_plural = "auth tokens"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at"], name="token_by_created_at"),
        ]

    def __str__(self) -> str:
        """A part of the key; the whole key is a secret."""
        return f"{self.key[TIME_DIGITS : TIME_DIGITS + 6]}…"


class Tag(models.Model):
    """A label for orders."""

    name = models.CharField(
        max_length=MAX_TAG_LENGTH,
        unique=True,
        validators=[RegexValidator(r"^[^\s,]+\Z", "A tag must not contain spaces or commas.")],
    )

    class Meta:
        verbose_name = "tag"
        verbose_name_plural = "tags"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class OrderFigures:
    """The number of orders, and their total."""

    count: int
    total: Decimal

    def __str__(self) -> str:
        return f"{self.count} orders, {self.total}"


class OrderQuerySet(models.QuerySet["Order"]):
    def created_within(self, start: datetime, end: datetime) -> Self:
        """Orders in a half-open interval. The condition can use the index on ``created_at``."""
        return self.filter(created_at__gte=start, created_at__lt=end)

    def with_every_tag(self, names: list[str]) -> Self:
        """Orders that have all of these tags; all orders if there are none."""
        orders = self
        for name in names:
            orders = orders.filter(tags__name=name)
        return orders

    def figures(self) -> OrderFigures:
        """Count and sum in a single query."""
        found = self.aggregate(count=models.Count("pk"), total=models.Sum("total"))
        return _figures(found["count"], found["total"])

    def figures_by_day(self, zone: tzinfo) -> dict[date, OrderFigures]:
        """Count and sum of each day of a time zone, in a single query. Days without orders are omitted."""
        day = TruncDate("created_at", tzinfo=zone)
        found = self.order_by().values_list(day).annotate(models.Count("pk"), models.Sum("total"))
        return {day: _figures(count, total) for day, count, total in found}


def _figures(count: int, total: Decimal | None) -> OrderFigures:
    # SQLite sums decimals as floating-point numbers, so digits beyond the cents are noise.
    return OrderFigures(count=count, total=(total or Decimal(0)).quantize(CENT))


class Order(models.Model):
    """An order of a user."""

    # The index on user and created_at also covers the foreign key.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(default=timezone.now)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    tags = models.ManyToManyField(Tag, blank=True, related_name="orders")

    objects = OrderQuerySet.as_manager()

    class Meta:
        verbose_name = "order"
        verbose_name_plural = "orders"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at"], name="order_by_created_at"),
            models.Index(fields=["user", "created_at"], name="order_by_user"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class DailyStat(models.Model):
    """The orders of a day in the project's time zone."""

    date = models.DateField(unique=True)
    order_count = models.PositiveIntegerField()
    order_sum = models.DecimalField(max_digits=18, decimal_places=2)
    computed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "daily figures"
        verbose_name_plural = "daily figures"

    def __str__(self) -> str:
        return self.date.isoformat()


class UserStat(models.Model):
    """A user's orders since a given day: all of them, or those that have all of some tags."""

    # The unique index starts with user, so it also covers the foreign key.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    since = models.DateField()
    tags = models.CharField(
        max_length=MAX_TAGS * (MAX_TAG_LENGTH + 1),
        blank=True,
        help_text="Sorted and separated by commas. Empty: all orders.",
    )
    order_count = models.PositiveIntegerField()
    order_sum = models.DecimalField(max_digits=18, decimal_places=2)
    computed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "user figures"
        verbose_name_plural = "user figures"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "since", "tags"], name="one_stat_per_question"),
        ]

    def __str__(self) -> str:
        return f"{self.user} since {self.since}"
