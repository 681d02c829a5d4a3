"""Overlap with a real worker and ``manage.py``: the same guard for all ways to start a job."""

from uuid import UUID

import pytest

from tests.integration.command_line import from_command_line, run_from_command_line, short
from tests.integration.ledger import (
    RunRow,
    call,
    call_lasting,
    cancel,
    enqueue,
    let_end,
    release,
    run_row,
    run_rows,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.integration.processes import suspended
from tests.integration.service import Service
from tests.waiting import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.every_database, pytest.mark.takes_long]

EVERY_SECOND = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
options = '{"tenant": "slots", "seconds": 0.1}'
PeriodicTask.objects.create(name="slots", task="probes.lasting", interval=every, kwargs=options)
"""
NO_LONGER = "from django_celery_beat.models import *; PeriodicTask.objects.get(name='slots').delete()"
FROM_COMMAND_LINE = "job = 'lasting' AND trigger = 'cli'"


def test_runs_that_would_overlap_are_skipped_and_name_the_holder(running: Service) -> None:
    holder = call(running, "lasting", seconds=60, tenant="forbid")
    wait_for_start(running, holder)
    second = wait_for_end(running, call(running, "lasting", tenant="forbid"))
    assert (second.status, second.reason) == ("skipped", "overlap")
    assert second.reason_details["run"] == str(holder)
    refused = running.manage("lasting", "--tenant", "forbid")
    assert refused.returncode == 75
    assert f"Skipped: run {short(holder)} of the same job was still running" in refused.stderr
    assert running.manage("lasting", "--tenant", "forbid", "--allow-overlap").returncode == 0
    other = wait_for_end(running, call(running, "lasting", tenant="another"))
    assert other.status == "succeeded"
    release(running, holder)


def test_a_waiting_command_starts_when_the_worker_has_finished(running: Service) -> None:
    holder = call(running, "lasting", seconds=60, tenant="wait")
    wait_for_start(running, holder)
    waiting = from_command_line(running, "lasting", "--tenant", "wait", "--seconds", "0.1", "--wait")
    refused = running.manage("lasting", "--tenant", "wait")
    assert (refused.returncode, waiting.poll()) == (75, None)
    release(running, holder)
    output, _ = waiting.communicate(timeout=DEADLINE_SECONDS)
    assert (waiting.returncode, output) == (0, "working on attempt 1\n")
    pk = next(row.pk for row in reversed(run_rows(running, FROM_COMMAND_LINE)) if row.status == "succeeded")
    assert worked_in_turn(running, holder, pk)
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_run_from_the_command_line_prevents_overlap_with_a_worker(running: Service) -> None:
    command = from_command_line(running, "lasting", "--tenant", "command", "--seconds", "60")
    holder = run_from_command_line(running, "lasting")
    second = wait_for_end(running, call(running, "lasting", tenant="command"))
    assert (second.status, second.reason_details["run"]) == ("skipped", str(holder))
    cancel(running, holder)
    _, error = command.communicate(timeout=DEADLINE_SECONDS)
    assert (command.returncode, error) == (130, "Cancelled by ann.\n")


def test_a_queueing_job_starts_as_soon_as_the_other_ends(running: Service) -> None:
    first = call_lasting(running, "queueing", tenant="queue")
    wait_for_start(running, first)
    second = call(running, "queueing", seconds=0.2, tenant="queue")
    wait_for_status(running, second, "queued")
    third = wait_for_end(running, call(running, "queueing", tenant="queue"))
    assert (third.status, third.reason) == ("skipped", "queue_full")
    assert third.reason_details["run"] == str(first)
    # It is published when the other ends, and does not wait until beat publishes it again.
    with suspended(running, "beat"), let_end(running, "queueing"):
        ended, waited = wait_for_end(running, first), wait_for_end(running, second)
    assert (ended.status, waited.status) == ("succeeded", "succeeded")
    gap = gap_seconds(running, first, second)
    print(f"started {gap:.3f} s after the other's end")
    assert worked_in_turn(running, first, second)


def test_a_waiting_run_starts_even_if_its_holder_is_killed(running: Service) -> None:
    first = call(running, "queueing", seconds=60, tenant="killed holder", stubborn=True)
    wait_for_start(running, first)
    second = call(running, "queueing", seconds=0.2, tenant="killed holder")
    wait_for_status(running, second, "queued")
    cancel(running, first)
    ended, waited = wait_for_end(running, first), wait_for_end(running, second)
    assert (ended.status, waited.status) == ("cancelled", "succeeded")
    assert ended.reason_details["killed_by"] == "itself"
    gap = gap_seconds(running, first, second)
    print(f"started {gap:.3f} s after the other's end")
    assert worked_in_turn(running, first, second)


def test_a_replacing_job_cancels_the_running_one_and_starts(running: Service) -> None:
    first = call(running, "replacing", seconds=60, tenant="replace")
    wait_for_start(running, first)
    second = call(running, "replacing", seconds=60, tenant="replace")
    wait_for_start(running, second)
    row = wait_for_end(running, first)
    assert (row.status, row.reason) == ("cancelled", "superseded")
    assert row.reason_details == {"run": str(second)}
    done = running.manage("replacing", "--seconds", "0.1", "--tenant", "replace")
    assert (done.returncode, done.stdout) == (0, "working on attempt 1\n")
    row = wait_for_end(running, second)
    assert (row.status, row.reason) == ("cancelled", "superseded")
    assert row.reason_details["trigger"] == "cli"


def test_a_job_that_allows_overlap_runs_several_times_at_once(running: Service) -> None:
    pks = [call(running, "allowing", seconds=60) for _ in range(2)]
    for pk in pks:
        wait_for_start(running, pk)
    assert running.manage("allowing", "--seconds", "0.1").returncode == 0
    assert [wait_for_status(running, pk, "running").finished_at for pk in pks] == [None, None]
    release(running, *pks)


def test_runs_from_the_admin_are_guarded_in_the_same_way(running: Service) -> None:
    (holder,) = enqueue(running, "lasting", seconds=60, tenant="admin")
    wait_for_start(running, holder)
    (second,) = enqueue(running, "lasting", tenant="admin")
    row = wait_for_end(running, second)
    assert (row.status, row.trigger, whats(running, second)) == ("skipped", "admin", [])
    assert row.reason_details["run"] == str(holder)
    refused = running.manage("lasting", "--tenant", "admin")
    assert (refused.returncode, f"run {short(holder)}" in refused.stderr) == (75, True)
    release(running, holder)


def test_slots_that_would_overlap_with_a_run_from_the_command_line_are_skipped(
    running: Service,
) -> None:
    command = from_command_line(running, "lasting", "--tenant", "slots", "--seconds", "60")
    holder = run_from_command_line(running, "lasting")
    running.shell(EVERY_SECOND)
    try:
        (skipped, *_) = wait_until(lambda: of_slots(running, "status = 'skipped'"), what="a slot is due")
        assert skipped.reason_details["run"] == str(holder)
        assert not of_slots(running, "started_at IS NOT NULL")
        cancel(running, holder)
        command.communicate(timeout=DEADLINE_SECONDS)
        wait_until(lambda: of_slots(running, "status = 'succeeded'"), what="a slot is executed")
    finally:
        running.shell(NO_LONGER)


def of_slots(running: Service, condition: str) -> list[RunRow]:
    """The runs of the schedule's slots that match an SQL condition."""
    return run_rows(running, f"schedule_name = 'slots' AND {condition}")


def worked_in_turn(running: Service, first: UUID, second: UUID) -> bool:
    """Whether the second job did nothing before the first one had done everything."""
    runs = [trace.run for trace in traces(running) if trace.run in (first, second)]
    return runs == [first] * runs.count(first) + [second] * runs.count(second) and {*runs} == {first, second}


def gap_seconds(running: Service, first: UUID, second: UUID) -> float:
    """The time from the end of the first run to the start of the second.

    A start is recorded as of when the run was read. Then, it may still have to wait some milliseconds for the
    end of the other one to be written.
    """
    ended, began = run_row(running, first), run_row(running, second)
    assert ended
    assert began
    assert ended.finished_at
    assert began.started_at
    return (began.started_at - ended.finished_at).total_seconds()
