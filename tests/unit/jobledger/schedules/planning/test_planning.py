"""Plans by example. All times are on 1 May 2026, in UTC, unless a date is given."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from jobledger.jobs.declaration import Misfire, PausedSlots
from jobledger.schedules.planning.planning import Plan, jitter_delay, plan
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import ALWAYS, Rule, Window
from tests.unit.jobledger.schedules.times import cron, every, utc

HOURLY = cron("0 * * * *")
ONCE, SKIP, ALL = Policy(), Policy(misfire=Misfire.SKIP), Policy(misfire=Misfire.ALL)
RUN_ONCE = PausedSlots.RUN_ONCE
HALF_HOUR_DEADLINE = timedelta(minutes=30)


def at(text: str) -> datetime:
    return utc(text if "-" in text else f"2026-05-01 {text}")


def pause(since: str, until: str | None = None, on_resume: PausedSlots = PausedSlots.SKIP) -> PausePeriod:
    end = None if until is None else at(until)
    return PausePeriod(since=at(since), until=end, reason="move", user="ann", on_resume=on_resume)


def planned(
    rule: Rule,
    since: str,
    now: str,
    *pauses: PausePeriod,
    policy: Policy = ONCE,
    window: Window = ALWAYS,
    identity: str = "x",
) -> Plan:
    return plan(
        rule=rule,
        policy=policy,
        window=window,
        pauses=pauses,
        identity=identity,
        handled_until=at(since),
        now=at(now),
    )


def verdicts(result: Plan) -> list[str]:
    return [
        f"{record.scheduled_for:%H:%M} {record.verdict}" + (f" +{record.coalesced}" * (record.coalesced > 0))
        for record in result.records
    ]


def reasons(result: Plan) -> list[str]:
    return [record.why.reason or "" for record in result.records]


def facts(result: Plan) -> list[Mapping[str, object]]:
    return [record.why.details for record in result.records]


# Title, policy, the last slot handled, now, and the verdicts for the slots of an hourly schedule.
MISFIRES = [
    ("nothing is due", ONCE, "12:00", "12:30", []),
    ("a slot is due exactly at its time", ONCE, "12:00", "13:00", ["13:00 run"]),
    ("on time within the grace period", ONCE, "12:00", "13:00:59", ["13:00 run"]),
    ("on time within the grace period", SKIP, "12:00", "13:00:59", ["13:00 run"]),
    ("late at the end of the grace period", SKIP, "12:00", "13:01", ["13:00 missed"]),
    ("one late slot runs", ONCE, "12:00", "13:20", ["13:00 run"]),
    ("the latest runs for all", ONCE, "12:00", "15:20", ["13:00 missed", "14:00 missed", "15:00 run"]),
    ("one on time replaces the late ones", ONCE, "13:00", "15:00:10", ["14:00 missed", "15:00 run"]),
    ("no late slot runs", SKIP, "12:00", "14:20", ["13:00 missed", "14:00 missed"]),
    ("only the one on time runs", SKIP, "12:00", "14:00:10", ["13:00 missed", "14:00 run"]),
    ("all run, oldest first", ALL, "12:00", "15:20", ["13:00 run", "14:00 run", "15:00 run"]),
    (
        "beyond the limit, the oldest share one record",
        *(Policy(misfire=Misfire.ALL, catch_up_limit=2), "12:00", "17:20"),
        ["15:00 missed +2", "16:00 run", "17:00 run"],
    ),
    (
        "the limit applies to late slots only",
        *(Policy(misfire=Misfire.ALL, catch_up_limit=1), "12:00", "15:00:10"),
        ["13:00 missed", "14:00 run", "15:00 run"],
    ),
    (
        "after the deadline nothing starts",
        *(Policy(starting_deadline=HALF_HOUR_DEADLINE), "12:00", "13:30:01"),
        ["13:00 missed"],
    ),
    (
        "at the deadline it still starts",
        *(Policy(starting_deadline=HALF_HOUR_DEADLINE), "12:00", "13:30"),
        ["13:00 run"],
    ),
    (
        "slots past the deadline do not run",
        *(Policy(misfire=Misfire.ALL, starting_deadline=timedelta(hours=2)), "12:00", "15:20"),
        ["13:00 missed", "14:00 run", "15:00 run"],
    ),
    (
        "a deadline shorter than the grace period takes precedence",
        *(Policy(starting_deadline=timedelta(seconds=5)), "12:00", "13:00:10"),
        ["13:00 missed"],
    ),
]


@pytest.mark.parametrize(
    ("what", "policy", "since", "now", "records"), MISFIRES, ids=[f"{row[0]}, {row[3]}" for row in MISFIRES]
)
def test_the_policy_decides_what_happens_to_due_slots(
    what: str, policy: Policy, since: str, now: str, records: list[str]
) -> None:
    assert verdicts(planned(HOURLY, since, now, policy=policy)) == records


def test_the_next_slot_follows_the_last_one_due() -> None:
    result = planned(HOURLY, "12:00", "15:20")
    assert result.next_slot == result.due_at == at("16:00")
    assert result.handled_until == at("15:00")


def test_a_plan_continues_where_the_previous_one_ended() -> None:
    first = planned(HOURLY, "12:00", "15:20")
    again = plan(rule=HOURLY, policy=ONCE, identity="x", handled_until=first.handled_until, now=at("15:20"))
    assert again.records == ()
    assert again.next_slot == first.next_slot


def test_an_edit_creates_no_slot_in_the_past() -> None:
    eight_instead_of_noon = cron("0 8 * * *")
    result = planned(eight_instead_of_noon, "10:00", "10:00")
    assert result.records == ()
    assert result.next_slot == at("2026-05-02 08:00")


def test_setting_the_clock_back_repeats_nothing() -> None:
    result = planned(HOURLY, "13:00", "12:59:30")
    assert result.records == ()
    assert result.next_slot == at("14:00")


def test_each_record_says_why() -> None:
    policy = Policy(starting_deadline=timedelta(hours=2, minutes=30))
    result = planned(HOURLY, "12:00", "15:20", policy=policy)
    assert reasons(planned(HOURLY, "12:00", "13:00")) == [""]
    assert reasons(planned(HOURLY, "12:00", "13:20")) == ["caught_up"]
    assert reasons(planned(HOURLY, "12:00", "13:20", policy=SKIP)) == ["late"]
    assert reasons(planned(HOURLY, "2026-04-30 00:00", "23:20", policy=ALL)) == ["caught_up"] * 47
    assert reasons(planned(HOURLY, "12:00", "15:40", policy=policy)) == ["deadline", "coalesced", "caught_up"]
    assert facts(planned(HOURLY, "12:00", "15:40", policy=policy)) == [
        {"limit_seconds": 9000.0},
        {"slot": "2026-05-01T15:00:00+00:00"},
        {},
    ]
    assert verdicts(result) == ["13:00 missed", "14:00 missed", "15:00 run"]


def test_slots_closer_together_than_the_grace_period_all_run_after_a_short_stall() -> None:
    result = planned(every(seconds=10), "12:00", "12:00:35")
    assert verdicts(result) == ["12:00 run"] * 3


# --- windows ---------------------------------------------------------------------------------------


def test_a_one_off_schedule_has_a_single_slot() -> None:
    result = planned(HOURLY, "12:00", "15:20", window=Window(one_off=True))
    assert verdicts(result) == ["13:00 run"]
    assert result.next_slot is None
    assert result.due_at is None


def test_a_one_off_schedule_waits_for_its_slot() -> None:
    assert planned(HOURLY, "12:00", "12:30", window=Window(one_off=True)).due_at == at("13:00")


def test_a_clocked_slot_missed_during_downtime_is_caught_up() -> None:
    assert verdicts(planned(Clocked(at=at("12:30")), "12:00", "15:00")) == ["12:30 run"]


def test_no_late_slot_runs_after_the_schedule_has_expired() -> None:
    window = Window(expires=at("13:30"))
    result = planned(HOURLY, "12:00", "14:00", window=window)
    assert verdicts(result) == ["13:00 missed"]
    assert reasons(result) == ["schedule_expired"]
    assert facts(result) == [{"expired_at": "2026-05-01T13:30:00+00:00"}]
    assert result.next_slot is None


def test_a_slot_on_time_runs_even_if_the_schedule_has_just_expired() -> None:
    window = Window(expires=at("13:00:05"))
    assert verdicts(planned(HOURLY, "12:00", "13:00:10", window=window)) == ["13:00 run"]


# --- jitter ----------------------------------------------------------------------------------------

JITTER = Policy(jitter=timedelta(minutes=20))
DELAY = jitter_delay(JITTER.jitter, "x")


def test_jitter_delays_the_start_and_not_the_slot() -> None:
    result = planned(HOURLY, "12:00", "12:30", policy=JITTER)
    assert result.next_slot == at("13:00")
    assert result.due_at == at("13:00") + DELAY


def test_a_slot_whose_jitter_has_not_passed_is_not_due() -> None:
    result = plan(
        rule=HOURLY,
        policy=JITTER,
        identity="x",
        handled_until=at("12:00"),
        now=at("13:00") + DELAY - timedelta(seconds=1),
    )
    assert result.records == ()
    assert result.next_slot == at("13:00")


def test_lateness_counts_from_the_end_of_the_jitter() -> None:
    policy = Policy(jitter=JITTER.jitter, misfire=Misfire.SKIP, starting_deadline=timedelta(minutes=1))
    now = at("13:00") + DELAY + timedelta(seconds=30)
    result = plan(rule=HOURLY, policy=policy, identity="x", handled_until=at("12:00"), now=now)
    assert verdicts(result) == ["13:00 run"]


def test_jitter_is_the_same_on_every_machine() -> None:
    assert jitter_delay(timedelta(hours=1), "daily-report") == timedelta(seconds=1699)


def test_jitter_spreads_schedules_over_its_whole_range() -> None:
    delays = [jitter_delay(timedelta(minutes=1), number) for number in range(500)]
    assert {delay // timedelta(seconds=10) for delay in delays} == {0, 1, 2, 3, 4, 5}
    assert max(delays) < timedelta(minutes=1)


def test_without_jitter_there_is_no_delay() -> None:
    assert jitter_delay(timedelta(0), "x") == timedelta(0)


# --- pauses ----------------------------------------------------------------------------------------

# Title, pauses, the last slot handled, now, the verdicts for the slots, the slot held.
PAUSES = [
    ("a slot in a pause is skipped", [pause("12:30")], "12:00", "13:00", ["13:00 skipped"], None),
    (
        "paused slots remain skipped after the pause",
        *([pause("12:30", "14:30")], "12:00", "15:00"),
        *(["13:00 skipped", "14:00 skipped", "15:00 run"], None),
    ),
    ("a slot at the end of a pause runs", [pause("12:30", "13:00")], "12:00", "13:00", ["13:00 run"], None),
    (
        "nothing late is caught up during a pause",
        *([pause("13:30")], "12:00", "13:40", ["13:00 skipped"], None),
    ),
    ("the latest is held", [pause("12:30", None, RUN_ONCE)], "12:00", "13:00", [], "13:00"),
    (
        "a newer one takes its place",
        *([pause("12:30", None, RUN_ONCE)], "12:00", "14:00", ["13:00 skipped"], "14:00"),
    ),
    (
        "the held slot runs when the pause ends",
        *([pause("12:30", "14:30", RUN_ONCE)], "12:00", "14:30"),
        *(["13:00 skipped", "14:00 run"], None),
    ),
    (
        "it gives way to one that is on time",
        *([pause("12:30", "14:00", RUN_ONCE)], "12:00", "14:00:05"),
        *(["13:00 skipped", "14:00 run"], None),
    ),
    (
        "beat was down when the pause ended",
        *([pause("12:30", "13:30", RUN_ONCE)], "12:00", "13:50", ["13:00 run"], None),
    ),
    (
        "beat was down when the pause ended, and at slots after it",
        *([pause("12:30", "13:30", RUN_ONCE)], "12:00", "15:50"),
        *(["13:00 missed", "14:00 missed", "15:00 run"], None),
    ),
    (
        "a pause that skips takes precedence over one that holds",
        *([pause("12:30", "15:30", RUN_ONCE), pause("12:40", "13:40")], "12:00", "13:20"),
        *(["13:00 skipped"], None),
    ),
    (
        "consecutive pauses keep holding",
        *([pause("12:30", "13:30", RUN_ONCE), pause("13:20", "14:30", RUN_ONCE)], "12:00", "13:40"),
        *([], "13:00"),
    ),
    (
        "a pause that skips does not affect a slot from before it, which keeps waiting",
        *([pause("12:30", "16:30", RUN_ONCE), pause("13:10", "13:50")], "12:00", "13:30"),
        *([], "13:00"),
    ),
    (
        "a waiting slot is skipped for a newer one, even for one that is skipped",
        *([pause("12:30", "16:30", RUN_ONCE), pause("13:50", "14:30")], "12:00", "14:00"),
        *(["13:00 skipped", "14:00 skipped"], None),
    ),
    (
        "a slot released by an earlier pause does not run during a later one",
        *([pause("12:30", "13:30", RUN_ONCE), pause("14:30", "15:30", RUN_ONCE)], "12:00", "15:00"),
        *(["13:00 skipped", "14:00 skipped"], "15:00"),
    ),
    ("a pause in the past has no effect", [pause("09:00", "10:00")], "12:00", "13:00", ["13:00 run"], None),
    ("a future pause has no effect", [pause("13:30")], "12:00", "13:00", ["13:00 run"], None),
]


@pytest.mark.parametrize(
    ("what", "pauses", "since", "now", "records", "held"), PAUSES, ids=[row[0] for row in PAUSES]
)
def test_pauses_skip_or_hold(
    what: str, pauses: list[PausePeriod], since: str, now: str, records: list[str], held: str | None
) -> None:
    result = planned(HOURLY, since, now, *pauses)
    assert verdicts(result) == records
    assert (result.held and result.held.scheduled_for) == (held and at(held))


def test_a_skipped_slot_says_by_whom_and_why() -> None:
    result = planned(HOURLY, "12:00", "13:00", pause("12:30"))
    assert reasons(result) == ["paused"]
    assert facts(result) == [{"user": "ann", "comment": "move"}]


def test_a_released_slot_says_that_it_was_held() -> None:
    result = planned(HOURLY, "12:00", "13:30", pause("12:30", "13:30", RUN_ONCE))
    assert reasons(result) == ["after_pause"]
    assert facts(result) == [{"until": "2026-05-01T13:30:00+00:00", "user": "ann", "comment": "move"}]


def test_a_held_slot_is_the_next_one_and_due_when_the_pause_ends() -> None:
    result = planned(HOURLY, "12:00", "13:00", pause("12:30", "13:45", RUN_ONCE))
    assert result.next_slot == at("13:00")
    assert result.due_at == at("13:45")
    assert result.handled_until == at("12:00")


def test_a_held_slot_is_planned_again_when_a_newer_one_is_due() -> None:
    result = planned(HOURLY, "12:00", "13:00", pause("12:30", "17:45", RUN_ONCE))
    assert result.next_slot == at("13:00")
    assert result.due_at == at("14:00")


def test_a_one_off_slot_held_by_an_open_ended_pause_waits_to_be_resumed() -> None:
    window = Window(one_off=True)
    result = planned(HOURLY, "12:00", "13:00", pause("12:30", None, RUN_ONCE), window=window)
    assert result.next_slot == at("13:00")
    assert result.due_at is None


def test_the_deadline_counts_from_the_slot_even_if_a_pause_held_it() -> None:
    policy = Policy(starting_deadline=HALF_HOUR_DEADLINE)
    result = planned(HOURLY, "12:00", "14:00", pause("12:30", "13:45", RUN_ONCE), policy=policy)
    assert verdicts(result) == ["13:00 missed", "14:00 run"]


def test_a_released_slot_runs_even_if_late_ones_are_skipped() -> None:
    result = planned(HOURLY, "12:00", "13:30", pause("12:30", "13:30", RUN_ONCE), policy=SKIP)
    assert verdicts(result) == ["13:00 run"]
