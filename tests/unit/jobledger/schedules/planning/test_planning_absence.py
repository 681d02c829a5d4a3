"""Plans after long downtime, when one record covers many slots."""

from collections import Counter
from datetime import timedelta

from jobledger.jobs.declaration import Misfire
from jobledger.reason import MANY
from jobledger.schedules.planning.planning import RECORD_LIMIT, Plan, plan
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.slots import Rule
from tests.unit.jobledger.schedules.times import cron, every, utc

EVERY_MINUTE, EVERY_SECOND = cron("* * * * *"), every(seconds=1)


def planned(rule: Rule, since: str, now: str, *pauses: PausePeriod, policy: Policy | None = None) -> Plan:
    return plan(
        rule=rule,
        policy=policy or Policy(),
        pauses=pauses,
        identity="x",
        handled_until=utc(since),
        now=utc(now),
    )


def utc_text(minutes: int) -> str:
    return f"{utc('2026-05-01') + timedelta(minutes=minutes):%Y-%m-%d %H:%M}"


def pause(since: str, until: str) -> PausePeriod:
    return PausePeriod(since=utc(since), until=utc(until))


def rows(result: Plan) -> dict[str, int]:
    """The number of records by verdict, and by whether they cover very many slots."""
    counter: Counter[str] = Counter()
    for record in result.records:
        assert record.coalesced in (0, MANY)
        counter[record.verdict.value + (" and more" if record.coalesced else "")] += 1
    return dict(counter)


def runs(result: Plan) -> list[str]:
    slots = [record.scheduled_for for record in result.records if record.verdict == "run"]
    return [f"{slot:%d %H:%M}" for slot in slots]


def test_a_week_of_seconds_is_one_record_besides_the_newest() -> None:
    result = planned(EVERY_SECOND, "2026-04-24", "2026-05-01")
    assert rows(result) == {"missed and more": 1, "missed": 40, "run": 60}
    assert result.records[0].coalesced == MANY


def test_of_very_many_slots_on_time_the_newest_run() -> None:
    policy = Policy(misfire_grace=timedelta(minutes=10))
    result = planned(EVERY_SECOND, "2026-05-01 12:00", "2026-05-01 12:05", policy=policy)
    assert rows(result) == {"missed and more": 1, "run": 100}


def test_slots_before_a_long_pause_are_distinguished_from_those_in_it() -> None:
    result = planned(EVERY_MINUTE, "2026-04-29", "2026-05-01 00:20:30", pause("2026-04-30", "2026-05-01"))
    assert rows(result) == {
        "missed and more": 1,
        "missed": 99 + 20,
        "run": 1,
        "skipped and more": 1,
        "skipped": 100,
    }


def test_slots_after_a_long_pause_are_distinguished_from_those_in_it() -> None:
    move = pause("2026-04-29 12:00", "2026-04-30")
    result = planned(EVERY_MINUTE, "2026-04-29", "2026-05-01 00:00:30", move)
    assert rows(result) == {
        "missed and more": 2,
        "missed": 99 + 100,
        "run": 1,
        "skipped and more": 1,
        "skipped": 100,
    }


def test_the_latest_late_slot_runs_even_if_a_long_pause_followed_it() -> None:
    move = pause("2026-04-30", "2026-05-01 00:00:10")
    result = planned(EVERY_MINUTE, "2026-04-29", "2026-05-01 00:00:30", move)
    assert runs(result) == ["29 23:59"]


def test_slots_are_counted_up_to_many() -> None:
    found = {
        passed: planned(EVERY_MINUTE, "2026-05-01", utc_text(RECORD_LIMIT + passed)).records[0].coalesced
        for passed in (1, 2, 100, 101, 102, 1000)
    }
    assert found == {1: 0, 2: 1, 100: 99, 101: 100, 102: MANY, 1000: MANY}


def test_a_long_downtime_is_caught_up_to_the_limit() -> None:
    policy = Policy(misfire=Misfire.ALL, catch_up_limit=3)
    result = planned(EVERY_MINUTE, "2026-04-01", "2026-05-01 00:00:59", policy=policy)
    assert runs(result) == ["30 23:57", "30 23:58", "30 23:59", "01 00:00"]
    assert result.records[0].scheduled_for == utc("2026-04-30 23:56")
    assert rows(result) == {"missed and more": 1, "run": 4}
