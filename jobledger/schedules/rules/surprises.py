"""What a valid cron expression means where somebody who reads it may think otherwise.

Pure. A surprise is a sentence without its capital letter and its full stop, for a list of warnings.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from jobledger.schedules.rules.clock_changes import Effect, consequences
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import DAYS_IN_MONTH, ParsedCron
from jobledger.schedules.rules.cron_words import MONTHS, WEEKDAYS, listed, ordinal

_STEP = re.compile(r"\*/([0-9]+)")
_STARTS_OVER = ("every hour", "every day", "on the 1st of each month", "in January")
_UNITS = ("minute", "hour", "day", "month")
_SIZES = (60, 24, 31, 12)
_MAX_LISTED = 8


def surprises(parsed: ParsedCron) -> Iterator[str]:
    """Those of the expression itself, in any zone."""
    yield from _steps(parsed)
    yield from _every_minute(parsed)
    yield from _both_days(parsed)
    yield from _short_months(parsed)


def clock_surprises(rule: Cron, now: datetime) -> Iterator[str]:
    """Those of the next clock changes in the rule's zone, if its times are times of day."""
    parsed = rule.parsed
    if parsed.follows_clock and len(parsed.hours) == 24:
        return
    for each in consequences(rule, now):
        if each.effect is not Effect.NONE:
            sentence = each.sentence.removesuffix(".")
            yield f"the clock changes on {each.change.wall_before:%Y-%m-%d} in {rule.zone}: {sentence}"


def _steps(parsed: ParsedCron) -> Iterator[str]:
    """Steps that are longer than their field, or that do not divide it."""
    *fields, weekday = parsed.fields.split()
    numbers = (parsed.minutes, parsed.hours, parsed.days, parsed.months)
    for place, field in enumerate(fields):
        step = int(found[1]) if (found := _STEP.fullmatch(field)) else 1
        if step >= _SIZES[place]:
            yield _too_long(place, field, step, hour=fields[1])
        elif _SIZES[place] % step or (place == 2 and step > 1):
            unit, due = _UNITS[place], _listed_numbers(numbers[place])
            yield f"{field} is not every {step} {unit}s: it starts over {_STARTS_OVER[place]}, at {due}"
    if _STEP.fullmatch(weekday) and len(parsed.weekdays) < 7:
        names = listed([WEEKDAYS[day] for day in parsed.weekdays])
        yield f"{weekday} counts from Sunday in each week: {names}"


def _too_long(place: int, field: str, step: int, *, hour: str) -> str:
    unit, size = _UNITS[place], _SIZES[place]
    found = f"{field} is not every {step} {unit}s: a step of {size} or more matches the first {unit} only"
    hours, rest = divmod(step, 60)
    if unit == "minute" and hour == "*" and not rest and 24 % hours == 0 and hours < 24:
        return f"{found}. For every {hours} hours, write 0 */{hours}"
    return f"{found}. For that, choose an interval" if unit in ("minute", "hour") else found


def _every_minute(parsed: ParsedCron) -> Iterator[str]:
    minute, hour = parsed.fields.split()[:2]
    if len(parsed.minutes) == 60 and not hour.startswith("*"):
        hours = listed([f"{number:02}" for number in parsed.hours][:_MAX_LISTED])
        hour_or_hours = "hour" if len(parsed.hours) == 1 else "hours"
        yield f"the minute is {minute}, so that it is due 60 times in the {hour_or_hours} {hours}; 0 is once"


def _both_days(parsed: ParsedCron) -> Iterator[str]:
    day, weekday = parsed.fields.split()[2::2]
    if "*" in (day, weekday):
        return
    if parsed.must_match_both:
        yield "a day must match both day of month and weekday, since one of them begins with *"
    else:
        yield "a day needs to match only one of day of month and weekday, since both are restricted"


def _short_months(parsed: ParsedCron) -> Iterator[str]:
    """Days of the month that some months do not have."""
    day = parsed.fields.split()[2]
    if day.startswith("*") or parsed.month_ends or len(parsed.days) == 31:
        return
    last = parsed.days[-1] if parsed.days else 0
    # Most years have no 29 February.
    short = [month for month in parsed.months if last > (28 if month == 2 else DAYS_IN_MONTH[month - 1])]
    if not short:
        return
    names = listed([MONTHS[month - 1] for month in short])
    of_leap_years = " outside leap years" if last == 29 else ""
    yield f"there is no {ordinal(last)} in {names}{of_leap_years}; L is the last day of every month"


def _listed_numbers(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers[:_MAX_LISTED]]
    return f"{', '.join(shown)}, …" if len(numbers) > _MAX_LISTED else listed(shown)
