"""The words for a cron expression say when it is due, neither more nor less."""

import calendar
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RuleError, slots_between
from jobledger.schedules.words import cron_in_words, in_words

LONDON, NEW_YORK, KOLKATA = map(ZoneInfo, ("Europe/London", "America/New_York", "Asia/Kolkata"))
BERLIN = ZoneInfo("Europe/Berlin")
REPEATED = {
    LONDON: (date(2027, 10, 31), 1),
    BERLIN: (date(2027, 10, 31), 2),
    NEW_YORK: (date(2027, 11, 7), 1),
}
"""The days on which clocks are set back, and the hours that they repeat."""
YEAR = [date(2027, 1, 1) + timedelta(days=day) for day in range(365)]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = list(calendar.month_name)[1:]
IN_MONTHS = r"(.+?) (?:in|of) ((?:{}|, | and )+|every month)(?: that has one)?".format("|".join(MONTHS))
NTH = ["first", "second", "third", "fourth", "fifth"]

Includes = Callable[[date], bool]
Times = set[tuple[int, int]]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 1-31 * 1", "every day at 09:00"),
        ("0 9 15 * 0-7", "every day at 09:00"),
        ("*/45 * * * *", "at 0 and 45 minutes past every hour"),
        ("*/7 * * * *", "every 7 minutes from 0 to 56 minutes past every hour"),
        ("5-10 * * * *", "every minute from 5 to 10 minutes past every hour"),
        ("*/120 * * * *", "every hour"),
        ("* 3 * * *", "every minute from 03:00 to 03:59"),
        ("1 */2 * * *", "every 2 hours at 1 minute past"),
        ("*/15 8-17 * * 1-5", "every 15 minutes from 08:00 to 17:59, every weekday"),
        ("*/10 1,2,5,9 * * *", "every 10 minutes within the hours 01, 02, 05 and 09"),
        ("3,4 1,2,5,9 * * *", "at 3 and 4 minutes past the hours 01, 02, 05 and 09 of the day"),
        ("15 1-23/2 * * *", "every 2 hours from 01:15 to 23:15 of the day"),
        ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
        ("17 1,3,4,8,9,10 * * *", "every day at 01:17, 03:17, 04:17, 08:17, 09:17 and 10:17"),
        ("0 0 1,15 * 1", "at 00:00 on the 1st and 15th of every month, and also every Monday"),
        (
            "0 0 */2 * 1",
            "at 00:00 on every 2nd day from the 1st to the 31st of every month, only if that is a Monday",
        ),
        ("0 9 1-7 * *", "at 09:00 on the 1st to 7th of every month"),
        ("0 9 L * *", "at 09:00 on the last day of every month"),
        ("0 9 1,LW * *", "at 09:00 on the 1st and the last weekday of every month"),
        ("0 3 31 * *", "at 03:00 on the 31st of every month that has one"),
        ("59 0-23 * * *", "every hour of the day at 59 minutes past"),
        ("0 0-22/2 * * *", "every 2 hours of the day"),
        ("0 */2 * * *", "every 2 hours"),
        ("0,30 0-5 * * *", "every 30 minutes from 00:00 to 05:59 of the day"),
        ("*/30 0-5 * * *", "every 30 minutes from 00:00 to 05:59"),
        ("0 9 * * 5L", "at 09:00 on the last Friday of every month"),
        ("0 9 * * 1#2", "at 09:00 on the second Monday of every month"),
        ("0 9 * * 3,1#2", "at 09:00 every Wednesday, and also on the second Monday of every month"),
        ("0 9 22 3 *", "at 09:00 on the 22nd of March"),
        ("0 9 * 6,7 1-5", "every weekday in June and July at 09:00"),
        ("0 12,18 * 6 *", "every day in June at 12:00 and 18:00"),
        ("*/5 * * 6 *", "every 5 minutes, every day in June"),
    ],
)
def test_expressions_are_described(expression: str, words: str) -> None:
    assert in_words(expression) == words


def test_an_hour_that_the_clock_repeats_counts_only_if_the_words_say_so() -> None:
    every_hour, of_the_day = "0 * * * *", "0 0-23 * * *"
    assert [cron_in_words(each, LONDON) for each in (every_hour, of_the_day)] == [
        "every hour",
        "every hour of the day Europe/London",
    ]
    assert cron_in_words(of_the_day, ZoneInfo("UTC")) == "every hour"
    begin, end = datetime(2026, 10, 24, 23, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)
    counts = [
        len(list(slots_between(Cron(expression=each, zone=LONDON), begin, end)))
        for each in (every_hour, of_the_day)
    ]
    assert counts == [24, 23]


def numbers_of(low: int, high: int, *others: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    step = st.integers(1, high + 5)
    term = st.one_of(
        number.map(str),
        st.tuples(number, number).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(number, number, step).map(lambda triple: f"{triple[0]}-{triple[1]}/{triple[2]}"),
        *([st.sampled_from(others)] if others else []),
    )
    starred = st.one_of(st.just("*"), st.just("*"), step.map(lambda step: f"*/{step}"))
    return starred | st.lists(term, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    numbers_of(0, 59),
    numbers_of(0, 23),
    numbers_of(1, 31, "L", "LW"),
    numbers_of(1, 12),
    numbers_of(0, 7, "5L", "0L", "1#1", "2#3", "6#5"),
).map(" ".join)


@given(expression=EXPRESSIONS, zone=st.sampled_from([LONDON, NEW_YORK, KOLKATA]))
def test_the_words_say_exactly_when_an_expression_is_due(expression: str, zone: ZoneInfo) -> None:
    try:
        words = cron_in_words(expression, zone)
    except RuleError:
        return
    includes, times = read(words.removesuffix(f" {zone}"))
    rule = Cron(expression=expression, zone=zone)
    # A day has up to 1,440 times, so that it is enough to compare all of them on one; in a year without clock
    # changes on other days than these.
    days = [day for day in YEAR if not has_clock_change(day, zone)]
    due = [day for day in days if is_due(rule, day)]
    assert due == [day for day in days if includes(day)], words
    for day in due[:1]:
        assert walls_on(rule, day) == times, words


@given(expression=EXPRESSIONS, zone=st.sampled_from(list(REPEATED)))
def test_the_words_of_a_frequency_say_whether_a_repeated_hour_counts_again(
    expression: str, zone: ZoneInfo
) -> None:
    try:
        words = cron_in_words(expression, zone)
    except RuleError:
        return
    day, repeated = REPEATED[zone]
    rule = Cron(expression=expression, zone=zone)
    if re.search(r"\bat \d\d:\d\d", words) or not is_due(rule, day):
        return
    _, times = read(words.removesuffix(f" {zone}"))
    again = sum(hour == repeated for hour, _ in times) if " of the day" not in words else 0
    begin, end = bounds(day, zone)
    assert len(list(rule.between(begin, end))) == len(times) + again, words


def has_clock_change(day: date, zone: ZoneInfo) -> bool:
    begin = datetime.combine(day, time(), zone)
    return begin.utcoffset() != datetime.combine(day + timedelta(days=1), time(), zone).utcoffset()


def bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Both exclusive."""
    begin, end = (datetime.combine(each, time(), zone) for each in (day, day + timedelta(days=1)))
    return begin.astimezone(UTC) - timedelta(microseconds=1), end.astimezone(UTC)


def is_due(rule: Cron, day: date) -> bool:
    begin, end = bounds(day, rule.zone)
    first = rule.first_after(begin)
    return first is not None and first < end


def walls_on(rule: Cron, day: date) -> Times:
    begin, end = bounds(day, rule.zone)
    walls = (slot.astimezone(rule.zone) for slot in rule.between(begin, end))
    return {(wall.hour, wall.minute) for wall in walls}


# A small grammar of the words.


def read(words: str) -> tuple[Includes, Times]:
    """The days and the times of day that a phrase names."""
    found = (
        re.fullmatch(r"(?P<days>every .+?) (?P<times>at \d\d:\d\d.*)", words)
        or re.fullmatch(r"(?P<times>at \d\d:\d\d[\d:, and]*) (?P<days>(?:every|on) .+)", words)
        or re.fullmatch(r"(?P<times>.+?)(?: of the day)?(?:, (?P<days>(?:every|on) .+))?", words)
    )
    assert found, words
    return read_days(found["days"] or "every day"), read_times(found["times"])


def read_times(text: str) -> Times:
    text = text.replace(" of the day", "")
    if re.match(r"at \d\d:", text):
        return {(int(hour), int(minute)) for hour, minute in re.findall(r"(\d\d):(\d\d)", text)}
    if found := re.fullmatch(r"every (?:hour|(\d+) hours)(?: at (\d+) minutes? past)?", text):
        return {(hour, int(found[2] or 0)) for hour in range(0, 24, int(found[1] or 1))}
    if found := re.fullmatch(r"every (?:hour|(\d+) hours) from (\d\d):(\d\d) to (\d\d):\3", text):
        return {(hour, int(found[3])) for hour in range(int(found[2]), int(found[4]) + 1, int(found[1] or 1))}
    return {(hour, minute) for hour in read_hours(text) for minute in read_minutes(text)}


def read_hours(text: str) -> list[int]:
    if found := re.search(r"from (\d\d):00 to (\d\d):59$", text):
        return list(range(int(found[1]), int(found[2]) + 1))
    if found := re.search(r"the hours (.+)$", text):
        return [int(hour) for hour in re.findall(r"\d+", found[1])]
    return list(range(24))


def read_minutes(text: str) -> list[int]:
    if found := re.match(r"every (?:minute|(\d+) minutes) from (\d+) to (\d+) minutes past", text):
        return list(range(int(found[2]), int(found[3]) + 1, int(found[1] or 1)))
    if found := re.match(r"every (?:minute|(\d+) minutes)", text):
        return list(range(0, 60, int(found[1] or 1)))
    found = re.match(r"at (.+) minutes past", text)
    assert found, text
    return [int(minute) for minute in re.findall(r"\d+", found[1])]


def read_days(text: str) -> Includes:
    if " only if that is " in text:
        dates, _, condition = text.partition(", only if that is ")
        one, other = read_days(dates), read_condition(condition)
        return lambda day: one(day) and other(day)
    parts = [read_part(part) for part in text.split(", and also ")]
    return lambda day: any(part(day) for part in parts)


def read_condition(text: str) -> Includes:
    parts = [read_days_of_week(part) for part in re.split(r", | or ", text)]
    return lambda day: any(part(day) for part in parts)


def read_part(text: str) -> Includes:
    names, months = text, set(range(1, 13))
    if found := re.fullmatch(IN_MONTHS, text):
        names = found[1]
        if found[2] != "every month":
            months = {MONTHS.index(name) + 1 for name in re.findall("|".join(MONTHS), found[2])}
    days = [read_days_of_week(name) for name in read_list(names)]
    return lambda day: day.month in months and any(each(day) for each in days)


def read_list(text: str) -> list[str]:
    text = text.removeprefix("every ") if not re.match(r"every \d", text) else text
    return re.split(r", | and ", text.removeprefix("on "))


def read_days_of_week(text: str) -> Includes:
    """Any single day of a list: of the month as well."""
    name = text.removeprefix("a ").removeprefix("the ").removesuffix(" of the month")
    return read_dates(name) or read_weekdays(name)


def read_dates(name: str) -> Includes | None:
    if found := re.fullmatch(r"every (\d+).. day from the (\d+).. to the (\d+)..", name):
        step, first, last = map(int, found.groups())
        return lambda day: day.day in range(first, last + 1, step)
    if found := re.fullmatch(r"(\d+).. to (\d+)..", name):
        first, last = map(int, found.groups())
        return lambda day: first <= day.day <= last
    if found := re.fullmatch(r"(\d+)(?:st|nd|rd|th)", name):
        number = int(found[1])
        return lambda day: day.day == number
    named: dict[str, Includes] = {
        "day": lambda day: True,
        "weekday": lambda day: day.weekday() < 5,
        "last day": lambda day: (day + timedelta(days=1)).day == 1,
        "last weekday": is_last_weekday_of_month,
    }
    return named.get(name)


def read_weekdays(name: str) -> Includes:
    nth, _, weekday = name.rpartition(" ")
    number = WEEKDAYS.index(weekday)
    if nth == "last":
        return lambda day: day.weekday() == number and (day + timedelta(days=7)).month != day.month
    if nth:
        return lambda day: day.weekday() == number and (day.day - 1) // 7 == NTH.index(nth)
    return lambda day: day.weekday() == number


def is_last_weekday_of_month(day: date) -> bool:
    later = (day + timedelta(days=count) for count in range(1, 8))
    return day.weekday() < 5 and not any(each.month == day.month and each.weekday() < 5 for each in later)
