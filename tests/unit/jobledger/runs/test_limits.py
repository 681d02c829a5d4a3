"""A schedule's own time limit holds for each of its runs, wins over the job's, and stays with the run."""

import signal
import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from jobledger.jobs import registry
from jobledger.models import Run, SchedulePolicy, Status, Trigger
from jobledger.runs import attempts, dispatch, limits, reasons
from jobledger.runs.execution import claims, isolation, runner
from jobledger.runs.lease import rescue
from jobledger.runs.outcome import SUCCESS
from jobledger.runs.processes.resources import Usage
from jobledger.schedules.due import ledger
from tests.probes.management.commands import plain_probe
from tests.probes.management.commands.probe import Command
from tests.unit.broker import Broker
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SHORT = timedelta(milliseconds=50)


def recorded(task: str = "probes.probe", **policy: Any) -> Run:
    """A run that beat has recorded for a schedule with this policy."""
    with time_machine.travel(NOON - MINUTE, tick=False):
        schedule = hourly(task=task, handled_until=NOON - MINUTE)
        SchedulePolicy.objects.filter(schedule=schedule).update(**policy)
        (run,) = ledger.record_due(NOON).queued
    return Run.objects.get(pk=run.pk)


def executed(run: Run) -> Run:
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    return ended.run


def sleep(*args: Any, **options: Any) -> None:
    """What is to be interrupted."""
    time.sleep(60)


def sentence(run: Run) -> str:
    return str(reasons.sentence(run, NOON))


def test_a_run_keeps_the_limits_of_its_schedule() -> None:
    run = recorded(time_limit=HOUR, time_limit_grace=MINUTE)
    assert (run.time_limit, run.time_limit_grace) == (HOUR, MINUTE)


def test_it_wins_over_the_jobs_limit_if_it_is_longer_and_if_it_is_shorter() -> None:
    longer, shorter = (Run(job="limited", time_limit=length) for length in (HOUR, SHORT))
    assert [limits.of_run(run).time_limit for run in (longer, shorter)] == [HOUR, SHORT]
    assert limits.of_run(Run(job="limited")).time_limit == timedelta(seconds=5)


def test_a_job_that_declares_the_longest_times_there_are_runs_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("time_limit", "time_limit_grace", "expected_duration", "retry_backoff"):
        monkeypatch.setattr(Command, name, timedelta.max)
    assert (limits.of_job(Command).hard_limit_seconds or 0) > 0
    run = executed(Run.objects.create(job="probe", trigger=Trigger.CELERY))
    assert (run.status, rescue.is_past_grace_period(run, NOON)) == ("succeeded", False)
    assert attempts.backoff(Command, 2) > timedelta(0)


def test_the_limit_and_the_time_to_clean_up_are_set_independently() -> None:
    found = limits.of_run(Run(job="limited", time_limit_grace=timedelta(0)))
    assert (found.time_limit, found.grace, found.set_by) == (timedelta(seconds=5), timedelta(0), "job")
    found = limits.of_run(Run(job="limited", time_limit=HOUR))
    assert (found.time_limit, found.grace, found.set_by) == (HOUR, timedelta(seconds=2), "schedule")


def test_a_run_that_exceeds_its_schedules_limit_is_interrupted_and_says_whose_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Command, "handle", sleep)
    run = executed(recorded(time_limit=SHORT))
    assert (run.status, run.exit_code, run.reason) == ("timed_out", 124, "time_limit")
    assert run.reason_details == {"limit_seconds": 0.05, "set_by": "schedule"}
    assert "the run exceeded its time limit of 50 ms, set by its schedule." in sentence(run)


def test_a_run_that_exceeds_its_jobs_limit_does_not_name_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "handle", sleep)
    monkeypatch.setattr(Command, "time_limit", SHORT)
    run = executed(recorded(time_limit_grace=HOUR))
    assert run.reason_details == {"limit_seconds": 0.05}


def test_a_plain_command_has_the_limit_of_its_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plain_probe.Command, "handle", sleep)
    run = executed(recorded("probes.plain_probe", time_limit=SHORT))
    assert (run.status, run.reason_details["set_by"]) == ("timed_out", "schedule")


def test_a_job_that_it_calls_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list[Run | None]()

    def call_another(command: Command, *args: Any, **options: Any) -> None:
        monkeypatch.setattr(Command, "handle", lambda *args, **options: found.append(runner.current_run()))
        call_command("probe")

    monkeypatch.setattr(Command, "handle", call_another)
    monkeypatch.setattr(Command, "concurrency", "allow")
    outer = executed(recorded(time_limit=HOUR))
    assert outer.status == "succeeded"
    (inner,) = found
    assert inner is not None
    assert (inner.trigger, inner.parent_id, inner.time_limit) == ("job", outer.pk, None)


def test_a_job_that_it_calls_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def call_another(command: Command, *args: Any, **options: Any) -> None:
        monkeypatch.setattr(Command, "handle", sleep)
        call_command("probe")

    monkeypatch.setattr(Command, "handle", call_another)
    monkeypatch.setattr(Command, "concurrency", "allow")
    # Long enough to begin the other one, on a busy machine too.
    outer = executed(recorded(time_limit=timedelta(seconds=3)))
    assert outer.status == "timed_out"
    assert Run.objects.get(parent=outer).status == "timed_out"


def test_an_edit_of_the_schedule_leaves_the_runs_that_are_queued_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Command, "handle", sleep)
    run = recorded(time_limit=SHORT)
    SchedulePolicy.objects.update(time_limit=HOUR)
    assert executed(run).status == "timed_out"


def test_another_attempt_has_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "handle", sleep)
    monkeypatch.setattr(Command, "max_retries", 1)
    run = recorded(time_limit=SHORT)
    executed(run)
    run.refresh_from_db()
    assert (run.status, run.attempt, run.time_limit) == ("queued", 2, SHORT)


def test_a_run_that_repeats_it_has_the_same_limit(broker: Broker) -> None:
    run = recorded(time_limit=HOUR, time_limit_grace=MINUTE)
    Run.objects.update(status=Status.FAILED)
    run.refresh_from_db()
    again = dispatch.run_again(run, trigger=Trigger.ADMIN, username="ann")
    again.refresh_from_db()
    assert (again.time_limit, again.time_limit_grace) == (HOUR, MINUTE)


def test_an_isolated_run_is_given_the_schedules_time_before_it_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = list[Any]()

    def in_own_process(run_id: Any, work: Any, *, within: timedelta, **others: Any) -> isolation.Ending:
        given.append(within)
        usage = Usage(peak_memory_bytes=1, cpu_seconds=0.0)
        return isolation.Ending(report=None, status=signal.SIGKILL, pid=7, usage=usage, timed_out=True)

    monkeypatch.setattr(isolation, "in_own_process", in_own_process)
    monkeypatch.setattr(Command, "isolate", True)
    monkeypatch.setattr(runner, "is_seen_by_others", lambda: True)
    run = executed(recorded(time_limit=HOUR, time_limit_grace=MINUTE))
    assert given == [HOUR + MINUTE + isolation.KILL_MARGIN]
    assert run.reason_details == {"limit_seconds": 3600.0, "set_by": "schedule", "killed_by": "worker"}


def test_a_lost_run_has_timed_out_by_its_schedules_limit() -> None:
    long_ago = {"started_at": NOON - HOUR, "heartbeat_at": NOON, "status": Status.RUNNING, "job": "limited"}
    found = [Run.objects.create(trigger="schedule", time_limit=each, **long_ago) for each in (HOUR, 2 * HOUR)]
    assert [rescue.is_past_grace_period(run, NOON + timedelta(seconds=2)) for run in found] == [True, False]
    why = limits.of_run(found[0]).exceeded()
    for run in found:
        rescue.give_up(run, why)
        run.refresh_from_db()
    assert [run.status for run in found] == ["timed_out", "lost"]


def test_a_run_with_a_limit_of_its_own_takes_no_more_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for values in ({}, {"time_limit": HOUR, "time_limit_grace": MINUTE}):
        run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, **values)
        with CaptureQueriesContext(connection) as queries:
            claimed = claims.claim(run.pk, worker="w", job=registry.find("probe"))
            assert claimed is not None
            assert claimed.time_limit == values.get("time_limit")
            limits.of_run(claimed)
            attempts.end(claimed, SUCCESS)
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "values",
    [
        {"time_limit": timedelta(0)},
        {"time_limit": -MINUTE},
        {"time_limit": timedelta(days=1001)},
        {"time_limit_grace": -MINUTE},
        {"time_limit_grace": timedelta(days=1001)},
    ],
)
def test_the_database_takes_no_limit_with_which_no_run_could_end_well(values: dict[str, timedelta]) -> None:
    schedule = hourly()
    with pytest.raises(IntegrityError):
        SchedulePolicy.objects.filter(schedule=schedule).update(**values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"time_limit": 90 * MINUTE}, "1 h 30 min, then 2 s to clean up (set by its schedule)"),
        ({}, "5 s, then 2 s to clean up (set by the job)"),
        ({"job": "probe", "schedule_name": "mine"}, "none"),
        ({"job": "probe"}, ""),
        (
            {"status": "succeeded", "started_at": NOON},
            "5 s, then 2 s to clean up (set by the job, as it is now)",
        ),
        ({"status": "skipped"}, ""),
        ({"trigger": "cron"}, ""),
        ({"job": "tests.probes.tasks.add"}, ""),
    ],
)
def test_a_run_says_which_limit_applies_and_who_has_set_it(values: dict[str, Any], expected: str) -> None:
    assert limits.described(Run(**{"job": "limited", "trigger": "schedule", **values})) == expected
