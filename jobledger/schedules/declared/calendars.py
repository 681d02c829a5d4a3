"""Calendars declared in ``JOBLEDGER["CALENDARS"]``, beside the schedules that use them. Runs no query."""

from collections.abc import Iterator

from jobledger.calendars.calendar import calendar
from jobledger.calendars.errors import CalendarError
from jobledger.conf import settings
from jobledger.escapes import escaped
from jobledger.models import Calendar
from jobledger.models.calendar import MAX_TEXT_LENGTH

SETTING = 'JOBLEDGER["CALENDARS"]'
_MAX_NAME_LENGTH = Calendar._meta.get_field("name").max_length or 0


def declared_calendars() -> dict[str, str]:
    """The entries of the declared calendars, by their names."""
    return {
        name: normalized(entries if isinstance(entries, str) else "\n".join(entries))
        for name, entries in settings.CALENDARS.items()
    }


def normalized(entries: str) -> str:
    """The same text for entries that differ only in their line breaks and in whitespace at their ends."""
    return "\n".join(line.rstrip() for line in entries.strip().splitlines())


def calendar_problems() -> Iterator[str]:
    """What is wrong with the declared calendars."""
    for name, entries in declared_calendars().items():
        if name != name.strip() or not 0 < len(name) <= _MAX_NAME_LENGTH or escaped(name) != name:
            yield (
                f"{SETTING} has the name {name!r}; expected a text of up to {_MAX_NAME_LENGTH} characters "
                "without line breaks"
            )
        if len(entries) > MAX_TEXT_LENGTH:
            yield f"{SETTING}[{name!r}] is longer than {MAX_TEXT_LENGTH:,} characters"
            continue
        try:
            calendar(name, entries)
        except CalendarError as error:
            yield f"{SETTING}[{name!r}]: {error}"
