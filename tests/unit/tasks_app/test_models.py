"""The sample domain's own rules."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import connection

from tasks_app.models import AuthToken, Order, OrderFigures, Tag, new_token_key
from tests.unit.builders import make_order, make_token, make_user, utc

pytestmark = pytest.mark.django_db

NOON = utc(2026, 5, 4, 12)


def test_every_token_gets_a_key_of_its_own() -> None:
    user = make_user()
    assert make_token(NOON, user).key != make_token(NOON, user).key


def test_a_key_begins_with_the_milliseconds_of_its_creation_and_is_random_apart_from_that() -> None:
    first, second = new_token_key(NOON), new_token_key(NOON + timedelta(milliseconds=1))
    assert (int(first[:12], 16), int(second[:12], 16)) == (1_777_896_000_000, 1_777_896_000_001)
    assert first < second
    assert len(first[12:]) == 40
    assert first[12:] != second[12:]


def test_a_key_that_is_created_by_default_begins_with_the_time_now() -> None:
    with time_machine.travel(NOON, tick=False):
        assert AuthToken().key[:12] == new_token_key(NOON)[:12]


def test_a_token_is_not_shown_whole_nor_by_what_all_of_that_time_have_in_common() -> None:
    token = AuthToken(key="0123456789abcdefghijkl")
    assert str(token) == "cdefgh…"


@pytest.mark.parametrize("name", ["", "two words", "a,b", "line\n"])
def test_a_tag_is_one_word(name: str) -> None:
    with pytest.raises(ValidationError):
        Tag(name=name).full_clean()


def test_no_orders_total_zero() -> None:
    assert Order.objects.figures() == OrderFigures(count=0, total=Decimal("0.00"))
    assert str(Order.objects.figures()) == "0 orders, 0.00"


def test_figures_are_exact_to_the_cent() -> None:
    user = make_user()
    for _ in range(30):
        make_order(NOON, "0.10", user=user)
    make_order(NOON, "9999999999.99", user=user)
    assert str(Order.objects.figures()) == "31 orders, 10000000002.99"


def test_an_interval_includes_its_start_and_not_its_end() -> None:
    for second in 0, 1, 2:
        make_order(NOON.replace(second=second))
    found = Order.objects.created_within(NOON, NOON.replace(second=2))
    assert sorted(order.created_at.second for order in found) == [0, 1]


def test_an_order_must_carry_every_tag() -> None:
    make_order(NOON, "1.00", "gift")
    make_order(NOON, "2.00", "gift", "sale", "express")
    make_order(NOON, "4.00")
    assert Order.objects.with_every_tag(["gift", "sale"]).figures().total == 2
    assert Order.objects.with_every_tag(["gift"]).figures().total == 3
    assert Order.objects.with_every_tag(["unheard-of"]).figures().count == 0
    assert Order.objects.with_every_tag([]).figures().count == 3


def test_a_days_orders_are_found_through_the_index() -> None:
    user = make_user()
    Order.objects.bulk_create(
        Order(user=user, created_at=NOON + timedelta(hours=hour), total=1) for hour in range(2000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    plan = Order.objects.created_within(NOON, NOON + timedelta(days=1)).explain()
    assert "order_by_created_at" in plan
