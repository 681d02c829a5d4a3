"""A run whose process cannot record its end is handed over, and ends as it would have ended otherwise."""

import logging
import os
import resource
import signal
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Never
from uuid import uuid4

import pytest
from django.db import OperationalError

from jobledger.models import Run, Status, Stream
from jobledger.runs import attempts, limits
from jobledger.runs.execution import handover, isolation, runner
from jobledger.runs.execution.isolation import Ending
from jobledger.runs.execution.run_end import RunEnd
from jobledger.runs.identity import command_line_process
from jobledger.runs.lease.heartbeat import Heartbeat
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of
from jobledger.runs.output import salvage
from jobledger.runs.output.capture import Capture
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.output.run_memory import RunMemory
from jobledger.runs.output.salvage import Mailboxes, Salvaged
from jobledger.runs.processes.resources import Usage
from tests.probes.management.commands.probe import Command

USED = Usage(peak_memory_bytes=5_000_000, cpu_seconds=1.5)


class Exited(BaseException):
    """Instead of the end of the test's process."""


class Kept(Capture):
    """Somebody waits for this process."""

    def __init__(self) -> None:
        super().__init__(OutputRecorder(1000))
        self.outcome = b""
        self.steps = list[str]()

    def end(self) -> None:
        self.steps.append("end")

    def hand_over(self, outcome: bytes) -> bool:
        self.steps.append("hand over")
        self.outcome = outcome
        return True


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_at_once(status: int) -> Never:
        raise Exited

    monkeypatch.setattr(os, "_exit", exit_at_once)


def lost_after(change: Callable[[], object]) -> bool:
    """Whether a process has lost abilities by the change."""
    if (pid := os.fork()) == 0:
        code = 2
        try:
            abilities = handover.Abilities()
            change()
            code = int(abilities.are_lost)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return bool(code)


@pytest.mark.parametrize("limit", handover.LIMITS)
def test_a_lowered_limit_is_a_loss(limit: int) -> None:
    soft, hard = resource.getrlimit(limit)
    lower = 2**40 if hard == resource.RLIM_INFINITY else hard - 1
    assert lost_after(lambda: resource.setrlimit(limit, (min(soft, lower) if soft >= 0 else lower, lower)))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change its user")
def test_another_user_is_a_loss() -> None:
    assert lost_after(lambda: os.setuid(65534))
    assert lost_after(lambda: os.setgid(65534))


def test_a_process_without_a_free_descriptor_has_lost_one() -> None:
    def open_all() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        try:
            while True:
                os.dup(2)
        except OSError:
            pass

    assert lost_after(open_all)


def test_what_can_be_restored_or_does_not_matter_is_no_loss() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert not lost_after(lambda: None)
    assert not lost_after(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 512), hard)))
    assert not lost_after(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))


@pytest.mark.parametrize("is_lost", [True, False])
def test_what_goes_wrong_while_cleaning_up_after_a_loss_is_no_error_of_the_job(
    monkeypatch: pytest.MonkeyPatch, *, is_lost: bool
) -> None:
    abilities = handover.Abilities()
    if is_lost:
        monkeypatch.setattr(handover, "_user", lambda: (1, 1))

    def clean_up() -> None:
        with abilities.not_blamed():
            assert logging.raiseExceptions is not is_lost
            raise OSError("File too large")

    with nullcontext() if is_lost else pytest.raises(OSError, match="large"):
        clean_up()
    assert logging.raiseExceptions


@pytest.mark.parametrize("error", [ValueError("text"), ConnectionError("text"), SystemExit(3)])
@pytest.mark.usefixtures("exits")
def test_an_outcome_arrives_as_it_was(error: BaseException) -> None:
    run, captured = Run(job="probe"), Kept()
    found = outcome_of(error)
    with pytest.raises(Exited):
        handover.hand_over(run, found, captured)
    arrived = handover.received(captured.outcome)
    assert arrived is not None
    for name in ("status", "why", "exit_code", "exit_signal", "error", "traceback", "usage"):
        assert getattr(arrived, name) == getattr(found, name)
    worth = [attempts.is_worth_retrying(Command, each) for each in (arrived, found)]
    assert worth == [not isinstance(error, SystemExit)] * 2


@pytest.mark.usefixtures("exits")
def test_of_a_huge_error_as_much_as_fits_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, error = RunMemory.create(1000), outcome_of(ValueError("😀" * 1_000_000))
    captured = Kept()
    with pytest.raises(Exited):
        handover.hand_over(Run(job="probe"), error, captured)
    memory.outcome = captured.outcome
    arrived = handover.received(memory.outcome)
    memory.close()
    assert arrived is not None
    assert len(arrived.error) == handover.MAX_TEXT_LENGTH


def test_without_anybody_who_waits_nothing_happens() -> None:
    handover.hand_over(Run(job="probe"), SUCCESS, Capture(OutputRecorder(1000)))
    assert handover.received(b"") is None


def test_the_outcome_outlives_the_process() -> None:
    mailboxes, run_id = Mailboxes(), uuid4()
    mailboxes.open_reception()
    if (pid := os.fork()) == 0:
        mailboxes.open_own()
        memory = RunMemory.create(1000)
        OutputRecorder(1000, memory.output()).publish()
        mailboxes.keep(run_id, [memory.descriptor])
        memory.outcome = b"it" if mailboxes.is_kept(run_id) and not mailboxes.is_kept(uuid4()) else b""
        os._exit(0)
    os.waitpid(pid, 0)
    salvaged = mailboxes.salvaged(run_id)
    assert salvaged is not None
    assert salvaged.outcome == b"it"
    assert not mailboxes.is_kept(run_id)
    for each in mailboxes._reception or ():
        each.close()


def handed_over(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    """Let the outcome be what a process has left."""
    recorder = OutputRecorder(1000)
    recorder.write(Stream.STDOUT, "written\n")
    data = handover.as_bytes(Run(job="probe"), outcome)
    found = Salvaged(recorder=recorder, usage=None, was_job_running=False, outcome=data)
    monkeypatch.setattr(salvage, "salvaged", lambda run_id: found)


@pytest.mark.django_db
def test_the_end_of_an_isolated_run_is_recorded_by_the_child_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run.objects.create(job="probe", trigger="celery", status=Status.RUNNING)
    handed_over(monkeypatch, Outcome(status=Status.SUCCEEDED, exit_code=0, usage=USED))
    ending = Ending(report=None, status=os.EX_SOFTWARE << 8, pid=7, usage=USED)
    isolation.record_death(run, ending, limits.of_run(run), [], within_seconds=0)
    run.refresh_from_db()
    assert (run.status, run.exit_code, run.cpu_seconds) == ("succeeded", 0, 1.5)


@pytest.mark.django_db
@pytest.mark.parametrize(("hands_over", "expected"), [(True, ("lost", "")), (False, ("failed", "SIGSEGV"))])
def test_a_job_that_an_isolated_one_has_called_ends_with_its_process(
    hands_over: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.objects.create(job="probe", trigger="celery", status=Status.RUNNING)
    where = command_line_process(7)
    called = Run.objects.create(job="probe", trigger="job", parent=run, status=Status.RUNNING, worker=where)
    if hands_over:
        handed_over(monkeypatch, Outcome(status=Status.SUCCEEDED, exit_code=0))
    ending = Ending(report=None, status=signal.SIGSEGV, pid=7, usage=USED)
    isolation.record_death(run, ending, limits.of_run(run), [], within_seconds=0)
    called.refresh_from_db()
    assert (called.status, called.exit_signal) == expected


@pytest.mark.django_db
@pytest.mark.usefixtures("exits")
@pytest.mark.parametrize(("error", "status"), [(None, "succeeded"), (ValueError("text"), "failed")])
def test_a_process_that_has_lost_abilities_hands_its_run_over_at_once(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, status: str
) -> None:
    def handle(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(handover, "_user", lambda: (1, 1))
        if error:
            raise error

    monkeypatch.setattr(Command, "handle", handle)
    captured = Kept()
    monkeypatch.setattr(runner, "of_worker", lambda run: captured)
    monkeypatch.setattr(RunEnd, "_write", None)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    runner.execute(run.pk, worker="w")
    arrived = handover.received(captured.outcome)
    assert arrived is not None
    assert arrived.status == status
    # If the log cannot be written either, that is no output of the job.
    assert captured.steps == ["end", "hand over"]


@pytest.mark.django_db
def test_the_outcome_is_kept_in_case_that_the_process_is_killed_before_it_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database may be away, for the heartbeat as well, and the worker kills it at its time limit."""
    captured, end, stop, found = Kept(), attempts.end, Heartbeat.stop, list[Outcome | None]()

    def stop_and_look(heartbeat: Heartbeat) -> None:
        found.append(handover.received(captured.outcome))
        stop(heartbeat)

    def end_and_look(*args: Any) -> bool:
        found.append(handover.received(captured.outcome))
        return end(*args)

    monkeypatch.setattr(Heartbeat, "stop", stop_and_look)
    monkeypatch.setattr(attempts, "end", end_and_look)
    monkeypatch.setattr(runner, "of_worker", lambda run: captured)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    runner.execute(run.pk, worker="w")
    assert [outcome and (outcome.status, outcome.exit_code) for outcome in found] == [("succeeded", 0)] * 2
    run.refresh_from_db()
    assert run.status == "succeeded"


@pytest.mark.django_db
@pytest.mark.parametrize("is_lost", [True, False])
def test_the_capture_ends_once_if_nobody_takes_the_run_over(
    is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(*args: Any, **options: Any) -> None:
        if is_lost:
            monkeypatch.setattr(handover, "_user", lambda: (1, 1))

    captured = Kept()
    monkeypatch.setattr(Command, "handle", handle)
    monkeypatch.setattr(runner, "of_worker", lambda run: captured)
    monkeypatch.setattr(Kept, "hand_over", lambda self, outcome: False)
    run = Run.objects.create(job="probe", options={}, trigger="celery")
    runner.execute(run.pk, worker="w")
    assert captured.steps == ["end"]


@pytest.mark.django_db
def test_on_the_command_line_recording_is_tried_once_and_given_up_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **options: object) -> Never:
        raise OperationalError("unable to open database file")

    def handle(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(handover, "_user", lambda: (1, 1))
        monkeypatch.setattr(RunEnd, "_write", fail)

    monkeypatch.setattr(Command, "handle", handle)
    # It would close the transaction of the test.
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)
    Command().run_from_argv(["manage.py", "probe"])
    (record,) = [each for each in caplog.records if "could not be recorded" in each.getMessage()]
    assert "ended as succeeded" in record.getMessage()
    assert "unable to open database file" in record.getMessage()
    assert not record.exc_info


def test_invalid_retries_do_not_keep_an_outcome_from_being_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Command, "retry_on", "x", raising=False)
    kept = handover.received(handover.as_bytes(Run(job="probe"), outcome_of(RuntimeError("boom"))))
    assert kept is not None
    assert (kept.status, kept.error, kept.is_worth_retrying) == ("failed", "RuntimeError: boom", False)
    assert "its job declares retries that are invalid" in caplog.text
