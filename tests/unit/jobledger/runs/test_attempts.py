"""A run that did not succeed ends, or is queued again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError
from django.utils import timezone

from jobledger.jobs.declaration import JobDeclaration
from jobledger.models import Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.runs import attempts
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of
from jobledger.runs.processes.resources import Usage
from tests.probes.management.commands.restarting import Command as Restarting

pytestmark = pytest.mark.django_db


def running(**values: Any) -> Run:
    defaults = {"job": "restarting", "trigger": Trigger.SCHEDULE, "status": Status.RUNNING, "worker": "w"}
    return Run.objects.create(**{**defaults, "started_at": timezone.now(), **values})


def ended(run: Run, outcome: Outcome) -> Run:
    assert attempts.end(run, outcome)
    run.refresh_from_db()
    return run


def claimed_again(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, started_at=timezone.now(), worker="w")
    run.refresh_from_db()


CRASH = outcome_of(RuntimeError("boom"))
SHUTDOWN = Outcome(status=Status.CANCELLED, why=Why.of(Reason.WORKER_SHUTDOWN), exit_code=130)
LOST = Outcome(status=Status.LOST, why=Why.of(Reason.LOST_PROCESS, worker="w"), exit_code=None, error="gone")


def test_a_success_is_final() -> None:
    run = ended(running(), SUCCESS)
    assert (run.status, run.attempt, run.exit_code) == ("succeeded", 1, 0)
    assert run.finished_at


def test_a_crash_is_queued_again_after_the_backoff() -> None:
    before = timezone.now()
    run = ended(running(concurrency_key="restarting"), CRASH)
    assert (run.status, run.attempt, run.worker, run.concurrency_key) == ("queued", 2, "", "")
    assert run.publish_after is not None
    assert before + timedelta(seconds=0.9) <= run.publish_after
    assert run.publish_after <= timezone.now() + timedelta(seconds=1.1)


def test_the_attempt_that_ended_keeps_its_error() -> None:
    run = ended(running(), CRASH)
    attempt = RunAttempt.objects.get(run=run)
    assert (attempt.attempt, attempt.status, attempt.error) == (1, "failed", "RuntimeError: boom")
    assert (attempt.reason, attempt.reason_details) == (Reason.EXCEPTION, {"type": "RuntimeError"})
    assert "RuntimeError: boom" in attempt.traceback
    assert attempt.worker == "w"


def test_the_last_attempt_is_final() -> None:
    run = ended(running(attempt=3), CRASH)
    assert (run.status, run.attempt, run.error) == ("failed", 3, "RuntimeError: boom")
    assert run.reason == Reason.EXCEPTION


def test_a_queued_retry_says_how_the_previous_attempt_ended() -> None:
    run = ended(running(), LOST)
    facts = {"attempt": 1, "status": "lost", "reason": "lost_process"}
    assert (run.status, run.reason, run.reason_details) == ("queued", Reason.RETRY, facts)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RuntimeError("boom"), True),
        (OperationalError("server closed the connection"), True),
        (ConnectionResetError(), True),
        (CommandError("no such user"), False),
        (SystemExit(3), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_which_errors_are_worth_another_attempt(error: BaseException, again: bool) -> None:
    assert (attempts.next_attempt_at(running(), outcome_of(error)) is not None) is again


def test_a_job_chooses_what_is_retried_but_network_errors_always_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Restarting, "retry_on", (KeyError,))
    answers = [
        attempts.next_attempt_at(running(), outcome_of(error)) is not None
        for error in (KeyError("a"), RuntimeError("b"), TimeoutError())
    ]
    assert answers == [True, False, True]


@pytest.mark.parametrize(("name", "value"), [("max_retries", "2"), ("retry_on", "x"), ("retry_backoff", 60)])
def test_invalid_retries_do_not_keep_an_end_from_being_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    """``manage.py check`` only warns of them."""
    monkeypatch.setattr(Restarting, name, value)
    run = ended(running(), CRASH)
    assert (run.status, run.error) == ("failed", "RuntimeError: boom")
    assert "is not retried: its job declares retries that are invalid" in caplog.text
    assert "TypeError" in caplog.text


def test_a_job_without_retries_is_not_retried() -> None:
    assert ended(running(job="probe"), CRASH).status == "failed"


@pytest.mark.parametrize("trigger", [Trigger.CLI, Trigger.JOB])
def test_nothing_is_retried_if_the_caller_sees_the_failure(trigger: Trigger) -> None:
    assert ended(running(trigger=trigger), CRASH).status == "failed"


def test_a_lost_run_restarts_only_if_its_job_allows_it() -> None:
    assert ended(running(), LOST).status == "queued"
    assert ended(running(job="lasting"), LOST).status == "lost"


def test_a_job_that_always_loses_its_process_is_not_restarted_forever() -> None:
    run = running()
    for _ in range(attempts.MAX_RESTARTS):
        assert ended(run, LOST).status == "queued"
        claimed_again(run)
    assert ended(run, LOST).status == "lost"


def test_shutdowns_of_its_workers_do_not_count_as_losses_of_its_process() -> None:
    run = running()
    for _ in range(attempts.MAX_RESTARTS + 1):
        assert ended(run, SHUTDOWN).status == "queued"
        claimed_again(run)
    assert ended(run, LOST).status == "queued"


@pytest.mark.parametrize("reason", [Reason.OUT_OF_MEMORY, Reason.SIGNAL])
def test_a_run_whose_process_was_killed_restarts_only_if_its_job_allows_it(reason: Reason) -> None:
    killed = Outcome(status=Status.FAILED, why=Why.of(reason), exit_code=137)
    assert ended(running(), killed).status == "queued"
    run = running()
    for _ in range(attempts.MAX_RESTARTS):
        assert ended(run, killed).status == "queued"
        claimed_again(run)
    assert ended(run, killed).status == "failed"
    assert ended(running(job="lasting"), killed).status == "failed"


def test_what_an_attempt_has_used_is_kept_with_it() -> None:
    run = running(peak_memory_bytes=1, cpu_seconds=0.1)
    used = Usage(peak_memory_bytes=2**20, cpu_seconds=1.23456)
    ended(run, replace(CRASH, usage=used, exit_signal="SIGTERM"))
    attempt = RunAttempt.objects.get(run=run)
    assert (attempt.peak_memory_bytes, attempt.cpu_seconds, attempt.exit_signal) == (2**20, 1.235, "SIGTERM")
    assert (run.peak_memory_bytes, run.cpu_seconds, run.exit_signal) == (None, None, "")


def test_of_a_lost_attempt_what_its_last_heartbeat_recorded_is_kept() -> None:
    run = running()
    Run.objects.update(peak_memory_bytes=2**20, cpu_seconds=1.5)
    ended(run, replace(LOST, exit_signal="SIGKILL"))
    attempt = RunAttempt.objects.get(run=run)
    assert (attempt.peak_memory_bytes, attempt.cpu_seconds, attempt.exit_signal) == (2**20, 1.5, "SIGKILL")


def test_of_a_lost_run_what_its_last_heartbeat_recorded_is_kept() -> None:
    run = running(job="lasting", peak_memory_bytes=2**20, cpu_seconds=1.5)
    ended(run, replace(LOST, exit_signal="SIGSEGV"))
    assert (run.peak_memory_bytes, run.cpu_seconds, run.exit_signal) == (2**20, 1.5, "SIGSEGV")


def test_a_run_ended_by_its_workers_shutdown_restarts_if_its_job_allows_it() -> None:
    def cancelled(reason: Reason) -> Outcome:
        return Outcome(status=Status.CANCELLED, why=Why.of(reason), exit_code=130)

    assert ended(running(), cancelled(Reason.WORKER_SHUTDOWN)).status == "queued"
    assert ended(running(), cancelled(Reason.USER)).status == "cancelled"


def test_a_run_that_succeeds_although_cancelled_keeps_the_reason_of_the_cancel() -> None:
    by_ann = Why.of(Reason.USER, user="ann")
    run = ended(running(cancel_requested_at=timezone.now(), **by_ann.columns), SUCCESS)
    assert (run.status, run.reason, run.reason_details) == ("succeeded", Reason.USER, {"user": "ann"})


def test_a_run_that_no_longer_belongs_to_this_process_is_not_ended() -> None:
    run = running()
    Run.objects.filter(pk=run.pk).update(attempt=2)
    assert not attempts.end(run, SUCCESS)
    assert Run.objects.get().status == "running"


def test_the_backoff_doubles_up_to_an_hour_and_varies_a_little() -> None:
    seconds = [attempts.backoff(JobDeclaration, attempt).total_seconds() for attempt in (1, 2, 3, 20, 1000)]
    for found, expected in zip(seconds, (30, 60, 120, 3600, 3600), strict=True):
        assert 0.9 * expected <= found <= 1.1 * expected
