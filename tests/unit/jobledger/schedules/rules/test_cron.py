"""Golden tables: the slots of cron expressions around clock changes, determined by hand."""

from datetime import UTC, datetime
from itertools import islice
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RuleError, next_slot, previous_slot, slots_between
from tests.unit.jobledger.schedules.times import cron, local_times, utc

LONDON, NEW_YORK, LORD_HOWE = "Europe/London", "America/New_York", "Australia/Lord_Howe"
SAO_PAULO, KOLKATA = "America/Sao_Paulo", "Asia/Kolkata"

# Each row: title, zone, expression, start, the slots that follow.
SPRING = [
    (
        "a time in the gap runs right after it",
        *(LONDON, "30 1 * * *", "2026-03-28T00:00+00:00"),
        ["2026-03-28T01:30+00:00", "2026-03-29T02:00+01:00", "2026-03-30T01:30+01:00"],
    ),
    (
        "a time in the gap runs right after it",
        *(NEW_YORK, "30 2 * * *", "2026-03-07T00:00-05:00"),
        ["2026-03-07T02:30-05:00", "2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
    ),
    (
        "a time in a half-hour gap runs right after it",
        *(LORD_HOWE, "15 2 * * *", "2026-10-03T00:00+10:30"),
        ["2026-10-03T02:15+10:30", "2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
    ),
    (
        "a time after a half-hour gap is not shifted",
        *(LORD_HOWE, "45 2 * * *", "2026-10-03T12:00+10:30"),
        ["2026-10-04T02:45+11:00", "2026-10-05T02:45+11:00"],
    ),
    (
        "midnight may be in a gap",
        *(SAO_PAULO, "0 0 * * *", "2018-11-03T00:00-03:00"),
        ["2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"],
    ),
    (
        "a weekday keeps its day if its midnight is in a gap",
        *(SAO_PAULO, "0 0 * * sun", "2018-11-01T00:00-03:00"),
        ["2018-11-04T01:00-02:00", "2018-11-11T00:00-02:00"],
    ),
    (
        "several times in one gap run once",
        *(LONDON, "0,20,40 1 * * *", "2026-03-29T00:00+00:00"),
        ["2026-03-29T02:00+01:00", "2026-03-30T01:00+01:00"],
    ),
    (
        "the end of the gap and its own time are one slot",
        *(LONDON, "0 1,2 * * *", "2026-03-29T00:00+00:00"),
        ["2026-03-29T02:00+01:00", "2026-03-30T01:00+01:00"],
    ),
    (
        "hourly follows the clock over the gap",
        *(LONDON, "0 * * * *", "2026-03-28T23:00+00:00"),
        ["2026-03-29T00:00+00:00", "2026-03-29T02:00+01:00", "2026-03-29T03:00+01:00"],
    ),
    (
        "hourly over a half-hour gap",
        *(LORD_HOWE, "45 * * * *", "2026-10-04T00:50+10:30"),
        ["2026-10-04T01:45+10:30", "2026-10-04T02:45+11:00", "2026-10-04T03:45+11:00"],
    ),
    (
        "every minute follows the clock over the gap",
        *(NEW_YORK, "* * * * *", "2026-03-08T01:58-05:00"),
        ["2026-03-08T01:59-05:00", "2026-03-08T03:00-04:00", "2026-03-08T03:01-04:00"],
    ),
    (
        "every half hour over a half-hour gap",
        *(LORD_HOWE, "*/30 * * * *", "2026-10-04T01:00+10:30"),
        ["2026-10-04T01:30+10:30", "2026-10-04T02:30+11:00", "2026-10-04T03:00+11:00"],
    ),
    (
        "every ten minutes of the hour after a half-hour gap",
        *(LORD_HOWE, "*/30 3 * * *", "2026-10-04T00:55+10:30"),
        ["2026-10-04T03:00+11:00", "2026-10-04T03:30+11:00", "2026-10-05T03:00+11:00"],
    ),
    (
        "every two hours, one of which is in the gap",
        *(NEW_YORK, "0 */2 * * *", "2026-03-07T23:00-05:00"),
        ["2026-03-08T00:00-05:00", "2026-03-08T04:00-04:00"],
    ),
    (
        "a job that follows the clock does not run in a skipped hour",
        *(SAO_PAULO, "*/30 0 * * *", "2018-11-03T12:00-03:00"),
        ["2018-11-05T00:00-02:00", "2018-11-05T00:30-02:00"],
    ),
    (
        "the same with a weekday",
        *(SAO_PAULO, "*/30 0 * * sun", "2018-11-03T12:00-03:00"),
        ["2018-11-11T00:00-02:00", "2018-11-11T00:30-02:00"],
    ),
    (
        "a whole day may be missing",
        *("Pacific/Apia", "0 12 * * *", "2011-12-29T00:00-10:00"),
        ["2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
    ),
]
AUTUMN = [
    (
        "a fixed time in the repeated hour runs once",
        *(LONDON, "30 1 * * *", "2026-10-24T12:00+01:00"),
        ["2026-10-25T01:30+01:00", "2026-10-26T01:30+00:00"],
    ),
    (
        "a fixed time in the repeated hour runs once",
        *(NEW_YORK, "30 1 * * *", "2026-10-31T12:00-04:00"),
        ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
    ),
    (
        "a fixed time in the repeated half hour runs once",
        *(LORD_HOWE, "45 1 * * *", "2026-04-04T12:00+11:00"),
        ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
    ),
    (
        "a fixed time before midnight is repeated",
        *(SAO_PAULO, "30 23 * * *", "2019-02-16T12:00-02:00"),
        ["2019-02-16T23:30-02:00", "2019-02-17T23:30-03:00"],
    ),
    (
        "midnight occurs once although the hour before it is repeated",
        *(SAO_PAULO, "0 0 * * *", "2019-02-16T12:00-02:00"),
        ["2019-02-17T00:00-03:00", "2019-02-18T00:00-03:00"],
    ),
    (
        "in the second pass, a fixed time of the first pass is over",
        *(LONDON, "30 1 * * *", "2026-10-25T01:10+00:00"),
        ["2026-10-26T01:30+00:00"],
    ),
    (
        "hourly runs in both hours",
        *(LONDON, "0 * * * *", "2026-10-25T00:00+01:00"),
        ["2026-10-25T01:00+01:00", "2026-10-25T01:00+00:00", "2026-10-25T02:00+00:00"],
    ),
    (
        "hourly runs in both hours before midnight",
        *(SAO_PAULO, "0 * * * *", "2019-02-16T22:00-02:00"),
        ["2019-02-16T23:00-02:00", "2019-02-16T23:00-03:00", "2019-02-17T00:00-03:00"],
    ),
    (
        "hourly within the repeated half hour",
        *(LORD_HOWE, "45 * * * *", "2026-04-05T01:00+11:00"),
        ["2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30", "2026-04-05T02:45+10:30"],
    ),
    (
        "hourly outside the repeated half hour",
        *(LORD_HOWE, "15 * * * *", "2026-04-05T00:20+11:00"),
        ["2026-04-05T01:15+11:00", "2026-04-05T02:15+10:30"],
    ),
    (
        "every minute continues without a silent hour",
        *(NEW_YORK, "* * * * *", "2026-11-01T01:58-04:00"),
        ["2026-11-01T01:59-04:00", "2026-11-01T01:00-05:00", "2026-11-01T01:01-05:00"],
    ),
    (
        "every minute continues at the end of the second pass",
        *(LORD_HOWE, "* * * * *", "2026-04-05T01:58+10:30"),
        ["2026-04-05T01:59+10:30", "2026-04-05T02:00+10:30"],
    ),
    (
        "every half hour runs in both hours",
        *(LONDON, "*/30 * * * *", "2026-10-25T01:00+01:00"),
        ["2026-10-25T01:30+01:00", "2026-10-25T01:00+00:00", "2026-10-25T01:30+00:00"],
    ),
    (
        "a * minute in a fixed hour runs in both",
        *(LONDON, "*/30 1 * * *", "2026-10-25T00:00+01:00"),
        [
            *("2026-10-25T01:00+01:00", "2026-10-25T01:30+01:00"),
            *("2026-10-25T01:00+00:00", "2026-10-25T01:30+00:00", "2026-10-26T01:00+00:00"),
        ],
    ),
    (
        "every two hours is not affected",
        *(LONDON, "0 */2 * * *", "2026-10-24T23:00+01:00"),
        ["2026-10-25T00:00+01:00", "2026-10-25T02:00+00:00", "2026-10-25T04:00+00:00"],
    ),
    (
        "listed hours are fixed times, even if all are listed",
        *(LONDON, "0 0-23 * * *", "2026-10-25T00:00+01:00"),
        ["2026-10-25T01:00+01:00", "2026-10-25T02:00+00:00"],
    ),
]
NO_CHANGE = [
    (
        "a zone without clock changes",
        *(KOLKATA, "30 1 * * *", "2026-03-28T00:00+05:30"),
        ["2026-03-28T01:30+05:30", "2026-03-29T01:30+05:30", "2026-03-30T01:30+05:30"],
    ),
    (
        "hourly with an offset of half an hour from UTC",
        *(KOLKATA, "0 * * * *", "2026-10-25T00:30+05:30"),
        ["2026-10-25T01:00+05:30", "2026-10-25T02:00+05:30"],
    ),
    (
        "a zone that no longer changes its clocks",
        *(SAO_PAULO, "0 0 * * *", "2026-11-01T12:00-03:00"),
        ["2026-11-02T00:00-03:00", "2026-11-03T00:00-03:00"],
    ),
    (
        "both day fields are restricted: either may match",
        *(LONDON, "0 12 13 * fri", "2026-02-01T00:00+00:00"),
        ["2026-02-06T12:00+00:00", "2026-02-13T12:00+00:00", "2026-02-20T12:00+00:00"],
    ),
    (
        "both day fields are restricted: either may match",
        *(LONDON, "0 12 1 * mon", "2026-03-31T00:00+01:00"),
        ["2026-04-01T12:00+01:00", "2026-04-06T12:00+01:00", "2026-04-13T12:00+01:00"],
    ),
    (
        "a day field that begins with * restricts the other",
        *(LONDON, "0 12 */2 * mon", "2026-06-01T00:00+01:00"),
        ["2026-06-01T12:00+01:00", "2026-06-15T12:00+01:00", "2026-06-29T12:00+01:00"],
    ),
    (
        "leap day",
        *(LONDON, "0 0 29 2 *", "2026-01-01T00:00+00:00"),
        ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"],
    ),
    (
        "the last day and the second Monday",
        *(LONDON, "0 0 L 2 mon#2", "2027-01-01T00:00+00:00"),
        ["2027-02-08T00:00+00:00", "2027-02-28T00:00+00:00", "2028-02-14T00:00+00:00"],
    ),
]
ROWS = [*SPRING, *AUTUMN, *NO_CHANGE]
IDS = [f"{what} ({zone}, {expression})" for what, zone, expression, *_ in ROWS]


@pytest.mark.parametrize(("what", "zone", "expression", "after", "slots"), ROWS, ids=IDS)
def test_the_next_slots_follow_the_wall_clock(
    what: str, zone: str, expression: str, after: str, slots: list[str]
) -> None:
    start = datetime.fromisoformat(after)
    following = slots_between(cron(expression, zone), start, utc("2100-01-01"))
    assert local_times(list(islice(following, len(slots))), zone) == slots


@pytest.mark.parametrize(("what", "zone", "expression", "after", "slots"), ROWS, ids=IDS)
def test_the_same_slots_are_found_backwards(
    what: str, zone: str, expression: str, after: str, slots: list[str]
) -> None:
    rule = cron(expression, zone)
    found = [datetime.fromisoformat(slots[-1])]
    while len(found) < len(slots):
        found.insert(0, previous_slot(rule, found[0]) or datetime.min.replace(tzinfo=UTC))
    assert local_times(found, zone) == slots


@pytest.mark.parametrize(
    ("expression", "before", "slot"),
    [
        ("30 1 * * *", "2026-10-25T01:10+00:00", "2026-10-25T01:30+01:00"),
        ("50 * * * *", "2026-10-25T01:10+00:00", "2026-10-25T01:50+01:00"),
        ("0 * * * *", "2026-10-25T01:10+00:00", "2026-10-25T01:00+00:00"),
        ("0 * * * *", "2026-10-25T01:10+01:00", "2026-10-25T01:00+01:00"),
        ("50 * * * *", "2026-10-25T02:10+00:00", "2026-10-25T01:50+00:00"),
    ],
)
def test_in_the_repeated_hour_the_previous_slot_may_be_in_the_first_pass(
    expression: str, before: str, slot: str
) -> None:
    previous = previous_slot(cron(expression, LONDON), datetime.fromisoformat(before))
    assert previous is not None
    assert local_times([previous], LONDON) == [slot]


@pytest.mark.parametrize(
    ("zone", "expression", "after", "until", "count"),
    [
        # 29 December is followed by the 31st, at whose midnight the times of the 30th run.
        ("Pacific/Apia", "0 12 30 12 *", "2011-12-29T12:00-10:00", "2012-01-02T00:00+14:00", 1),
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T11:00-10:00", "2012-01-01T12:00+14:00", 4),
        # One minute past midnight is followed by 23:01, so midnight occurs twice.
        ("America/St_Johns", "0 0 * * *", "2010-11-06T23:30-02:30", "2010-11-09T00:00-03:30", 3),
        ("America/St_Johns", "0 * * * *", "2010-11-06T23:30-02:30", "2010-11-08T00:00-03:30", 26),
        ("America/St_Johns", "0 * * * *", "2010-11-06T23:30-03:30", "2010-11-08T00:00-03:30", 25),
        ("America/St_Johns", "0 0 * * *", "2010-11-06T23:30-03:30", "2010-11-08T00:00-03:30", 1),
        (LONDON, "*/30 * * * *", "2026-10-24T00:00+01:00", "2026-10-26T00:00+00:00", 98),
        (LONDON, "*/30 * * * *", "2026-03-28T00:00+00:00", "2026-03-30T00:00+01:00", 94),
        (LONDON, "15,45 9-17 * * mon-fri", "2026-05-01T12:15+01:00", "2026-05-04T12:15+01:00", 18),
    ],
)
def test_the_number_of_slots_on_days_with_a_clock_change(
    zone: str, expression: str, after: str, until: str, count: int
) -> None:
    rule, start, end = (
        cron(expression, zone),
        datetime.fromisoformat(after),
        datetime.fromisoformat(until),
    )
    assert len(list(slots_between(rule, start, end))) == count


def test_a_time_within_a_minute_is_before_the_next_minute() -> None:
    rule = cron("* * * * *")
    time = utc("2026-05-01 12:00:30.000001")
    assert next_slot(rule, time) == utc("2026-05-01 12:01")
    assert previous_slot(rule, time) == utc("2026-05-01 12:00")


def test_a_slot_is_neither_after_nor_before_itself() -> None:
    rule = cron("0 12 * * *")
    assert next_slot(rule, utc("2026-05-01 12:00")) == utc("2026-05-02 12:00")
    assert previous_slot(rule, utc("2026-05-01 12:00")) == utc("2026-04-30 12:00")


def test_a_cron_rule_is_validated_when_it_is_created() -> None:
    with pytest.raises(RuleError, match="minute: 61 is not between 0 and 59"):
        cron("61 * * * *")


def test_at_the_end_of_the_calendar_there_are_no_more_slots() -> None:
    assert next_slot(cron("0 0 1 1 *"), utc("9999-06-01")) is None


def test_an_empty_zone_is_rejected() -> None:
    # Nothing would ever be due in it, and the search would never end.
    with pytest.raises(RuleError, match="the time zone is empty"):
        Cron(expression="* * * * *", zone=cast("ZoneInfo", None))
