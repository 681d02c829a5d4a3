"""Celery's crontab: our slots are exactly those that Celery's own classes yield."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from celery.utils.time import remaining
from django_celery_beat.tzcrontab import TzAwareCrontab
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobledger.schedules.rules.celery_cron import CeleryCron, parse
from jobledger.schedules.rules.slots import RESOLUTION, RuleError, next_slot, previous_slot, slots_between
from tests.unit.jobledger.schedules.rules.test_cron_properties import CHANGES, ZONES, field
from tests.unit.jobledger.schedules.times import cron, local_times, utc

HOURS = st.one_of(field(0, 23), st.sampled_from(["0", "1", "2", "0-3", "22-2", "*/2"]))
DAYS = st.one_of(st.just("*"), field(1, 31), st.sampled_from(["1-7", "25-3", "*/2", "31", "29,30,31"]))
MONTHS = st.one_of(st.just("*"), st.sampled_from(["*/3", "2", "mar-nov", "11-2", "1,7", "february"]))
WEEKDAYS = st.one_of(st.just("*"), field(0, 6), st.sampled_from(["mon", "mon-fri", "sat-sun", "sunday,2"]))
EXPRESSIONS = st.builds(" ".join, st.tuples(field(0, 59), HOURS, DAYS, MONTHS, WEEKDAYS))
NIGHTLY = st.builds(" ".join, st.tuples(st.just("15,45"), st.just("1-2"), DAYS, MONTHS, WEEKDAYS))
YEAR = timedelta(days=366)


def rule(expression: str, zone: str = "UTC") -> CeleryCron:
    return CeleryCron(expression=expression, zone=ZoneInfo(zone))


def is_possible(expression: str) -> bool:
    try:
        parse(expression)
    except RuleError:
        return False
    return True


def slots_of_celery(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """The times at which the stock scheduler, running since then, sends the task."""
    minute, hour, day, month, weekday = expression.split()
    crontab = TzAwareCrontab(minute, hour, weekday, day, month, tz=ZoneInfo(zone))
    sent_at = after
    while True:
        last, delta, _ = crontab.remaining_delta(sent_at.astimezone(ZoneInfo(zone)))
        sent_at += remaining(last, delta, now=sent_at)
        yield sent_at.astimezone(UTC)


@st.composite
def cases(draw: st.DrawFn, expressions: st.SearchStrategy[str] = EXPRESSIONS) -> tuple[str, str, datetime]:
    """An expression, a zone, and a time that is usually near a clock change but not in it."""
    name = draw(st.sampled_from(ZONES))
    near = draw(st.sampled_from(CHANGES[name]))
    away = draw(st.timedeltas(timedelta(hours=-36), timedelta(hours=-18)))
    return draw(expressions.filter(is_possible)), name, near + away


@given(cases())
@example(("*/30 * * * *", "America/New_York", utc("2026-10-31T12:00")))
@example(("10,50 2-3 * * *", "America/New_York", utc("2026-03-07T12:00")))
@example(("20,40 2 * * *", "Australia/Lord_Howe", utc("2026-10-03T00:00")))
@example(("0 3 1-7 * mon", "Europe/London", utc("2026-01-01T00:00")))
def test_slots_are_those_of_celerys_crontab(case: tuple[str, str, datetime]) -> None:
    expression, zone, start = case
    # Some expressions match a few times in decades, others 1,440 times a day.
    expected = list(islice(slots_of_celery(expression, zone, start), 100))
    found = slots_between(rule(expression, zone), start, expected[-1], limit=1000)
    assert list(found) == expected


@settings(max_examples=25)
@given(cases(NIGHTLY))
def test_slots_of_a_year_are_those_of_celerys_crontab(case: tuple[str, str, datetime]) -> None:
    expression, zone, start = case
    expected = list(takewhile(lambda slot: slot <= start + YEAR, slots_of_celery(expression, zone, start)))
    assert list(slots_between(rule(expression, zone), start, start + YEAR)) == expected


@given(cases(), st.timedeltas(timedelta(0), timedelta(hours=72)))
def test_next_and_previous_are_inverses(case: tuple[str, str, datetime], later: timedelta) -> None:
    expression, zone, start = case
    each, at = rule(expression, zone), start + later
    before, after = previous_slot(each, at), next_slot(each, at)
    assert before is not None
    assert after is not None
    assert before < at < after
    assert next_slot(each, before) in (at, after)
    assert previous_slot(each, after) in (at, before)
    assert next_slot(each, after - RESOLUTION) == after


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        pytest.param("30 2 * * *", "2026-03-07T12:00", ["2026-03-08T03:30-04:00"], id="in the gap, later"),
        pytest.param(
            "*/20 2-3 * * *",
            "2026-03-07T12:00",
            ["2026-03-08T03:00-04:00", "2026-03-08T03:20-04:00"],
            id="only the first time in the gap",
        ),
        pytest.param(
            "0 * * * *",
            "2026-11-01T05:00",
            ["2026-11-01T02:00-05:00", "2026-11-01T03:00-05:00"],
            id="silent in the second hour of the fold",
        ),
        pytest.param(
            "30 1 * * *",
            "2026-11-01T04:30",
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
            id="once in the fold",
        ),
    ],
)
def test_clock_changes(expression: str, start: str, expected: list[str]) -> None:
    zone = "America/New_York"
    found = slots_between(rule(expression, zone), utc(start), utc("2027-01-01"), limit=len(expected))
    assert local_times(list(found), zone) == expected


def test_both_days_must_match() -> None:
    found = slots_between(rule("0 3 1-7 * mon"), utc("2026-01-01"), utc("2026-04-01"))
    assert [slot.date().isoformat() for slot in found] == ["2026-01-05", "2026-02-02", "2026-03-02"]


@pytest.mark.parametrize(
    ("expression", "field_", "message"),
    [
        ("0 3 * * 7", "day-of-week", "day-of-week: Celery does not accept '7'"),
        ("0 3 L * *", "day-of-month", "day-of-month: Celery does not accept 'l'"),
        ("0 3 30 2 *", "day-of-month", "never occurs in"),
        ("*/0 3 * * *", "minute", "minute: Celery does not accept '*/0'"),
        ("60 3 * * *", "minute", "Invalid end range"),
        ("1,,2 3 * * *", "minute", "empty part"),
    ],
)
def test_what_celery_does_not_accept_is_an_error(expression: str, field_: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule(expression)
    assert caught.value.field == field_
    assert message in str(caught.value)


def test_a_zone_is_required() -> None:
    with pytest.raises(RuleError, match="time zone"):
        CeleryCron(expression="0 3 * * *", zone=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "canonical"),
    [
        ("*/1 * 1-31 1-12 0-6", "* * * * *"),
        ("*/15 22-2 1-7,15 jan-mar sat-sun", "0,15,30,45 0-2,22-23 1-7,15 1-3 0,6"),
    ],
)
def test_an_expression_is_reduced_to_numbers(expression: str, canonical: str) -> None:
    assert parse(expression).canonical == canonical


def test_what_celery_reads_beyond_a_step_makes_no_difference() -> None:
    # Celery matches the beginning of a part only.
    assert rule("*/20-3 3 * * *").parsed.minutes == (180, 200, 220)


@given(st.one_of(field(0, 59), st.sampled_from(["50-10/7", "*/7,3", "5-5", "0-59", "07"])), HOURS)
def test_times_of_day_are_those_of_cron(minute: str, hour: str) -> None:
    by_cron = cron(f"{minute} {hour} * * *").parsed
    times = [hours * 60 + minutes for hours in by_cron.hours for minutes in by_cron.minutes]
    assert list(parse(f"{minute} {hour} * * *").minutes) == times
