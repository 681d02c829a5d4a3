"""Cron expressions in plain English.

Pure. Every expression that ``cron_expression.parse`` accepts has a phrase, which tells exactly when it is
due.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from jobledger.schedules.rules.cron_expression import LAST, ParsedCron

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WORKWEEK = (1, 2, 3, 4, 5)
_NTH = ("last", "first", "second", "third", "fourth", "fifth")
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
_MAX_LISTED = 4
"""More times of day than this are not listed one by one if there is a shorter way to say it."""

OF_THE_DAY = " of the day"
"""Of a frequency that is one of the clock's: an hour that the clock repeats does not count again."""
_REPEATABLE = frozenset((23, 0, 1, 2))
"""Clocks change at night."""

ALSO = ", and also "
SHORTEST = 28
"""The days that every month has."""


def phrase(parsed: ParsedCron, *, repeats_in_fold: bool) -> str:
    """When the expression is due, such as "every weekday at 03:00".

    ``repeats_in_fold`` tells whether it is due again in an hour that the clock repeats.
    """
    times, days = _times(parsed), _days(parsed)
    if times is None or (days == "every day" and _is_every_few_hours(parsed)):
        can_differ = not repeats_in_fold and not _REPEATABLE.isdisjoint(parsed.hours)
        frequency = _frequency(parsed.minutes, parsed.hours, OF_THE_DAY if can_differ else "")
        return frequency if days == "every day" else f"{frequency}, {days}"
    return f"{days} {times}" if days.startswith("every") and ALSO not in days else f"{times} {days}"


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """``a, b and c``."""
    return f" {conjunction} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    return f"{number}{'th' if number // 10 == 1 else _ENDINGS.get(number % 10, 'th')}"


def every(count: int, unit: str) -> str:
    """Every hour, every 2 hours."""
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def step_of(numbers: Sequence[int], size: int) -> int | None:
    """The step between numbers that are evenly spaced from 0 to ``size``; None if they are not."""
    step = size // len(numbers)
    return step if tuple(numbers) == tuple(range(0, size, step)) and size % step == 0 else None


def progression_of(numbers: Sequence[int]) -> int | None:
    """The distance between numbers, if it is always the same and there are more than can be listed."""
    distances = {after - before for before, after in pairwise(numbers)}
    return distances.pop() if len(numbers) > _MAX_LISTED and len(distances) == 1 else None


def _times(parsed: ParsedCron) -> str | None:
    """The times of day, if there are only a few, or no shorter way to say it."""
    minutes, hours = parsed.minutes, parsed.hours
    is_irregular = not (step_of(hours, 24) or progression_of(hours))
    if len(hours) * len(minutes) > _MAX_LISTED and not (len(minutes) == 1 and is_irregular):
        return None
    return f"at {listed([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}"


def _is_every_few_hours(parsed: ParsedCron) -> bool:
    return len(parsed.minutes) == 1 and len(parsed.hours) > 1 and step_of(parsed.hours, 24) is not None


def _frequency(minutes: Sequence[int], hours: Sequence[int], of_the_day: str) -> str:
    if len(minutes) == 1:
        return _hourly(minutes[0], hours, of_the_day)
    within = _within(hours)
    if step := step_of(minutes, 60):
        return f"{every(step, 'minute')}{within and f' {within}'}{of_the_day}"
    past = f"past {'the hours ' + _listed_hours(hours) if within else 'every hour'}{of_the_day}"
    if distance := progression_of(minutes):
        return f"{every(distance, 'minute')} from {minutes[0]} to {minutes[-1]} minutes {past}"
    return f"at {listed([str(minute) for minute in minutes])} minutes {past}"


def _hourly(minute: int, hours: Sequence[int], of_the_day: str) -> str:
    """The same minute in several hours."""
    if step := step_of(hours, 24):
        unit = "minute" if minute == 1 else "minutes"
        return every(step, "hour") + of_the_day + (f" at {minute} {unit} past" if minute else "")
    step = progression_of(hours) or 1
    return f"{every(step, 'hour')} from {hours[0]:02}:{minute:02} to {hours[-1]:02}:{minute:02}{of_the_day}"


def _within(hours: Sequence[int]) -> str:
    if len(hours) == 24:
        return ""
    if len(hours) == hours[-1] - hours[0] + 1:
        return f"from {hours[0]:02}:00 to {hours[-1]:02}:59"
    return f"within the hours {_listed_hours(hours)}"


def _listed_hours(hours: Sequence[int]) -> str:
    return listed([f"{hour:02}" for hour in hours])


def _days(parsed: ParsedCron) -> str:
    """On which days, beginning with "every" or "on"."""
    is_any_date, is_any_weekday = len(parsed.days) == 31, len(parsed.weekdays) == 7
    dates, weekdays = _dates(parsed), _weekdays(parsed)
    if parsed.must_match_both and not is_any_date and not is_any_weekday:
        return f"{dates}, only if that is {_alternatives(parsed)}"
    if (is_any_date and is_any_weekday) or (not parsed.must_match_both and (is_any_date or is_any_weekday)):
        return "every day" + _in_months(parsed.months)
    if is_any_date:
        return weekdays
    return dates if is_any_weekday else f"{dates}{ALSO}{weekdays}"


def _dates(parsed: ParsedCron) -> str:
    numbers = parsed.days
    if not parsed.month_ends and (distance := progression_of(numbers)):
        first, last = ordinal(numbers[0]), ordinal(numbers[-1])
        days = (
            f"{first} to {last}"
            if distance == 1
            else f"every {ordinal(distance)} day from the {first} to the {last}"
        )
    else:
        ends = {"L": "last day", "LW": "last weekday"}
        # "The 1st and last weekday" would be two weekdays.
        the = "the " if numbers else ""
        days = listed(
            [*map(ordinal, numbers), *(the + text for end, text in ends.items() if end in parsed.month_ends)]
        )
    article = "" if days.startswith("every") else "the "
    every_month = "every month that has one" if len(numbers) == 1 and numbers[0] > SHORTEST else "every month"
    return f"on {article}{days} of {_named_months(parsed.months) or every_month}"


def _weekdays(parsed: ParsedCron) -> str:
    names = _weekday_names(parsed.weekdays)
    plain = [f"every {listed(names)}{_in_months(parsed.months)}"] if names else []
    nth = [f"the {name}" for name in _nth_names(parsed.nth_weekdays)]
    of_month = [f"on {listed(nth)} of {_named_months(parsed.months) or 'every month'}"] if nth else []
    return ALSO.join([*plain, *of_month])


def _alternatives(parsed: ParsedCron) -> str:
    plain = _weekday_names(parsed.weekdays)
    nth = [f"the {name} of the month" for name in _nth_names(parsed.nth_weekdays)]
    return f"{'a ' if plain else ''}{listed([*plain, *nth], 'or')}"


def _weekday_names(weekdays: Collection[int]) -> list[str]:
    """From Monday on."""
    if tuple(weekdays) == _WORKWEEK:
        return ["weekday"]
    return [WEEKDAYS[number] for number in sorted(weekdays, key=lambda weekday: (weekday - 1) % 7)]


def _nth_names(nth_weekdays: Iterable[tuple[int, int]]) -> list[str]:
    """ "second Monday" and so on; the last ones of the month last."""
    ordered = sorted(nth_weekdays, key=lambda each: (each[1] == LAST, each[1], (each[0] - 1) % 7))
    return [f"{_NTH[nth]} {WEEKDAYS[weekday]}" for weekday, nth in ordered]


def _in_months(months: Sequence[int]) -> str:
    return f" in {names}" if (names := _named_months(months)) else ""


def _named_months(months: Sequence[int]) -> str:
    """Empty for all of them."""
    return "" if len(months) == 12 else listed([MONTHS[number - 1] for number in months])
