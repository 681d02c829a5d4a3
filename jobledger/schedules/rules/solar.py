"""Solar: the slots of a solar event at a location, computed by ``ephem``, which only these schedules need.

The events are django-celery-beat's, with Celery's horizons. A slot is the event of one solar day, rounded to
a second, regardless of where the search starts; so a repeated search never finds the same event twice. Near
the poles many days have no such event and are skipped. If a location has none for more than a year, looking
for the next one raises ``RuleError``.
"""

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import radians
from typing import Any

from jobledger.schedules.rules.slots import Rule, RuleError

MAX_SEARCH_DAYS = 400
"""Covers any polar night, including one with a single dawn a year at its edge."""

EVENTS = {
    "dawn_astronomical": "-18",
    "dawn_nautical": "-12",
    "dawn_civil": "-6",
    "sunrise": "-0:34",
    "solar_noon": "",
    "sunset": "-0:34",
    "dusk_civil": "-6",
    "dusk_nautical": "-12",
    "dusk_astronomical": "-18",
}
"""In the order of the day, each with its horizon: degrees and minutes above the true horizon."""

_NOON = time(12)
_HALF_SECOND = timedelta(milliseconds=500)


@dataclass(frozen=True, kw_only=True)
class Solar(Rule):
    """A solar event at a location, in degrees north and east."""

    event: str
    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if self.event not in EVENTS:
            known = ", ".join(EVENTS)
            raise RuleError(f"event: {self.event!r} is not one of {known}", field="event")
        _check_range("latitude", self.latitude, 90)
        _check_range("longitude", self.longitude, 180)
        _ephem()

    def first_after(self, at: datetime) -> datetime | None:
        start = self._solar_day(at) - timedelta(days=1)
        for slot in self._slots(start + timedelta(days=ahead) for ahead in range(MAX_SEARCH_DAYS)):
            if slot > at:
                return slot
        message = f"event: {self.event} never occurs at latitude {self.latitude}"
        raise RuleError(message, field="event")

    def last_before(self, at: datetime) -> datetime | None:
        start = self._solar_day(at) + timedelta(days=1)
        slots = self._slots(start - timedelta(days=back) for back in range(MAX_SEARCH_DAYS))
        return next((slot for slot in slots if slot < at), None)

    def _solar_day(self, at: datetime) -> date:
        return (at + _mean_solar_offset(self.longitude)).date()

    def _slots(self, days: Iterable[date]) -> Iterable[datetime]:
        events = (_event_of(self, day) for day in days)
        return (event for event in events if event is not None)


def is_available() -> bool:
    """Whether ``ephem`` is installed."""
    return importlib.util.find_spec("ephem") is not None


def _check_range(field: str, degrees: float, limit: int) -> None:
    if not -limit <= degrees <= limit:
        raise RuleError(f"{field}: {degrees} is not between -{limit} and {limit}", field=field)


def _mean_solar_offset(longitude: float) -> timedelta:
    """How far mean solar time at a longitude is ahead of UTC."""
    return timedelta(hours=longitude / 15)


def _ephem() -> Any:
    try:
        return importlib.import_module("ephem")
    except ImportError:
        message = "solar schedules need ephem: install django-jobledger[solar]"
        raise RuleError(message, field="event") from None


@lru_cache(maxsize=4096)
def _event_of(rule: Solar, day: date) -> datetime | None:
    """The event between the solar midnights before and after that day's noon, or None."""
    ephem = _ephem()
    sun, place = ephem.Sun(), ephem.Observer()
    place.lat, place.lon, place.pressure = radians(rule.latitude), radians(rule.longitude), 0
    # True solar noon is never more than 17 minutes from mean noon.
    mean_noon = datetime.combine(day, _NOON, tzinfo=UTC) - _mean_solar_offset(rule.longitude)
    noon = place.next_transit(sun, start=ephem.Date(mean_noon - timedelta(hours=6)))
    if rule.event == "solar_noon":
        return _rounded(noon)
    place.horizon = EVENTS[rule.event]
    if rule.event.startswith(("dawn", "sunrise")):
        search, start, end = place.next_rising, place.previous_antitransit(sun, start=noon), noon
    else:
        search, start, end = place.next_setting, noon, place.next_antitransit(sun, start=noon)
    try:
        # Twilight is defined by the centre of the sun, sunrise and sunset by its upper limb.
        found = search(sun, start=start, use_center=rule.event.startswith(("dawn", "dusk")))
    except ephem.CircumpolarError:
        return None
    return _rounded(found) if found < end else None


def _rounded(found: Any) -> datetime:
    naive: datetime = found.datetime()
    return (naive.replace(tzinfo=UTC) + _HALF_SECOND).replace(microsecond=0)
