"""Properties of cron slots, also compared to a daemon that wakes up every minute like Debian's cron."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RESOLUTION, next_slot, previous_slot, slots_between

ZONES = [
    *("Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"),
    *("Asia/Kolkata", "America/St_Johns", "Africa/Casablanca", "Antarctica/Troll", "UTC"),
]
MINUTE = timedelta(minutes=1)


def clock_changes(zone: ZoneInfo) -> Iterator[datetime]:
    """Times around the zone's clock changes in ten years, and one other time."""
    start = datetime(2005, 1, 1, tzinfo=UTC)
    yield start
    days = (start + timedelta(days=day) for day in range(3653))
    for day, next_day in pairwise(days):
        if day.astimezone(zone).utcoffset() != next_day.astimezone(zone).utcoffset():
            yield next_day - timedelta(hours=12)


CHANGES = {name: list(clock_changes(ZoneInfo(name))) for name in ZONES}


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        st.sampled_from([f"*/{step}" for step in (2, 3, 7, 15, 30)]),
        number.map(str),
        st.lists(number, min_size=2, max_size=4).map(lambda each: ",".join(map(str, each))),
        st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    )


NIGHT = st.one_of(field(0, 23), st.sampled_from(["0", "1", "2", "0-3", "23,0,1", "*/2"]))
DAYS = st.one_of(st.just("*"), field(1, 31))
WEEKDAYS = st.one_of(st.just("*"), field(0, 7))
EXPRESSIONS = st.builds(" ".join, st.tuples(field(0, 59), NIGHT, DAYS, st.just("*"), WEEKDAYS))


@st.composite
def rules_and_times(draw: st.DrawFn) -> tuple[Cron, datetime]:
    """A rule, and a time that is usually near a clock change of its zone."""
    name = draw(st.sampled_from(ZONES))
    near = draw(st.sampled_from(CHANGES[name]))
    away = draw(st.timedeltas(timedelta(hours=-36), timedelta(hours=36)))
    return Cron(expression=draw(EXPRESSIONS), zone=ZoneInfo(name)), near + away


@given(rules_and_times())
def test_the_next_slot_is_in_utc_and_after_the_given_time(case: tuple[Cron, datetime]) -> None:
    rule, at = case
    slot = next_slot(rule, at)
    assert slot is not None
    assert slot > at
    assert slot.tzinfo is UTC


@given(rules_and_times())
def test_next_and_previous_are_inverses(case: tuple[Cron, datetime]) -> None:
    rule, at = case
    before, after = previous_slot(rule, at), next_slot(rule, at)
    assert before is not None
    assert after is not None
    assert before < at < after
    assert next_slot(rule, before) in (at, after)
    assert previous_slot(rule, after) in (at, before)


@given(rules_and_times(), st.timedeltas(timedelta(0), timedelta(days=2)))
def test_slots_between_equals_repeated_next_slots(case: tuple[Cron, datetime], span: timedelta) -> None:
    rule, start = case
    slots = list(slots_between(rule, start, start + span, limit=50))
    assert all(one < other for one, other in pairwise(slots))
    assert slots == [next_slot(rule, before) for before in [start, *slots][: len(slots)]]


@given(rules_and_times(), st.timedeltas(timedelta(0), timedelta(days=3)))
def test_cron_slots_walked_in_one_go_are_the_same(case: tuple[Cron, datetime], span: timedelta) -> None:
    rule, start = case
    one_by_one = slots_between(rule, start, start + span - RESOLUTION)
    assert list(rule.between(start, start + span)) == list(one_by_one)


@settings(max_examples=25)
@given(rules_and_times(), st.timedeltas(timedelta(0), timedelta(days=2)))
def test_slots_match_those_of_a_daemon_that_wakes_up_every_minute(
    case: tuple[Cron, datetime], span: timedelta
) -> None:
    rule, start = case
    expected = list(daemon(rule, start, start + span))
    assert list(slots_between(rule, start, start + span)) == expected
    assert list(backward(rule, start, start + span)) == expected[::-1]


def backward(rule: Cron, after: datetime, until: datetime) -> Iterator[datetime]:
    slot = previous_slot(rule, until + RESOLUTION)
    while slot is not None and slot > after:
        yield slot
        slot = previous_slot(rule, slot)


def daemon(rule: Cron, after: datetime, until: datetime) -> Iterator[datetime]:
    """Wakes up every minute. A job that follows the clock runs when the clock matches; one with fixed times
    runs when the clock has reached a match that it had not reached before."""
    minute, hour, *_ = rule.expression.split()
    follows_clock = minute.startswith("*") or hour.startswith("*")
    now = (after - timedelta(hours=30)).replace(second=0, microsecond=0)
    reached = clock(rule, now)
    while now <= until:
        shown = clock(rule, now)
        unseen = [reached + MINUTE * step for step in range(1, (shown - reached) // MINUTE + 1)]
        candidates = [shown] if follows_clock else unseen
        if now > after and any(is_match(rule.expression, wall) for wall in candidates):
            yield now
        reached = max(reached, shown)
        now += MINUTE


def clock(rule: Cron, at: datetime) -> datetime:
    return at.astimezone(rule.zone).replace(tzinfo=None, fold=0)


def is_match(expression: str, wall: datetime) -> bool:
    minute, hour, day, _, weekday = expression.split()
    on_day = wall.day in numbers(day, 1, 31)
    on_weekday = {wall.isoweekday(), wall.isoweekday() % 7} & numbers(weekday, 0, 7) != set()
    both = day.startswith("*") or weekday.startswith("*")
    is_due_day = (on_day and on_weekday) if both else (on_day or on_weekday)
    return is_due_day and wall.minute in numbers(minute, 0, 59) and wall.hour in numbers(hour, 0, 23)


def numbers(text: str, low: int, high: int) -> set[int]:
    if text.startswith("*"):
        return set(range(low, high + 1)[:: int(text[2:] or 1)])
    if "-" in text:
        first, last = text.split("-")
        return set(range(int(first), int(last) + 1))
    return {int(number) for number in text.split(",")}
