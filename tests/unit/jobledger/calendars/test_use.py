"""What a schedule makes of calendars, and its text form."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.calendars.calendar import calendar
from jobledger.calendars.errors import CalendarError
from jobledger.calendars.spans import DAY_MINUTES
from jobledger.calendars.use import NO_CALENDARS, Block, CalendarUse, names_in, text_of

MONDAY = date(2026, 3, 2)


def test_the_text_form_is_read_back() -> None:
    use = CalendarUse(
        not_on=(calendar("b", "sat"), calendar("c", "2026-03-04 # é")),
        only_on=(calendar("a", "mon"),),
        is_moved=True,
    )
    assert CalendarUse.read(use.text) == use
    assert names_in(use.text) == {"not_on": ["b", "c"], "only_on": ["a"]}


def test_without_calendars_it_is_empty() -> None:
    assert (NO_CALENDARS.text, text_of([], [], is_moved=True), bool(NO_CALENDARS)) == ("", "", False)
    assert CalendarUse.read("") is NO_CALENDARS
    assert names_in("") == {"not_on": [], "only_on": []}


@pytest.mark.parametrize(
    "text", ["{}", "[]", "nothing", '{"not_on": [["a"]], "only_on": [], "moved": false}']
)
def test_a_text_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one
        CalendarUse.read(text)


def test_an_invalid_calendar_is_an_error() -> None:
    with pytest.raises(CalendarError, match="someday"):
        CalendarUse.read(text_of([("a", "someday")], [], is_moved=False))


def test_a_block_has_the_calendar_and_the_entry() -> None:
    use = CalendarUse(not_on=(calendar("closed", "10:00 to 11:00 # cleaning"),))
    assert use.blocks(MONDAY) == [Block(begin=600, end=660, calendar="closed", name="cleaning")]


def test_the_first_calendar_that_covers_a_time_leaves_it_out() -> None:
    use = CalendarUse(not_on=(calendar("a", "10:00 to 12:00"), calendar("b", "11:00 to 13:00")))
    assert [(each.begin, each.end, each.calendar) for each in use.blocks(MONDAY)] == [
        (600, 720, "a"),
        (720, 780, "b"),
    ]


def test_a_time_is_left_out_by_the_entry_that_covers_it() -> None:
    text = "2026-03-01 18:00 to 2026-03-02 06:00 # freeze\n06:00 to 14:00 # mornings"
    use = CalendarUse(not_on=(calendar("closed", text),))
    assert [(each.begin, each.end, each.name) for each in use.blocks(MONDAY)] == [
        (0, 360, "freeze"),
        (360, 840, "mornings"),
    ]


def test_a_block_is_not_divided_by_the_entries_to_which_the_schedule_is_limited() -> None:
    limits = calendar("open", "08:00 to 12:00 # a\n12:00 to 18:00 # b")
    use = CalendarUse(not_on=(calendar("closed", "11:00 to 13:00"),), only_on=(limits,))
    assert [(each.begin, each.end) for each in use.blocks(MONDAY) if each.is_left_out] == [(660, 780)]


def test_outside_what_it_is_limited_to_nothing_is_left_out() -> None:
    use = CalendarUse(not_on=(calendar("a", "08:00 to 11:00"),), only_on=(calendar("b", "10:00 to 12:00"),))
    found = [(each.begin, each.end, each.is_left_out) for each in use.blocks(MONDAY)]
    assert found == [(0, 600, False), (600, 660, True), (720, DAY_MINUTES, False)]


ENTRIES = st.sampled_from(
    ["mon", "tue", "08:00 to 12:00", "11:00 to 14:30", "22:00 to 06:00", "12:00 to 24:00"]
)


@given(st.lists(ENTRIES, max_size=3), st.lists(ENTRIES, max_size=3), st.integers(0, DAY_MINUTES - 1))
def test_each_minute_is_in_at_most_one_block_and_in_the_right_one(
    not_on: list[str], only_on: list[str], minute: int
) -> None:
    use = CalendarUse(
        not_on=tuple(calendar(f"n{place}", text) for place, text in enumerate(not_on)),
        only_on=tuple(calendar(f"o{place}", text) for place, text in enumerate(only_on)),
    )

    def covered(calendars: tuple[object, ...]) -> bool:
        return any(
            span.begin <= minute < span.end
            for each in calendars
            for span in each.spans(MONDAY)  # type: ignore[attr-defined]
        )

    found = [each for each in use.blocks(MONDAY) if each.begin <= minute < each.end]
    is_due = covered(use.only_on) or not use.only_on
    is_left_out = is_due and covered(use.not_on)
    assert [each.is_left_out for each in found] == ([False] if not is_due else [True] if is_left_out else [])
