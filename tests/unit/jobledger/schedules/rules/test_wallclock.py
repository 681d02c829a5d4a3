from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.slots import RuleError
from tests.unit.jobledger.schedules.times import utc

LONDON = ZoneInfo("Europe/London")
REPEATED = datetime.fromisoformat("2026-10-25 01:30")
SKIPPED = datetime.fromisoformat("2026-03-29 01:30")


def test_it_finds_a_zone_by_name() -> None:
    assert wallclock.zone_named("Europe/London") is LONDON


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "../UTC", "", "/etc/passwd", "a\0b"])
def test_an_unknown_zone_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(RuleError, match=r"time zone: .* is not an IANA time zone") as caught:
        wallclock.zone_named(name)
    assert caught.value.field == "time zone"


def test_a_repeated_wall_clock_time_occurs_twice() -> None:
    assert wallclock.to_utc(REPEATED, LONDON, fold=0) == utc("2026-10-25 00:30")
    assert wallclock.to_utc(REPEATED, LONDON, fold=1) == utc("2026-10-25 01:30")


def test_a_skipped_wall_clock_time_does_not_occur() -> None:
    assert wallclock.to_utc(SKIPPED, LONDON, fold=0) is None
    assert wallclock.to_utc(SKIPPED, LONDON, fold=1) is None


def test_a_skipped_wall_clock_time_is_in_a_gap_with_an_end() -> None:
    assert wallclock.end_of_gap(SKIPPED, LONDON) == utc("2026-03-29 01:00")


@pytest.mark.parametrize("time", ["2026-10-25 00:30", "2026-10-25 01:30"])
def test_the_two_occurrences_in_a_fold_are_an_hour_apart(time: str) -> None:
    assert wallclock.fold_length(utc(time), LONDON) == timedelta(hours=1)


@pytest.mark.parametrize("time", ["2026-10-25 02:00", "2026-03-29 01:00", "2026-06-01 00:00"])
def test_other_wall_clock_times_occur_once(time: str) -> None:
    assert wallclock.fold_length(utc(time), LONDON) == timedelta(0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("UTC", "Etc/UTC", True),
        ("Zulu", "Etc/GMT+0", True),
        ("Europe/London", "Europe/London", True),
        ("UTC", "Europe/London", False),
        ("UTC", "Etc/GMT+1", False),
    ],
)
def test_utc_has_several_names(one: str, other: str, *, expected: bool) -> None:
    assert wallclock.is_same_zone(one, other) is expected
    assert {wallclock.zone_named(one), wallclock.zone_named(other)}


@pytest.mark.parametrize(
    ("day", "begin", "end", "spans"),
    [
        ("2026-06-01", "01:00", "01:30", [("05:00", "05:30")]),
        ("2026-11-01", "00:30", "02:30", [("04:30", "07:30")]),
        ("2026-11-01", "00:30", "01:30", [("04:30", "05:30"), ("06:00", "06:30")]),
        ("2026-11-01", "01:15", "01:30", [("05:15", "05:30"), ("06:15", "06:30")]),
        ("2026-11-01", "01:30", "02:30", [("05:30", "06:00"), ("06:30", "07:30")]),
        ("2026-03-08", "01:30", "02:30", [("06:30", "07:00")]),
        ("2026-03-08", "02:15", "02:45", []),
    ],
)
def test_what_the_clock_repeats_is_shown_twice_and_what_it_skips_never(
    day: str, begin: str, end: str, spans: list[tuple[str, str]]
) -> None:
    since, until = (datetime.fromisoformat(f"{day}T{time}") for time in (begin, end))
    expected = [tuple(utc(f"{day}T{time}") for time in span) for span in spans]
    assert wallclock.spans_showing(since, until, ZoneInfo("America/New_York")) == expected
