"""A forecast counts the runs that beat would start, consistent with the simulation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.calendars.calendar import Calendar
from jobledger.calendars.use import CalendarUse
from jobledger.jobs.declaration import PausedSlots
from jobledger.schedules.forecasts.simulation import simulate
from jobledger.schedules.planning.forecast import Forecast, Starts
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import RESOLUTION, Rule, Window
from tests.unit.jobledger.schedules.times import cron, every, utc

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = utc("2026-05-01 12:00")
ON_TIME = Policy()


def edges(count: int, step: timedelta = HOUR, begin: datetime = NOW) -> list[datetime]:
    return [begin + step * place for place in range(count + 1)]


def counts(rule: Rule, *, bounds: Sequence[datetime] = tuple(edges(4)), **values: Any) -> list[int]:
    """The number of runs that start in each span."""
    given = {"policy": ON_TIME, "identity": 1, "handled_until": bounds[0] - RESOLUTION, **values}
    found = Forecast(bounds).starts(rule=rule, **given)
    return [found[place].count if place in found else 0 for place in range(len(bounds) - 1)]


def paused(since: float, until: float | None, on_resume: PausedSlots = PausedSlots.SKIP) -> PausePeriod:
    """The edges from this many hours after now on."""
    end = None if until is None else NOW + until * HOUR
    return PausePeriod(since=NOW + since * HOUR, until=end, on_resume=on_resume)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (cron("*/20 * * * *"), [3, 3, 3, 3]),
        (cron("59 13 * * *"), [0, 1, 0, 0]),
        (every(seconds=1), [3600] * 4),
        (every(hours=2), [1, 0, 1, 0]),
        (Clocked(at=NOW + 2 * HOUR), [0, 0, 1, 0]),
        (Clocked(at=NOW + 4 * HOUR), [0, 0, 0, 0]),
    ],
)
def test_a_span_includes_its_start_but_not_its_end(rule: Rule, expected: list[int]) -> None:
    assert counts(rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (cron("10 * * * *"), [1, 1, 1, 1]),
        (cron("17 12 * * *"), [1, 0, 0, 0]),
        (cron("17 16 * * *"), [0, 0, 0, 0]),
        (cron("16 12 * * *"), [0, 0, 0, 0]),
    ],
)
def test_so_does_one_that_does_not_begin_on_the_hour(rule: Rule, expected: list[int]) -> None:
    assert counts(rule, bounds=edges(4, begin=NOW + timedelta(minutes=17))) == expected


@dataclass(frozen=True, kw_only=True)
class Noted(Clocked):
    """Notes how often it is evaluated."""

    times: ClassVar[list[datetime]] = []

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        self.times.append(after)
        return super().between(after, until)


def test_an_open_page_evaluates_a_rule_once_an_hour() -> None:
    rule = Noted(at=NOW + 2 * HOUR)
    Noted.times.clear()
    evaluated = list[int]()
    for minutes in 1, 30, 59, 61, 62:
        counts(rule, bounds=edges(4, begin=NOW + timedelta(minutes=minutes)))
        evaluated.append(len(Noted.times))
    assert evaluated == [1, 1, 1, 2, 2]


def test_the_first_start_of_a_span_is_known() -> None:
    policy = Policy(jitter=timedelta(minutes=10))
    delay = jitter_delay(policy.jitter, 1)
    for rule in (cron("15,45 * * * *"), every(minutes=15)):
        found = Forecast(edges(1)).starts(rule=rule, policy=policy, identity=1, handled_until=NOW)
        assert found[0].first == NOW + timedelta(minutes=15) + delay
    assert Forecast(edges(1)).starts(
        rule=Clocked(at=NOW), policy=ON_TIME, identity=1, handled_until=NOW - DAY
    ) == {0: Starts(first=NOW, count=1)}


def test_a_slot_that_waits_for_its_jitter_starts_unless_it_is_on_record() -> None:
    policy = Policy(jitter=timedelta(hours=1))
    delay = jitter_delay(policy.jitter, 1)
    slot = NOW - delay / 2
    assert counts(Clocked(at=slot), policy=policy, handled_until=NOW - DAY) == [1, 0, 0, 0]
    assert counts(Clocked(at=slot), policy=policy, handled_until=slot) == [0, 0, 0, 0]


def test_a_schedule_starts_only_within_its_window_and_once_if_it_is_one_off() -> None:
    half = HOUR / 2
    window = Window(start_time=NOW + HOUR, expires=NOW + 2 * HOUR + half)
    assert counts(cron("*/15 * * * *"), window=window) == [0, 4, 2, 0]
    assert counts(every(seconds=1), window=window) == [0, 3600, 1800, 0]
    once = Window(start_time=NOW + HOUR, one_off=True)
    assert counts(cron("*/15 * * * *"), window=once) == [0, 1, 0, 0]
    assert counts(cron("*/15 * * * *"), window=once, pauses=[paused(1, 1.1)]) == [0, 0, 0, 0]


@pytest.mark.parametrize("rule", [cron("* * * * *"), every(seconds=1)])
def test_nothing_starts_in_a_pause(rule: Rule) -> None:
    a_half = counts(rule)[0] // 2
    pauses = [paused(0.5, 1.5), paused(1.25, 2), paused(3, None)]
    assert counts(rule, pauses=pauses) == [a_half, 0, 2 * a_half, 0]


def test_a_pause_that_runs_the_latest_slot_starts_one_run_at_its_end() -> None:
    once = PausedSlots.RUN_ONCE
    hourly = cron("30 * * * *")
    assert counts(hourly, pauses=[paused(0, 2.25, once)]) == [0, 0, 2, 1]
    assert counts(hourly, pauses=[paused(-5, 2.25, once)], handled_until=NOW - 4 * HOUR) == [0, 0, 2, 1]
    assert counts(hourly, pauses=[paused(0, 0.25, once)]) == [1, 1, 1, 1]
    # A slot that is due exactly then runs instead.
    assert counts(hourly, pauses=[paused(0, 2.5, once)]) == [0, 0, 1, 1]
    assert counts(hourly, pauses=[paused(0, 2.25, once), paused(2, 3)]) == [0, 0, 0, 1]
    deadline = Policy(starting_deadline=timedelta(minutes=30))
    assert counts(hourly, pauses=[paused(0, 2.25, once)], policy=deadline) == [0, 0, 1, 1]


def test_a_start_that_jitter_delays_past_the_end_of_the_schedule_is_not_counted() -> None:
    """Its run would expire."""
    delay = jitter_delay(HOUR, "daily-report")
    for margin, expected in (-RESOLUTION, []), (timedelta(0), []), (RESOLUTION, [0, 1, 0, 0]):
        window = Window(expires=NOW + HOUR + delay + margin)
        found = counts(cron("0 13 * * *"), window=window, policy=Policy(jitter=HOUR), identity="daily-report")
        assert found == (expected or [0, 0, 0, 0])


def test_repeated_and_skipped_hours_are_counted_as_by_cron() -> None:
    fixed, following = (cron(text, "Europe/London") for text in ("30 1 * * *", "*/30 * * * *"))
    spring, autumn = utc("2026-03-29 00:00"), utc("2026-10-25 00:00")
    assert counts(fixed, bounds=edges(3, begin=spring)) == [0, 1, 0]
    assert counts(following, bounds=edges(3, begin=spring)) == [2, 2, 2]
    assert counts(fixed, bounds=edges(3, begin=autumn)) == [1, 0, 0]
    assert counts(following, bounds=edges(3, begin=autumn)) == [2, 2, 2]


def test_what_calendars_leave_out_does_not_start() -> None:
    use = CalendarUse(not_on=(Calendar(name="closed", text="13:30 to 15:10"),))
    for base in (every(seconds=1), cron("* * * * *"), cron("*/30 * * * *"), every(hours=1)):
        rule = CalendarRule(base=base, use=use, zone=ZoneInfo("UTC"))
        simulated = simulate(
            rule=rule, policy=ON_TIME, identity=1, start=NOW, end=NOW + 4 * HOUR - timedelta(microseconds=1)
        )
        starts = [each.started_at for each in simulated if each.started_at is not None]
        bounds = edges(4)
        expected = [sum(one <= start < other for start in starts) for one, other in pairwise(bounds)]
        assert counts(rule) == expected
        assert expected[2] == 0


def test_what_calendars_move_starts_at_its_new_time() -> None:
    use = CalendarUse(not_on=(Calendar(name="closed", text="2026-04-30"),), is_moved=True)
    rule = CalendarRule(base=cron("0 14 30 * *"), use=use, zone=ZoneInfo("UTC"))
    assert counts(rule) == [0, 0, 1, 0]


RULES = st.one_of(
    st.sampled_from(
        [
            *(cron(text) for text in ("* * * * *", "*/7 * * * *", "13 */2 * * *", "30 1 * * *")),
            cron("20,50 1,2 * * *", "Europe/Berlin"),
            cron("*/25 * * * *", "Australia/Lord_Howe"),
            Clocked(at=NOW + 5 * HOUR),
        ]
    ),
    st.integers(30, 40_000).map(lambda seconds: every(seconds=seconds)),
)
TIMES = st.sampled_from([NOW, utc("2026-03-28 20:10"), utc("2026-10-24 21:40"), utc("2026-04-04 09:00")])
MINUTES = st.integers(-300, 2000)


@st.composite
def some_pauses(draw: st.DrawFn, begin: datetime) -> list[PausePeriod]:
    """Any number that skip, or one that does not: overlapping ones are not forecast exactly."""
    on_resume = draw(st.sampled_from(PausedSlots))
    pauses = []
    for _ in range(draw(st.integers(0, 1 if on_resume is PausedSlots.RUN_ONCE else 3))):
        since = begin + timedelta(minutes=draw(MINUTES))
        length = draw(st.one_of(st.none(), st.integers(1, 900)))
        until = None if length is None else since + timedelta(minutes=length)
        pauses.append(PausePeriod(since=since, until=until, on_resume=on_resume))
    return pauses


@given(st.data(), RULES, TIMES, st.sampled_from([0, 1, 40, 500]))
def test_it_counts_what_the_simulation_starts(
    data: st.DataObject, rule: Rule, begin: datetime, jitter_minutes: int
) -> None:
    bounds = edges(data.draw(st.integers(1, 40)), data.draw(st.sampled_from([HOUR / 2, HOUR])), begin)
    policy = Policy(jitter=timedelta(minutes=jitter_minutes))
    window = Window(
        expires=begin + timedelta(minutes=data.draw(MINUTES)) if data.draw(st.booleans()) else None,
        one_off=data.draw(st.booleans()),
    )
    pauses = data.draw(some_pauses(begin))
    given = {"rule": rule, "policy": policy, "window": window, "pauses": pauses, "identity": 7}
    simulated = simulate(start=begin, end=bounds[-1] + DAY, **given)  # type: ignore[arg-type]
    starts = [each.started_at for each in simulated if each.started_at is not None]
    expected = [sum(one <= start < other for start in starts) for one, other in pairwise(bounds)]
    assert counts(bounds=bounds, **given) == expected  # type: ignore[arg-type]
