"""``compute_stats`` computes a user's figures, and stores them in a single row."""

from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from jobledger.models import Run
from tasks_app.models import UserStat
from tests.unit.builders import make_order, make_user, output_of, run_for_slot, utc

pytestmark = pytest.mark.django_db


def stored() -> list[tuple[str, str, int, Decimal]]:
    return [
        (stat.since.isoformat(), stat.tags, stat.order_count, stat.order_sum)
        for stat in UserStat.objects.order_by("pk")
    ]


def test_a_users_orders_since_a_day_are_counted_and_summed() -> None:
    user = make_user()
    make_order(utc(2026, 1, 1), "10.00", user=user)
    make_order(utc(2026, 2, 1), "5.50", user=user)
    make_order(utc(2025, 12, 31, 23, 59), "1.00", user=user)
    make_order(utc(2026, 2, 1), "1.00")
    printed = output_of("compute_stats", str(user.pk), "--since=2026-01-01")
    assert printed == f"User {user.pk} since 2026-01-01: 2 orders, 15.50\n"
    assert stored() == [("2026-01-01", "", 2, Decimal("15.50"))]


def test_without_a_day_all_orders_count() -> None:
    user = make_user()
    make_order(utc(1999, 1, 1), "3.00", user=user)
    assert output_of("compute_stats", str(user.pk)) == f"User {user.pk} since 1970-01-01: 1 orders, 3.00\n"


def test_only_orders_with_every_tag_count_when_tags_are_given() -> None:
    user = make_user()
    make_order(utc(2026, 1, 1), "1.00", "gift", user=user)
    make_order(utc(2026, 1, 1), "2.00", "sale", "gift", user=user)
    line = ("compute_stats", str(user.pk), "--since=2026-01-01", "--tags", "sale", "gift", "sale")
    assert output_of(*line) == f"User {user.pk} since 2026-01-01 with tags gift, sale: 1 orders, 2.00\n"
    assert stored() == [("2026-01-01", "gift,sale", 1, Decimal("2.00"))]


def test_running_it_again_updates_the_same_row() -> None:
    user = make_user()
    output_of("compute_stats", str(user.pk), "--since=2026-01-01", "--tags", "a", "b")
    make_order(utc(2026, 1, 1), "2.00", "a", "b", user=user)
    output_of("compute_stats", str(user.pk), "--since=2026-01-01", "--tags", "b", "a")
    assert stored() == [("2026-01-01", "a,b", 1, Decimal("2.00"))]


def test_other_arguments_have_rows_of_their_own() -> None:
    user = str(make_user().pk)
    output_of("compute_stats", user, "--since=2026-01-01")
    output_of("compute_stats", user, "--since=2026-01-02")
    output_of("compute_stats", user, "--since=2026-01-01", "--tags", "a")
    assert UserStat.objects.count() == 3


def test_the_dry_run_prints_the_figures_and_stores_none() -> None:
    user = make_user()
    printed = output_of("compute_stats", str(user.pk), "--since=2026-01-01", "--dry-run")
    assert printed == f"[dry-run] User {user.pk} since 2026-01-01: 0 orders, 0.00\n"
    assert stored() == []


def test_the_day_begins_in_the_projects_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/London"
    user = make_user()
    make_order(utc(2026, 6, 30, 23), "1.00", user=user)
    make_order(utc(2026, 6, 30, 22, 59), "1.00", user=user)
    assert "1 orders" in output_of("compute_stats", str(user.pk), "--since=2026-07-01")


def test_an_unknown_user_is_an_error_that_names_it() -> None:
    with pytest.raises(CommandError, match=r"^User 4711 not found\.$"):
        call_command("compute_stats", "4711", "--since=2026-01-01")
    run = Run.objects.get()
    assert (run.status, run.exit_code, run.error) == ("failed", 1, "User 4711 not found.")


def test_options_from_a_schedule_mean_the_same() -> None:
    user = make_user()
    make_order(utc(2026, 1, 1), "2.00", "a", user=user)
    run = run_for_slot("compute_stats", utc(2026, 3, 1), user_id=user.pk, since="2026-01-01", tags=["a"])
    assert run.status == "succeeded", run.error
    assert stored() == [("2026-01-01", "a", 1, Decimal("2.00"))]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ([], "the following arguments are required: USER_ID"),
        (["1", "--since=yesterday"], "'yesterday' is not a day in the format YYYY-MM-DD"),
        (["1", "--tags", "a,b"], "'a,b' contains a comma; separate tags with spaces"),
        (["1", "--tags"], "expected at least one argument"),
    ],
)
def test_invalid_arguments_are_rejected(line: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("compute_stats", *line)


def test_more_tags_than_a_row_can_hold_are_rejected() -> None:
    tags = [f"tag-{number}" for number in range(21)]
    with pytest.raises(CommandError, match="21 tags are too many; the maximum is 20"):
        call_command("compute_stats", str(make_user().pk), "--tags", *tags)
