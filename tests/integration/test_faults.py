"""Beat, Redis and the database die, hang and come back: every slot keeps its one run, executed once.

Each test says its figures. ``FAULT_SECONDS`` gives the long one another length than its default.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle

import pytest

from tests.integration.faults import (
    SECOND,
    Figures,
    Span,
    audit,
    calls,
    copy_schedule,
    count_due,
    database_away,
    insert_bad_crontab,
    is_settled,
    is_sqlite,
    longest_lateness,
    move_back,
    newest_slot,
    perfect,
    reason_it_is_broken,
    schedule_every_second,
    sqlite_locked,
    statuses,
    switch_everything_off,
)
from tests.integration.saying import Say
from tests.integration.service import Service, service
from tests.waiting import wait_until

FAULT_SECONDS = int(os.environ.get("FAULT_SECONDS", "30"))
SCHEDULES_IN_THE_CHAOS = 6
# A message that a killed Redis forgot comes again after this time, not after a minute.
REPUBLISH = {"REPUBLISH_AFTER_SECONDS": "3"}
# Sooner than workers find Redis again: many messages come more than once.
REPUBLISH_TOO_SOON = {"REPUBLISH_AFTER_SECONDS": "0.5"}
IMPATIENT = {"DJANGO_SETTINGS_MODULE": "tests.integration.impatient"}
STOCK_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
LONGEST_LATENESS = 3 * SECOND
# One attempt to publish, which its socket timeout ends, and a busy machine.
LONGEST_LATENESS_WHILE_REDIS_HANGS = 15 * SECOND
STEP_SECONDS = 3
CHANGES = ("Waiting for the database", "The database is back", "Waiting for the broker", "The broker is back")

RECORD_WITHOUT_PUBLISHING = """
from django.utils import timezone
from jobledger.schedules import ledger
ledger.record_due(timezone.now())
"""
HOURLY = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from jobledger.models import SchedulePolicy
hourly = CrontabSchedule.objects.create(minute="{minute}", timezone="UTC")
for misfire in "once", "skip", "all":
    made = PeriodicTask.objects.create(name=f"week {{misfire}}", task="probes.trace", crontab=hourly)
    SchedulePolicy.objects.filter(schedule=made).update(misfire=misfire, catch_up_limit=5)
"""
UPDATE_WITHOUT_A_SIGNAL = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
second = IntervalSchedule.objects.get(every=1, period="seconds")
PeriodicTask.objects.filter(name="updated 0").update(interval=second)
"""


@pytest.fixture(scope="module")
def worked() -> Iterator[Service]:
    with service(**REPUBLISH) as started:
        started.start_worker()
        yield started


@pytest.fixture
def running(worked: Service) -> Iterator[Service]:
    """A service with one worker and no beat, in which nothing is scheduled."""
    yield worked
    for name in [name for name in worked.processes if name.startswith("beat")]:
        worked.stop(name)
    if not worked.is_running("redis"):
        worked.start_redis()
    switch_everything_off(worked)
    worked.forget_messages()


def settled(running: Service, name: str, span: Span, *, deadline_seconds: float = 60) -> Figures:
    """The figures of a span as soon as all that was due in it is over, or as they are when it is too late."""
    try:
        wait_until(
            lambda: is_settled(running, name, span.until),
            deadline_seconds=deadline_seconds,
            what=f"all runs of {name} are over",
        )
    except TimeoutError as error:
        raise AssertionError(f"{error}; {audit(running, name, span)}") from error
    return audit(running, name, span)


def wait_for_slots(running: Service, name: str, seconds: int) -> Span:
    """The slots from now on, when so many seconds of them are in the ledger."""
    since = this_second() + SECOND
    until = since + seconds * SECOND
    wait_until(
        lambda: (newest_slot(running, name, "queued") or since) >= until,
        deadline_seconds=seconds + 30,
        what=f"slots of {name} are recorded up to {until}",
    )
    return Span(since=since, until=until)


def this_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def kill_in_turn(running: Service, victims: Sequence[str], *, seconds: int) -> Counter[str]:
    """Kill one, start it again a moment later, go on to the next; who was killed how often."""
    kills: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for victim in cycle(victims):
        if time.monotonic() > end:
            return kills
        # Chaos has a pace, and waits for nothing.
        time.sleep(random.uniform(0.5, 2.5))
        running.stop(victim, signal.SIGKILL)
        time.sleep(random.uniform(0.0, 2.0))
        running.start_redis() if victim == "redis" else running.start_beat(victim)
        kills[victim] += 1
    return kills


def quiet_moment(running: Service, name: str, beat: str) -> datetime:
    """Start a schedule and a beat; the slot whose run has just ended: the next one is seconds away."""
    schedule_every_second(running, name, every=STEP_SECONDS)
    running.start_beat(beat)
    return wait_until(
        lambda: newer_slot(running, name, datetime.now(UTC) - SECOND), what="a run has just ended"
    )


def wait_until_later(moment: datetime, seconds: int) -> None:
    wait_until(lambda: datetime.now(UTC) > moment + seconds * SECOND, what="the outage has lasted a while")


def newer_slot(running: Service, name: str, than: datetime) -> datetime | None:
    slot = newest_slot(running, name)
    return slot if slot and slot > than else None


def assert_goes_on(running: Service, name: str, since: datetime, beat: str, say: Say) -> None:
    """The database has been away since shortly after this slot, and is back."""
    wait_until(lambda: "The database is back" in running.log(beat), deadline_seconds=40, what="beat goes on")
    step = STEP_SECONDS * SECOND
    span = Span(since=since, until=datetime.now(UTC), step=step)
    figures = settled(running, name, span)
    said = changes(running, beat)
    say(f"{figures}; beat said {said}")
    assert figures == perfect(len(span))
    assert said == {"Waiting for the database": 1, "The database is back": 1}


def changes(running: Service, beat: str) -> dict[str, int]:
    """How often a beat has said that a part of the service went away or came back."""
    log = running.log(beat)
    return {line: log.count(line) for line in CHANGES if line in log}


@pytest.mark.every_database
@pytest.mark.timeout(FAULT_SECONDS + 200)
def test_beats_and_redis_are_killed_in_turn_and_every_slot_is_executed_once(say: Say) -> None:
    with service(WORKER_CONCURRENCY="1", **REPUBLISH_TOO_SOON) as running:
        for number in range(2 if is_sqlite(running) else 3):
            running.start_worker(f"worker{number}")
        running.start_beat("beat1")
        running.start_beat("beat2")
        schedule_every_second(running, "chaos", count=SCHEDULES_IN_THE_CHAOS)
        since = this_second() + SECOND
        kills = kill_in_turn(running, ["beat1", "redis", "beat2"], seconds=FAULT_SECONDS)
        span = Span(since=since, until=this_second())
        figures = settled(running, "chaos", span, deadline_seconds=90)
        say(f"{figures}; killed: {kills}")
        assert [name for name in running.processes if not running.is_running(name)] == []
        running.stop_all(signal.SIGKILL)
    assert figures == perfect(len(span) * SCHEDULES_IN_THE_CHAOS)


def test_without_redis_slots_are_recorded_on_time_and_executed_when_it_is_back(
    running: Service, say: Say
) -> None:
    schedule_every_second(running, "no redis", count=3)
    running.start_beat("beat-without-redis")
    wait_until(lambda: newest_slot(running, "no redis"), what="a run succeeds")
    running.stop("redis", signal.SIGKILL)
    span = wait_for_slots(running, "no redis", seconds=5)
    assert running.is_running("beat-without-redis")
    running.start_redis()
    figures = settled(running, "no redis", span)
    lateness = longest_lateness(running, "no redis", span)
    say(f"{figures}; recorded at most {lateness.total_seconds():.2f} s late")
    assert figures == perfect(len(span) * 3)
    assert lateness < LONGEST_LATENESS
    assert changes(running, "beat-without-redis") == {"Waiting for the broker": 1, "The broker is back": 1}


def test_a_redis_that_hangs_holds_recording_up_for_a_short_time_only(running: Service, say: Say) -> None:
    schedule_every_second(running, "hung")
    running.start_beat("beat-with-hung-redis")
    wait_until(lambda: newest_slot(running, "hung"), what="a run succeeds")
    running.processes["redis"].send_signal(signal.SIGSTOP)
    try:
        span = wait_for_slots(running, "hung", seconds=8)
    finally:
        running.processes["redis"].send_signal(signal.SIGCONT)
    assert running.is_running("beat-with-hung-redis")
    figures = settled(running, "hung", span)
    lateness = longest_lateness(running, "hung", span)
    say(f"{figures}; recorded at most {lateness.total_seconds():.2f} s late")
    assert figures == perfect(len(span))
    assert lateness < LONGEST_LATENESS_WHILE_REDIS_HANGS


def test_a_running_job_outlives_redis_and_its_worker_goes_on(running: Service, say: Say) -> None:
    running.celery("call", "probes.trace", "--kwargs", '{"seconds": 4}')
    wait_until(lambda: running.trace_file.exists() and calls(running) == {"running": 1}, what="the job runs")
    running.stop("redis", signal.SIGKILL)
    wait_until(lambda: calls(running) == {"succeeded": 1}, what="the job ends")
    running.start_redis()
    running.celery("call", "probes.trace")
    wait_until(lambda: calls(running) == {"succeeded": 2}, what="the worker takes the next one")
    say(f"runs={calls(running)}")
    assert running.is_running("worker")


@pytest.mark.every_database
def test_beat_waits_for_the_database_says_so_once_and_goes_on(running: Service, say: Say) -> None:
    since = quiet_moment(running, "no database", "beat-without-database")
    with database_away(running):
        wait_until_later(since, seconds=7)
        assert running.is_running("beat-without-database")
    assert_goes_on(running, "no database", since, "beat-without-database", say)


def test_beat_waits_for_a_locked_database_as_well(running: Service, say: Say) -> None:
    if not is_sqlite(running):
        pytest.skip("only SQLite is locked as a whole")
    impatient = replace(running, variables={**running.variables, **IMPATIENT})
    since = quiet_moment(impatient, "locked", "beat-locked-out")
    with sqlite_locked(running):
        wait_until(lambda: "database is locked" in running.log("beat-locked-out"), what="beat gives up")
        wait_until_later(since, seconds=8)
    assert_goes_on(running, "locked", since, "beat-locked-out", say)


def test_what_a_beat_recorded_and_did_not_publish_another_one_publishes(running: Service, say: Say) -> None:
    schedule_every_second(running, "recorded", count=20, every=3)
    wait_until(lambda: count_due(running) == 20, what="all are due")
    # A beat's first half: it ends before it has published anything.
    running.shell(RECORD_WITHOUT_PUBLISHING)
    slot = newest_slot(running, "recorded", "queued")
    assert slot
    running.start_beat()
    figures = settled(running, "recorded", Span(since=slot, until=slot))
    say(str(figures))
    assert figures == perfect(20)


def test_after_a_week_away_each_schedule_gets_what_its_misfire_policy_says(
    running: Service, say: Say
) -> None:
    now = datetime.now(UTC)
    running.shell(HOURLY.format(minute=(now.minute + 30) % 60))
    move_back(running, now - timedelta(days=7))
    running.start_beat()
    newest = (now - timedelta(minutes=30)).replace(second=0, microsecond=0)
    wait_until(lambda: is_settled(running, "week", newest), what="the week is worked off")
    told = {policy: statuses(running, f"week {policy}") for policy in ("once", "skip", "all")}
    say(str(told))
    # The newest hundred have a row each; one row stands for those before them.
    assert told["once"] == {"succeeded": (1, 0), "missed": (100, 67)}
    assert told["skip"] == {"missed": (101, 67)}
    # 162, in truth: they are not counted beyond a hundred.
    assert told["all"] == {"succeeded": (5, 0), "missed": (1, 100)}


def test_edits_that_send_no_signal_are_noticed_within_half_a_minute(running: Service, say: Say) -> None:
    schedule_every_second(running, "steady")
    schedule_every_second(running, "updated", every=86_400)
    running.start_beat()
    wait_until(lambda: newest_slot(running, "steady"), what="a run succeeds")
    begin = time.monotonic()
    running.shell(UPDATE_WITHOUT_A_SIGNAL)
    copy_schedule(running, "steady 0", "inserted")
    copy_schedule(running, "steady 0", "impossible", crontab_id=insert_bad_crontab(running))
    noticed = {}
    for name in "updated", "inserted":
        wait_until(partial(newest_slot, running, name), what=f"a run of {name}")
        noticed[name] = time.monotonic() - begin
    reason = wait_until(lambda: reason_it_is_broken(running, "impossible"), what="the reason")
    say(f"noticed after {', '.join(f'{name}: {after:.1f} s' for name, after in noticed.items())}; {reason!r}")
    assert max(noticed.values()) < 30
    assert "minute" in reason
    slot = this_second()
    wait_until(lambda: newer_slot(running, "steady", slot), what="the others go on")


def test_the_stock_scheduler_can_be_chosen_and_its_runs_are_recorded(running: Service, say: Say) -> None:
    schedule_every_second(running, "stock")
    running.start_beat("beat-stock", "--scheduler", STOCK_SCHEDULER)
    wait_until(lambda: "succeeded" in statuses(running, "stock 0"), what="a run that it sent")
    run = running.runs("--status", "succeeded", "--limit", "1")[0]
    say(f"{run['trigger']} run of {run['schedule']!r} {run['status']}")
    assert (run["trigger"], run["schedule"], run["scheduled_for"]) == ("schedule", "stock 0", None)
