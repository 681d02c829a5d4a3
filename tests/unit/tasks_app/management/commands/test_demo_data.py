"""``demo_data`` gives the sample jobs something to do."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db.models import Max, Min
from django.utils import timezone

from jobledger.models import Run
from tasks_app.models import AuthToken, Order, Tag
from tests.unit.builders import make_user, output_of, utc

pytestmark = pytest.mark.django_db

SMALL = ("demo_data", "--users=40", "--tokens=100", "--orders=100", "--seed=7")


def users() -> list[tuple[str, str]]:
    return list(get_user_model()._default_manager.order_by("pk").values_list("username", "email"))


def test_it_adds_the_given_numbers_and_reports_them() -> None:
    assert output_of(*SMALL) == "Added 40 users, 100 tokens and 100 orders.\n"
    assert (len(users()), AuthToken.objects.count(), Order.objects.count()) == (40, 100, 100)


def test_it_is_not_a_job() -> None:
    output_of(*SMALL)
    assert not Run.objects.exists()


def test_running_it_again_adds_more() -> None:
    output_of(*SMALL)
    output_of(*SMALL)
    assert (len(users()), AuthToken.objects.count(), Order.objects.count()) == (80, 200, 200)
    assert users()[-1][0] == "demo-00000080"


def test_running_it_again_without_users_adds_to_the_existing_ones() -> None:
    output_of("demo_data", "--users=5", "--tokens=0", "--orders=0")
    bystander = make_user()
    output_of("demo_data", "--users=0", "--tokens=50", "--orders=50")
    assert AuthToken.objects.count() == Order.objects.count() == 50
    assert not Order.objects.filter(user=bystander).exists()


def test_the_sample_jobs_find_something_to_do() -> None:
    output_of(*SMALL)
    assert "[dry-run] 0 " not in output_of("cleanup_tokens", "--dry-run")
    assert "changed 0 " not in output_of("normalize_emails", "--dry-run")
    assert any(not email.isascii() for _, email in users())


def test_a_seed_gives_the_same_rows_again() -> None:
    with time_machine.travel(utc(2026, 5, 31), tick=False):
        output_of(*SMALL)
        first = contents()
        get_user_model()._default_manager.all().delete()
        output_of(*SMALL)
    assert contents() == first


def contents() -> list[object]:
    tokens = AuthToken.objects.values_list("user__username", "created_at")
    orders = Order.objects.values_list("user__username", "created_at", "total", "tags__name")
    return [users(), sorted(tokens), sorted(map(str, orders))]


def test_other_seeds_give_other_rows() -> None:
    output_of("demo_data", "--users=20", "--tokens=0", "--orders=0", "--seed=1")
    output_of("demo_data", "--users=20", "--tokens=0", "--orders=0", "--seed=2")
    emails = [email.strip().lower().split(".")[:2] for _, email in users()]
    assert emails[:20] != emails[20:]


def test_keys_cannot_be_derived_from_the_seed() -> None:
    output_of(*SMALL)
    keys = set(AuthToken.objects.values_list("key", flat=True))
    AuthToken.objects.all().delete()
    output_of(*SMALL)
    assert keys.isdisjoint(AuthToken.objects.values_list("key", flat=True))


def test_tokens_are_of_all_ages_and_orders_of_one_year() -> None:
    output_of("demo_data", "--users=5", "--tokens=300", "--orders=300", "--seed=1")
    now = timezone.now()
    for model, days in (AuthToken, 400), (Order, 365):
        found = model._default_manager.aggregate(oldest=Min("created_at"), newest=Max("created_at"))
        assert timedelta(days=days * 0.9) < now - found["oldest"] <= timedelta(days=days, minutes=1)
        assert timedelta(0) <= now - found["newest"] < timedelta(days=days * 0.1)


def test_orders_have_a_total_and_tags() -> None:
    output_of(*SMALL)
    assert not Order.objects.filter(total__lte=0).exists()
    assert Order.objects.filter(tags__isnull=False).exists()
    assert Order.objects.filter(tags__isnull=True).exists()
    assert Tag.objects.count() == 8


def test_nobody_can_log_in_as_a_demo_user() -> None:
    output_of(*SMALL)
    assert not any(user.has_usable_password() for user in get_user_model()._default_manager.all())


@pytest.mark.parametrize("argument", ["--users=-1", "--tokens=-1", "--orders=-1", "--orders=99999999999"])
def test_absurd_sizes_are_rejected(argument: str) -> None:
    with pytest.raises(CommandError, match="is not between 0 and 10000000"):
        call_command("demo_data", argument)


def test_rows_without_an_owner_are_rejected_and_nothing_is_added() -> None:
    with pytest.raises(CommandError, match="need users"):
        call_command("demo_data", "--users=0", "--tokens=1", "--orders=0")
    assert not AuthToken.objects.exists()
