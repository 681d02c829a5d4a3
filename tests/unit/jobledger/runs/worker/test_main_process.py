"""When a worker notices the death of a child, it ends the run of that child, and no other."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from billiard.common import human_status
from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import current_app
from celery.app.task import Context
from celery.backends.cache import CacheBackend
from celery.result import AsyncResult
from celery.signals import task_failure, task_revoked
from celery.worker import state
from celery.worker.request import (  # type: ignore[attr-defined]  # not in the stubs
    Request,
    create_request_cls,
)
from django.db import OperationalError

from jobledger import clock
from jobledger.models import Reason, Run, RunOutput, Status, Stream, Trigger
from jobledger.runs import reasons
from jobledger.runs.execution import handover
from jobledger.runs.identity import IDENTITY, command_line_process
from jobledger.runs.lease import rescue
from jobledger.runs.outcome import SUCCESS, outcome_of
from jobledger.runs.output import salvage
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.output.salvage import Salvaged
from jobledger.runs.processes import forks, oom
from jobledger.runs.processes.resources import Usage
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.results import JobFailedError
from jobledger.runs.worker import losses, main_process
from jobledger.runs.worker.losses import Loss
from jobledger.runs.worker.main_process import JobRequest, connect, end_run_of
from jobledger.schedules.due import ledger
from tests.unit.builders import NOON
from tests.unit.jobledger.runs.worker.builders import message_of, received

pytestmark = pytest.mark.django_db

CHILD = "celery@here:7"


@pytest.fixture(autouse=True)
def results(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result backend in memory. Other threads cannot see it, nor the test's transaction."""
    monkeypatch.setattr(current_app, "_backend_cache", CacheBackend(current_app, backend="memory"))
    monkeypatch.setattr(main_process, "_in_thread", lambda work, name, **options: work())
    monkeypatch.setattr("jobledger.logs.service._given", "worker")


def running(**values: Any) -> Run:
    defaults: dict[str, Any] = {
        "job": "lasting",
        "trigger": Trigger.SCHEDULE,
        "status": Status.RUNNING,
        "worker": CHILD,
    }
    defaults |= {"started_at": NOON, "heartbeat_at": NOON, "worker_identity": IDENTITY}
    return Run.objects.create(**{**defaults, **values})


def request_of(run: Run) -> JobRequest:
    """The message that the child is executing, as the main process knows it."""
    request = received(str(run.pk))
    request.on_accepted(pid=cast("Any", 7), time_accepted=0.0)
    return request


def failed(error: Exception) -> Any:
    return cast("Any", SimpleNamespace(exception=error))


def died(exit_code: int) -> Any:
    """What the pool says of a child that has died; the exit code itself does not get here."""
    return failed(WorkerLostError(f"Worker exited prematurely: {human_status(exit_code)} Job: 3."))


def salvage_finds(monkeypatch: pytest.MonkeyPatch, **known: Any) -> None:
    """A mailbox contains this, and an output without any lines unless there is a ``recorder``."""
    found = Salvaged(**{"recorder": OutputRecorder(1000), "usage": None, **known})
    monkeypatch.setattr(salvage, "salvaged", lambda run_id: found)


def started_with(message: Any) -> tuple[float | None, float | None]:
    """The hard and the soft time limit with which the pool executes it."""
    request, started = JobRequest(message, app=current_app), list[dict[str, Any]]()
    pool = SimpleNamespace(apply_async=lambda *args, **options: started.append(options))
    request.execute_using_pool(cast("Any", pool))
    (options,) = started
    return options["timeout"], options["soft_timeout"]


def test_the_time_limits_of_a_jobs_message_are_ignored_in_favor_of_the_jobs_own() -> None:
    message = message_of("1", "probes.limited", timelimit=[0.05, 0.03])
    # Five seconds, a grace period of two, and a margin.
    assert started_with(message) == (17.0, None)


def test_the_message_of_a_run_with_a_time_limit_of_its_own_has_the_hard_limit_instead() -> None:
    headers: dict[str, Any] = {"timelimit": [700.0, 600.0], RUN_HEADER: True}
    assert started_with(message_of("1", "probes.limited", **headers)) == (700.0, None)


def test_the_message_of_a_run_without_one_leaves_it_to_the_job() -> None:
    headers: dict[str, Any] = {"timelimit": [None, None], RUN_HEADER: True}
    assert started_with(message_of("1", "probes.limited", **headers)) == (17.0, None)


def test_the_run_of_a_child_that_died_is_lost() -> None:
    run = running()
    request_of(run).on_failure(failed(WorkerLostError("It exited: signal 9 (SIGKILL).")))
    run.refresh_from_db()
    assert (run.status, run.error) == ("lost", "It exited: signal 9 (SIGKILL).")
    assert (run.reason, run.reason_details) == (Reason.LOST_PROCESS, {"worker": CHILD})


@pytest.mark.parametrize("has_failed", [False, True])
def test_once_a_child_has_returned_a_result_its_death_is_logged_as_any_others(has_failed: bool) -> None:
    """Celery's own subclass of the request, as the worker makes it, overrides some of its methods."""
    task = current_app.tasks["probes.probe"]
    pool = cast("Any", SimpleNamespace(apply_async=None))
    of_celery = create_request_cls(JobRequest, task, pool, "celery@here", None, app=current_app)
    request = of_celery(message_of(str(uuid4())), app=current_app, hostname="celery@here")
    request.on_accepted(pid=77, time_accepted=0.0)
    assert not is_death_logged(77)
    try:
        raise ValueError
    except ValueError:
        error = ExceptionInfo()
    request.on_success((True, error, 0.1) if has_failed else (False, None, 0.1))
    assert is_death_logged(77)


def test_the_death_of_a_child_that_ends_its_run_is_logged_with_that_run_only() -> None:
    request_of(running()).on_timeout(soft=False, timeout=1.0)
    assert not is_death_logged(7)


def is_death_logged(pid: int) -> bool:
    """Whether the pool's own line about the death of this child is."""
    line = "Process %r pid:%r exited with %r"
    record = logging.LogRecord("multiprocessing", logging.ERROR, "", 1, line, ("Worker", pid, "x"), None)
    return bool(main_process._busy.filter(record))


def test_a_call_whose_child_died_before_claiming_its_run_is_published_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its message is acknowledged, and was the only one."""
    run = Run.objects.create(job="probe", trigger=Trigger.CELERY)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("queued", 1)
    assert run.publish_after is not None
    assert f"{CHILD} has died before it began run {run.pk}, which is published again" in caplog.text


@pytest.fixture
def claiming(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has died while it was claiming the run."""
    monkeypatch.setattr(salvage, "was_claiming", lambda run_id: True)


def test_a_run_whose_child_died_before_it_knew_that_it_had_claimed_it_is_published_again(
    claiming: None, caplog: pytest.LogCaptureFixture
) -> None:
    run = running(concurrency_key="probe")
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.status, run.attempt, run.started_at, run.heartbeat_at) == ("queued", 1, None, None)
    assert (run.worker, run.worker_identity, run.concurrency_key) == ("", "", "")
    assert run.publish_after is not None
    assert f"{CHILD} has died before it began run {run.pk}, which is published again" in caplog.text


@pytest.mark.parametrize(("earlier_deaths", "seconds"), [(0, 0), (3, 7), (8, 60)])
def test_a_run_that_always_kills_its_child_before_it_begins_is_published_less_and_less_often(
    earlier_deaths: int, seconds: int, claiming: None
) -> None:
    """Otherwise, it would kill one child after the other, as fast as they start."""
    run = running(deaths_before_start=earlier_deaths, publish_count=3)
    before = clock.now()
    request_of(run).on_failure(died(-9))
    after = clock.now()
    run.refresh_from_db()
    assert run.publish_after is not None
    # On a busy machine, it may take long.
    assert before <= run.publish_after - timedelta(seconds=seconds) <= after
    # Or else it might be taken for one whose message is still in its queue.
    assert run.publish_count == 0


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_run_fails_after_too_many_children_have_died_before_they_could_begin_it(
    is_claimed: bool, claiming: None
) -> None:
    run = running(job="restarting", concurrency_key="probe")
    for _ in range(losses.MAX_DEATHS):
        run.refresh_from_db()
        assert run.status in ("queued", "running")
        # Beat has published it, and another child has taken it.
        state: dict[str, Any] = {"status": "queued", "publish_after": clock.now() + timedelta(minutes=1)}
        claim = {"status": "running", "worker": CHILD, "worker_identity": IDENTITY, "started_at": NOON}
        Run.objects.filter(pk=run.pk).update(**claim if is_claimed else state)
        request_of(run).on_failure(died(-11))
    run.refresh_from_db()
    assert (run.status, run.reason, run.publish_after) == ("failed", Reason.NEVER_BEGAN, None)
    assert run.reason_details == {"deaths": losses.MAX_DEATHS, "worker": CHILD, "signal": "SIGSEGV"}
    assert not run.attempts.exists()


def test_a_run_that_a_child_was_given_but_has_not_seen_yet_is_published_soon() -> None:
    """The child has died even before it could note that it was about to claim it."""
    publish_after = clock.now() + timedelta(hours=1)
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, publish_after=publish_after)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert run.publish_after is not None
    assert (run.publish_after < publish_after, run.deaths_before_start) == (True, 1)


@pytest.mark.parametrize(
    "elsewhere", [{"attempt": 2}, {"reason": Reason.OVERLAP, "concurrency_key": "probe"}]
)
def test_a_run_that_its_child_has_queued_again_before_it_died_keeps_its_time(
    elsewhere: dict[str, Any],
) -> None:
    publish_after = clock.now() + timedelta(hours=1)
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, publish_after=publish_after, **elsewhere)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.publish_after, run.deaths_before_start) == (publish_after, 0)


def test_the_deaths_before_an_attempt_do_not_count_for_the_next_one() -> None:
    run = running(job="restarting", deaths_before_start=losses.MAX_DEATHS - 1)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.status, run.attempt, run.deaths_before_start) == ("queued", 2, 0)


def test_so_it_is_if_the_claim_was_not_committed(claiming: None) -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.CELERY, publish_count=3)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.status, run.publish_after is None) == ("queued", False)
    # Not as one of which three messages may still be in the queue.
    assert run.publish_count == 0


def test_a_run_that_another_child_has_claimed_meanwhile_is_left_to_it(claiming: None) -> None:
    run = running(worker="celery@there:1")
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.status, run.worker) == ("running", "celery@there:1")


def test_a_run_that_is_to_be_cancelled_is_not_published_again(claiming: None) -> None:
    run = running(cancel_requested_at=NOON, reason=Reason.USER)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("cancelled", 1)


def test_a_call_whose_child_died_before_recording_it_is_recorded_and_published() -> None:
    request = received(str(uuid4()), kwargs={"level": 2})
    request.on_accepted(pid=cast("Any", 7), time_accepted=0.0)
    request.on_failure(died(-9))
    (run,) = Run.objects.all()
    assert (str(run.pk), run.job, run.status, run.trigger) == (request.id, "probe", "queued", "celery")
    assert run.options == {"level": 2}
    assert run.publish_after is not None


def test_a_run_that_was_deleted_while_it_was_running_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    salvage_finds(monkeypatch)
    run = running()
    request = request_of(run)
    run.delete()
    request.on_failure(died(-9))
    assert not Run.objects.exists()


def test_a_run_that_is_to_be_published_anyway_keeps_its_time() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, publish_after=NOON)
    request_of(run).on_failure(died(-9))
    run.refresh_from_db()
    assert run.publish_after == NOON


def test_a_run_that_a_child_has_handed_over_ends_as_the_child_has_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = handover.as_bytes(Run(job="lasting"), outcome_of(SystemExit(3)))
    found = Salvaged(recorder=OutputRecorder(1000), usage=None, outcome=outcome)
    monkeypatch.setattr(salvage, "salvaged", lambda run_id: found)
    run = running()
    request_of(run).on_failure(failed(WorkerLostError("Worker exited prematurely: exitcode 70")))
    run.refresh_from_db()
    assert (run.status, run.reason, run.exit_code, run.error) == ("failed", Reason.EXIT_CODE, 3, "")


@pytest.mark.parametrize("has_ended", [True, False])
def test_if_the_job_had_ended_its_outcome_is_recorded_however_long_the_database_is_away(
    has_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child was killed, for example at its time limit, while it waited for the database to record it."""
    waits = list[float]()

    def write_at_once(write: Callable[[], None], *, within_seconds: float) -> None:
        waits.append(within_seconds)
        write()

    outcome = handover.as_bytes(Run(job="lasting"), SUCCESS) if has_ended else b""
    salvage_finds(monkeypatch, outcome=outcome)
    monkeypatch.setattr(main_process, "write_between_forks", write_at_once)
    run = running()
    request_of(run).on_timeout(soft=False, timeout=1.0)
    run.refresh_from_db()
    assert run.status == ("succeeded" if has_ended else "timed_out")
    assert waits == [3600.0 if has_ended else 20.0]


def test_what_the_run_of_a_child_that_died_had_used_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Usage(peak_memory_bytes=5_000_000, cpu_seconds=1.5)
    found = Salvaged(recorder=OutputRecorder(1000), usage=used)
    monkeypatch.setattr(salvage, "salvaged", lambda run_id: found)
    run = running()
    request_of(run).on_failure(failed(WorkerLostError("It exited: signal 9 (SIGKILL).")))
    run.refresh_from_db()
    assert (run.peak_memory_bytes, run.cpu_seconds) == (5_000_000, 1.5)


@pytest.mark.parametrize(
    ("exit_code", "was_job_running", "expected"),
    [
        (0, True, ("succeeded", 0, "")),
        (3, True, ("failed", 3, "last words")),
        (3, False, ("lost", None, "Worker exited prematurely: exitcode 3 Job: 1.")),
    ],
)
def test_a_job_that_exits_ends_its_run_as_under_cron(
    exit_code: int,
    was_job_running: bool,
    expected: tuple[str, int | None, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = OutputRecorder(1000)
    recorder.write(Stream.STDERR, "last words\n")
    found = Salvaged(recorder=recorder, usage=None, was_job_running=was_job_running)
    monkeypatch.setattr(salvage, "salvaged", lambda run_id: found)
    run = running()
    error = f"Worker exited prematurely: {human_status(exit_code)} Job: 1."
    request_of(run).on_failure(failed(WorkerLostError(error)))
    run.refresh_from_db()
    assert (run.status, run.exit_code, run.error) == expected


def result_of(run: Run) -> Any:
    """What ``celery result`` waits for; None if there is no result."""
    result = AsyncResult[Any](str(run.pk))
    return result.result if result.ready() else None


def test_the_result_of_a_job_that_exits_with_0_is_that_of_any_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = OutputRecorder(1000)
    recorder.write(Stream.STDOUT, "all done\n")
    salvage_finds(monkeypatch, recorder=recorder, was_job_running=True)
    run = running()
    request_of(run).on_failure(died(0))
    assert result_of(run) == {"run": str(run.pk), "status": "succeeded", "last_line": "all done"}


def test_the_result_of_a_job_that_exits_with_another_code_is_its_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    salvage_finds(monkeypatch, was_job_running=True)
    run = running()
    request_of(run).on_failure(died(3))
    assert repr(result_of(run)) == "JobFailedError('The job exited with code 3.')"


def test_the_result_of_a_run_that_a_child_has_handed_over_says_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    salvage_finds(monkeypatch, outcome=handover.as_bytes(Run(job="lasting"), outcome_of(SystemExit(3))))
    run = running()
    request_of(run).on_failure(died(70))
    assert repr(result_of(run)) == "JobFailedError('The job exited with code 3.')"


def test_the_result_of_a_lost_run_says_that_it_is_lost() -> None:
    run = running()
    request_of(run).on_failure(died(-signal.SIGKILL))
    assert repr(result_of(run)) == f"JobFailedError('Its process ({CHILD}) was ended by SIGKILL.')"


def test_the_result_of_a_run_that_its_child_has_ended_before_it_killed_itself_says_so() -> None:
    run = running(status=Status.CANCELLED, reason=Reason.USER, reason_details={"user": "ann"})
    request_of(run).on_failure(died(-signal.SIGKILL))
    assert repr(result_of(run)) == "JobFailedError('Cancelled by ann.')"


def test_the_result_of_a_child_that_is_killed_at_the_time_limit_says_so() -> None:
    run = running(job="limited")
    request = request_of(run)
    # In this order.
    request.on_failure(failed(TimeLimitExceeded(17.0)))
    request.on_timeout(soft=False, timeout=17.0)
    text = "The run exceeded its time limit of 5 s. It did not respond and was killed by its worker."
    assert repr(result_of(run)) == f"JobFailedError('{text}')"


def test_a_run_that_starts_again_after_the_death_of_its_child_has_no_result_yet() -> None:
    run = running(job="restarting")
    request_of(run).on_failure(died(-signal.SIGKILL))
    run.refresh_from_db()
    assert (run.status, result_of(run)) == ("queued", None)


def test_a_result_that_cannot_be_stored_is_logged_and_the_run_has_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(*args: Any, **options: Any) -> None:
        raise ConnectionError("no Redis")

    monkeypatch.setattr(CacheBackend, "store_result", unavailable)
    run = running()
    request_of(run).on_failure(died(-signal.SIGKILL))
    run.refresh_from_db()
    assert run.status == "lost"
    assert f"The result of run {run.pk} could not be stored: no Redis" in caplog.text


def test_whoever_listens_for_failed_tasks_hears_of_the_death_of_a_child() -> None:
    heard = list[object]()

    def hear(exception: object, **facts: Any) -> None:
        heard.append(exception)

    run = running()
    task_failure.connect(hear)
    request_of(run).on_failure(died(-signal.SIGKILL))
    assert list(map(type, heard)) == [JobFailedError]


@pytest.mark.parametrize("exit_code", [0, 3, -signal.SIGKILL])
def test_the_message_of_a_child_that_died_is_acknowledged(
    exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    salvage_finds(monkeypatch, was_job_running=True)
    request = request_of(running())
    request.on_failure(died(exit_code))
    assert request.acknowledged


@pytest.mark.parametrize(
    ("exit_code", "expected"), [(-signal.SIGKILL, ("lost", None)), (3, ("failed", 3)), (0, ("succeeded", 0))]
)
def test_the_runs_of_jobs_that_the_job_has_called_end_with_it(
    exit_code: int, expected: tuple[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    salvage_finds(monkeypatch, was_job_running=True)
    run = running()
    called = running(trigger=Trigger.JOB, parent=run, worker=command_line_process(7))
    innermost = running(trigger=Trigger.JOB, parent=called, worker=command_line_process(7))
    elsewhere = running(trigger=Trigger.JOB, parent=run, worker=command_line_process(os.getpid()))
    request_of(run).on_failure(died(exit_code))
    for each in run, called, innermost, elsewhere:
        each.refresh_from_db()
    assert {(each.status, each.exit_code) for each in (run, called, innermost)} == {expected}
    assert elsewhere.status == "running"


@pytest.fixture
def ended_process() -> Iterator[int]:
    """The id of a process that has ended, and was not reaped."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


@pytest.mark.parametrize("exit_code", [-signal.SIGKILL, 0])
def test_so_do_those_that_it_has_called_in_another_process_that_is_gone(
    exit_code: int, ended_process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of an isolated run, or one that the job has forked. How it would have ended is not known."""
    salvage_finds(monkeypatch, was_job_running=True)
    run = running()
    called = running(trigger=Trigger.JOB, parent=run, worker=command_line_process(ended_process))
    innermost = running(trigger=Trigger.JOB, parent=called, worker=command_line_process(ended_process))
    on_another_machine = running(trigger=Trigger.JOB, parent=run, worker=f"elsewhere:{ended_process}")
    request_of(run).on_failure(died(exit_code))
    for each in called, innermost, on_another_machine:
        each.refresh_from_db()
    assert (called.status, innermost.status) == ("lost", "lost")
    assert on_another_machine.status == "running"


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize(
    ("exit_code", "line"),
    [
        (0, "succeeded after {} s, exit code 0"),
        (3, "failed after {} s, exit code 3: The job exited with code 3."),
        (-9, "lost after {} s: Its process (celery@here:7) was ended by SIGKILL."),
    ],
)
def test_the_log_has_one_line_for_the_end_of_a_run_whose_child_died(
    exit_code: int, line: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    salvage_finds(monkeypatch, was_job_running=True)
    run = running()
    request_of(run).on_failure(died(exit_code))
    (found,) = lines_of(caplog)
    assert re.sub(r"after [\d.]+ s", "after {} s", found) == f"Run {run.pk} of lasting ended as {line}"


def test_the_log_has_one_line_for_a_child_that_is_killed_at_the_time_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = request_of(running(job="limited"))
    request.on_failure(failed(TimeLimitExceeded(17.0)))
    request.on_timeout(soft=False, timeout=17.0)
    (line,) = lines_of(caplog)
    assert "ended as timed_out" in line


def test_the_log_says_how_a_run_ended_whose_child_then_killed_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = running(status=Status.CANCELLED, reason=Reason.USER, reason_details={"user": "ann"})
    request_of(run).on_failure(died(-signal.SIGKILL))
    text = f"ended as cancelled before its process, {CHILD}, died. Cancelled by ann."
    assert lines_of(caplog) == [f"Run {run.pk} of lasting {text}"]


@pytest.mark.parametrize(("attempt_elsewhere", "saved"), [({}, ["last words\n"]), ({"worker": ""}, [])])
def test_the_last_output_of_a_child_whose_run_was_lost_meanwhile_is_saved(
    attempt_elsewhere: dict[str, str], saved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = OutputRecorder(1000)
    recorder.write(Stream.STDOUT, "last words\n")
    salvage_finds(monkeypatch, recorder=recorder)
    run = running(status=Status.LOST, **attempt_elsewhere)
    request_of(run).on_failure(died(-signal.SIGKILL))
    assert [each.text for each in RunOutput.objects.filter(run=run)] == saved


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("signal 11 (SIGSEGV)", "Lost: its process (celery@here:7) was ended by SIGSEGV."),
        ("exitcode 0", "Lost: its process (celery@here:7) exited with code 0 before its job had ended."),
        ("unknown", "Lost: its process (celery@here:7) died: unknown."),
    ],
)
def test_the_reason_says_how_the_child_ended(how: str, sentence: str) -> None:
    run = running(started_at=None)
    request_of(run).on_failure(failed(WorkerLostError(how)))
    run.refresh_from_db()
    assert str(reasons.sentence(run, NOON)) == sentence


@pytest.mark.parametrize(
    ("exit_code", "exit_signal"),
    [(-signal.SIGKILL, "SIGKILL"), (-signal.SIGSEGV, "SIGSEGV"), (-42, "signal 42"), (1, "")],
)
def test_the_signal_that_killed_the_child_is_recorded(exit_code: int, exit_signal: str) -> None:
    run = running()
    # As billiard describes it: the exit code itself does not get here.
    request_of(run).on_failure(failed(WorkerLostError(f"Worker exited: {human_status(exit_code)} Job: 3.")))
    run.refresh_from_db()
    assert (run.status, run.exit_signal) == ("lost", exit_signal)


@pytest.mark.parametrize(
    ("signum", "kills", "status", "reason", "exit_code"),
    [
        (signal.SIGKILL, 1, "failed", Reason.OUT_OF_MEMORY, 137),
        (signal.SIGKILL, 0, "lost", Reason.LOST_PROCESS, None),
        (signal.SIGSEGV, 1, "lost", Reason.LOST_PROCESS, None),
    ],
)
def test_a_child_that_the_kernel_killed_for_want_of_memory_has_failed(
    monkeypatch: pytest.MonkeyPatch,
    signum: signal.Signals,
    kills: int,
    status: str,
    reason: Reason,
    exit_code: int | None,
) -> None:
    run = running()
    monkeypatch.setattr(main_process, "_oom_kills", oom.KillCounter())
    monkeypatch.setattr(oom, "kills", lambda: 7)
    request = request_of(run)
    monkeypatch.setattr(oom, "kills", lambda: 7 + kills)
    request.on_failure(failed(WorkerLostError(f"Worker exited: {human_status(-signum)} Job: 3.")))
    run.refresh_from_db()
    assert (run.status, run.reason, run.exit_code, run.exit_signal) == (
        status,
        reason,
        exit_code,
        signum.name,
    )


def test_a_loss_wrapped_by_celery_is_recognized_too() -> None:
    run = running()
    request_of(run).on_failure(failed(cast("Exception", SimpleNamespace(exc=WorkerLostError("gone")))))
    run.refresh_from_db()
    assert run.status == "lost"


def test_the_run_of_a_child_killed_at_its_time_limit_has_timed_out() -> None:
    run = running(job="limited")
    request_of(run).on_timeout(soft=False, timeout=17.0)
    run.refresh_from_db()
    assert (run.status, run.reason) == ("timed_out", Reason.TIME_LIMIT)
    assert run.reason_details == {"limit_seconds": 5.0, "killed_by": "worker"}
    assert run.exit_signal == "SIGKILL"


def test_a_kill_for_want_of_memory_is_recorded_even_if_the_database_hesitates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main_process, "_oom_kills", oom.KillCounter())
    run = running()
    monkeypatch.setattr(oom, "kills", lambda: 0)
    request = request_of(run)
    monkeypatch.setattr(oom, "kills", lambda: 1)
    monkeypatch.setattr(forks, "RETRY_SECONDS", 0)
    errors = [OperationalError("not yet")]
    end = rescue.give_up

    def give_up(*args: Any, **kwargs: Any) -> bool:
        if errors:
            raise errors.pop()
        return end(*args, **kwargs)

    monkeypatch.setattr(rescue, "give_up", give_up)
    request.on_failure(failed(WorkerLostError("Worker exited: signal 9 (SIGKILL) Job: 3.")))
    run.refresh_from_db()
    assert (run.status, run.reason) == ("failed", Reason.OUT_OF_MEMORY)


@pytest.mark.parametrize(("limit_mb", "is_warned"), [(1, True), (100_000, False), (None, False)])
def test_a_memory_limit_below_what_a_child_needs_to_start_is_logged(
    caplog: pytest.LogCaptureFixture, limit_mb: int | None, is_warned: bool
) -> None:
    controller = SimpleNamespace(max_memory_per_child=limit_mb and limit_mb * 1024)
    # Other receivers of the signal start threads.
    main_process._warn_of_replacements(SimpleNamespace(controller=controller))
    assert ("they may hold 1 MB each" in caplog.text) is is_warned


@pytest.mark.parametrize("error", [RuntimeError("boom"), TimeLimitExceeded(17.0)])
def test_a_task_that_merely_failed_is_not_lost(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    # Celery's own handling needs a complete worker.
    monkeypatch.setattr(Request, "on_failure", lambda *args, **kwargs: None)
    run = running()
    request_of(run).on_failure(failed(error))
    run.refresh_from_db()
    assert run.status == "running"


@pytest.mark.parametrize(
    "elsewhere",
    [{"worker": "celery@here:8"}, {"worker": "celery@there:7"}, {"worker_identity": "another with its name"}],
)
def test_a_later_attempt_elsewhere_is_left_alone(elsewhere: dict[str, str]) -> None:
    run = running(**elsewhere, attempt=2)
    end_run_of(Loss(task_id=str(run.pk), child=CHILD, error="It died."))
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("running", 2)


# Messages that Celery discards.


def discard(task_id: str, *, expired: bool = False, **headers: Any) -> Run | None:
    """Send the signal that Celery sends when it discards a message; returns its run."""
    connect()
    request = JobRequest(message_of(task_id, kwargs={"level": 2}, **headers), app=current_app)
    context = Context(request.request_dict)
    task_revoked.send(sender=request.task, request=context, terminated=False, signum=None, expired=expired)
    return Run.objects.first()


class OtherTask:
    name = "other.task"


def queued() -> Run:
    return Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, publish_after=NOON)


def test_a_queued_run_that_is_revoked_is_cancelled_and_no_longer_published() -> None:
    run = discard(str(queued().pk))
    assert run
    assert (run.status, run.reason, run.publish_after) == ("cancelled", Reason.USER, None)
    text = "Cancelled before it started by a user (celery control revoke)."
    assert str(reasons.sentence(run, NOON)) == text


def test_a_running_run_that_is_terminated_is_requested_to_end() -> None:
    run = discard(str(running().pk))
    assert run
    assert (run.status, run.cancel_requested_at is not None) == ("running", True)


def test_a_run_that_was_revoked_after_its_message_was_sent_to_a_child_is_requested_to_end() -> None:
    run = running()
    state.revoked.add(str(run.pk))
    try:
        request_of(run)
    finally:
        state.revoked.discard(str(run.pk))
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at is not None) == ("running", True)


def test_a_finished_run_is_not_changed_by_revoking_it() -> None:
    made = queued()
    Run.objects.update(status=Status.SUCCEEDED)
    run = discard(str(made.pk))
    assert run
    assert (run.status, run.reason) == ("succeeded", "")


def test_an_expired_message_does_not_end_the_run_that_it_has() -> None:
    run = discard(str(queued().pk), expired=True, expires=NOON.isoformat())
    assert run
    assert (run.status, run.start_before) == ("queued", None)


def test_an_ad_hoc_call_that_expired_before_a_worker_was_free_is_on_record() -> None:
    task_id = str(uuid4())
    run = discard(task_id, expired=True, expires=NOON.isoformat())
    assert run
    assert (str(run.pk), run.trigger, run.options) == (task_id, "celery", {"level": 2})
    assert (run.status, run.start_before, run.publish_after) == ("queued", NOON, None)
    ledger.expire(NOON)
    run.refresh_from_db()
    assert run.status == "expired"
    assert str(reasons.sentence(run, NOON)) == (
        "Expired: no worker picked it up before its start deadline, 2026-03-01 12:00:00 UTC."
    )


def test_an_ad_hoc_call_that_is_revoked_before_it_starts_is_on_record() -> None:
    run = discard(str(uuid4()))
    assert run
    assert (run.status, run.reason, run.trigger) == ("cancelled", Reason.USER, "celery")


def test_the_message_of_a_run_that_was_deleted_gets_none() -> None:
    assert discard(str(uuid4()), jobledger_run=True) is None


def test_the_message_of_an_ordinary_task_gets_no_run() -> None:
    connect()
    task_revoked.send(sender=OtherTask, request=Context(id="1"), expired=True)
    assert not Run.objects.exists()
