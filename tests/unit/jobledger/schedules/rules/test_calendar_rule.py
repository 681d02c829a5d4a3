"""Which slots run once calendars are considered, which are moved, and which are left out."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.calendars.calendar import Calendar
from jobledger.calendars.use import MAX_MOVE_DAYS, CalendarUse
from jobledger.reason import MANY
from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.calendar_rule import CalendarRule, LeftOut
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import (
    ALWAYS,
    RESOLUTION,
    Rule,
    RuleError,
    Window,
    next_slot,
    previous_slot,
    slots_between,
)
from tests.unit.jobledger.schedules.times import cron, every, utc

DAY = timedelta(days=1)
WEEKEND = "sat, sun"
# A Monday.
START = utc("2026-03-02")


def limited(
    base: Rule,
    not_on: str = "",
    *,
    only_on: str = "",
    moved: bool = False,
    zone: str = "UTC",
    window: Window = ALWAYS,
) -> CalendarRule:
    use = CalendarUse(
        not_on=(Calendar(name="closed", text=not_on),) if not_on else (),
        only_on=(Calendar(name="open", text=only_on),) if only_on else (),
        is_moved=moved,
    )
    return CalendarRule(base=base, use=use, zone=ZoneInfo(zone), window=window)


def starts(rule: Rule, days: int = 14, begin: datetime = START) -> list[str]:
    found = slots_between(rule, begin - RESOLUTION, begin + days * DAY)
    return [f"{slot:%a %d %H:%M}" for slot in found]


def left_out(rule: CalendarRule, days: int = 14, begin: datetime = START) -> list[tuple[str, int]]:
    found = rule.left_out(begin - RESOLUTION, begin + days * DAY)
    return [(f"{each.slot:%a %d %H:%M}", each.count) for each in found]


def test_what_falls_on_an_excluded_day_does_not_start() -> None:
    rule = limited(cron("0 3 * * *"), WEEKEND)
    days = [2, 3, 4, 5, 6, 9, 10, 11, 12, 13]
    assert starts(rule) == [f"{date(2026, 3, day):%a %d} 03:00" for day in days]
    assert left_out(rule) == [
        ("Sat 07 03:00", 1),
        ("Sun 08 03:00", 1),
        ("Sat 14 03:00", 1),
        ("Sun 15 03:00", 1),
    ]


def test_a_left_out_slot_has_the_calendar_and_its_entry() -> None:
    rule = limited(cron("0 3 * * *"), "2026-03-04 # stocktaking")
    found = LeftOut(slot=utc("2026-03-04T03:00"), count=1, calendar="closed", name="stocktaking")
    assert list(rule.left_out(START, START + 7 * DAY)) == [found]


def test_the_slots_of_a_day_in_a_row_are_left_out_together() -> None:
    rule = limited(cron("* * * * *"), "2026-03-02 22:00 to 2026-03-03 00:30\n2026-03-04 10:00 to 10:05")
    assert left_out(rule, days=3) == [("Mon 02 23:59", 1 + MANY), ("Tue 03 00:29", 30), ("Wed 04 10:04", 5)]


@pytest.mark.parametrize("begin", [START, START - DAY])
@pytest.mark.parametrize(
    ("base", "not_on", "slot"),
    [
        ("0 0 * * *", "2026-03-04", "Wed 04 00:00"),
        ("0 9 * * *", "wed 09:00 to 17:00", "Wed 04 09:00"),
    ],
)
def test_a_slot_is_left_out_at_the_beginning_of_a_stretch_a_day_after_a_free_slot(
    base: str, not_on: str, slot: str, begin: datetime
) -> None:
    assert left_out(limited(cron(base), not_on), begin=begin, days=6) == [(slot, 1)]


def test_only_what_is_later_counts() -> None:
    rule = limited(cron("* * * * *"), "2026-03-02 22:00 to 23:00")
    assert left_out(rule, begin=utc("2026-03-02T22:50"), days=1) == [("Mon 02 22:59", 10)]


def test_outside_the_calendars_to_which_it_is_limited_there_are_no_slots() -> None:
    rule = limited(cron("0 3 * * *"), only_on="last working day of the month")
    assert starts(rule, days=60) == ["Tue 31 03:00", "Thu 30 03:00"]
    assert left_out(rule, days=60) == []


def test_of_what_it_is_limited_to_a_part_can_be_left_out() -> None:
    rule = limited(cron("0 3 * * *"), "2026-03-10", only_on="tue")
    assert starts(rule, days=20) == ["Tue 03 03:00", "Tue 17 03:00"]
    assert left_out(rule) == [("Tue 10 03:00", 1)]


def test_an_excluded_slot_is_moved_to_the_same_time_of_the_next_day_that_is_not() -> None:
    rule = limited(cron("30 3 7 * *"), f"{WEEKEND}\n2026-03-09", moved=True)
    assert starts(rule, days=30) == ["Tue 10 03:30"]
    assert rule.origin(utc("2026-03-10T03:30")) == utc("2026-03-07T03:30")
    assert rule.why_moved(utc("2026-03-07T03:30")) == ("closed", "sat, sun")
    assert left_out(rule, days=30) == []


def test_moved_slots_are_covered_by_the_slot_that_the_day_has_itself() -> None:
    rule = limited(cron("0 3 * * *"), WEEKEND, moved=True)
    monday = utc("2026-03-09T03:00")
    assert starts(rule, days=10) == starts(limited(cron("0 3 * * *"), WEEKEND), days=10)
    assert rule.origin(monday) == monday
    found = list(rule.left_out(START, START + 7 * DAY))
    assert [(each.slot, each.covered_at) for each in found] == [
        (monday - 2 * DAY, monday),
        (monday - DAY, monday),
    ]


def test_of_several_slots_that_are_moved_to_one_time_the_latest_runs() -> None:
    rule = limited(cron("0 3 * * sat,sun"), WEEKEND, moved=True)
    assert starts(rule, days=8, begin=START + DAY) == ["Mon 09 03:00"]
    assert rule.origin(utc("2026-03-09T03:00")) == utc("2026-03-08T03:00")
    assert left_out(rule, days=7) == [("Sat 07 03:00", 1)]


def test_a_slot_is_moved_across_days_to_which_the_schedule_is_not_limited() -> None:
    rule = limited(cron("0 3 7 * *"), "sat, sun", only_on="sat, sun, wed", moved=True)
    assert starts(rule) == ["Wed 11 03:00"]
    assert rule.origin(utc("2026-03-11T03:00")) == utc("2026-03-07T03:00")


def test_a_single_time_can_be_moved() -> None:
    rule = limited(Clocked(at=utc("2026-03-07T12:00")), WEEKEND, moved=True)
    assert starts(rule) == ["Mon 09 12:00"]
    assert previous_slot(rule, utc("2027-01-01")) == utc("2026-03-09T12:00")


def test_what_finds_no_day_within_a_month_is_left_out() -> None:
    rule = limited(cron("0 3 * * *"), "2026-03-01 to 2026-04-30\n02:00 to 04:00", moved=True)
    assert starts(rule, days=10) == []
    assert [each.covered_at for each in rule.left_out(START, START + 2 * DAY)] == [None, None]


def test_a_slot_is_not_moved_past_the_end_of_its_schedule() -> None:
    window = Window(start_time=utc("2026-03-07T12:00"), expires=utc("2026-03-08T12:00"))
    rule = limited(cron("0 3,13 * * *"), WEEKEND, moved=True, window=window)
    assert starts(rule, days=30) == []
    assert [each.covered_at for each in rule.left_out(START, START + 30 * DAY)] == [None, None]


def test_a_day_is_a_day_in_the_schedules_zone() -> None:
    rule = limited(cron("0 3 * * *", "Asia/Tokyo"), "sun", zone="Asia/Tokyo")
    assert starts(rule, days=7) == [
        "Mon 02 18:00",
        *(f"{day} 18:00" for day in ("Tue 03", "Wed 04", "Thu 05", "Fri 06")),
        "Sun 08 18:00",
    ]


def test_a_moved_slot_keeps_its_local_time_across_a_clock_change() -> None:
    rule = limited(cron("0 3 28 * *", "Europe/London"), "sat, sun", moved=True, zone="Europe/London")
    assert starts(rule, days=60, begin=START + DAY) == ["Mon 30 02:00", "Tue 28 02:00"]


def test_nothing_is_found_if_everything_is_left_out() -> None:
    for base in (cron("0 3 * * *"), cron("@yearly"), every(seconds=1)):
        rule = limited(base, "mon-sun")
        assert (next_slot(rule, START), previous_slot(rule, START)) == (None, None)
        assert next_slot(limited(base, only_on="2020-01-01 12:30 to 12:31"), START) is None
    moved = limited(cron("0 3 * * *"), "mon-sun", moved=True)
    assert (next_slot(moved, START), previous_slot(moved, START)) == (None, None)


@pytest.mark.parametrize("base", [cron("*/30 * * * *"), cron("0,30 0-23 * * *"), every(minutes=59)])
def test_what_is_due_very_often_cannot_be_moved(base: Rule) -> None:
    with pytest.raises(RuleError, match="cannot be moved"):
        limited(base, WEEKEND, moved=True)


def test_hourly_slots_can_be_moved() -> None:
    for base in (cron("0 * * * *"), every(hours=1)):
        assert limited(base, WEEKEND, moved=True).use.is_moved


# --- Compared with a search that knows nothing of spans

ENTRIES = st.sampled_from(
    [
        *("sat, sun", "wed", "2026-03-29", "2026-10-25", "2026-03-28 18:00 to 2026-03-30 06:00"),
        *("22:00 to 06:00", "01:30 to 01:45", "fri 12:00 to 24:00", "last working day", "first day"),
        *("every 2 weeks from 2026-03-23", "10-20 to 10-28", "sun 00:30 to 02:30"),
    ]
)
TEXTS = st.lists(ENTRIES, min_size=1, max_size=3).map("\n".join)
BASES = st.sampled_from(
    ["0 * * * *", "30 1 * * *", "0 3 * * *", "15 2,14 * * *", "45 0,1,2 * * sun", "0 12 1,15,28 * *"]
)
ZONES = st.sampled_from(["UTC", "Europe/London", "America/New_York"])
# Before the clocks of both zones change, in spring and autumn.
BEGINS = st.sampled_from([utc("2026-03-05"), utc("2026-03-24"), utc("2026-10-20"), utc("2026-10-28")])


@st.composite
def rules(draw: st.DrawFn) -> CalendarRule:
    zone = draw(ZONES)
    base = cron(draw(BASES), zone) if draw(st.integers(0, 3)) else every(hours=draw(st.integers(1, 30)))
    return limited(
        base,
        draw(st.one_of(st.just(""), TEXTS)),
        only_on=draw(st.one_of(st.just(""), TEXTS)),
        moved=draw(st.booleans()),
        zone=zone,
    )


def covers(calendars: tuple[Calendar, ...], wall: datetime) -> bool:
    minute = wall.hour * 60 + wall.minute
    spans = (span for each in calendars for span in each.spans(wall.date()))
    return any(span.begin <= minute < span.end for span in spans)


def is_due(rule: CalendarRule, at: datetime) -> bool:
    return not rule.use.only_on or covers(rule.use.only_on, wallclock.to_wall(at, rule.zone))


def is_excluded(rule: CalendarRule, at: datetime) -> bool:
    return covers(rule.use.not_on, wallclock.to_wall(at, rule.zone))


def moved_from(rule: CalendarRule, slot: datetime) -> datetime | None:
    wall = wallclock.to_wall(slot, rule.zone).replace(fold=0)
    for number in range(1, MAX_MOVE_DAYS + 1):
        later = wall + number * DAY
        at = wallclock.to_utc(later, rule.zone, fold=0) or wallclock.end_of_gap(later, rule.zone)
        if is_due(rule, at) and not is_excluded(rule, at):
            return at
    return None


def expected(rule: CalendarRule, slots: list[datetime]) -> dict[datetime, datetime]:
    """When something starts, and which slot it stands for."""
    found: dict[datetime, datetime] = {}
    for slot in slots:
        if is_excluded(rule, slot) and rule.use.is_moved and (target := moved_from(rule, slot)):
            found[target] = slot
    own = {slot: slot for slot in slots if not is_excluded(rule, slot)}
    return {**found, **own}


def due_slots(rule: CalendarRule, begin: datetime, end: datetime) -> Iterator[datetime]:
    return (slot for slot in slots_between(rule.base, begin, end) if is_due(rule, slot))


@settings(max_examples=100, deadline=None)
@given(rule=rules(), begin=BEGINS)
def test_each_slot_starts_once_at_its_time_or_another_or_is_left_out(
    rule: CalendarRule, begin: datetime
) -> None:
    end = begin + 12 * DAY
    slots = list(due_slots(rule, begin - 40 * DAY, end + 40 * DAY))
    all_starts = expected(rule, slots)
    wanted = {start: slot for start, slot in all_starts.items() if begin < start <= end}
    found = list(slots_between(rule, begin, end))
    assert found == sorted(wanted)
    assert {start: rule.origin(start) for start in found} == wanted
    of_range = [slot for slot in slots if begin < slot <= end]
    assert [slot for slot in of_range if rule.runs(slot)] == sorted(set(all_starts.values()) & {*of_range})
    counted = sum(each.count for each in rule.left_out(begin, end + RESOLUTION))
    inside = {slot for slot in slots if begin < slot <= end}
    not_run = sorted(inside - set(all_starts.values()))
    complete = [each for each in rule.left_out(begin, end + RESOLUTION) if each.slot <= end]
    assert {each.slot for each in complete} <= set(not_run)
    assert counted >= len(not_run)
    assert sum(each.count for each in complete) <= len(not_run)


@settings(max_examples=50, deadline=None)
@given(rule=rules(), begin=BEGINS)
def test_the_previous_of_the_next_is_the_same(rule: CalendarRule, begin: datetime) -> None:
    found = list(slots_between(rule, begin, begin + 10 * DAY, limit=6))
    for earlier, later in pairwise(found):
        assert previous_slot(rule, later) == earlier
        assert next_slot(rule, earlier) == later


@settings(max_examples=60, deadline=None)
@given(rule=rules(), begin=BEGINS, days=st.integers(0, 8))
def test_what_is_free_is_where_slots_run_at_their_own_time(
    rule: CalendarRule, begin: datetime, days: int
) -> None:
    begin += days * DAY
    end = begin + 3 * DAY
    free = list(rule.free(begin, end))
    for slot in slots_between(rule.base, begin, end - RESOLUTION):
        is_free = any(since <= slot < until for since, until in free)
        assert is_free == (is_due(rule, slot) and not is_excluded(rule, slot))


def test_what_is_left_out_of_an_hour_that_the_clock_repeats_is_left_out_twice() -> None:
    rule = limited(cron("*/30 * * * *", "America/New_York"), "01:00 to 01:30", zone="America/New_York")
    found = rule.left_out(utc("2026-11-01T03:30"), utc("2026-11-01T12:00"))
    assert [(each.slot, each.count) for each in found] == [
        (utc("2026-11-01T05:00"), 1),
        (utc("2026-11-01T06:00"), 1),
    ]


@pytest.mark.parametrize("base", ["0 9 * * *", "0 * * * *"])
def test_the_only_day_of_a_calendar_is_found_if_it_is_years_away(base: str) -> None:
    rule = limited(cron(base), only_on="2033-05-05 09:00 to 10:00")
    day = utc("2033-05-05T09:00")
    assert rule.first_after(START) == day
    assert rule.last_before(day + 8 * 365 * DAY) == day


def test_so_is_what_is_left_out_on_it() -> None:
    rule = limited(cron("0 9 * * *"), "2032-05-05 # closed", only_on="2032-05-05\n2033-05-05")
    assert rule.first_after(START) == utc("2033-05-05T09:00")
    assert left_out(rule, days=8 * 365) == [("Wed 05 09:00", 1)]


def test_days_that_parts_of_several_calendars_cover_are_searched_across() -> None:
    rule = limited(cron("0 9,21 * * *"), "00:00 to 12:00\n12:00 to 24:00", moved=False)
    assert rule.first_after(START) is None
    end = limited(cron("0 9,21 * * *"), "2026-03-03 to 2032-12-31\n2026-03-02 06:00 to 24:00")
    assert end.first_after(START) == utc("2033-01-01T09:00")
