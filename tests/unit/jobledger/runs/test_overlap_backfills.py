"""Runs of backfills wait for all others, and all others only wait for the one that is running."""

from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command

from jobledger.jobs.declaration import Concurrency
from jobledger.models import Reason, Run, Status, Trigger
from jobledger.runs import overlap
from jobledger.runs.execution import runner
from jobledger.runs.overlap import Guard
from jobledger.runs.publishing import publisher
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

POLICIES = [Concurrency.FORBID, Concurrency.QUEUE, Concurrency.REPLACE]


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    runs: list[Run] = []
    monkeypatch.setattr(publisher, "try_to_publish", runs.extend)
    return runs


def guard(concurrency: Concurrency) -> Guard:
    return Guard(key="probe", concurrency=concurrency, max_queued=1)


def queued(trigger: Trigger = Trigger.SCHEDULE, **values: Any) -> Run:
    return Run.objects.create(**{"job": "probe", "trigger": trigger, "queued_at": NOON, **values})


def running(trigger: Trigger = Trigger.SCHEDULE, **values: Any) -> Run:
    return queued(trigger, status=Status.RUNNING, concurrency_key="probe", started_at=NOON, **values)


def started(run: Run, concurrency: Concurrency) -> str:
    """Its state once a worker has tried to start it."""
    overlap.start(run, guard(concurrency), NOON)
    run.refresh_from_db()
    return f"{run.status} {run.reason}".strip()


@pytest.mark.parametrize("concurrency", POLICIES)
def test_a_run_of_a_backfill_waits_for_the_running_one(concurrency: Concurrency) -> None:
    holder, run = running(), queued(Trigger.BACKFILL)
    assert started(run, concurrency) == "queued overlap"
    assert run.concurrency_key == "probe"
    holder.refresh_from_db()
    assert holder.cancel_requested_at is None


@pytest.mark.parametrize("concurrency", POLICIES)
def test_any_other_run_waits_for_a_backfills_run_instead_of_being_skipped(concurrency: Concurrency) -> None:
    holder, run = running(Trigger.BACKFILL), queued()
    assert started(run, concurrency) == "queued overlap"
    holder.refresh_from_db()
    assert holder.cancel_requested_at is None


def test_so_it_does_for_a_job_that_a_backfills_run_has_called() -> None:
    outermost = queued(Trigger.BACKFILL, job="parent", status=Status.RUNNING)
    between = queued(Trigger.JOB, job="between", status=Status.RUNNING, parent=outermost)
    running(Trigger.JOB, parent=between)
    assert started(queued(), Concurrency.FORBID) == "queued overlap"


def test_a_job_that_any_other_run_has_called_is_in_the_way() -> None:
    running(Trigger.JOB, parent=queued(job="parent", status=Status.RUNNING))
    assert started(queued(), Concurrency.FORBID) == "skipped overlap"


def test_a_job_whose_caller_was_deleted_is_in_the_way() -> None:
    running(Trigger.JOB)
    assert started(queued(), Concurrency.FORBID) == "skipped overlap"


def test_no_more_runs_wait_for_a_backfill_than_may_wait_for_any_other() -> None:
    running(Trigger.BACKFILL)
    assert started(queued(), Concurrency.FORBID) == "queued overlap"
    assert started(queued(), Concurrency.FORBID) == "skipped queue_full"


def test_a_backfills_run_that_waits_takes_no_other_runs_place() -> None:
    running()
    assert started(queued(Trigger.BACKFILL), Concurrency.QUEUE) == "queued overlap"
    assert started(queued(), Concurrency.QUEUE) == "queued overlap"
    assert started(queued(Trigger.BACKFILL), Concurrency.QUEUE) == "queued overlap"


def test_when_the_job_is_free_a_backfills_run_is_woken_last(published: list[Run]) -> None:
    first = queued(Trigger.BACKFILL, concurrency_key="probe")
    later = queued(concurrency_key="probe", queued_at=NOON.replace(hour=13))
    overlap.wake("probe", at_once=False)
    first.refresh_from_db()
    later.refresh_from_db()
    assert (first.publish_after, later.publish_after) == (None, NOON)
    later.delete()
    overlap.wake("probe", at_once=False)
    first.refresh_from_db()
    assert first.publish_after == NOON


def test_a_call_that_would_wait_for_a_backfills_run_is_sent() -> None:
    holder = running(Trigger.BACKFILL)
    assert overlap.why_not_now(guard(Concurrency.FORBID)) is None
    Run.objects.filter(pk=holder.pk).update(trigger=Trigger.SCHEDULE)
    why = overlap.why_not_now(guard(Concurrency.FORBID))
    assert why is not None
    assert why.reason is Reason.OVERLAP


def test_on_the_command_line_a_backfills_run_is_in_the_way_as_any_other() -> None:
    running(Trigger.BACKFILL)
    with pytest.raises(CommandError, match="Skipped"):
        call_command("probe")


def release_on_sleep(monkeypatch: pytest.MonkeyPatch, holder: Run) -> list[float]:
    """The holder ends as soon as somebody waits for it."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        Run.objects.filter(pk=holder.pk).update(status=Status.SUCCEEDED)

    monkeypatch.setattr("jobledger.runs.execution.calls.time.sleep", sleep)
    return waited


def test_a_command_that_replaces_waits_for_a_backfills_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.probes.management.commands.probe.Command.concurrency", Concurrency.REPLACE)
    holder = running(Trigger.BACKFILL)
    waited = release_on_sleep(monkeypatch, holder)
    call_command("probe")
    holder.refresh_from_db()
    assert (len(waited), holder.cancel_requested_at) == (1, None)


@pytest.mark.parametrize("concurrency", [Concurrency.FORBID, Concurrency.REPLACE])
def test_a_job_that_a_backfills_run_calls_waits_for_its_turn(
    monkeypatch: pytest.MonkeyPatch, concurrency: Concurrency
) -> None:
    monkeypatch.setattr("tests.probes.management.commands.probe.Command.concurrency", concurrency)
    holder = running(job="probe")
    waited = release_on_sleep(monkeypatch, holder)
    caller = queued(Trigger.BACKFILL, job="parent")
    monkeypatch.setattr(runner, "current_run", lambda: caller)
    call_command("probe")
    holder.refresh_from_db()
    assert (len(waited), holder.cancel_requested_at) == (1, None)
    assert Run.objects.get(parent=caller).status == Status.SUCCEEDED
