"""An accepted cancel is final, however the run ends."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobledger.models import Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.runs import attempts, dispatch, overlap, reasons
from jobledger.runs.execution import claims, runner
from jobledger.runs.lease.interrupts import JobCancelled, LeaseLost
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of
from jobledger.runs.output.capture import of_call
from jobledger.runs.output.recorder import OutputRecorder
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

BY_ANN = Why.of(Reason.USER, user="ann", trigger=Trigger.ADMIN)
BY_SHUTDOWN = Why.of(Reason.WORKER_SHUTDOWN, worker="celery@here")
CRASH = outcome_of(RuntimeError("boom"))
TIMED_OUT = Outcome(status=Status.TIMED_OUT, why=Why.of(Reason.TIME_LIMIT, killed_by="worker"), exit_code=124)
LOST = Outcome(status=Status.LOST, why=Why.of(Reason.LOST_PROCESS, worker="w"), exit_code=None, error="gone")
SHUT_DOWN = Outcome(status=Status.CANCELLED, why=BY_SHUTDOWN, exit_code=130)


def made(status: Status, **values: Any) -> Run:
    """A run of a job that is retried when it fails or is lost."""
    defaults = {"job": "restarting", "trigger": Trigger.SCHEDULE, "status": status}
    return Run.objects.create(**{**defaults, **values})


def running(**values: Any) -> Run:
    return made(Status.RUNNING, **{"started_at": NOON, "heartbeat_at": NOON, **values})


def ended(run: Run, outcome: Outcome) -> Run:
    assert attempts.end(run, outcome)
    run.refresh_from_db()
    return run


def cancel(run: Run, why: Why = BY_ANN) -> bool:
    return overlap.request_cancel(run, why, timezone.now())


@pytest.mark.parametrize(
    ("status", "changed"), [(Status.QUEUED, True), (Status.RUNNING, True), (Status.SUCCEEDED, False)]
)
def test_a_cancel_is_accepted_until_the_run_has_finished(status: Status, changed: bool) -> None:
    assert cancel(made(status)) is changed


def test_only_one_cancel_is_accepted() -> None:
    run = running()
    assert [cancel(run), cancel(run, Why.of(Reason.SUPERSEDED))] == [True, False]
    run.refresh_from_db()
    assert run.reason == Reason.USER


def test_a_queued_run_is_cancelled_immediately() -> None:
    run = made(Status.QUEUED, publish_after=NOON)
    cancel(run)
    run.refresh_from_db()
    assert (run.status, run.publish_after, run.finished_at is None) == ("cancelled", None, False)
    assert (run.reason, run.reason_details) == (Reason.USER, {"user": "ann", "trigger": "admin"})


def test_a_running_run_is_requested_to_end() -> None:
    run = running()
    cancel(run)
    run.refresh_from_db()
    assert (run.status, run.finished_at, run.cancel_requested_at is None) == ("running", None, False)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_cancel_is_a_single_statement(status: Status) -> None:
    """The run is not read first."""
    run = made(status)
    with CaptureQueriesContext(connection) as queries:
        assert cancel(run)
    about_runs = [each["sql"].split()[0] for each in queries if '"jobledger_run"' in each["sql"]]
    assert about_runs == ["UPDATE"]


@pytest.mark.parametrize("outcome", [CRASH, TIMED_OUT, LOST, SHUT_DOWN])
def test_a_cancelled_run_that_fails_or_is_lost_is_not_retried(outcome: Outcome) -> None:
    run = running()
    cancel(run)
    ended(run, outcome)
    assert (run.status, run.attempt, run.reason) == ("cancelled", 1, Reason.USER)
    assert (run.exit_code, run.error) == (outcome.exit_code, outcome.error)
    assert not RunAttempt.objects.exists()


def test_a_cancelled_run_says_how_it_was_killed_and_which_error_it_had() -> None:
    run = running()
    cancel(run)
    ended(run, TIMED_OUT)
    assert run.reason_details == {"user": "ann", "trigger": "admin", "killed_by": "worker"}
    run.error = "signal 9 (SIGKILL)."
    assert reasons.explanation(run) == (
        "Cancelled by ann on the web. It did not respond and was killed by its worker. "
        "It ended with: signal 9 (SIGKILL)."
    )


@pytest.mark.parametrize("outcome", [CRASH, LOST, outcome_of(SystemExit(3))])
def test_a_cancel_while_the_end_is_being_recorded_is_final_too(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = attempts.next_attempt_at

    def cancelled_meanwhile(run: Run, outcome: Outcome) -> datetime | None:
        cancel(run)
        return decide(run, outcome)

    monkeypatch.setattr(attempts, "next_attempt_at", cancelled_meanwhile)
    assert ended(running(), outcome).status == "cancelled"


def test_a_replaced_run_that_fails_is_not_retried() -> None:
    run = running()
    cancel(run, Why.of(Reason.SUPERSEDED, user="ann"))
    assert ended(run, CRASH).status == "cancelled"


def test_a_run_that_succeeds_although_it_was_cancelled_has_succeeded() -> None:
    run = running()
    cancel(run)
    assert (ended(run, SUCCESS).status, run.reason) == ("succeeded", Reason.USER)


def test_a_user_can_cancel_a_run_that_would_restart_after_its_workers_shutdown() -> None:
    run = running(cancel_requested_at=NOON, **BY_SHUTDOWN.columns)
    assert cancel(run)
    ended(run, SHUT_DOWN)
    assert (run.status, run.reason) == ("cancelled", Reason.USER)


def test_a_run_that_waits_for_its_next_attempt_is_cancelled_for_good() -> None:
    run = ended(running(), CRASH)
    assert cancel(run)
    Run.objects.update(start_after=None)
    assert runner.execute(run.pk, worker="w") is None
    assert Run.objects.get().status == "cancelled"


@pytest.mark.parametrize("outcome", [CRASH, LOST])
def test_the_descendants_of_a_cancelled_run_end_as_cancelled(outcome: Outcome) -> None:
    grandparent = running()
    parent = running(parent=grandparent, trigger=Trigger.JOB)
    child = running(parent=parent, trigger=Trigger.JOB)
    cancel(grandparent)
    ended(grandparent, LOST)
    assert (ended(child, outcome).status, child.reason_details["user"]) == ("cancelled", "ann")


def test_cancelling_a_child_does_not_cancel_its_parent() -> None:
    parent = running()
    child = running(parent=parent, trigger=Trigger.JOB)
    cancel(child)
    assert (ended(child, CRASH).status, ended(parent, SUCCESS).status) == ("cancelled", "succeeded")


def begun(prepare: Callable[[Run], object]) -> Run:
    """Run a job that calls another one after ``prepare`` has done something to its run."""
    parent = dispatch.begin(dispatch.RunRequest(job="outer", trigger=Trigger.CLI), worker="w")
    with runner.recorded(parent, of_call(OutputRecorder(1000)), taken_over=True):
        prepare(parent)
        call_command("probe")
    return parent


def test_a_cancelled_run_starts_no_other_job() -> None:
    with pytest.raises(JobCancelled, match=r"^Cancelled by ann on the web\.$"):
        begun(cancel)
    assert [run.status for run in Run.objects.all()] == ["cancelled"]


def test_a_run_whose_attempt_has_ended_starts_no_other_job() -> None:
    with pytest.raises(LeaseLost):
        begun(lambda run: Run.objects.filter(pk=run.pk).update(attempt=2))
    assert Run.objects.count() == 1


def test_a_cancelled_run_starts_no_other_job_indirectly() -> None:
    def cancelled_below(run: Run) -> None:
        inner = dispatch.begin(dispatch.RunRequest(job="inner", trigger=Trigger.JOB), worker="w")
        with runner.recorded(inner, of_call(OutputRecorder(1000)), taken_over=True):
            cancel(run)
            call_command("probe")

    with pytest.raises(JobCancelled):
        begun(cancelled_below)
    assert not Run.objects.filter(job="probe").exists()


def test_a_retry_does_not_start_before_its_backoff_whatever_messages_arrive() -> None:
    run = ended(running(), CRASH)
    for _ in range(2):
        # A message that was published twice, or a forged one.
        assert runner.execute(run.pk, worker="w") is None
    run.refresh_from_db()
    assert (run.status, run.attempt, run.start_after is None) == ("queued", 2, False)
    Run.objects.update(start_after=timezone.now() - timedelta(seconds=1))
    assert claims.claim(run.pk, worker="w") is not None


def test_a_claim_that_began_before_an_attempt_failed_does_not_start_the_next_one_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, guard_of = made(Status.QUEUED), overlap.guard_of

    def fails_meanwhile(seen: Run) -> overlap.Guard:
        monkeypatch.setattr(overlap, "guard_of", guard_of)
        first = claims.claim(run.pk, worker="first")
        assert first is not None
        ended(first, CRASH)
        return guard_of(seen)

    monkeypatch.setattr(overlap, "guard_of", fails_meanwhile)
    assert claims.claim(run.pk, worker="second") is None
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("queued", 2)


def test_a_message_that_arrives_too_early_is_published_again_in_time() -> None:
    run = made(Status.QUEUED, start_after=timezone.now() + timedelta(seconds=30))
    Run.objects.update(publish_after=timezone.now() + timedelta(hours=1), publish_count=1)
    assert claims.claim(run.pk, worker="w") is None
    run.refresh_from_db()
    assert run.publish_after == run.start_after
