"""A calendar covers what any of its entries covers."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.calendars import public_holidays
from jobledger.calendars.calendar import Calendar, calendar
from jobledger.calendars.entries import MAX_ENTRIES
from jobledger.calendars.errors import CalendarError
from jobledger.calendars.spans import DAY_MINUTES, Span

MONDAY = date(2026, 3, 2)


def days(text: str, begin: date = MONDAY, count: int = 60) -> list[str]:
    """The days that are covered at all."""
    found = calendar("", text)
    candidates = [begin + timedelta(days=number) for number in range(count)]
    return [day.isoformat() for day in candidates if found.spans(day)]


def spans(text: str, day: date = MONDAY) -> list[tuple[int, int]]:
    return [(span.begin, span.end) for span in calendar("", text).spans(day)]


@pytest.mark.parametrize(
    ("text", "begin", "expected"),
    [
        ("sat, sun", date(2026, 3, 2), ["2026-03-07", "2026-03-08"]),
        ("fri-mon", date(2026, 3, 3), ["2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09"]),
        ("Wednesday", date(2026, 3, 2), ["2026-03-04"]),
        ("Tuesday - THU, sunday", date(2026, 3, 2), ["2026-03-03", "2026-03-04", "2026-03-05", "2026-03-08"]),
        ("2026-03-04", date(2026, 3, 2), ["2026-03-04"]),
        ("2026-03-04 to 2026-03-05", date(2026, 3, 2), ["2026-03-04", "2026-03-05"]),
        ("03-04", date(2031, 3, 1), ["2031-03-04"]),
        ("12-31 to 01-01", date(2026, 12, 28), ["2026-12-31", "2027-01-01"]),
        ("02-29", date(2027, 2, 26), []),
        ("02-29", date(2028, 2, 26), ["2028-02-29"]),
        ("first day of the month", date(2026, 3, 29), ["2026-04-01"]),
        ("last day of the month", date(2026, 3, 29), ["2026-03-31"]),
        ("last working day of the month", date(2026, 1, 28), ["2026-01-30"]),
        ("First working day", date(2026, 3, 1), ["2026-03-02"]),
        (
            "every 2 weeks from 2026-03-11",
            date(2026, 3, 9),
            ["2026-03-11", "2026-03-12", "2026-03-13", "2026-03-14", "2026-03-15"],
        ),
        (
            "every second week from 2030-01-02",
            date(2026, 3, 1),
            ["2026-03-04", "2026-03-05", "2026-03-06", "2026-03-07"],
        ),
        ("# nothing here\n\n2026-03-04 # here", date(2026, 3, 2), ["2026-03-04"]),
    ],
)
def test_an_entry_covers_its_days(text: str, begin: date, expected: list[str]) -> None:
    assert days(text, begin, 7) == expected


def test_public_holidays_have_their_names() -> None:
    [span] = calendar("", "holidays GB-ENG").spans(date(2026, 12, 25))
    assert span == Span(begin=0, end=DAY_MINUTES, name="Christmas Day")
    assert days("public holidays of de-by", date(2026, 1, 1), 10) == ["2026-01-01", "2026-01-06"]
    [span] = calendar("", "holidays DE").spans(date(2026, 5, 1))
    assert span.name == "Labor Day"


def test_a_country_alone_has_only_the_holidays_that_its_parts_have_in_common() -> None:
    assert days("holidays GB-ENG", date(2026, 4, 1), 7) == ["2026-04-03", "2026-04-06"]
    assert days("holidays GB", date(2026, 4, 1), 7) == ["2026-04-03"]


def test_a_country_has_other_working_days() -> None:
    assert days("last working day in GB", date(2027, 12, 25), 7) == ["2027-12-31"]
    assert days("last working day", date(2026, 5, 25), 7) == ["2026-05-29"]
    assert days("first working day in GB", date(2027, 1, 1), 7) == ["2027-01-04"]
    assert days("first working day in GB", date(2026, 1, 1), 7) == ["2026-01-02"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("09:00 to 17:30", [(540, 1050)]),
        ("22:00 to 06:00", [(0, 360), (1320, 1440)]),
        ("mon 22:00 to 06:00", [(1320, 1440)]),
        ("sun 22:00 to 06:00", [(0, 360)]),
        ("mon 18:00 to 24:00", [(1080, 1440)]),
        ("2026-03-01 18:00 to 2026-03-02 06:00", [(0, 360)]),
        ("2026-03-02 06:00 to 2026-03-04 06:00", [(360, 1440)]),
        ("2026-03-01 06:00 to 2026-03-02 00:00", []),
        (
            "08:00 to 10:00 # a\n09:00 to 11:00 # a\n11:00 to 12:00 # a\n13:00 to 14:00",
            [(480, 720), (780, 840)],
        ),
    ],
)
def test_an_entry_covers_its_times(text: str, expected: list[tuple[int, int]]) -> None:
    assert spans(text) == expected


def test_what_several_entries_cover_has_the_name_of_the_longest() -> None:
    [span] = calendar("", "08:00 to 12:00 # a\n2026-03-02 # b\n22:00 to 23:00 # c").spans(MONDAY)
    assert span.name == "b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "2026-03-01 18:00 to 2026-03-02 06:00 # freeze\n06:00 to 14:00 # mornings",
            [(0, "freeze"), (360, "mornings")],
        ),
        (
            "2026-03-01 18:00 to 2026-03-02 07:00 # freeze\n06:00 to 14:00 # mornings",
            [(0, "freeze"), (360, "mornings")],
        ),
        ("08:00 to 18:00 # day\n12:00 to 13:00 # lunch", [(480, "day")]),
        ("mon # first\n2026-03-02 # second", [(0, "first")]),
        ("22:00 to 00:00", [(1320, "22:00 to 00:00")]),
        ("08:00 to 10:00 # first\n09:00 to 11:00 # second", [(480, "first"), (600, "second")]),
        ("00:00 to 02:00 # a\n01:00 to 05:00 # b\n04:00 to 06:00 # c", [(0, "a"), (60, "b"), (300, "c")]),
    ],
)
def test_each_time_has_the_name_of_an_entry_that_covers_it(
    text: str, expected: list[tuple[int, str]]
) -> None:
    assert [(span.begin, span.name) for span in calendar("", text).spans(MONDAY)] == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no entries"),
        ("# only a comment", "it has no entries"),
        ("sat\nholidays ZZ", "line 2, 'holidays ZZ': there is no country 'ZZ'"),
        ("holidays DE-XX", "there is no region 'XX' of DE. It has BB, BE"),
        ("holidays", "name the country, such as “holidays DE”"),
        ("someday", "'someday' is not a day of the week"),
        ("monthly", "'monthly' is not a day of the week"),
        ("month", "'month' is not a day of the week"),
        ("mon-friends", "'friends' is not a day of the week"),
        ("sat, sunset", "'sunset' is not a day of the week"),
        ("tues 09:00 to 17:00", "'tues' is not a day of the week"),
        ("every day at noon", "it is not an entry; examples are"),
        ("2026-02-30", "there is no date 2026-02-30"),
        ("13-01", "there is no date 13-01"),
        ("25:00 to 26:00", "there is no time 25:00"),
        ("10:75 to 11:00", "there is no time 10:75"),
        ("24:01 to 25:00", "there is no time 24:01"),
        ("10:00 to 10:00", "it covers no time"),
        ("2026-01-02 to 2026-01-01", "its last day is before its first"),
        ("2026-01-02 06:00 to 2026-01-02 06:00", "its end is not after its beginning"),
        ("every 1 weeks from 2026-01-01", "the number of weeks is not from 2 to 52"),
        ("last day in GB", "working days only"),
        ("sat " * 100, "longer than 200 characters"),
        ("sat\n" * (MAX_ENTRIES + 1), f"{MAX_ENTRIES} are allowed"),
    ],
)
def test_an_invalid_entry_is_named_with_its_problem(text: str, problem: str) -> None:
    with pytest.raises(CalendarError) as raised:
        calendar("", text)
    assert problem in str(raised.value)


def test_without_the_package_public_holidays_are_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(public_holidays, "is_available", lambda: False)
    public_holidays._countries.cache_clear()
    with pytest.raises(CalendarError, match=r"pip install 'django-jobledger\[holidays\]'"):
        Calendar(name="", text="holidays GB")
    assert days("sat")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-03-04 to 2026-03-06", date(2026, 3, 6)),
        ("2026-03-04\n2026-03-01 18:00 to 2026-03-10 00:00", date(2026, 3, 9)),
        ("2026-03-04\nsat", None),
        ("2026-03-04 10:00 to 11:00", date(2026, 3, 4)),
        ("2026-03-04 22:00 to 06:00", date(2026, 3, 5)),
        ("2026-03-04 22:00 to 00:00", date(2026, 3, 4)),
        ("holidays GB", None),
    ],
)
def test_a_calendar_ends_with_its_last_entry_if_all_have_an_end(text: str, end: date | None) -> None:
    assert calendar("", text).end == end


TEXTS = st.lists(
    st.sampled_from(
        [
            "sat",
            "mon-wed 10:00 to 12:30",
            "22:00 to 06:00",
            "2026-03-03",
            "2026-03-01 12:00 to 2026-03-03 01:00",
        ]
    ),
    min_size=1,
    max_size=4,
)


@given(TEXTS, st.integers(0, 10), st.integers(0, DAY_MINUTES - 1))
def test_spans_are_in_order_and_cover_what_the_entries_cover_under_their_names(
    texts: list[str], number: int, minute: int
) -> None:
    day = MONDAY + timedelta(days=number)
    found = calendar("", "\n".join(texts))
    spans = found.spans(day)
    assert all(one.end <= other.begin for one, other in pairwise(spans))
    assert all(one.name != other.name for one, other in pairwise(spans) if one.end == other.begin)
    names = {span.name for span in spans if span.begin <= minute < span.end}
    each = (span for entry in found.entries for span in entry.spans(day))
    covering = {span.name for span in each if span.begin <= minute < span.end}
    assert names <= covering
    assert bool(names) == bool(covering)


def test_each_line_that_is_wrong_is_named() -> None:
    with pytest.raises(CalendarError) as raised:
        calendar("", "02-30\nsat\n13-01")
    assert str(raised.value) == (
        "line 1, '02-30': there is no date 02-30; line 3, '13-01': there is no date 13-01"
    )
    with pytest.raises(CalendarError, match=r"line 10, .*; and 2 more$"):
        calendar("", "13-01\n" * 12)
