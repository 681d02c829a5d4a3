from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.jobs.declaration import Misfire, PausedSlots
from jobledger.reason import MANY
from jobledger.schedules.planning.planning import Plan, jitter_delay, plan
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import Verdict
from jobledger.schedules.rules.interval import Interval
from jobledger.schedules.rules.slots import Rule, Window, slots_between
from tests.unit.jobledger.schedules.times import cron, utc

START = utc("2026-10-24 12:00")
few = settings(max_examples=40)
NOTHING, MINUTE, DAY = timedelta(0), timedelta(minutes=1), timedelta(days=1)

OFFSETS = st.integers(0, 4 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
CRONS = st.sampled_from(["* * * * *", "*/7 * * * *", "30 1 * * *", "0 */3 * * *"]).map(
    lambda expression: cron(expression, "Europe/London")
)
INTERVALS = st.builds(
    Interval,
    every=st.integers(1, 20_000).map(lambda seconds: timedelta(seconds=seconds)),
    anchor=st.just(START),
)
RULES: st.SearchStrategy[Rule] = st.one_of(CRONS, INTERVALS)
POLICIES = st.builds(
    Policy,
    misfire=st.sampled_from(Misfire),
    catch_up_limit=st.sampled_from([1, 2, 5, 100]),
    starting_deadline=st.none() | st.sampled_from([MINUTE / 2, 10 * MINUTE, DAY]),
    jitter=st.sampled_from([NOTHING, NOTHING, 10 * MINUTE]),
)


@st.composite
def pauses(draw: st.DrawFn) -> PausePeriod:
    since = START + draw(OFFSETS)
    until = draw(st.none() | OFFSETS.map(lambda length: since + length))
    return PausePeriod(since=since, until=until, on_resume=draw(st.sampled_from(PausedSlots)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Rule, Policy, list[PausePeriod], datetime]:
    now = START + draw(OFFSETS) + draw(st.sampled_from([NOTHING, MINUTE / 2]))
    return draw(RULES), draw(POLICIES), draw(st.lists(pauses(), max_size=3)), now


Case = tuple[Rule, Policy, list[PausePeriod], datetime]


def planned(case: Case, since: datetime = START) -> Plan:
    rule, policy, paused, now = case
    return plan(rule=rule, policy=policy, pauses=paused, identity="x", handled_until=since, now=now)


def horizon(case: Case) -> datetime:
    _, policy, _, now = case
    return now - jitter_delay(policy.jitter, "x")


def is_on_time(case: Case, slot: datetime) -> bool:
    return horizon(case) - slot < case[1].misfire_grace


@few
@given(cases())
def test_each_due_slot_is_accounted_for_once(case: Case) -> None:
    result = planned(case)
    total = sum(1 + record.coalesced for record in result.records) + (result.held is not None)
    due = len(list(slots_between(case[0], START, horizon(case))))
    if any(record.coalesced == MANY for record in result.records):
        # That is, or more.
        assert total <= due
    else:
        assert total == due


@few
@given(cases())
def test_records_are_slots_in_order_without_duplicates(case: Case) -> None:
    slots = [record.scheduled_for for record in planned(case).records]
    assert all(one < other for one, other in pairwise(slots))
    for slot in slots[:5] + slots[-5:]:
        assert list(slots_between(case[0], slot - timedelta.resolution, slot)) == [slot]


@few
@given(cases())
def test_the_next_slot_is_in_the_future(case: Case) -> None:
    result = planned(case)
    assert result.due_at is not None
    assert result.due_at > case[3]
    assert result.next_slot is not None
    assert result.held is not None or result.next_slot > horizon(case)
    assert result.handled_until < result.next_slot


@few
@given(cases())
def test_planning_again_changes_nothing(case: Case) -> None:
    first = planned(case)
    again = planned(case, first.handled_until)
    assert again.records == ()
    assert (again.next_slot, again.due_at, again.held) == (first.next_slot, first.due_at, first.held)


@few
@given(cases())
def test_once_runs_at_most_one_late_slot(case: Case) -> None:
    rule, policy, paused, now = case
    case = (rule, Policy(starting_deadline=policy.starting_deadline), paused, now)
    runs = [record for record in planned(case).records if record.verdict is Verdict.RUN]
    assert sum(not is_on_time(case, run.scheduled_for) for run in runs) <= 1


@few
@given(CRONS, OFFSETS, st.lists(pauses(), max_size=3))
def test_once_runs_at_most_one_slot_of_a_cron_schedule(
    rule: Rule, offset: timedelta, paused: list[PausePeriod]
) -> None:
    result = planned((rule, Policy(), paused, START + offset))
    assert Counter(record.verdict for record in result.records)[Verdict.RUN] <= 1


@few
@given(cases())
def test_skip_never_runs_a_late_slot(case: Case) -> None:
    rule, policy, _, now = case
    case = (rule, Policy(misfire=Misfire.SKIP, jitter=policy.jitter), [], now)
    runs = [record for record in planned(case).records if record.verdict is Verdict.RUN]
    assert all(is_on_time(case, run.scheduled_for) for run in runs)


@few
@given(cases())
def test_all_runs_the_newest_up_to_its_limit(case: Case) -> None:
    rule, policy, _, now = case
    case = (rule, Policy(misfire=Misfire.ALL, catch_up_limit=policy.catch_up_limit), [], now)
    result = planned(case)
    late = [record for record in result.records if not is_on_time(case, record.scheduled_for)]
    runs = [record for record in late if record.verdict is Verdict.RUN]
    assert len(runs) <= policy.catch_up_limit
    assert late[len(late) - len(runs) :] == runs
    assert len(late) - len(runs) <= 1


@few
@given(cases())
def test_nothing_runs_during_a_pause(case: Case) -> None:
    rule, policy, paused, now = case
    case = (rule, policy, [*paused, PausePeriod(since=now)], now)
    assert all(record.verdict is Verdict.SKIPPED for record in planned(case).records)


@few
@given(cases())
def test_a_record_that_covers_several_slots_is_never_a_run(case: Case) -> None:
    assert all(r.coalesced == 0 for r in planned(case).records if r.verdict is Verdict.RUN)


@few
@given(st.text(), st.timedeltas(NOTHING, 2 * DAY))
def test_jitter_is_a_whole_number_of_seconds_below_its_length(identity: str, jitter: timedelta) -> None:
    delay = jitter_delay(jitter, identity)
    assert delay % timedelta(seconds=1) == NOTHING
    assert NOTHING <= delay < jitter or delay == jitter == NOTHING or jitter < timedelta(seconds=1)


def test_plans_respect_the_window() -> None:
    window = Window(start_time=utc("2026-10-25"), expires=utc("2026-10-26"))
    result = plan(
        rule=cron("0 * * * *"),
        policy=Policy(misfire=Misfire.ALL),
        window=window,
        identity="x",
        handled_until=START,
        now=datetime(2026, 10, 25, 3, tzinfo=UTC),
    )
    assert [record.scheduled_for.hour for record in result.records] == [0, 1, 2, 3]
