"""Fills the sample tables with realistic data, so that the sample jobs have something to do."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from tasks_app.models import CENT, AuthToken, Order, Tag, new_token_key
from tasks_app.parser_types import whole_number

MAX_ROWS = 10_000_000
ROWS_PER_WRITE = 2000
OLDEST_TOKEN = timedelta(days=400)
OLDEST_ORDER = timedelta(days=365)
USERNAME_PREFIX = "demo-"
NUMBER_WIDTH = 8

# Split strings are easier to read here than one word per line.
FIRST_NAMES = """
    Amélie Anna Björn Chloé Daniel Emma Fatima François Ḥasan Hiroshi İbrahim Ivan Jürgen Karin Léa Łukasz
    Maria Mehmet Núria Olga Øyvind Priya Sofía Tomáš Zoë
""".split()  # noqa: SIM905
LAST_NAMES = """
    Åberg Ağaoğlu Brown Çelik Dvořák Fernández Groß Ivanova Jørgensen Kowalski Martin Müller Nakamura Nguyễn
    O'Neill Öztürk Patel Rossi Schmidt Silva Šimić Smith Weiß
""".split()  # noqa: SIM905
DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com")
TAGS = ("express", "fragile", "gift", "preorder", "return", "sale", "subscription", "wholesale")
UNTIDY_SHARE = 0.4


class Command(BaseCommand):
    """A plain command, not a job."""

    help = (
        "Adds users with untidy email addresses, auth tokens of all ages, and a year of orders. If it is run "
        "again, it adds more. With --seed, an empty database always gets the same rows, except for the "
        "tokens' keys, which must not be predictable. The users cannot log in."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        for name, default in {"users": 2000, "tokens": 5000, "orders": 20_000}.items():
            parser.add_argument(
                f"--{name}",
                type=whole_number(0, MAX_ROWS),
                default=default,
                help=f"How many {name} to add (default: %(default)s).",
            )
        parser.add_argument("--seed", type=int, help="The seed for the random data.")

    @transaction.atomic
    def handle(
        self, *args: Any, users: int, tokens: int, orders: int, seed: int | None, **options: Any
    ) -> None:
        """Add all of the rows or none."""
        random, now = Random(seed), timezone.now()  # noqa: S311 - not used for secrets
        _add_users(random, users)
        owners = list(_demo_users().values_list("pk", flat=True))
        if not owners and (tokens or orders):
            raise CommandError("Tokens and orders need users: there are no demo users yet, and --users is 0.")
        _add_tokens(random, owners, tokens, now)
        _add_orders(random, owners, orders, now)
        self.stdout.write(f"Added {users} users, {tokens} tokens and {orders} orders.")


def untidy(random: Random, email: str) -> str:
    """The address as users might type it: with capitals, surrounding spaces, or both."""
    return random.choice(
        [
            email.upper(),
            email.title(),
            f" {email}",
            f"{email}  ",
            f"\t{email.title()} ",
            f"\N{NO-BREAK SPACE}{email.upper()}",
        ]
    )


def _add_users(random: Random, count: int) -> None:
    user_model = get_user_model()
    first = _next_number()
    for batch in _batches(range(first, first + count)):
        user_model._default_manager.bulk_create(_user(random, number) for number in batch)


def _user(random: Random, number: int) -> Any:
    user_model = get_user_model()
    first, last = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
    email = f"{first}.{last}.{number}@{random.choice(DOMAINS)}".lower()
    if random.random() < UNTIDY_SHARE:
        email = untidy(random, email)
    values = {"first_name": first, "last_name": last, "password": make_password(None)}
    known = {field.name for field in user_model._meta.get_fields()}
    return user_model(
        **{name: value for name, value in values.items() if name in known},
        **{user_model.USERNAME_FIELD: f"{USERNAME_PREFIX}{number:0{NUMBER_WIDTH}}"},
        **{user_model.get_email_field_name(): email},
    )


def _next_number() -> int:
    """One more than the highest number of a demo user. Numbers are zero-padded, so they sort as strings."""
    username = get_user_model().USERNAME_FIELD
    highest = _demo_users().values_list(username, flat=True).last()
    return int(highest.removeprefix(USERNAME_PREFIX)) + 1 if highest else 1


def _demo_users() -> QuerySet[Any]:
    user_model = get_user_model()
    username = user_model.USERNAME_FIELD
    return user_model._default_manager.filter(
        **{f"{username}__regex": rf"^{USERNAME_PREFIX}[0-9]{{{NUMBER_WIDTH}}}$"}
    ).order_by(username)


def _add_tokens(random: Random, owners: Sequence[Any], count: int, now: datetime) -> None:
    for batch in _batches(range(count)):
        times = (now - random.random() * OLDEST_TOKEN for _ in batch)
        AuthToken.objects.bulk_create(
            AuthToken(user_id=random.choice(owners), key=new_token_key(time), created_at=time)
            for time in times
        )


def _add_orders(random: Random, owners: Sequence[Any], count: int, now: datetime) -> None:
    Tag.objects.bulk_create([Tag(name=name) for name in TAGS], ignore_conflicts=True)
    tags = list(Tag.objects.filter(name__in=TAGS).order_by("name").values_list("pk", flat=True))
    tagging = Order.tags.through
    for batch in _batches(range(count)):
        orders = Order.objects.bulk_create(
            Order(
                user_id=random.choice(owners),
                created_at=now - random.random() * OLDEST_ORDER,
                total=_price(random),
            )
            for _ in batch
        )
        tagging.objects.bulk_create(
            tagging(order_id=order.pk, tag_id=tag)
            for order in orders
            for tag in random.sample(tags, random.choice((0, 0, 1, 1, 2, 3)))
        )


def _batches(numbers: range) -> Iterator[range]:
    return (numbers[start : start + ROWS_PER_WRITE] for start in range(0, len(numbers), ROWS_PER_WRITE))


def _price(random: Random) -> Decimal:
    """Most orders are small, a few are large."""
    return (Decimal(random.lognormvariate(3.5, 1.0)) + 1).quantize(CENT)
