"""What a valid cron expression means where somebody who reads it may think otherwise.

Pure. A surprise is a sentence without its capital letter and its full stop, for a list of warnings.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from jobledger.schedules.rules.clock_changes import Effect, consequences
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import DAYS_IN_MONTH, ParsedCron, parse, wrapping
from jobledger.schedules.rules.cron_words import MONTHS, WEEKDAYS, listed, ordinal

_STEP = re.compile(r"(\*|([0-9]+|[a-z]+)-([0-9]+|[a-z]+))/([0-9]+)")
_STARTS_OVER = ("every hour", "every day", "on the 1st of each month", "in January")
_UNITS = ("minute", "hour", "day", "month", "weekday")
_SIZES = (60, 24, 31, 12, 7)
_LOWEST = (0, 0, 1, 1, 0)
_MAX_LISTED = 8
_FIFTH = 5


def surprises(parsed: ParsedCron) -> Iterator[str]:
    """Those of the expression itself, in any zone."""
    yield from _steps(parsed)
    yield from _every_minute(parsed)
    yield from _both_days(parsed)
    yield from _short_months(parsed)


def all_surprises(rule: Cron, now: datetime) -> Iterator[str]:
    """Those of a schedule's rule: of the expression, of Debian's cron, and of the next clock changes."""
    yield from surprises(rule.parsed)
    yield from never_in_cron(rule.parsed)
    yield from clock_surprises(rule, now)


def never_in_cron(parsed: ParsedCron) -> Iterator[str]:
    """Ranges that are due here, but not in Debian's cron: ``import_crontab`` lists what else differs."""
    for term in wrapping(parsed.fields):
        yield f"the range {term} wraps around, which Debian's cron accepts, but never fires"


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
    """Steps that are longer than their field or range, or that do not divide it."""
    fields = parsed.fields.split()
    numbers = (parsed.minutes, parsed.hours, parsed.days, parsed.months)
    for place, field in enumerate(fields):
        for term in field.split(","):
            if (found := _STEP.fullmatch(term)) and found[1] != "*":
                yield from _step_of_range(place, term, found[1])
    for place, field in enumerate(fields[:-1]):
        step = int(found[4]) if (found := _STEP.fullmatch(field)) and found[1] == "*" else 1
        if step >= _SIZES[place]:
            yield _too_long(place, field, step, hour=fields[1])
        elif _SIZES[place] % step or (place == 2 and step > 1):
            unit, due = _UNITS[place], _listed_numbers(numbers[place])
            yield f"{field} is not every {step} {unit}s: it starts over {_STARTS_OVER[place]}, at {due}"
    if fields[4].startswith("*/") and len(parsed.weekdays) < 7:
        names = listed([WEEKDAYS[day] for day in parsed.weekdays])
        yield f"{fields[4]} counts from Sunday in each week: {names}"


def _step_of_range(place: int, term: str, of: str) -> Iterator[str]:
    """A range of which a step is so long that only its first number is left."""
    alone = ["*"] * place + [term] + ["*"] * (4 - place)
    first = of.partition("-")[0]
    parsed = parse(" ".join(alone))
    due = (parsed.minutes, parsed.hours, parsed.days, parsed.months, parsed.weekdays)[place]
    if len(due) == 1:
        yield f"the step of {term} is longer than its range: it matches {first} only"


def _too_long(place: int, field: str, step: int, *, hour: str) -> str:
    unit, size = _UNITS[place], _SIZES[place]
    if step == size:
        return f"{field} matches the first {unit} only, as {_LOWEST[place]} does"
    found = f"{field} is not every {step} {unit}s: a step of {size} or more matches the first {unit} only"
    hours, rest = divmod(step, 60)
    if unit == "minute" and hour == "*" and not rest and 24 % hours == 0:
        instead = f"0 */{hours}" if hours < 24 else "0 0"
        return f"{found}. For every {hours} hours, write {instead}"
    return f"{found}. For that, choose an interval" if unit in ("minute", "hour") else found


def _every_minute(parsed: ParsedCron) -> Iterator[str]:
    """Every minute of something that is restricted: usually, a number was meant."""
    minute, hour, *days = parsed.fields.split()
    if len(parsed.minutes) < 60:
        return
    if hour == "*":
        if days != ["*", "*", "*"]:
            yield f"it is due every minute of the day, 1,440 times; {minute} as 0, and the hour as 0, is once"
        return
    found = f"the minute is {minute}, so that it is due 60 times in"
    if len(parsed.hours) == 1:
        yield f"{found} the hour {parsed.hours[0]:02}; 0 is once"
    else:
        yield f"{found} each of the hours {_listed_hours(parsed.hours)}; 0 is once in each"


def _both_days(parsed: ParsedCron) -> Iterator[str]:
    day, weekday = parsed.fields.split()[2::2]
    if "*" in (day, weekday):
        return
    if parsed.must_match_both:
        yield "a day must match both day of month and weekday, since one of them begins with *"
    else:
        yield "a day needs to match only one of day of month and weekday, since both are restricted"


def _short_months(parsed: ParsedCron) -> Iterator[str]:
    """Days of the month that some months do not have, and weekdays."""
    for weekday, nth in parsed.nth_weekdays:
        if nth == _FIFTH:
            yield f"most months have no fifth {WEEKDAYS[weekday]}; {weekday}L is the last one of every month"
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


def _listed_hours(hours: Sequence[int]) -> str:
    if len(hours) > 2 and len(hours) == hours[-1] - hours[0] + 1:
        return f"{hours[0]:02} to {hours[-1]:02}"
    return _listed_texts([f"{hour:02}" for hour in hours])


def _listed_numbers(numbers: Sequence[int]) -> str:
    return _listed_texts([str(number) for number in numbers])


def _listed_texts(texts: Sequence[str]) -> str:
    shown = texts[:_MAX_LISTED]
    return f"{', '.join(shown)}, …" if len(texts) > _MAX_LISTED else listed(shown)
