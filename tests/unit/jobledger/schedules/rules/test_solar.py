"""Solar slots, compared to published tables of sunrise and twilight (to the minute)."""

import os
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.schedules.rules.slots import RuleError, next_slot, previous_slot, slots_between
from jobledger.schedules.rules.solar import EVENTS, Solar
from tests.unit.jobledger.schedules.times import utc

GREENWICH = (51.4769, 0.0)
TROMSO = (69.6492, 18.9553)


def solar(event: str, place: tuple[float, float]) -> Solar:
    latitude, longitude = place
    return Solar(event=event, latitude=latitude, longitude=longitude)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("sunrise", "2026-03-20 06:04"),
        ("solar_noon", "2026-03-20 12:07"),
        ("sunset", "2026-03-20 18:13"),
    ],
)
def test_solar_times_at_an_equinox_match_the_almanac(event: str, expected: str) -> None:
    slot = next_slot(solar(event, GREENWICH), utc("2026-03-20"))
    assert slot is not None
    assert abs(slot - utc(expected)) < timedelta(minutes=2)


def test_the_events_of_a_day_are_in_order() -> None:
    day = utc("2026-03-20")
    assert sorted(EVENTS, key=lambda event: str(next_slot(solar(event, GREENWICH), day))) == list(EVENTS)


def test_a_solar_day_is_not_a_day_in_utc() -> None:
    suva = (-18.14, 178.44)
    slots = islice(slots_between(solar("sunrise", suva), utc("2026-05-01"), utc("2026-06-01")), 3)
    assert [slot.date().isoformat() for slot in slots] == ["2026-05-01", "2026-05-02", "2026-05-03"]
    assert next_slot(solar("sunrise", suva), utc("2026-05-01 18:00")) == next_slot(
        solar("sunrise", suva), utc("2026-05-01 12:00")
    )


def test_the_search_continues_after_the_polar_night() -> None:
    slot = next_slot(solar("sunrise", TROMSO), utc("2026-12-01"))
    assert slot is not None
    assert slot.date().isoformat() == "2027-01-15"


def test_the_backward_search_continues_before_the_polar_night() -> None:
    slot = previous_slot(solar("sunrise", TROMSO), utc("2026-12-31"))
    assert slot is not None
    assert utc("2026-11-26") < slot < utc("2026-11-28")


def test_no_sunset_is_lost_when_it_moves_past_midnight() -> None:
    rule = solar("sunset", TROMSO)
    slots = list(slots_between(rule, utc("2026-07-20"), utc("2026-08-26")))
    assert [next_slot(rule, slot - timedelta(seconds=1)) for slot in slots] == slots
    assert [previous_slot(rule, slot + timedelta(seconds=1)) for slot in slots] == slots
    gaps = [other - one for one, other in pairwise(slots)]
    assert min(gaps) > timedelta(hours=23)
    assert max(gaps) < timedelta(hours=25)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_near_the_pole_no_event_is_found_twice(event: str) -> None:
    slots = list(slots_between(solar(event, (89, 18.9)), utc("2026-01-01"), utc("2026-12-01")))
    assert min(other - one for one, other in pairwise(slots)) > timedelta(hours=12)


def test_an_event_that_never_occurs_is_an_error() -> None:
    with pytest.raises(RuleError, match="event: dawn_astronomical never occurs at latitude 90"):
        next_slot(solar("dawn_astronomical", (90, 0)), utc("2026-05-01"))


def test_an_event_that_never_occurs_has_no_previous_slot() -> None:
    assert previous_slot(solar("dawn_astronomical", (90, 0)), utc("2026-05-01")) is None


def test_every_day_of_a_year_has_a_noon() -> None:
    noons = slots_between(solar("solar_noon", GREENWICH), utc("2026-01-01"), utc("2027-01-01"))
    assert len(list(noons)) == 365


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(EVENTS)),
    st.floats(-66, 66),
    st.floats(-180, 180),
    st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)),  # noqa: DTZ001
)
def test_next_and_previous_are_inverses(
    event: str, latitude: float, longitude: float, naive: datetime
) -> None:
    rule, at = solar(event, (latitude, longitude)), utc(naive.isoformat())
    slot = next_slot(rule, at)
    assert slot is not None
    assert slot > at
    following = next_slot(rule, slot)
    assert following is not None
    assert following - slot > timedelta(hours=12)
    assert previous_slot(rule, following) == slot


@pytest.mark.parametrize(
    ("event", "place", "message"),
    [
        ("moonrise", GREENWICH, "event: 'moonrise' is not one of dawn_astronomical, "),
        ("sunrise", (90.1, 0), "latitude: 90.1 is not between -90 and 90"),
        ("sunrise", (0, -181), "longitude: -181 is not between -180 and 180"),
        ("sunrise", (float("nan"), 0), "latitude: nan is not between -90 and 90"),
    ],
)
def test_invalid_data_is_named(event: str, place: tuple[float, float], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        solar(event, place)


def test_without_ephem_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)
    with pytest.raises(RuleError, match=r"install django-jobledger\[solar\]"):
        solar("sunrise", GREENWICH)


IMPORT_ALL = """
import pkgutil, sys
sys.modules["ephem"] = None
import django, jobledger
django.setup()
for module in pkgutil.walk_packages(jobledger.__path__, "jobledger."):
    __import__(module.name)
from django.core.management import call_command
call_command("check")
"""


def test_without_ephem_everything_else_can_be_imported() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(
        (sys.executable, "-c", IMPORT_ALL), env=environment, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
