"""Which waiting runs give way, by example. All times are on 1 May 2026, in UTC."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from jobledger.jobs.declaration import Misfire
from jobledger.schedules.planning.backlog import Settled, settle
from jobledger.schedules.planning.policy import Policy
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from tests.unit.jobledger.schedules.times import utc

ONCE, SKIP = Policy(), Policy(misfire=Misfire.SKIP)
TWO = Policy(misfire=Misfire.ALL, catch_up_limit=2)
SECOND = timedelta(seconds=1)


def at(time: str) -> datetime:
    return utc(f"2026-05-01 {time}")


def record(line: str) -> PlannedSlot:
    time, verdict = line.split()
    return PlannedSlot(scheduled_for=at(time), verdict=Verdict(verdict))


def settled(
    waiting: Sequence[str], records: Sequence[str], policy: Policy = ONCE, *, may_overlap: bool = False
) -> Settled:
    planned = [record(line) for line in records]
    return settle(
        planned,
        [at(time) for time in waiting],
        policy=policy,
        may_overlap=may_overlap,
        horizon=max(each.scheduled_for for each in planned),
    )


def lines(slots: Sequence[PlannedSlot]) -> list[str]:
    return [
        f"{slot.scheduled_for:%H:%M:%S} {slot.verdict} {slot.why.reason or ''}".rstrip() for slot in slots
    ]


@pytest.mark.parametrize(
    ("policy", "given_up"),
    [
        (ONCE, ["12:00:00 missed superseded", "12:01:00 missed superseded", "12:02:00 missed superseded"]),
        (SKIP, ["12:00:00 expired late", "12:01:00 expired late", "12:02:00 expired late"]),
        (TWO, ["12:00:00 missed catch_up_limit"]),
    ],
)
def test_the_misfire_policy_decides_what_becomes_of_those_that_wait(
    policy: Policy, given_up: list[str]
) -> None:
    result = settled(["12:02", "12:00", "12:01"], ["12:03 run"], policy)
    assert lines(result.given_up) == given_up
    assert lines(result.records) == ["12:03:00 run"]


def test_a_run_that_gives_way_names_the_newer_one() -> None:
    for policy in ONCE, SKIP, TWO:
        (first, *_) = settled(["12:00", "12:01", "12:02"], ["12:03 run"], policy).given_up
        assert first.coalesced_into == at("12:03")
        assert first.why.details["slot"] == "2026-05-01T12:03:00+00:00"


@pytest.mark.parametrize("verdict", ["skipped", "missed"])
def test_nothing_gives_way_to_a_slot_that_does_not_run(verdict: str) -> None:
    assert settled(["12:00"], [f"12:01 {verdict}"]).given_up == ()


def test_but_a_late_run_expires_even_if_the_newer_slot_is_late_too() -> None:
    assert lines(settled(["12:00"], ["12:01 missed"], SKIP).given_up) == ["12:00:00 expired late"]


def test_the_same_slot_and_newer_ones_do_not_give_way() -> None:
    result = settled(["12:01", "12:02"], ["12:01 run"])
    assert (lines(result.records), lines(result.given_up)) == (["12:01:00 run"], [])


@pytest.mark.parametrize(
    ("policy", "records"),
    [
        (ONCE, ["12:00:01 missed coalesced", "12:00:02 missed coalesced", "12:00:03 run"]),
        (SKIP, ["12:00:01 missed late", "12:00:02 missed late", "12:00:03 run"]),
        (
            Policy(misfire=Misfire.ALL, catch_up_limit=1),
            ["12:00:01 missed catch_up_limit", "12:00:02 run", "12:00:03 run"],
        ),
    ],
)
def test_slots_that_are_planned_together_give_way_as_well(policy: Policy, records: list[str]) -> None:
    together = [f"12:00:0{second} run" for second in (1, 2, 3)]
    result = settled([], together, policy)
    assert (lines(result.records), lines(result.given_up)) == (records, [])


def test_the_limit_counts_those_that_wait_and_those_that_are_planned_together() -> None:
    result = settled(["12:00", "12:01"], ["12:02 run", "12:03 run"], TWO)
    assert lines(result.given_up) == ["12:00:00 missed catch_up_limit"]
    assert lines(result.records) == ["12:02:00 run", "12:03:00 run"]


@pytest.mark.parametrize(("policy", "verdict"), [(ONCE, "missed superseded"), (SKIP, "expired late")])
def test_where_runs_may_overlap_those_that_are_still_on_time_stay(policy: Policy, verdict: str) -> None:
    together = ["12:01:00 run", "12:01:01 run"]
    result = settled(["12:00:01", "12:00:02"], together, policy, may_overlap=True)
    assert lines(result.given_up) == [f"12:00:01 {verdict}"]
    assert lines(result.records) == together
