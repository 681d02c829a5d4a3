"""Expressions that are valid, but that many readers would take for something else."""

from datetime import UTC, datetime

import pytest

from jobledger.schedules.rules.cron_expression import parse
from jobledger.schedules.rules.surprises import clock_surprises, never_in_cron, surprises
from tests.unit.jobledger.schedules.times import cron

NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("*/45 * * * *", "*/45 is not every 45 minutes: it starts over every hour, at 0 and 45"),
        ("0 */7 * * *", "*/7 is not every 7 hours: it starts over every day, at 0, 7, 14 and 21"),
        ("0 9 */2 * *", "it starts over on the 1st of each month, at 1, 3, 5, 7, 9, 11, 13, 15, …"),
        ("0 9 1 */5 *", "it starts over in January, at 1, 6 and 11"),
        ("0 9 * * */2", "*/2 counts from Sunday in each week: Sunday, Tuesday, Thursday and Saturday"),
        (
            "*/120 * * * *",
            (
                "*/120 is not every 120 minutes: a step of 60 or more matches the first minute only. "
                "For every 2 hours, write 0 */2"
            ),
        ),
        ("*/90 * * * *", "matches the first minute only. For that, choose an interval"),
        ("0 */48 * * *", "matches the first hour only. For that, choose an interval"),
        ("0 9 */40 * *", "a step of 31 or more matches the first day only"),
        ("*/60 * * * *", "*/60 matches the first minute only, as 0 does"),
        ("0 */24 * * *", "*/24 matches the first hour only, as 0 does"),
        ("*/1440 * * * *", "For every 24 hours, write 0 0"),
        ("0 9 */31 * *", "*/31 matches the first day only, as 1 does"),
        ("5-59/60 * * * *", "the step of 5-59/60 is longer than its range: it matches 5 only"),
        ("10-20/15 * * * *", "it matches 10 only"),
        ("0 1,9-17/24 * * *", "the step of 9-17/24 is longer than its range: it matches 9 only"),
        ("0 0 1-31/40 * *", "it matches 1 only"),
        ("0 9 * jan-mar/5 *", "the step of jan-mar/5 is longer than its range: it matches jan only"),
        ("0 9 * * mon-wed/3", "it matches mon only"),
        ("0 9 * * mon#5", "most months have no fifth Monday; 1L is the last one of every month"),
        ("* 3 * * *", "the minute is *, so that it is due 60 times in the hour 03; 0 is once"),
        ("0-59 3,5 * * *", "is due 60 times in each of the hours 03 and 05; 0 is once in each"),
        ("* 9-17 * * *", "is due 60 times in each of the hours 09 to 17; 0 is once in each"),
        ("* 0-23 * * *", "each of the hours 00 to 23"),
        ("* */2 * * *", "each of the hours 00, 02, 04, 06, 08, 10, 12, 14, …; 0 is once in each"),
        ("* * 1 * *", "it is due every minute of the day, 1,440 times"),
        ("* * * * 1", "it is due every minute of the day, 1,440 times"),
        ("0 0 13 * fri", "a day needs to match only one of day of month and weekday"),
        ("0 0 1-7 * */7", "a day must match both day of month and weekday"),
        (
            "0 9 31 * *",
            "there is no 31st in February, April, June, September and November; L is",
        ),
        ("0 9 29 2 *", "there is no 29th in February outside leap years"),
        ("0 9 1,30 1,2 *", "there is no 30th in February; L is the last day of every month"),
    ],
)
def test_surprising_expressions_are_explained(expression: str, text: str) -> None:
    assert text in "\n".join(surprises(parse(expression)))


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "* * * * *",
            "*/15 */2 * * *",
            "0 3 * * mon",
            "0 3 1 * *",
            "0 9 * * mon#4",
            "0 9 31 1,3 *",
            "@daily",
        ),
        *("0 9 L * *", "0 9 1-31 * *", "0 0 */1 */3 *", "0,30 8-17 * * mon-fri", "0 9 28 * *"),
    ],
)
def test_ordinary_expressions_are_not(expression: str) -> None:
    assert list(surprises(parse(expression))) == []


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("0 9 * * fri-mon", ["fri-mon"]),
        ("0 22-2 * nov-feb *", ["22-2", "nov-feb"]),
        ("0 9 * * sat-sun", ["sat-sun"]),
        ("0 9 * * 5-7", []),
        ("10-20/3 9-17 1-7 * mon-fri", []),
    ],
)
def test_ranges_that_debians_cron_never_fires_are_named(expression: str, terms: list[str]) -> None:
    found = list(never_in_cron(parse(expression)))
    assert [text.split()[2] for text in found] == terms


def test_times_that_a_clock_change_skips_or_repeats_are_named_with_its_day() -> None:
    assert list(clock_surprises(cron("30 1 * * *", "Europe/London"), NOW)) == [
        "the clock changes on 2026-10-25 in Europe/London: 01:30 occurs twice: it runs the first time only",
        (
            "the clock changes on 2027-03-28 in Europe/London: 01:30 is skipped by the clock: "
            "it runs at 02:00, right after the change"
        ),
    ]


@pytest.mark.parametrize(
    ("expression", "zone"),
    [("30 1 * * *", "UTC"), ("30 4 * * *", "Europe/London"), ("*/5 * * * *", "Europe/London")],
)
def test_no_clock_change_concerns_other_times(expression: str, zone: str) -> None:
    assert list(clock_surprises(cron(expression, zone), NOW)) == []
