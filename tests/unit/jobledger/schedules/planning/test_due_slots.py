"""Plans after a long absence, when slots are counted and not walked through."""

from collections import Counter
from datetime import timedelta

from jobledger.schedules.planning.planning import Misfire, Pause, Plan, Policy, plan
from jobledger.schedules.rules.slots import Rule
from tests.unit.jobledger.schedules.times import cron, every, utc

EVERY_MINUTE, EVERY_SECOND = cron("* * * * *"), every(seconds=1)


def planned(rule: Rule, since: str, now: str, *pauses: Pause, policy: Policy | None = None) -> Plan:
    return plan(
        rule=rule,
        policy=policy or Policy(),
        pauses=pauses,
        identity="x",
        handled_until=utc(since),
        now=utc(now),
    )


def pause(since: str, until: str) -> Pause:
    return Pause(since=utc(since), until=utc(until))


def totals(result: Plan) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for record in result.records:
        counter[record.verdict.value] += 1 + record.dropped
    return dict(counter)


def runs(result: Plan) -> list[str]:
    slots = [record.scheduled_for for record in result.records if record.verdict == "run"]
    return [f"{slot:%d %H:%M}" for slot in slots]


def test_a_week_of_seconds_is_one_record_beside_the_newest() -> None:
    result = planned(EVERY_SECOND, "2026-04-24", "2026-05-01")
    assert len(result.records) == 101
    assert result.records[0].dropped == 604_800 - 101
    assert totals(result) == {"missed": 604_740, "run": 60}


def test_of_very_many_that_are_on_time_the_newest_run() -> None:
    policy = Policy(misfire_grace=timedelta(minutes=10))
    result = planned(EVERY_SECOND, "2026-05-01 12:00", "2026-05-01 12:05", policy=policy)
    assert len(result.records) == 101
    assert totals(result) == {"missed": 200, "run": 100}


def test_slots_before_a_long_pause_are_told_apart_from_those_in_it() -> None:
    result = planned(EVERY_MINUTE, "2026-04-29", "2026-05-01 00:20:30", pause("2026-04-30", "2026-05-01"))
    assert totals(result) == {"missed": 1439 + 20, "skipped": 1440, "run": 1}


def test_slots_after_a_long_pause_are_told_apart_from_those_in_it() -> None:
    move = pause("2026-04-29 12:00", "2026-04-30")
    result = planned(EVERY_MINUTE, "2026-04-29", "2026-05-01 00:00:30", move)
    assert totals(result) == {"missed": 719 + 1440, "skipped": 720, "run": 1}


def test_the_latest_late_slot_runs_though_a_long_pause_came_after_it() -> None:
    move = pause("2026-04-30", "2026-05-01 00:00:10")
    result = planned(EVERY_MINUTE, "2026-04-29", "2026-05-01 00:00:30", move)
    assert runs(result) == ["29 23:59"]


def test_a_long_absence_is_caught_up_to_the_limit() -> None:
    policy = Policy(misfire=Misfire.ALL, catch_up_limit=3)
    result = planned(EVERY_MINUTE, "2026-04-01", "2026-05-01 00:00:59", policy=policy)
    assert runs(result) == ["30 23:57", "30 23:58", "30 23:59", "01 00:00"]
    assert result.records[0].scheduled_for == utc("2026-04-30 23:56")
    assert totals(result) == {"missed": 30 * 24 * 60 - 4, "run": 4}
