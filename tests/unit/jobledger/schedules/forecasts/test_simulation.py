"""Replays by example: 1 May 2026, in UTC."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.calendars.calendar import Calendar
from jobledger.calendars.use import CalendarUse
from jobledger.jobs.declaration import Misfire, PausedSlots
from jobledger.reason import MANY
from jobledger.runs import reasons
from jobledger.runs.phrases import NO_OTHER_DAY
from jobledger.schedules.forecasts.simulation import Queue, SimulatedSlot, simulate
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RESOLUTION, Rule, Window, slots_between
from tests.unit.jobledger.schedules.times import cron, every, local_times, utc

HOURLY = cron("0 * * * *")
ONCE = Policy()
Span = tuple[datetime, datetime]


def at(time: str) -> datetime:
    return utc(f"2026-05-01 {time}")


def down(since: str, until: str) -> Span:
    return at(since), at(until)


def pause(since: str, until: str | None, on_resume: PausedSlots = PausedSlots.SKIP) -> PausePeriod:
    return PausePeriod(
        since=at(since), until=None if until is None else at(until), reason="move", on_resume=on_resume
    )


def replayed(
    *downtimes: Span,
    rule: Rule = HOURLY,
    policy: Policy = ONCE,
    window: Window | None = None,
    pauses: tuple[PausePeriod, ...] = (),
    end: str = "16:00",
) -> list[str]:
    slots = simulate(
        rule=rule,
        policy=policy,
        window=window or Window(),
        pauses=pauses,
        identity="x",
        start=at("12:00"),
        end=at(end),
        downtimes=downtimes,
    )
    return [summary(slot) for slot in slots]


def summary(slot: SimulatedSlot) -> str:
    coalesced = f" +{slot.coalesced}" if slot.coalesced else ""
    started = f" at {slot.started_at:%H:%M:%S}" if slot.started_at else ""
    return f"{slot.scheduled_for:%H:%M} {slot.verdict}{coalesced}{started}"


def test_the_period_includes_its_start_but_not_its_end() -> None:
    assert replayed(end="14:00") == ["12:00 run at 12:00:00", "13:00 run at 13:00:00"]


def test_slots_that_pass_in_a_downtime_are_planned_at_its_end() -> None:
    assert replayed(down("12:30", "14:30")) == [
        "12:00 run at 12:00:00",
        "13:00 missed",
        "14:00 run at 14:30:00",
        "15:00 run at 15:00:00",
    ]


def test_downtimes_may_be_adjacent_overlapping_and_unordered() -> None:
    slots = replayed(down("13:30", "14:10"), down("14:10", "14:20"), down("12:30", "13:40"))
    assert slots[1:3] == ["13:00 missed", "14:00 run at 14:20:00"]


def test_a_downtime_at_the_start_delays_the_first_plan() -> None:
    assert replayed(down("11:00", "12:30"), end="13:00") == ["12:00 run at 12:30:00"]


def test_a_slot_is_replayed_until_decided_even_after_the_end() -> None:
    assert replayed(down("15:30", "16:40"), rule=cron("45 * * * *"), end="16:00")[-1] == (
        "15:45 run at 16:40:00"
    )


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        (Misfire.SKIP, ["13:00 missed", "14:00 missed"]),
        (Misfire.ONCE, ["13:00 missed", "14:00 run at 14:30:00"]),
        (Misfire.ALL, ["13:00 run at 14:30:00", "14:00 run at 14:30:00"]),
    ],
)
def test_the_misfire_policy_decides_after_a_downtime(misfire: Misfire, expected: list[str]) -> None:
    assert replayed(down("12:30", "14:30"), policy=Policy(misfire=misfire))[1:3] == expected


def test_slots_in_a_pause_are_skipped() -> None:
    slots = replayed(pauses=(pause("12:30", "14:30"),))
    assert slots[1:] == ["13:00 skipped", "14:00 skipped", "15:00 run at 15:00:00"]


def test_the_latest_slot_of_a_pause_runs_at_its_end() -> None:
    slots = replayed(pauses=(pause("12:30", "14:30", PausedSlots.RUN_ONCE),))
    assert slots[1:] == ["13:00 skipped", "14:00 run at 14:30:00", "15:00 run at 15:00:00"]


def test_a_slot_held_forever_is_reported_as_held() -> None:
    paused = (pause("11:00", None, PausedSlots.RUN_ONCE),)
    assert replayed(pauses=paused, window=Window(one_off=True)) == ["12:00 held"]


def test_a_one_off_schedule_has_one_slot() -> None:
    assert replayed(window=Window(one_off=True)) == ["12:00 run at 12:00:00"]


def test_an_expired_schedule_has_no_more_slots() -> None:
    assert replayed(window=Window(expires=at("13:00"))) == ["12:00 run at 12:00:00"]


def test_a_schedule_without_slots_in_the_period_yields_nothing() -> None:
    assert replayed(rule=cron("0 0 1 1 *")) == []


def test_jitter_delays_the_simulated_start() -> None:
    policy = Policy(jitter=timedelta(minutes=30))
    start = at("12:00") + jitter_delay(policy.jitter, "x")
    assert replayed(policy=policy, end="13:00") == [f"12:00 run at {start:%H:%M:%S}"]


def test_a_skipped_slot_has_the_time_of_its_decision() -> None:
    spans = [down("12:30", "14:30")]
    slots = simulate(
        rule=HOURLY, policy=ONCE, identity=1, start=at("12:30"), end=at("14:00"), downtimes=spans
    )
    assert [(slot.decided_at, slot.started_at) for slot in slots] == [(at("14:30"), None)]


def test_a_naive_datetime_raises_immediately() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        simulate(
            rule=HOURLY,
            policy=ONCE,
            identity=1,
            start=at("12:00").replace(tzinfo=None),
            end=at("13:00"),
        )


def test_the_fall_back_night_follows_the_wall_clock() -> None:
    slots = simulate(
        rule=cron("30 1 * * *", "Europe/London"),
        policy=ONCE,
        identity=1,
        start=utc("2026-10-24"),
        end=utc("2026-10-27"),
    )
    assert local_times([slot.scheduled_for for slot in slots], "Europe/London") == [
        "2026-10-24T01:30+01:00",
        "2026-10-25T01:30+01:00",
        "2026-10-26T01:30+00:00",
    ]


def test_a_long_replay_is_lazy_and_uses_constant_memory() -> None:
    slots = simulate(rule=every(seconds=1), policy=ONCE, identity=1, start=at("00:00"), end=utc("2126-05-01"))
    list(islice(slots, 200))
    tracemalloc.start()
    list_nothing(islice(slots, 2000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def list_nothing(slots: Iterator[SimulatedSlot]) -> None:
    for _ in slots:
        pass


OFFSETS = st.integers(0, 3 * 24 * 60).map(lambda minutes: at("00:00") + timedelta(minutes=minutes))
SPANS = st.tuples(OFFSETS, OFFSETS).map(lambda pair: (min(pair), max(pair)))
CRONS = st.sampled_from(["*/5 * * * *", "0 * * * *", "30 1 * * *"]).map(cron)


@settings(max_examples=20)
@given(CRONS, st.sampled_from(Misfire), st.lists(SPANS, max_size=3))
def test_each_slot_of_the_period_is_yielded_once_and_in_order(
    rule: Cron, misfire: Misfire, downtimes: list[Span]
) -> None:
    start, end = at("00:00"), at("00:00") + timedelta(days=4)
    slots = list(
        simulate(
            rule=rule,
            policy=Policy(misfire=misfire),
            identity=1,
            start=start,
            end=end,
            downtimes=downtimes,
        )
    )
    slots_found = [slot.scheduled_for for slot in slots]
    assert slots_found == sorted(set(slots_found))
    assert set(slots_found) <= set(slots_between(rule, start - RESOLUTION, end - RESOLUTION))
    total = sum(1 + slot.coalesced for slot in slots)
    due = len(list(slots_between(rule, start - RESOLUTION, end - RESOLUTION)))
    is_counted_to_the_end = all(slot.coalesced < MANY for slot in slots)
    assert total == due if is_counted_to_the_end else total <= due


@settings(max_examples=20)
@given(CRONS, st.lists(SPANS, max_size=3))
def test_nothing_is_decided_while_beat_is_down(rule: Cron, downtimes: list[Span]) -> None:
    slots = simulate(
        rule=rule,
        policy=ONCE,
        identity=1,
        start=at("00:00"),
        end=at("00:00") + timedelta(days=2),
        downtimes=downtimes,
    )
    for slot in slots:
        assert slot.decided_at >= slot.scheduled_for
        assert not any(since <= slot.decided_at < until for since, until in downtimes)


def test_further_runs_are_skipped_while_as_many_wait_as_may_be_live() -> None:
    slots = simulate(
        rule=every(seconds=20),
        policy=Policy(),
        identity=1,
        start=at("12:00"),
        end=utc("2026-05-01T12:01:20"),
        queue=Queue(no_workers=[down("12:00", "12:30")], may_overlap=True, max_live=2),
    )
    found = [f"{slot.scheduled_for:%M:%S} {slot.verdict} {slot.why.reason or ''}".rstrip() for slot in slots]
    assert found == [
        "00:00 missed superseded",
        "00:20 missed superseded",
        "00:40 skipped too_many_live",
        "01:00 missed superseded",
    ]


# 1 May 2026 is a Friday.


def limited(text: str, *, moved: bool = False) -> CalendarRule:
    use = CalendarUse(not_on=(Calendar(name="closed", text=text),), only_on=(), is_moved=moved)
    return CalendarRule(base=HOURLY, use=use, zone=ZoneInfo("UTC"))


def test_what_a_calendar_leaves_out_is_counted_in_the_period_wherever_its_record_stands() -> None:
    assert replayed(rule=limited("fri")) == ["15:00 skipped +3"]
    assert replayed(rule=limited("13:00 to 23:00"), end="14:01") == [
        "12:00 run at 12:00:00",
        "14:00 skipped +1",
    ]
    assert replayed(rule=limited("13:00 to 14:30"), end="16:00") == [
        "12:00 run at 12:00:00",
        "14:00 skipped +1",
        "15:00 run at 15:00:00",
    ]


def test_what_cannot_be_moved_before_the_schedules_end_says_so() -> None:
    daily = replace(limited("fri", moved=True), base=cron("0 13 1 5 *"), window=Window(expires=at("23:00")))
    (slot,) = simulate(
        rule=daily, policy=ONCE, identity="x", window=daily.window, start=at("12:00"), end=at("16:00")
    )
    assert (slot.verdict, slot.why.details["no_other_day"]) == ("skipped", True)
    assert reasons.planned(slot.why, slot.scheduled_for).endswith(NO_OTHER_DAY)


def test_the_rest_of_a_day_is_recorded_with_all_of_it() -> None:
    *_, rest = simulate(
        rule=limited("13:00 to 23:00"), policy=ONCE, identity="x", start=at("12:00"), end=at("14:00")
    )
    assert (rest.scheduled_for, rest.decided_at) == (at("13:00"), at("22:00"))


@settings(max_examples=30)
@given(
    st.sampled_from(["fri", "sat, sun", "13:00 to 15:30", "11:00 to 12:30", "22:00 to 06:00"]),
    st.booleans(),
    st.integers(0, 40),
    st.integers(1, 40),
)
def test_every_slot_is_counted_once_whatever_calendars_leave_out(
    text: str, moved: bool, begin: int, hours: int
) -> None:
    start = at("00:00") + timedelta(hours=begin)
    end = start + timedelta(hours=hours)
    rule = limited(text, moved=moved)
    slots = list(simulate(rule=rule, policy=ONCE, identity="x", start=start, end=end))
    own = [slot for slot in slots if start <= slot.scheduled_for < end]
    # What is moved is due in the period, or on the next day: then its own slot is in the period.
    assert sum(1 + slot.coalesced for slot in own) == hours
