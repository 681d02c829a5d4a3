"""Runs that wait while no worker starts them: the misfire policy means the same as while beat is down."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, Misfire
from jobledger.metrics import totals
from jobledger.models import Pause, Reason, Run, SchedulePolicy, Status, Trigger
from jobledger.models.states import WAITING_SINCE
from jobledger.runs import attempts, reasons
from jobledger.runs.execution import claims
from jobledger.runs.outcome import FAILURE
from jobledger.schedules.due import due_alone, ledger, slot_runs
from tests.unit.jobledger.schedules.builders import NOON, every, hourly
from tests.unit.postgres import server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def schedule(name: str = "hourly", **policy: Any) -> PeriodicTask:
    made = hourly(name, handled_until=NOON - MINUTE)
    SchedulePolicy.objects.filter(schedule=made).update(**policy)
    return made


def edit(made: PeriodicTask, **changes: str) -> None:
    """Change the message of its next runs."""
    PeriodicTask.objects.filter(pk=made.pk).update(**(changes or {"kwargs": '{"level": 3}'}))


def pass_by(hours: int) -> None:
    """Let beat record this many slots, from noon on, while no worker starts them."""
    for number in range(hours):
        ledger.record_due(NOON + number * HOUR)
        ledger.expire(NOON + number * HOUR)


def told() -> list[str]:
    runs = Run.objects.filter(scheduled_for__isnull=False).order_by("scheduled_for")
    return [f"{run.scheduled_for:%H} {run.status} {run.reason}".rstrip() for run in runs]


def claimed(run: Run, at: datetime = NOON + 12 * HOUR) -> Run | None:
    with time_machine.travel(at, tick=False):
        return claims.claim(run.pk, worker="worker", job=registry.find(run.job))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, ["12 missed superseded", "13 missed superseded", "14 missed superseded", "15 queued"]),
        (
            {"misfire": Misfire.SKIP},
            ["12 expired late", "13 expired late", "14 expired late", "15 queued"],
        ),
        ({"misfire": Misfire.ALL}, ["12 queued", "13 queued", "14 queued", "15 queued"]),
        (
            {"misfire": Misfire.ALL, "catch_up_limit": 2},
            ["12 missed catch_up_limit", "13 queued", "14 queued", "15 queued"],
        ),
    ],
)
def test_while_no_worker_is_there_the_misfire_policy_decides(
    policy: dict[str, Any], expected: list[str]
) -> None:
    schedule(**policy)
    pass_by(4)
    assert told() == expected


@pytest.mark.parametrize("misfire", Misfire)
def test_it_makes_no_difference_whether_beat_or_the_workers_were_away(misfire: Misfire) -> None:
    """Of those that run. Where late runs are skipped, the newest of those that waited is on time."""
    schedule("workers away", misfire=misfire, catch_up_limit=2)
    pass_by(6)
    waiting = set(Run.objects.filter(status=Status.QUEUED).values_list("scheduled_for", flat=True))
    Run.objects.all().delete()
    schedule("beat away", misfire=misfire, catch_up_limit=2)
    ledger.record_due(NOON + 5 * HOUR)
    assert waiting == set(
        Run.objects.filter(status=Status.QUEUED, schedule__name="beat away").values_list(
            "scheduled_for", flat=True
        )
    )


def test_a_superseded_run_has_ended_and_names_the_newer_one() -> None:
    schedule()
    pass_by(2)
    older, newer = Run.objects.order_by("scheduled_for")
    assert (older.finished_at, older.publish_after) == (NOON + HOUR, None)
    assert older.reason_details == {"slot": (NOON + HOUR).isoformat(), "run": str(newer.pk)}
    assert str(reasons.sentence(older, NOON)) == (
        "Missed: it had not started when the next run was due at 2026-03-02 13:00:00 UTC; "
        f"run {newer.short_id} covers it."
    )
    assert reasons.cancelled_by(older) == ""


def test_each_slot_is_counted_once() -> None:
    """However many were missed because beat, and then because the workers were away."""
    schedule()
    ledger.record_due(NOON + 3 * HOUR)
    for hour in range(4, 10):
        ledger.record_due(NOON + hour * HOUR)
    slots = Counter[str]()
    for run in Run.objects.all():
        slots[run.status] += 1 + run.coalesced
    assert slots == {"missed": 9, "queued": 1}


def test_a_run_that_has_started_stays() -> None:
    schedule()
    pass_by(1)
    assert claimed(Run.objects.get()) is not None
    ledger.record_due(NOON + HOUR)
    assert told() == ["12 running", "13 queued"]


def test_a_run_that_waits_for_another_run_of_its_job_gives_way() -> None:
    """No worker is missing, but a run of another schedule holds the job."""
    schedule(concurrency=Concurrency.QUEUE)
    Run.objects.create(
        job="probe",
        trigger=Trigger.SCHEDULE,
        status=Status.RUNNING,
        concurrency_key="probe",
        heartbeat_at=NOON,
    )
    pass_by(1)
    for hour in range(1, 4):
        waiting = claimed(Run.objects.get(status=Status.QUEUED))
        assert waiting is not None
        assert (waiting.status, waiting.reason) == ("queued", "overlap")
        ledger.record_due(NOON + hour * HOUR)
    missed = [f"{hour} missed superseded" for hour in (12, 13, 14)]
    assert told() == [*missed, "15 queued overlap"]


def retried(run: Run) -> None:
    found = claimed(run)
    assert found is not None
    attempts._queue_again(attempts._owned(found), found, FAILURE, NOON + MINUTE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(retried, id="a retry"),
        pytest.param(lambda run: Run.objects.update(trigger=Trigger.ADMIN), id="started by a user"),
        pytest.param(lambda run: Run.objects.update(scheduled_for=None), id="sent by another scheduler"),
        pytest.param(lambda run: Run.objects.update(job="tests.probes.tasks.add"), id="an ordinary task"),
    ],
)
def test_whatever_is_not_the_first_attempt_of_a_schedules_own_run_stays(change: Any) -> None:
    schedule()
    pass_by(1)
    first = Run.objects.get()
    change(first)
    ledger.record_due(NOON + HOUR)
    assert list(Run.objects.filter(pk=first.pk).values_list("status", flat=True)) == ["queued"]


def test_the_runs_of_other_schedules_stay() -> None:
    schedule("one")
    schedule("another")
    pass_by(1)
    PeriodicTask.objects.filter(name="another").update(enabled=False)
    ledger.record_due(NOON + HOUR)
    assert Run.objects.get(schedule__name="another").status == "queued"


def test_a_run_past_its_deadline_expires_for_that_reason() -> None:
    schedule(starting_deadline=HOUR)
    pass_by(2)
    ledger.expire(NOON + HOUR)
    assert told() == ["12 expired deadline", "13 queued"]


def test_nothing_gives_way_to_a_slot_that_a_pause_skips() -> None:
    made = schedule()
    pass_by(1)
    Pause.objects.create(schedule=made, since=NOON + MINUTE)
    ledger.record_due(NOON + HOUR)
    assert told() == ["12 queued", "13 skipped paused"]


def test_nothing_gives_way_to_a_slot_that_the_jobs_limits_skip() -> None:
    made = hourly(handled_until=NOON - MINUTE, task="probes.allowing")
    pass_by(1)
    Run.objects.bulk_create(
        Run(job="allowing", schedule=made, status=Status.RUNNING, trigger=Trigger.SCHEDULE) for _ in range(3)
    )
    ledger.record_due(NOON + HOUR)
    assert told() == ["12 queued", "13 skipped too_many_live"]


def test_a_run_that_gives_way_does_not_count_for_the_jobs_limits() -> None:
    schedule(concurrency=Concurrency.ALLOW, max_live_per_schedule=1, max_live=1)
    pass_by(2)
    assert told() == ["12 missed superseded", "13 queued"]


def test_where_runs_may_overlap_those_that_are_on_time_are_left_to_the_limits() -> None:
    made = every(10, handled_until=NOON - SECOND)
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW, max_live_per_schedule=100)
    for number in range(10):
        ledger.record_due(NOON + number * 10 * SECOND)
    statuses = Run.objects.filter(schedule=made).order_by("scheduled_for").values_list("status", flat=True)
    # The others are less than a minute late.
    assert list(statuses) == ["missed"] * 4 + ["queued"] * 6


def test_a_stall_of_beat_queues_a_single_run_if_runs_must_not_overlap() -> None:
    every(10, handled_until=NOON - SECOND)
    ledger.record_due(NOON + 35 * SECOND)
    assert list(Run.objects.order_by("scheduled_for").values_list("status", "reason")) == [
        *[("missed", "coalesced")] * 3,
        ("queued", ""),
    ]


def test_runs_queued_under_another_policy_are_settled_together() -> None:
    made = schedule(misfire=Misfire.ALL)
    pass_by(5)
    SchedulePolicy.objects.filter(schedule=made).update(misfire=Misfire.ONCE)
    ledger.record_due(NOON + 5 * HOUR)
    assert Counter(Run.objects.values_list("status", flat=True)) == {"missed": 5, "queued": 1}
    assert Run.objects.get(status=Status.QUEUED).waiting_since == NOON


# --- When runs were queued, and how long they have been waiting


@pytest.mark.parametrize("misfire", [Misfire.ONCE, Misfire.SKIP])
def test_each_slot_keeps_the_time_at_which_its_run_was_queued(misfire: Misfire) -> None:
    """Although the newer run has the row of the older one."""
    every(20, handled_until=NOON - SECOND)
    SchedulePolicy.objects.update(misfire=misfire)
    for number in range(3):
        ledger.record_due(NOON + number * 20 * SECOND + SECOND)
    assert len({run.pk for run in Run.objects.all()}) == 3
    for run in Run.objects.all():
        assert run.scheduled_for is not None
        assert run.queued_at == run.scheduled_for + SECOND


def counted(at: datetime) -> dict[str, int]:
    return {key.status: total.count for key, total in totals.read(at, within_seconds=60).items()}


@pytest.mark.parametrize("look_after", [0, 1, 2, 3])
def test_each_of_them_is_counted_once_whenever_runs_are_counted(look_after: int) -> None:
    schedule()
    for number in range(4):
        ledger.record_due(NOON + number * HOUR)
        if number >= look_after:
            assert counted(NOON + number * HOUR + 10 * MINUTE).get("missed", 0) == number
    Run.objects.filter(status=Status.QUEUED).update(status=Status.SUCCEEDED, finished_at=NOON + 4 * HOUR)
    for hours in 4, 5:
        assert counted(NOON + hours * HOUR) == {"missed": 3, "succeeded": 1}


@pytest.mark.django_db(transaction=True)
def test_while_runs_are_counted_beat_goes_on_and_leaves_the_times_as_they_are() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    schedule()
    pass_by(1)
    counted(NOON + 10 * MINUTE)
    with server() as web_server:
        web_server.execute("BEGIN")
        web_server.execute("UPDATE jobledger_counteduntil SET counted_at = now()")
        ledger.record_due(NOON + HOUR)
        web_server.execute("ROLLBACK")
    assert told() == ["12 missed superseded", "13 queued"]
    assert Run.objects.get(status=Status.QUEUED).queued_at == NOON
    assert counted(NOON + 2 * HOUR) == {"missed": 1}


def waiting_since() -> datetime:
    (since,) = Run.objects.filter(status=Status.QUEUED).values_list(WAITING_SINCE, flat=True)
    assert isinstance(since, datetime)
    return since


def test_the_newer_run_says_since_when_runs_have_been_waiting() -> None:
    schedule()
    pass_by(3)
    assert waiting_since() == NOON


def test_the_newer_run_says_so_also_if_it_has_a_row_of_its_own() -> None:
    made = schedule()
    pass_by(2)
    edit(made)
    ledger.record_due(NOON + 2 * HOUR)
    assert waiting_since() == NOON


def test_what_has_been_skipped_has_nothing_waiting_in_its_place() -> None:
    schedule(misfire=Misfire.SKIP)
    pass_by(3)
    assert waiting_since() == NOON + 2 * HOUR


# --- The place in the queue


def test_the_newer_run_has_the_place_of_the_one_that_has_waited_longest() -> None:
    """Otherwise, if runs wait longer than their schedule's period, none would ever start."""
    schedule()
    pass_by(1)
    first = Run.objects.get()
    pass_by(4)
    run = claimed(first)
    assert run is not None
    assert (run.pk, run.scheduled_for, run.status) == (first.pk, NOON + 3 * HOUR, Status.RUNNING)
    assert told()[-1] == "15 running"


def test_where_late_runs_are_skipped_it_has_the_place_of_one_that_is_not_late_yet() -> None:
    made = every(20, handled_until=NOON - SECOND)
    SchedulePolicy.objects.filter(schedule=made).update(misfire=Misfire.SKIP)
    (first,) = ledger.record_due(NOON).queued
    for number in range(1, 3):
        ledger.record_due(NOON + number * 20 * SECOND)
        ledger.expire(NOON + number * 20 * SECOND)
    run = claimed(first, NOON + 70 * SECOND)
    assert run is not None
    assert (run.scheduled_for, run.status) == (NOON + 40 * SECOND, Status.RUNNING)


def test_its_message_is_not_sent_again() -> None:
    schedule()
    assert len(ledger.record_due(NOON).queued) == 1
    assert ledger.record_due(NOON + HOUR).queued == []


def test_a_run_that_waits_for_another_run_of_its_job_keeps_its_place_for_the_newer_one() -> None:
    schedule(concurrency=Concurrency.QUEUE)
    Run.objects.create(job="probe", status=Status.RUNNING, concurrency_key="probe", trigger=Trigger.CLI)
    pass_by(1)
    first = Run.objects.get(trigger=Trigger.SCHEDULE)
    waiting = claimed(first)
    assert waiting is not None
    assert waiting.status == Status.QUEUED
    ledger.record_due(NOON + HOUR)
    first.refresh_from_db()
    assert (first.scheduled_for, first.status, first.concurrency_key) == (NOON + HOUR, "queued", "probe")
    assert (first.reason, first.reason_details) == (waiting.reason, waiting.reason_details)
    assert first.reason == Reason.OVERLAP


def test_every_reason_names_the_row_that_the_newer_run_has_inherited() -> None:
    schedule()
    pass_by(1)
    ledger.record_due(NOON + 3 * HOUR)
    pk = str(Run.objects.get(status=Status.QUEUED).pk)
    assert [run.reason_details["run"] for run in Run.objects.filter(status=Status.MISSED)] == [pk] * 3


def test_the_deadline_of_the_newer_run_counts() -> None:
    schedule(starting_deadline=5 * HOUR)
    pass_by(3)
    assert Run.objects.get(status=Status.QUEUED).start_before == NOON + 7 * HOUR


@pytest.mark.parametrize("change", [{"kwargs": '{"level": 3}'}, {"queue": "other"}])
def test_a_newer_run_of_another_message_has_a_row_of_its_own(change: dict[str, str]) -> None:
    made = schedule()
    pass_by(1)
    edit(made, **change)
    recorded = ledger.record_due(NOON + HOUR)
    assert [run.scheduled_for for run in recorded.queued] == [NOON + HOUR]
    assert told() == ["12 missed superseded", "13 queued"]


def test_a_slot_that_was_recorded_before_inherits_nothing() -> None:
    made = schedule()
    pass_by(1)
    first = Run.objects.get()
    Run.objects.create(
        job="probe",
        schedule=made,
        scheduled_for=NOON + HOUR,
        status=Status.SUCCEEDED,
        trigger=Trigger.SCHEDULE,
    )
    ledger.record_due(NOON + HOUR)
    first.refresh_from_db()
    assert (first.scheduled_for, first.status) == (NOON, Status.MISSED)
    assert told() == ["12 missed superseded", "13 succeeded"]


def test_those_to_be_caught_up_on_keep_their_order() -> None:
    schedule(misfire=Misfire.ALL, catch_up_limit=1)
    pass_by(4)
    waiting = Run.objects.filter(status=Status.QUEUED)
    assert [run.scheduled_for for run in waiting.order_by("queued_at")] == [NOON + 2 * HOUR, NOON + 3 * HOUR]


# --- Claims


def test_a_worker_that_gets_the_message_of_a_superseded_run_does_nothing() -> None:
    made = schedule()
    pass_by(1)
    older = Run.objects.get()
    edit(made)
    ledger.record_due(NOON + HOUR)
    before = Run.objects.filter(pk=older.pk).values().get()
    assert before["status"] == Status.MISSED
    assert claimed(older) is None
    assert Run.objects.filter(pk=older.pk).values().get() == before


@pytest.mark.django_db(transaction=True)
def test_a_run_that_a_worker_is_just_claiming_is_left_to_it() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    schedule()
    pass_by(1)
    with server() as worker:
        worker.execute("BEGIN")
        worker.execute("UPDATE jobledger_run SET status = 'running', publish_after = NULL")
        ledger.record_due(NOON + HOUR)
        worker.execute("COMMIT")
    assert told() == ["12 running", "13 queued"]
    assert Run.objects.get(status=Status.QUEUED).waiting_since is None


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_claimed_after_the_backlog_was_read_is_left_to_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    schedule()
    pass_by(1)
    with server() as worker:
        may_overlap = slot_runs.may_overlap

        def claim_meanwhile(*args: Any) -> bool:
            worker.execute("UPDATE jobledger_run SET status = 'running', publish_after = NULL")
            return may_overlap(*args)

        monkeypatch.setattr(slot_runs, "may_overlap", claim_meanwhile)
        ledger.record_due(NOON + HOUR)
    assert told() == ["12 running", "13 queued"]


# --- Cost


def test_a_schedule_that_is_due_alone_is_left_to_the_batch_if_a_run_of_it_waits() -> None:
    schedule()
    pass_by(1)
    assert due_alone.record(NOON + HOUR) is None
    # Not one that another scheduler has sent, for whatever slot.
    Run.objects.update(scheduled_for=None)
    alone = due_alone.record(NOON + HOUR)
    assert alone is not None
    assert [run.scheduled_for for run in alone.queued] == [NOON + HOUR]


def test_a_batch_takes_the_same_number_of_statements_however_many_give_way() -> None:
    needed = list[int]()
    for count in 3, 20:
        for number in range(count):
            schedule(f"schedule {count} {number}")
        ledger.record_due(NOON)
        with CaptureQueriesContext(connection) as queries:
            ledger.record_due(NOON + HOUR)
        needed.append(len(queries))
        PeriodicTask.objects.all().delete()
    assert needed[0] == needed[1]
    assert Run.objects.filter(status=Status.MISSED).count() == 23


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL reads small tables in any way")
def test_the_backlog_is_found_by_its_own_index() -> None:
    schedule()
    with CaptureQueriesContext(connection) as queries:
        due_alone.record(NOON)
    reading = next(query["sql"] for query in queries if "has_backlog" in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {reading}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "run_in_backlog (schedule_id=?" in plan


# --- Five minutes of every second

AWAY, LIMIT = 300, 20
# How many may wait.
MOST = {
    (Misfire.ONCE, Concurrency.FORBID): 1,
    (Misfire.SKIP, Concurrency.QUEUE): 1,
    # The newest, and those to catch up on.
    (Misfire.ALL, Concurrency.FORBID): 1 + LIMIT,
    (Misfire.ALL, Concurrency.QUEUE): 1 + LIMIT,
    # Those of the last minute are on time.
    (Misfire.ONCE, Concurrency.ALLOW): 60,
}


@pytest.mark.one_database
def test_five_minutes_without_workers_of_schedules_due_every_second_under_each_policy() -> None:
    """As beat records them, second by second."""
    limits = {"catch_up_limit": LIMIT, "max_live_per_schedule": 1000, "max_live": 1000}
    for misfire, concurrency in MOST:
        made = every(1, f"{misfire} {concurrency}", handled_until=NOON - SECOND)
        SchedulePolicy.objects.filter(schedule=made).update(
            misfire=misfire, concurrency=concurrency, **limits
        )
    most = Counter[str]()
    for second in range(AWAY):
        ledger.record_due(NOON + second * SECOND)
        most |= Counter(Run.objects.filter(status=Status.QUEUED).values_list("schedule_name", flat=True))
    assert most == {f"{misfire} {concurrency}": count for (misfire, concurrency), count in MOST.items()}
    assert Counter(Run.objects.values_list("schedule_name", flat=True)) == dict.fromkeys(most, AWAY)


def test_where_late_runs_are_skipped_no_worker_starts_one_after_a_minute() -> None:
    schedule(misfire=Misfire.SKIP)
    [run] = ledger.record_due(NOON + 20 * SECOND).queued
    with time_machine.travel(NOON + 80 * SECOND, tick=False):
        assert claims.claim(run.pk, worker="worker", job=registry.find(run.job)) is None
    assert (ledger.expire(NOON + 79 * SECOND), ledger.expire(NOON + 80 * SECOND)) == (0, 1)
    run.refresh_from_db()
    assert told() == ["12 expired late"]
    assert str(reasons.sentence(run, NOON)) == (
        "Expired: it had not started within a minute, and its misfire policy is to skip missed runs."
    )


def test_where_late_runs_are_skipped_a_worker_has_a_minute() -> None:
    schedule(misfire=Misfire.SKIP)
    [run] = ledger.record_due(NOON + 50 * SECOND).queued
    with time_machine.travel(NOON + 109 * SECOND, tick=False):
        assert claims.claim(run.pk, worker="worker", job=registry.find(run.job)) is not None


@pytest.mark.parametrize(
    ("policy", "values", "reason"),
    [
        ({"starting_deadline": 30 * SECOND}, {}, "deadline"),
        ({"starting_deadline": 2 * MINUTE}, {}, "late"),
        ({}, {"expire_seconds": 30}, "deadline"),
        ({}, {"expire_seconds": 90}, "late"),
        ({}, {"expires": NOON + 30 * SECOND}, "deadline"),
        ({}, {"expires": NOON + HOUR}, "late"),
    ],
)
def test_an_earlier_end_is_the_reason_of_a_run_that_would_be_skipped_later(
    policy: dict[str, Any], values: dict[str, Any], reason: str
) -> None:
    made = schedule(misfire=Misfire.SKIP, **policy)
    PeriodicTask.objects.filter(pk=made.pk).update(**values)
    ledger.record_due(NOON)
    ledger.expire(NOON + MINUTE)
    assert told() == [f"12 expired {reason}"]
