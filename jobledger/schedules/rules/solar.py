"""Solar: the slots of an event of the sun at a place.

The events are django-celery-beat's, with the horizons Celery gives them, computed by the package
``ephem``, which is needed for this kind of schedule only. A slot is the event of one solar day,
rounded to a second, whatever moment it is asked from; so asking again never finds it twice. Near the
poles many days have no such event: they are passed over. A place that has none in more than a year is
a ``RuleError`` when the next one is asked for.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import radians
from typing import Any

from jobledger.schedules.rules.slots import Rule, RuleError

SEARCH_DAYS = 400
"""How far a search goes: past every polar night, and a year's one dawn at the edge of it."""

_NOON = time(12)
_HALF_SECOND = timedelta(milliseconds=500)


@dataclass(frozen=True, kw_only=True)
class _Event:
    horizon: str
    """Degrees (and minutes) above the horizon."""
    is_rising: bool
    of_centre: bool
    """Whether the sun's centre counts, or its upper limb."""


EVENTS: dict[str, _Event | None] = {
    "dawn_astronomical": _Event(horizon="-18", is_rising=True, of_centre=True),
    "dawn_nautical": _Event(horizon="-12", is_rising=True, of_centre=True),
    "dawn_civil": _Event(horizon="-6", is_rising=True, of_centre=True),
    "sunrise": _Event(horizon="-0:34", is_rising=True, of_centre=False),
    "solar_noon": None,
    "sunset": _Event(horizon="-0:34", is_rising=False, of_centre=False),
    "dusk_civil": _Event(horizon="-6", is_rising=False, of_centre=True),
    "dusk_nautical": _Event(horizon="-12", is_rising=False, of_centre=True),
    "dusk_astronomical": _Event(horizon="-18", is_rising=False, of_centre=True),
}


@dataclass(frozen=True, kw_only=True)
class Solar(Rule):
    """An event of the sun, at degrees north and east."""

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

    def first_after(self, moment: datetime) -> datetime | None:
        start = self._day_of(moment) - timedelta(days=1)
        days = (start + timedelta(days=ahead) for ahead in range(SEARCH_DAYS))
        for slot in self._slots(days):
            if slot > moment:
                return slot
        message = f"event: {self.event} never comes at latitude {self.latitude}"
        raise RuleError(message, field="event")

    def last_before(self, moment: datetime) -> datetime | None:
        start = self._day_of(moment) + timedelta(days=1)
        days = (start - timedelta(days=back) for back in range(SEARCH_DAYS))
        return next((slot for slot in self._slots(days) if slot < moment), None)

    def _day_of(self, moment: datetime) -> date:
        return (moment + _hours_east(self.longitude)).date()

    def _slots(self, days: Iterable[date]) -> Iterable[datetime]:
        events = (_event_of(self, day) for day in days)
        return (event for event in events if event is not None)


def _check_range(field: str, degrees: float, limit: int) -> None:
    if not -limit <= degrees <= limit:
        raise RuleError(f"{field}: {degrees} is not between -{limit} and {limit}", field=field)


def _hours_east(longitude: float) -> timedelta:
    """How far the sun's mean time at a longitude is ahead of UTC."""
    return timedelta(hours=longitude / 15)


def _ephem() -> Any:
    try:
        return importlib.import_module("ephem")
    except ImportError:
        message = "solar schedules need the package ephem, which is not installed: pip install ephem"
        raise RuleError(message, field="event") from None


@lru_cache(maxsize=4096)
def _event_of(rule: Solar, day: date) -> datetime | None:
    """The event between the two midnights of the sun around that day's noon, or None."""
    ephem = _ephem()
    sun, observer = ephem.Sun(), ephem.Observer()
    observer.lat, observer.lon = radians(rule.latitude), radians(rule.longitude)
    observer.pressure = 0
    mean_noon = datetime.combine(day, _NOON, tzinfo=UTC) - _hours_east(rule.longitude)
    # The sun's own noon is never more than 17 minutes from the mean one.
    noon = observer.next_transit(sun, start=ephem.Date(mean_noon - timedelta(hours=6)))
    event = EVENTS[rule.event]
    moment = noon if event is None else _crossing(ephem, observer, sun, event, noon)
    return None if moment is None else _rounded(moment.datetime())


def _crossing(ephem: Any, observer: Any, sun: Any, event: _Event, noon: Any) -> Any:
    """When the sun crosses the horizon on the one or the other side of its noon."""
    observer.horizon = event.horizon
    if event.is_rising:
        search, start, end = observer.next_rising, observer.previous_antitransit(sun, start=noon), noon
    else:
        search, start, end = observer.next_setting, noon, observer.next_antitransit(sun, start=noon)
    try:
        moment = search(sun, start=start, use_center=event.of_centre)
    except ephem.CircumpolarError:
        return None
    return moment if moment < end else None


def _rounded(naive: datetime) -> datetime:
    return (naive.replace(tzinfo=UTC) + _HALF_SECOND).replace(microsecond=0)
