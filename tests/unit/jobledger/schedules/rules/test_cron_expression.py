from time import process_time

import pytest

from jobledger.schedules.rules.cron_expression import MACROS, parse
from jobledger.schedules.rules.slots import RuleError

FIELDS = "minute hour day-of-month month day-of-week"

# An expression, and the same in plain numbers.
MEANINGS = [
    ("0-0/2 3 * * 5-5/2", "0 3 * * 5"),
    ("*/15 0-6 1,15 * *", "*/15 0-6 1,15 * *"),
    ("0 0 * jan mon", "0 0 * 1 1"),
    ("0 0 * January MONDAY", "0 0 * 1 1"),
    ("0 0 * sept tues-thurs", "0 0 * 9 2-4"),
    ("0 0 * jan-mar/2 mon-fri", "0 0 * 1-3/2 1-5"),
    ("0 0 * * 7", "0 0 * * 7"),
    ("0 0 * * 5-7", "0 0 * * 5-7"),
    ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
    ("0 0 * * fri-mon", "0 0 * * 5,6,0,1"),
    ("0 0 * * 7-2", "0 0 * * 0,1,2"),
    ("0 22-2 * * *", "0 22,23,0,1,2 * * *"),
    ("0 22-3/2 * * *", "0 22,0,2 * * *"),
    ("55-5 * * * *", "55,56,57,58,59,0,1,2,3,4,5 * * * *"),
    ("0 0 28-2 nov-feb *", "0 0 28,29,30,31,1,2 11,12,1,2 *"),
    ("05 007 * * *", "5 7 * * *"),
    ("0 0 l * *", "0 0 L * *"),
    ("0 0 LW * 5L", "0 0 LW * 5L"),
    ("0 0 * * fril", "0 0 * * 5L"),
    ("0 0 * * MON#2", "0 0 * * 1#2"),
    ("  0   0  *  * * ", "0 0 * * *"),
    ("@daily", "0 0 * * *"),
    ("@Hourly", "0 * * * *"),
]

# An invalid expression, and the error.
ERRORS = [
    ("61 * * * *", "minute: 61 is not between 0 and 59"),
    ("* 24 * * *", "hour: 24 is not between 0 and 23"),
    ("* * 0 * *", "day-of-month: 0 is not between 1 and 31"),
    ("* * * 1-13 *", "month: 13 is not between 1 and 12"),
    ("* * * * 8", "day-of-week: 8 is not between 0 and 7"),
    ("* * * * 9#2", "day-of-week: 9 is not between 0 and 7"),
    ("* * * * mon#6", "day-of-week: 'mon#6' is not valid"),
    ("* * * * mo", "day-of-week: 'mo' is not a number or a name such as sun"),
    ("* * * feb-mars *", "month: 'mars' is not a number or a name such as jan"),
    ("mon * * * *", "minute: 'mon' is not a number"),
    ("l * * * *", "minute: 'l' is not a number"),
    ("1,,2 * * * *", "minute: there is nothing between two commas"),
    ("1-2-3 * * * *", "minute: '1-2-3' is not valid"),
    ("*-5 * * * *", "minute: '*-5' is not valid"),
    ("-5 * * * *", "minute: '-5' is not valid"),
    ("*/0 * * * *", "minute: the step in '*/0' must be 1 or more"),
    ("*/x * * * *", "minute: '*/x' is not valid"),
    ("5/15 * * * *", "minute: a step needs a range, such as 5-59/15, or *"),
    ("0 0 ? * *", "day-of-month: '?' is not supported; use * for every value"),
    ("٣ * * * *", "minute: '٣' is not valid"),
    ("", f"the expression has 0 fields, cron has 5: {FIELDS}"),
    ("*", f"the expression has 1 field, cron has 5: {FIELDS}"),
    ("* * * *", f"the expression has 4 fields, cron has 5: {FIELDS}"),
    (
        "0 * * * * *",
        (
            f"the expression has 6 fields, cron has 5: {FIELDS}. "
            "For seconds, use an interval; for a single year, a clocked time"
        ),
    ),
    ("H * * * *", "minute: 'H' is not supported; choose a value, and a jitter to spread the load"),
    (
        "0 H(0-5)/2 * * *",
        "hour: 'H(0-5)/2' is not supported; choose a value, and a jitter to spread the load",
    ),
    # As in cronie, of Red Hat's and other distributions.
    (
        "0~30 3 * * *",
        "minute: '0~30' is not supported; choose a value, and a jitter for a random delay",
    ),
    ("~ 3 * * *", "minute: '~' is not supported; choose a value, and a jitter for a random delay"),
    ("0 9 15W * *", "day-of-month: '15W' is not supported; there is LW, the last weekday of the month"),
    ("0 9 L-2 * *", "day-of-month: 'L-2' is not supported; there is L, the last day of the month"),
    ("@reboot", "the expression @reboot is not a time, and a schedule needs one"),
    ("@dayly", f"the expression '@dayly' is unknown; choose one of {', '.join(MACROS)}"),
    ("0 0 30 2 *", "day-of-month: day 30 never occurs in month 2"),
    ("0 0 31 apr,jun *", "day-of-month: day 31 never occurs in month apr,jun"),
    ("0 0 */31 * mon#5", "the expression never matches: no day is both day */31 and weekday mon#5"),
]


@pytest.mark.parametrize(("expression", "canonical"), MEANINGS)
def test_an_expression_is_converted_to_plain_numbers(expression: str, canonical: str) -> None:
    assert parse(expression).canonical == canonical


@pytest.mark.parametrize(("expression", "message"), ERRORS)
def test_an_error_names_the_field_and_the_problem(expression: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(expression)
    assert str(caught.value) == message


def test_an_error_has_the_field_for_a_form() -> None:
    with pytest.raises(RuleError) as caught:
        parse("0 0 * 13 *")
    assert caught.value.field == "month"


def test_february_30_is_valid_together_with_a_weekday() -> None:
    assert parse("0 0 30 2 mon").canonical == "0 0 30 2 1"


def test_the_last_day_of_february_is_valid() -> None:
    assert parse("0 0 31,L 2 *").canonical == "0 0 31,L 2 *"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("17 1 * * 7", "17 1 * * sun"),
        ("1,3,5 2 * * *", "1-5/2 02 * * *"),
        ("*/15 * * * *", "*/15,30 0-23 * * *"),
        ("0 0 1-31 1-12 *", "@daily"),
        ("0 9 1-31 * mon", "0 9 * * *"),
        ("0 9 1 * 0-6", "0 9 * * *"),
        ("0 9 1-31,L * *", "0 9 * * *"),
        ("0 9 * * 1-7,5L", "0 9 * * *"),
        ("0 9 l,1 * fri#2,mon", "0 9 1,L * 1,5#2"),
    ],
)
def test_two_expressions_with_the_same_times_mean_the_same(one: str, other: str) -> None:
    assert parse(one).meaning == parse(other).meaning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0 9 * * 1", "0 9 * * 2"),
        ("0 9 1 * *", "0 9 1 * mon"),
        ("0 9 */2 * mon", "0 9 1-31/2 * mon"),
        ("0 9 * * mon", "0 9 1-31 * mon"),
        ("0 9 L * *", "0 9 LW * *"),
        ("0 9 * * fri#1", "0 9 * * 5L"),
        ("*/30 3 * * *", "0,30 3 * * *"),
    ],
)
def test_two_expressions_with_different_times_do_not_mean_the_same(one: str, other: str) -> None:
    assert parse(one).meaning != parse(other).meaning


def test_an_expression_that_never_matches_is_rejected_quickly() -> None:
    started = process_time()
    with pytest.raises(RuleError):
        parse("0 0 */31 * tue#5")
    assert process_time() - started < 1


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_means_its_expansion(macro: str) -> None:
    assert parse(macro) == parse(MACROS[macro])


@pytest.mark.parametrize(
    ("expression", "follows_clock"),
    [("* 1 * * *", True), ("0 */2 * * *", True), ("0 0-23 * * *", False), ("30 1 * * *", False)],
)
def test_a_minute_or_hour_that_begins_with_a_star_follows_the_clock(
    expression: str, follows_clock: bool
) -> None:
    assert parse(expression).follows_clock is follows_clock
