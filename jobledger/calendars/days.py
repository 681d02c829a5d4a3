"""Sets of days, each with what it says about a day in it. Pure."""

from abc import ABC, abstractmethod
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta

from jobledger.calendars import public_holidays

_DAY = timedelta(days=1)
_WEEK = 7


class Days(ABC):
    """A set of days: a frozen value."""

    @abstractmethod
    def contains(self, day: date) -> bool:
        """Whether the day is one of them."""

    def name_of(self, day: date) -> str:
        """What is special about a day of the set; empty if only the entry says so."""
        return ""


@dataclass(frozen=True, kw_only=True)
class EveryDay(Days):
    def contains(self, day: date) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Weekdays(Days):
    """Days of the week; Monday is 0."""

    numbers: frozenset[int]

    def contains(self, day: date) -> bool:
        return day.weekday() in self.numbers


@dataclass(frozen=True, kw_only=True)
class Dates(Days):
    """A date, or several in a row; both ends are included."""

    first: date
    last: date

    def contains(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, kw_only=True)
class Yearly(Days):
    """The same dates each year, as month and day; both ends are included."""

    first: tuple[int, int]
    last: tuple[int, int]

    def contains(self, day: date) -> bool:
        of_year = day.month, day.day
        if self.first <= self.last:
            return self.first <= of_year <= self.last
        return of_year >= self.first or of_year <= self.last


@dataclass(frozen=True, kw_only=True)
class Weeks(Days):
    """The seven days from a date on, and again after so many weeks, in both directions."""

    every: int
    first: date

    def contains(self, day: date) -> bool:
        return (day - self.first).days // _WEEK % self.every == 0


@dataclass(frozen=True, kw_only=True)
class PublicHolidays(Days):
    """The public holidays of a country, or of a part of it."""

    region: public_holidays.Region

    def contains(self, day: date) -> bool:
        return day in public_holidays.of_year(self.region, day.year)

    def name_of(self, day: date) -> str:
        return public_holidays.of_year(self.region, day.year)[day]


@dataclass(frozen=True, kw_only=True)
class EdgeOfMonth(Days):
    """The first or the last day of each month, or the first or last working day."""

    is_last: bool
    is_working_day: bool
    region: public_holidays.Region | None = None
    """Whose public holidays are no working days; None: none are."""

    def contains(self, day: date) -> bool:
        return day == self._in_month_of(day)

    def _in_month_of(self, day: date) -> date:
        length = monthrange(day.year, day.month)[1]
        found, step = (day.replace(day=length), -_DAY) if self.is_last else (day.replace(day=1), _DAY)
        while self.is_working_day and not self._is_working_day(found):
            found += step
        return found

    def _is_working_day(self, day: date) -> bool:
        is_holiday = self.region is not None and day in public_holidays.of_year(self.region, day.year)
        return day.weekday() < 5 and not is_holiday
