from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.schedules.rules.interval import Clocked, Interval
from jobledger.schedules.rules.slots import (
    RESOLUTION,
    Rule,
    RuleError,
    Window,
    next_slot,
    previous_slot,
    slots_between,
)
from tests.unit.jobledger.schedules.times import cron, every, utc

NOON = utc("2026-05-01 12:00")
DAILY = cron("0 12 * * *")
DATETIMES = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
INTERVALS = st.builds(
    Interval, every=st.timedeltas(timedelta(seconds=1), timedelta(days=400)), anchor=DATETIMES
)
LONDON_CRONS = st.sampled_from(["30 1 * * *", "*/20 * * * *", "0 */6 * * 1", "0 0 1 * *"]).map(
    lambda expression: cron(expression, "Europe/London")
)
RULES: st.SearchStrategy[Rule] = st.one_of(INTERVALS, LONDON_CRONS, st.builds(Clocked, at=DATETIMES))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start, expires = draw(st.none() | DATETIMES), draw(st.none() | DATETIMES)
    return Window(start_time=start, expires=expires, one_off=draw(st.booleans()))


# --- intervals -------------------------------------------------------------------------------------


def test_an_interval_is_a_grid_from_its_anchor() -> None:
    rule = every(minutes=90, anchor="2026-05-01 00:10")
    slots = islice(slots_between(rule, utc("2026-05-01 00:10"), utc("2026-05-02")), 3)
    assert list(slots) == [utc(f"2026-05-01 {time}") for time in ("01:40", "03:10", "04:40")]


def test_an_interval_extends_before_its_anchor() -> None:
    assert previous_slot(every(hours=1, anchor="2026-05-01"), utc("2026-05-01")) == utc("2026-04-30 23:00")


def test_an_interval_is_elapsed_time_unaffected_by_clock_changes() -> None:
    rule = every(days=1, anchor="2026-03-28 12:00")
    assert next_slot(rule, utc("2026-03-28 12:00")) == utc("2026-03-29 12:00")


def test_an_interval_does_not_drift_in_a_hundred_years() -> None:
    rule = every(seconds=7, anchor="2026-05-01 00:00:00.000003")
    slot = next_slot(rule, utc("2126-05-01"))
    assert slot is not None
    assert (slot - rule.anchor) % timedelta(seconds=7) == timedelta(0)


@given(INTERVALS, DATETIMES)
def test_every_slot_of_an_interval_is_on_its_grid(rule: Interval, at: datetime) -> None:
    for slot in (next_slot(rule, at), previous_slot(rule, at)):
        assert slot is not None
        assert (slot - rule.anchor) % rule.every == timedelta(0)
        assert abs(slot - at) <= rule.every


@pytest.mark.parametrize("duration", [timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=999)])
def test_an_interval_below_a_second_is_rejected(duration: timedelta) -> None:
    with pytest.raises(RuleError, match=r"every: .* is shorter than a second"):
        Interval(every=duration, anchor=NOON)


# --- clocked ---------------------------------------------------------------------------------------


def test_a_clocked_rule_has_one_slot() -> None:
    rule = Clocked(at=NOON)
    assert next_slot(rule, NOON - RESOLUTION) == NOON
    assert next_slot(rule, NOON) is None
    assert previous_slot(rule, NOON + RESOLUTION) == NOON
    assert previous_slot(rule, NOON) is None


def test_a_clocked_rule_outside_its_window_has_no_slot() -> None:
    assert next_slot(Clocked(at=NOON), utc("2026-01-01"), window=Window(expires=NOON)) is None


# --- datetimes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [next_slot, previous_slot])
def test_a_naive_datetime_is_a_programming_error(search: object) -> None:
    assert callable(search)
    with pytest.raises(ValueError, match="has no time zone"):
        search(DAILY, NOON.replace(tzinfo=None))


@pytest.mark.parametrize(
    "make",
    [
        lambda naive: Clocked(at=naive),
        lambda naive: Interval(every=timedelta(hours=1), anchor=naive),
        lambda naive: Window(start_time=naive),
        lambda naive: Window(expires=naive),
    ],
    ids=["at", "anchor", "start_time", "expires"],
)
def test_a_naive_datetime_of_a_schedule_is_invalid_data(make: object, request: pytest.FixtureRequest) -> None:
    field = request.node.callspec.id
    assert callable(make)
    with pytest.raises(RuleError, match=f"{field}: .* has no time zone"):
        make(NOON.replace(tzinfo=None))


def test_datetimes_in_other_zones_are_accepted_and_results_are_in_utc() -> None:
    local = datetime.fromisoformat("2026-05-01T20:00+08:00")
    slot = next_slot(DAILY, local)
    assert slot == utc("2026-05-02 12:00")
    assert slot.tzinfo is UTC


# --- windows ---------------------------------------------------------------------------------------


def test_a_slot_at_the_start_time_counts() -> None:
    window = Window(start_time=NOON)
    assert next_slot(DAILY, utc("2026-01-01"), window=window) == NOON
    assert previous_slot(DAILY, NOON + RESOLUTION, window=window) == NOON
    assert previous_slot(DAILY, NOON, window=window) is None


def test_a_slot_at_the_expiry_does_not_count() -> None:
    window = Window(expires=NOON)
    assert next_slot(DAILY, NOON - timedelta(hours=1), window=window) is None
    assert previous_slot(DAILY, utc("2027-01-01"), window=window) == NOON - timedelta(days=1)
    slots = slots_between(DAILY, NOON - timedelta(days=2), utc("2027-01-01"), window=window)
    assert list(slots) == [NOON - timedelta(days=1)]


def test_a_one_off_schedule_has_one_slot() -> None:
    window = Window(one_off=True)
    assert list(slots_between(DAILY, NOON, NOON + timedelta(days=9), window=window)) == [
        NOON + timedelta(days=1)
    ]
    assert next_slot(DAILY, NOON, window=window) == NOON + timedelta(days=1)


# --- between ---------------------------------------------------------------------------------------


def test_slots_between_excludes_the_start_and_includes_the_end() -> None:
    slots = slots_between(DAILY, NOON, NOON + timedelta(days=2))
    assert list(slots) == [NOON + timedelta(days=1), NOON + timedelta(days=2)]


def test_slots_between_yields_at_most_the_limit() -> None:
    assert len(list(slots_between(DAILY, NOON, utc("2027-01-01"), limit=3))) == 3


@given(RULES, windows(), DATETIMES)
def test_slots_are_in_the_window_and_on_the_right_side_of_the_given_time(
    rule: Rule, window: Window, at: datetime
) -> None:
    following, preceding = (
        next_slot(rule, at, window=window),
        previous_slot(rule, at, window=window),
    )
    assert following is None or (following > at and window.contains(following))
    assert preceding is None or (preceding < at and window.contains(preceding))


@given(RULES, windows(), DATETIMES)
def test_next_and_previous_agree(rule: Rule, window: Window, at: datetime) -> None:
    following = next_slot(rule, at, window=window)
    if following is not None:
        before = previous_slot(rule, following, window=window)
        assert before is None or before <= at
        assert previous_slot(rule, following + RESOLUTION, window=window) == following
