"""The effects of the next clock changes on a cron rule."""

from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.schedules.rules import clock_changes
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.clock_changes import Effect
from jobledger.schedules.rules.slots import RESOLUTION, Window, slots_between
from tests.unit.jobledger.schedules.times import cron, utc

JANUARY = utc("2026-01-10T12:00")


def sentences(expression: str, zone: str = "Europe/London") -> list[str]:
    return [each.sentence for each in clock_changes.consequences(cron(expression, zone), JANUARY)]


@pytest.mark.parametrize(
    ("zone", "changes"),
    [
        ("Europe/London", ["2026-03-29T01:00", "2026-10-25T01:00"]),
        ("Australia/Lord_Howe", ["2026-04-04T15:00", "2026-10-03T15:30"]),
        ("Africa/Casablanca", ["2026-02-15T02:00", "2026-03-22T02:00"]),
        ("UTC", []),
        ("Asia/Tokyo", []),
    ],
)
def test_it_finds_the_next_two_changes(zone: str, changes: list[str]) -> None:
    found = clock_changes.next_changes(ZoneInfo(zone), JANUARY)
    assert [change.at for change in found] == [utc(change) for change in changes]


def test_a_change_that_has_just_happened_is_not_a_next_one() -> None:
    (change,) = clock_changes.next_changes(ZoneInfo("Europe/London"), utc("2026-03-29T01:00"), count=1)
    assert change.at == utc("2026-10-25T01:00")


def test_a_fixed_time_runs_once_at_each_change() -> None:
    assert sentences("30 1 * * *") == [
        "01:30 is skipped by the clock: it runs at 02:00, right after the change.",
        "01:30 occurs twice: it runs the first time only.",
    ]


def test_a_rule_that_follows_the_clock_runs_whenever_the_clock_matches() -> None:
    assert sentences("*/15 * * * *") == [
        "4 times, 01:00 to 01:45, are skipped by the clock and do not run; runs continue from 02:00.",
        "4 times, 01:00 to 01:45, occur twice: each runs both times.",
    ]


def test_a_rule_that_is_not_due_during_the_change_is_not_affected() -> None:
    assert sentences("0 2 * * *") == ["No runs are affected."] * 2
    assert sentences("30 1 * * 1") == ["No runs are affected."] * 2


def test_changes_outside_the_window_are_left_out() -> None:
    window = Window(start_time=utc("2026-05-01"), expires=utc("2026-12-01"))
    (found,) = clock_changes.consequences(cron("30 1 * * *", "Europe/London"), JANUARY, window=window)
    assert found.change.at == utc("2026-10-25T01:00")


@given(
    expression=st.sampled_from(["30 1 * * *", "0,30 0-3 * * *", "*/20 * * * *", "15 */2 * * *", "5 2 * * 0"]),
    zone=st.sampled_from(
        ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca"]
    ),
    days=st.integers(0, 3000),
)
def test_the_slots_of_a_consequence_are_those_of_the_rule(expression: str, zone: str, days: int) -> None:
    rule = cron(expression, zone)
    for each in clock_changes.consequences(rule, JANUARY + timedelta(days=days)):
        assert [rule.first_after(slot - RESOLUTION) for slot in each.slots] == list(each.slots)
        first, last = (edge.replace(tzinfo=rule.zone) for edge in each.change.edges)
        end = last.replace(fold=1).astimezone(UTC)
        around = len(list(slots_between(rule, first.astimezone(UTC) - RESOLUTION, end)))
        occurrences = len(each.slots) if each.effect is not Effect.MOVED else 1
        # The time at which the change ends may be a slot of its own.
        assert around - occurrences in (0, 1)


@pytest.mark.parametrize(
    ("expression", "sentences"),
    [
        (
            "30 1 * * *",
            [
                "01:30 is skipped by the clock: it runs at 02:30 instead.",
                "01:30 occurs twice: it runs the first time only.",
            ],
        ),
        (
            "*/15 * * * *",
            [
                "4 times, 01:00 to 01:45, are skipped by the clock: they run once, at 02:00.",
                "4 times, 01:00 to 01:45, occur twice: each runs the first time only.",
            ],
        ),
        ("0 2 * * *", ["No runs are affected."] * 2),
    ],
)
def test_celerys_rules(expression: str, sentences: list[str]) -> None:
    rule = CeleryCron(expression=expression, zone=ZoneInfo("Europe/London"))
    found = clock_changes.consequences(rule, JANUARY)
    assert [each.sentence for each in found] == sentences
    for each in found:
        begin, end = each.change.at - timedelta(hours=2), each.change.at + timedelta(hours=3)
        assert set(each.slots) <= set(slots_between(rule, begin, end))
