"""Cron in plain language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.jobs.scheduling import cron_words
from tasks_app.jobs.scheduling.slots import RuleError


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 3 * * 1-5", "every weekday at 03:00"),
        ("0 3 * * mon-fri", "every weekday at 03:00"),
        ("0 3 * * *", "every day at 03:00"),
        ("@daily", "every day at 00:00"),
        ("0 3 * * 0-6", "every day at 03:00"),
        ("0 3,15 * * 7", "every Sunday at 03:00 and 15:00"),
        ("5 3 * * 6,0", "every Saturday and Sunday at 03:05"),
        ("5 3 * * fri-mon", "every Monday, Friday, Saturday and Sunday at 03:05"),
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0,20,40 * * * *", "every 20 minutes"),
        ("0 * * * *", "every hour"),
        ("15 * * * *", "every hour at 15 minutes past"),
        ("0 */6 * * *", "every 6 hours"),
        ("30 */2 * * *", "every 2 hours at 30 minutes past"),
        ("*/10 * * * 1-5", "every 10 minutes, every weekday"),
        ("30 2 1 * *", "at 02:30 on the 1st of every month"),
        ("30 2 2,22,23 * *", "at 02:30 on the 2nd, 22nd and 23rd of every month"),
        ("30 2 11-13 * *", "at 02:30 on the 11th, 12th and 13th of every month"),
    ],
)
def test_usual_expressions_are_said_as_people_say_them(expression: str, words: str) -> None:
    assert cron_words.in_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 1,15 * 1", "at 00:00 on the first and the 15th day of month and on Monday"),
        ("0 0 */2 * 1", "if it's on Monday"),
        ("*/15 8-17 * * 1-5", "from 08:00 through 17:59 on Monday through Friday"),
        ("*/7 * * * *", "every seventh minute of every hour"),
        ("0 9 L * *", "at 09:00 on the last day of every month"),
        ("0 9 * * 5L", "at 09:00 on the last Friday of the month"),
        ("0 9 * * 1#2", "at 09:00 on the second Monday of the month"),
        ("0 9 22 3 *", "at 09:00 on March 22"),
        ("0 9 22,31 3 *", "the 22nd and the 31st day of month in March"),
        ("0 12,18 * 6 *", "at 12:00 and 18:00 every day in June"),
    ],
)
def test_all_others_are_said_too(expression: str, words: str) -> None:
    assert words in cron_words.in_words(expression)


@pytest.mark.parametrize("expression", ["*/5 * * * *", "* * * * *", "0 * * * *", "*/7 * * * *"])
def test_what_names_neither_hour_nor_day_needs_no_zone(expression: str) -> None:
    assert not cron_words.needs_zone(expression)


@pytest.mark.parametrize("expression", ["*/5 8 * * *", "*/5 * * * 1", "0 3 * * *", "0 * 1 * *", "0 * * 6 *"])
def test_what_the_clock_decides_needs_its_zone(expression: str) -> None:
    assert cron_words.needs_zone(expression)


def test_an_expression_that_is_no_cron_is_refused() -> None:
    with pytest.raises(RuleError, match="hour: 25"):
        cron_words.in_words("0 25 * * *")


@given(
    minute=st.sampled_from(["*", "0", "*/7", "1-5", "7-59/15", "50-10"]),
    hour=st.sampled_from(["*", "0", "22-2", "*/5", "1,2,3,4,5,6"]),
    day=st.sampled_from(["*", "L", "LW", "1-7", "*/3", "21"]),
    month=st.sampled_from(["*", "nov-feb", "6"]),
    weekday=st.sampled_from(["*", "mon", "5L", "mon#2,3", "fri-mon", "*/2"]),
)
def test_every_expression_has_words(minute: str, hour: str, day: str, month: str, weekday: str) -> None:
    assert cron_words.in_words(f"{minute} {hour} {day} {month} {weekday}")
