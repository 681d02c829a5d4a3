"""Public holidays, from the package ``holidays``, which is optional: ``django-jobledger[holidays]``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from jobledger.calendars.errors import CalendarError

MAX_LISTED = 12


@dataclass(frozen=True, kw_only=True)
class Region:
    """A country, by its code (ISO 3166-1), or a part of it."""

    country: str
    part: str = ""
    """As the package names it, such as ``BY`` or ``ENG``; empty: the whole country."""

    def __str__(self) -> str:
        return f"{self.country}-{self.part}" if self.part else self.country


def is_available() -> bool:
    """Whether the package is installed."""
    return find_spec("holidays") is not None


def region(text: str) -> Region:
    """The country or region with this code, such as ``DE`` or ``DE-BY``. Raises CalendarError."""
    country, _, part = text.partition("-")
    parts = _countries().get(country.upper())
    if parts is None:
        raise CalendarError(f"there is no country {country!r}; use a code of ISO 3166, such as GB or DE")
    if not part:
        return Region(country=country.upper())
    known = {each.casefold(): each for each in parts}
    if part.casefold() not in known:
        raise CalendarError(f"there is no region {part!r} of {country.upper()}. {_listed(parts)}")
    return Region(country=country.upper(), part=known[part.casefold()])


@lru_cache(maxsize=512)
def of_year(region: Region, year: int) -> Mapping[date, str]:
    """The holidays and their names, in English where the package has that."""
    country_holidays, part = _package().country_holidays, region.part or None
    found = country_holidays(region.country, subdiv=part, years=year)
    english = next((each for each in found.supported_languages if each.startswith("en")), None)
    if english is not None:
        found = country_holidays(region.country, subdiv=part, years=year, language=english)
    return dict(found)


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, tuple[str, ...]]:
    """The codes of all countries, with those of their regions."""
    if not is_available():
        raise CalendarError(
            "public holidays need the package holidays: pip install 'django-jobledger[holidays]'"
        )
    return {code: tuple(parts) for code, parts in _package().list_supported_countries().items()}


def _package() -> Any:
    # Imported late, because that takes as long as half of Django, and few calendars need it.
    return import_module("holidays")


def _listed(parts: tuple[str, ...]) -> str:
    if not parts:
        return "It has none"
    more = ", …" if len(parts) > MAX_LISTED else ""
    return f"It has {', '.join(parts[:MAX_LISTED])}{more}"
