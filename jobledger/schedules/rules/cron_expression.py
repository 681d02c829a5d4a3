"""The syntax of cron expressions: parsing, and errors that name the offending field.

Accepts what Debian's cron does: five fields, names (``mon``, ``january``), 7 for Sunday, and the macros
(``@daily``). Beyond that: ranges that wrap around (``fri-mon``, ``22-2``), as in Celery, and ``L``, ``LW``,
``5L`` and ``mon#2``, as in cronsim. Rejects seconds, years and ``?``. ``parse`` returns an expression in
plain numbers, which cronsim evaluates, and guarantees that it matches at least sometimes.
"""

import re
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobledger.schedules.rules.slots import Rule, RuleError

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

MACROS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

LAST = 0
"""Stands for the last weekday of a month, where others have their number."""

_TERM = re.compile(r"(\*|[0-9]{1,4}|[a-z]+)(?:-([0-9]{1,4}|[a-z]+))?(?:/([0-9]{1,4}))?")
_NTH_WEEKDAY = re.compile(r"([0-9]{1,4}|[a-z]{3,})#([1-5])")
_LAST_WEEKDAY = re.compile(r"([0-9]{1,4}|[a-z]{3,})l")


_NO_MORE_FIELDS = ". For seconds, use an interval; for a single year, a clocked time"
_NOT_SUPPORTED = (
    (re.compile(r"\?"), "use * for every value"),
    (re.compile(r"h(\(.*\))?(/[0-9]+)?"), "choose a value, and a jitter to spread the load"),
    (re.compile(r"[0-9a-z]*~[0-9a-z]*(/[0-9]+)?"), "choose a value, and a jitter for a random delay"),
    (re.compile(r"[0-9]{1,2}w"), "there is LW, the last weekday of the month"),
    (re.compile(r"l-[0-9]{1,2}"), "there is L, the last day of the month"),
)
"""Syntax of other schedulers, and what exists instead."""


class NeverMatchesError(RuleError):
    """A valid expression without any slot, such as one for 30 February."""


@dataclass(frozen=True, kw_only=True)
class _Field:
    name: str
    low: int
    high: int
    wraps_at: int
    """The value after which a range wraps around to ``low``; for weekdays 6, since 7 is Sunday again."""
    names: Mapping[str, int] = field(default_factory=dict)


_FIELDS = (
    _Field(name="minute", low=0, high=59, wraps_at=59),
    _Field(name="hour", low=0, high=23, wraps_at=23),
    _Field(name="day-of-month", low=1, high=31, wraps_at=31),
    _Field(
        name="month",
        low=1,
        high=12,
        wraps_at=12,
        names={name: number for number, name in enumerate(_MONTHS, start=1)},
    ),
    _Field(
        name="day-of-week",
        low=0,
        high=7,
        wraps_at=6,
        names={name: number for number, name in enumerate(_DAYS)},
    ),
)


@dataclass(frozen=True, kw_only=True)
class ParsedExpression:
    """A valid expression, in either dialect."""

    fields: str
    """The five fields as written, with a macro expanded."""
    canonical: str
    """The same in plain numbers."""


@dataclass(frozen=True, kw_only=True)
class CronRule(Rule):
    """An expression in a zone, in either dialect."""

    expression: str
    zone: ZoneInfo
    """A database row with an empty zone has None here, which raises RuleError."""

    def __post_init__(self) -> None:
        # Rules with the same meaning are equal, however they are written.
        object.__setattr__(self, "expression", self.parsed.fields)
        if not isinstance(self.zone, ZoneInfo):
            raise RuleError(f"the time zone is {self.zone or 'empty'}", field="time zone")

    @property
    @abstractmethod
    def parsed(self) -> ParsedExpression:
        """Raises RuleError if the dialect does not accept the expression."""


@dataclass(frozen=True, kw_only=True)
class ParsedCron(ParsedExpression):
    """An expression that cron accepts."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    """Of the month, without those counted from its end."""
    month_ends: frozenset[str]
    """``L`` for the last day of the month, ``LW`` for its last weekday."""
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    """Sunday is 0."""
    nth_weekdays: tuple[tuple[int, int], ...]
    """Weekdays of the month, each with its number; ``LAST`` for the last one."""
    must_match_both: bool
    """Whether a day must match both the day of the month and the weekday; otherwise, one is enough."""
    follows_clock: bool
    """Whether the minute or the hour begins with ``*``. Debian's cron then follows the wall clock through
    every clock change, while a job with fixed times runs exactly once."""

    @property
    def meaning(self) -> Hashable:
        """Equal only for expressions that are due at the same times in every zone, in whatever notation."""
        return self.minutes, self.hours, self.months, self.follows_clock, self._days

    @property
    def _days(self) -> Hashable:
        month_days = () if len(self.days) == 31 else (self.days, self.month_ends)
        weekdays = () if len(self.weekdays) == 7 else (self.weekdays, self.nth_weekdays)
        is_restricted = month_days and weekdays if not self.must_match_both else month_days or weekdays
        return (month_days, weekdays, self.must_match_both) if is_restricted else ()


def fields_of(expression: str) -> list[str]:
    """The five fields as written, in lower case, with a macro expanded. Raises RuleError."""
    text = expression.strip().lower()
    if text.startswith("@"):
        text = _macro(text)
    texts = text.split()
    if len(texts) != len(_FIELDS):
        count = f"{len(texts)} field" + ("" if len(texts) == 1 else "s")
        names = " ".join(each.name for each in _FIELDS)
        instead = _NO_MORE_FIELDS if len(texts) > len(_FIELDS) else ""
        raise RuleError(f"the expression has {count}, cron has 5: {names}{instead}", field="expression")
    return texts


@lru_cache(maxsize=4096)
def parse(expression: str) -> ParsedCron:
    """Parse an expression. Raises RuleError, which names the field and the problem."""
    texts = fields_of(expression)
    shown = texts if expression.strip().startswith("@") else expression.split()
    terms = [_terms(*each) for each in zip(_FIELDS, texts, shown, strict=True)]
    minutes, hours, days, months, weekdays = (",".join(each) for each in terms)
    numbers = [_numbers(each, of_field) for each, of_field in zip(_FIELDS, terms, strict=True)]
    parsed = ParsedCron(
        fields=" ".join(texts),
        canonical=f"{minutes} {hours} {days} {months} {weekdays}",
        minutes=tuple(sorted(numbers[0])),
        hours=tuple(sorted(numbers[1])),
        days=tuple(sorted(numbers[2])),
        month_ends=frozenset(terms[2]) & {"L", "LW"},
        months=tuple(sorted(numbers[3])),
        weekdays=tuple(sorted({number % 7 for number in numbers[4]})),
        nth_weekdays=tuple(sorted(_nth_weekdays(terms[4]))),
        must_match_both=texts[2].startswith("*") or texts[4].startswith("*"),
        follows_clock=texts[0].startswith("*") or texts[1].startswith("*"),
    )
    _check_that_it_matches(parsed, texts)
    return parsed


def wrapping(fields: str) -> Iterator[str]:
    """The ranges of a valid expression's five fields that wrap around, such as ``fri-mon``."""
    for each, field_text in zip(_FIELDS, fields.split(), strict=True):
        for term in field_text.split(","):
            found = _TERM.fullmatch(term)
            if found and found[1] != "*" and found[2] and _number(each, found[1]) > _number(each, found[2]):
                yield term


def _macro(text: str) -> str:
    if text == "@reboot":
        message = "the expression @reboot is not a time, and a schedule needs one"
        raise RuleError(message, field="expression")
    if text not in MACROS:
        message = f"the expression {text!r} is unknown; choose one of {', '.join(MACROS)}"
        raise RuleError(message, field="expression")
    return MACROS[text]


def _terms(each: _Field, text: str, shown: str) -> list[str]:
    """The comma-separated parts of a field, in plain numbers. Errors show them as they were typed."""
    pairs = zip(text.split(","), shown.split(","), strict=True)
    return [_special(each, term) or _plain(each, term, typed) for term, typed in pairs]


def _special(each: _Field, term: str) -> str | None:
    """Days counted from the end of the month, or the nth weekday of the month."""
    if each.name == "day-of-month" and term in ("l", "lw"):
        return term.upper()
    if each.name == "day-of-week" and (match := _LAST_WEEKDAY.fullmatch(term)):
        return f"{_number(each, match[1])}L"
    if each.name == "day-of-week" and (match := _NTH_WEEKDAY.fullmatch(term)):
        return f"{_number(each, match[1])}#{match[2]}"
    return None


def _plain(each: _Field, term: str, shown: str) -> str:
    match = _TERM.fullmatch(term)
    if instead := next((text for pattern, text in _NOT_SUPPORTED if pattern.fullmatch(term)), ""):
        raise _error(each, f"{shown!r} is not supported; {instead}")
    if not match:
        raise _error(each, f"{shown!r} is not valid" if term else "there is nothing between two commas")
    first, last, step = match.groups()
    if step is not None and int(step) == 0:
        raise _error(each, f"the step in {shown!r} must be 1 or more")
    if first == "*":
        return _star(each, term, has_end=last is not None)
    if last is None:
        return _single(each, first, step)
    return _range(each, _number(each, first), _number(each, last), int(step or 1))


def _star(each: _Field, term: str, *, has_end: bool) -> str:
    if has_end:
        raise _error(each, f"{term!r} is not valid")
    return term


def _single(each: _Field, first: str, step: str | None) -> str:
    number = _number(each, first)
    if step is not None:
        hint = f"{first}-{each.wraps_at}/{step}"
        raise _error(each, f"a step needs a range, such as {hint}, or *")
    return str(number)


def _range(each: _Field, first: int, last: int, step: int) -> str:
    if first == last:
        # cronsim takes a step after it for one up to the end of the field.
        return str(first)
    if first < last:
        return f"{first}-{last}" + ("" if step == 1 else f"/{step}")
    around = [*range(first, each.wraps_at + 1), *range(each.low, last + 1)]
    return ",".join(str(number) for number in around[::step])


def _number(each: _Field, text: str) -> int:
    if not text.isdigit():
        return _named(each, text)
    if not each.low <= int(text) <= each.high:
        raise _error(each, f"{int(text)} is not between {each.low} and {each.high}")
    return int(text)


def _named(each: _Field, text: str) -> int:
    """The number of a name, which may be abbreviated to as few as three letters."""
    for name, number in each.names.items():
        if len(text) >= 3 and name.startswith(text):
            return number
    or_name = f" or a name such as {next(iter(each.names))[:3]}" if each.names else ""
    raise _error(each, f"{text!r} is not a number{or_name}")


def _numbers(each: _Field, terms: list[str]) -> set[int]:
    """The numbers that plain terms match; days counted from the end of the month are left out."""
    numbers: set[int] = set()
    for term in ",".join(terms).split(","):
        if match := _TERM.fullmatch(term):
            first, last, step = match.groups()
            low, high = (each.low, each.high) if first == "*" else (int(first), int(last or first))
            numbers.update(range(low, high + 1)[:: int(step or 1)])
    return numbers


def _nth_weekdays(terms: list[str]) -> set[tuple[int, int]]:
    split = (term.removesuffix("L").split("#") for term in terms if term.endswith("L") or "#" in term)
    return {(int(weekday) % 7, int(nth[0]) if nth else LAST) for weekday, *nth in split}


def _check_that_it_matches(parsed: ParsedCron, texts: list[str]) -> None:
    longest = max(DAYS_IN_MONTH[month - 1] for month in parsed.months)
    earliest = 1 if parsed.month_ends else parsed.days[0]
    if parsed.must_match_both and earliest > longest:
        problem = f"{_FIELDS[2].name}: day {texts[2]} never occurs in month {texts[3]}"
        raise NeverMatchesError(problem, field=_FIELDS[2].name)
    try:
        next(CronSim(parsed.canonical, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise RuleError(f"the expression is not valid: {error}", field="expression") from None
    except StopIteration:
        message = f"the expression never matches: no day is both day {texts[2]} and weekday {texts[4]}"
        raise NeverMatchesError(message, field="expression") from None


def _error(each: _Field, problem: str) -> RuleError:
    return RuleError(f"{each.name}: {problem}", field=each.name)
