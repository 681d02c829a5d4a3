from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.slots import RuleError
from tests.unit.jobledger.schedules.times import utc

LONDON = ZoneInfo("Europe/London")
REPEATED = datetime.fromisoformat("2026-10-25 01:30")
SKIPPED = datetime.fromisoformat("2026-03-29 01:30")


def test_a_zone_is_found_by_its_name() -> None:
    assert wallclock.zone_named("Europe/London") is LONDON


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "../UTC", "", "/etc/passwd", "a\0b"])
def test_a_name_that_is_no_zone_is_named_in_the_error(name: str) -> None:
    with pytest.raises(RuleError, match=r"time zone: .* is not known") as caught:
        wallclock.zone_named(name)
    assert caught.value.field == "time zone"


def test_a_repeated_reading_has_two_moments() -> None:
    assert wallclock.moment_of(REPEATED, LONDON, fold=0) == utc("2026-10-25 00:30")
    assert wallclock.moment_of(REPEATED, LONDON, fold=1) == utc("2026-10-25 01:30")


def test_a_skipped_reading_has_no_moment() -> None:
    assert wallclock.moment_of(SKIPPED, LONDON, fold=0) is None
    assert wallclock.moment_of(SKIPPED, LONDON, fold=1) is None


def test_a_skipped_reading_lies_in_a_gap_with_an_end() -> None:
    assert wallclock.end_of_gap(SKIPPED, LONDON) == utc("2026-03-29 01:00")


@pytest.mark.parametrize("moment", ["2026-10-25 00:30", "2026-10-25 01:30"])
def test_both_moments_of_a_repeated_reading_are_an_hour_apart(moment: str) -> None:
    assert wallclock.repetition(utc(moment), LONDON) == timedelta(hours=1)


@pytest.mark.parametrize("moment", ["2026-10-25 02:00", "2026-03-29 01:00", "2026-06-01 00:00"])
def test_other_readings_come_once(moment: str) -> None:
    assert wallclock.repetition(utc(moment), LONDON) == timedelta(0)
