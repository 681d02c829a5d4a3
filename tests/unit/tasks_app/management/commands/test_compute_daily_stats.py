"""``compute_daily_stats`` is idempotent, and handles days of any length."""

from datetime import date, datetime
from decimal import Decimal

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from jobledger.models import RunOutput
from tasks_app.management.commands import compute_daily_stats
from tasks_app.models import DailyStat
from tests.unit.builders import make_order, make_user, output_of, run_for_slot, utc

pytestmark = pytest.mark.django_db


def stored() -> list[tuple[str, int, Decimal]]:
    return [
        (stat.date.isoformat(), stat.order_count, stat.order_sum)
        for stat in DailyStat.objects.order_by("date")
    ]


def test_a_days_orders_are_counted_and_summed() -> None:
    make_order(utc(2026, 3, 1, 0), "100.10")
    make_order(utc(2026, 3, 1, 23, 59, 59), "245.50")
    make_order(utc(2026, 3, 2), "1.00")
    make_order(utc(2026, 2, 28, 23, 59, 59), "1.00")
    assert output_of("compute_daily_stats", "--date=2026-03-01") == "2026-03-01: 2 orders, 345.60\n"
    assert stored() == [("2026-03-01", 2, Decimal("345.60"))]


def test_a_day_without_orders_has_zeros() -> None:
    assert output_of("compute_daily_stats", "--date=2026-03-01") == "2026-03-01: 0 orders, 0.00\n"
    assert stored() == [("2026-03-01", 0, Decimal(0))]


def test_running_it_twice_gives_the_same_row() -> None:
    make_order(utc(2026, 3, 1, 5), "7.00")
    for _ in range(2):
        output_of("compute_daily_stats", "--date=2026-03-01")
    assert stored() == [("2026-03-01", 1, Decimal("7.00"))]


def test_a_late_order_is_included_when_it_runs_again() -> None:
    output_of("compute_daily_stats", "--date=2026-03-01")
    before = DailyStat.objects.get().computed_at
    make_order(utc(2026, 3, 1, 5), "7.00")
    output_of("compute_daily_stats", "--date=2026-03-01")
    assert stored() == [("2026-03-01", 1, Decimal("7.00"))]
    assert DailyStat.objects.get().computed_at > before


def test_the_default_is_the_day_before_now() -> None:
    with time_machine.travel(utc(2026, 3, 2, 0, 30), tick=False):
        assert output_of("compute_daily_stats").startswith("2026-03-01: ")


def test_the_default_is_the_day_before_the_slot_however_late_the_run() -> None:
    with time_machine.travel(utc(2026, 3, 9), tick=False):
        run = run_for_slot("compute_daily_stats", utc(2026, 3, 2, 3))
    assert RunOutput.objects.get(run=run).text.startswith("2026-03-01: ")


def test_the_day_before_is_in_the_projects_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    with time_machine.travel(utc(2026, 3, 1, 12), tick=False):  # 01:00 on the 2nd
        assert output_of("compute_daily_stats").startswith("2026-03-01: ")


@pytest.mark.parametrize(
    ("day", "first", "last", "after"),
    [
        # 23 hours: summer time begins on this day, so that it ends at 23:00 UTC.
        ("2026-03-29", utc(2026, 3, 29, 0), utc(2026, 3, 29, 22, 59, 59), utc(2026, 3, 29, 23)),
        # 25 hours: it begins at 23:00 UTC and ends at midnight UTC.
        ("2026-10-25", utc(2026, 10, 24, 23), utc(2026, 10, 25, 23, 59, 59), utc(2026, 10, 26)),
    ],
)
def test_a_day_on_which_the_clock_changes_is_whole(
    settings: Settings, day: str, first: datetime, last: datetime, after: datetime
) -> None:
    settings.TIME_ZONE = "Europe/London"
    user = make_user()
    for time in first, last, after:
        make_order(time, "1.00", user=user)
    assert output_of("compute_daily_stats", f"--date={day}") == f"{day}: 2 orders, 2.00\n"


def test_every_order_of_a_range_is_counted_once(settings: Settings) -> None:
    settings.TIME_ZONE = "America/Sao_Paulo"  # no midnight on 4 November 2018
    user = make_user()
    for hour in range(48):
        make_order(utc(2018, 11, 3 + hour // 24, hour % 24), "1.00", user=user)
    printed = output_of("compute_daily_stats", "--from=2018-11-02", "--to=2018-11-05")
    assert printed == (
        "2018-11-02: 3 orders, 3.00\n"
        "2018-11-03: 24 orders, 24.00\n"
        "2018-11-04: 21 orders, 21.00\n"
        "2018-11-05: 0 orders, 0.00\n"
    )


def test_a_range_takes_one_query_and_a_write_for_many_days() -> None:
    with CaptureQueriesContext(connection) as queries:
        output_of("compute_daily_stats", "--from=2026-01-01", "--to=2026-03-31")
    statements = [query["sql"] for query in queries.captured_queries if "tasks_app_" in query["sql"]]
    assert sum(sql.startswith("SELECT") for sql in statements) == 1
    assert sum(sql.startswith("INSERT") for sql in statements) <= 2
    assert DailyStat.objects.count() == 90


def test_a_range_longer_than_one_write_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_daily_stats, "DAYS_PER_WRITE", 90)
    output_of("compute_daily_stats", "--from=2026-01-01", "--to=2026-07-19")
    assert DailyStat.objects.count() == 200
    assert DailyStat.objects.latest("date").date == date(2026, 7, 19)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (["--from=2026-03-02", "--to=2026-03-01"], "--from 2026-03-02 is after --to 2026-03-01."),
        (["--from=2026-03-02"], "A range needs both --from and --to"),
        (["--to=2026-03-02"], "A range needs both --from and --to"),
        (["--date=2026-03-02", "--to=2026-03-02"], "cannot be combined with --date"),
        (["--date=2026-03-02", "--from=2026-03-02"], "not allowed with argument"),
        (["--from=1970-01-01", "--to=2026-03-02"], "more than 3660 days"),
        (["--date=29.3.2026"], "not a day in the format YYYY-MM-DD"),
        (["--date=9999-12-31"], "not between 1970-01-01 and 2999-12-31"),
    ],
)
def test_invalid_days_are_rejected(line: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("compute_daily_stats", *line)
    assert not DailyStat.objects.exists()


def test_a_range_one_day_too_long_is_rejected() -> None:
    with pytest.raises(CommandError, match="2016-01-01 to 2026-01-08 is more than 3660 days"):
        call_command("compute_daily_stats", "--from=2016-01-01", "--to=2026-01-08")


def test_a_day_together_with_a_range_is_rejected_even_without_the_parser() -> None:
    day = date(2026, 3, 2)
    with pytest.raises(CommandError, match="cannot be combined with --date"):
        call_command("compute_daily_stats", date=day, date_from=day, date_to=day)
