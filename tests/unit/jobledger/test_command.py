"""A job is a plain Django command for its author, and is recorded however it is started."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from jobledger.models import Run, RunOutput, Status, Trigger
from jobledger.runs import attempts, dispatch
from jobledger.runs.execution import runner
from jobledger.runs.output.capture import of_call
from jobledger.runs.output.recorder import OutputRecorder
from tests.probes.management.commands.probe import Command
from tests.unit.terminals import Terminal

pytestmark = pytest.mark.django_db


def output_of(run: Run) -> list[tuple[str, str]]:
    return list(RunOutput.objects.filter(run=run).in_order().values_list("stream", "text"))


def test_call_command_prints_as_usual_and_records_a_succeeded_run() -> None:
    stdout = io.StringIO()
    call_command("probe", "hello", "world", stdout=stdout)
    run = Run.objects.get()
    assert stdout.getvalue() == "hello\nworld\n"
    assert (run.job, run.status, run.trigger, run.exit_code) == ("probe", "succeeded", "cli", 0)
    assert output_of(run) == [("stdout", "hello\nworld\n")]


def test_the_run_records_the_user_the_time_and_the_process() -> None:
    call_command("probe")
    run = Run.objects.get()
    assert run.username
    assert run.worker
    assert run.started_at
    assert run.finished_at
    assert run.queued_at == run.started_at <= run.finished_at
    assert run.publish_after is None


def test_the_run_keeps_the_options_that_differ_from_the_defaults() -> None:
    call_command("probe", "a", "--level=2")
    assert Run.objects.get().options == {"words": ["a"], "level": 2}


def test_keyword_options_are_recorded_too() -> None:
    call_command("probe", "b", level=3)
    assert Run.objects.get().options == {"words": ["b"], "level": 3}


def test_what_handle_returns_is_printed_and_recorded() -> None:
    stdout = io.StringIO()
    call_command("probe", "--returns=done", stdout=stdout)
    assert stdout.getvalue() == "done\n"
    assert output_of(Run.objects.get()) == [("stdout", "done\n")]


def test_stdout_and_stderr_are_recorded_separately() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("probe", "--warn=careful", "--partial=half", stdout=stdout, stderr=stderr)
    assert (stdout.getvalue(), stderr.getvalue()) == ("half", "careful\n")
    assert output_of(Run.objects.get()) == [("stderr", "careful\n"), ("stdout", "half")]


def test_a_command_error_fails_the_run_with_its_text_and_return_code() -> None:
    with pytest.raises(CommandError, match="no such thing") as raised:
        call_command("probe", "--fail=no such thing", "--returncode=7")
    run = Run.objects.get()
    assert raised.value.returncode == 7
    assert (run.status, run.error, run.exit_code, run.traceback) == ("failed", "no such thing", 7, "")


def test_any_other_exception_fails_the_run_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="boom"):
        call_command("probe", "--crash=boom")
    run = Run.objects.get()
    assert (run.status, run.error, run.exit_code) == ("failed", "RuntimeError: boom", 1)
    assert 'raise RuntimeError(options["crash"])' in run.traceback


@pytest.mark.parametrize(
    ("code", "status", "exit_code"), [("0", Status.SUCCEEDED, 0), ("3", Status.FAILED, 3)]
)
def test_sys_exit_sets_the_exit_code(code: str, status: Status, exit_code: int) -> None:
    with pytest.raises(SystemExit):
        call_command("probe", f"--exit={code}")
    run = Run.objects.get()
    assert (run.status, run.exit_code) == (status, exit_code)


def test_sys_exit_with_a_text_is_an_error_message() -> None:
    with pytest.raises(SystemExit):
        call_command("probe", "--exit-text=enough")
    run = Run.objects.get()
    assert (run.status, run.exit_code, run.error) == ("failed", 1, "enough")


def test_a_keyboard_interrupt_cancels_the_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        call_command("probe", "--interrupt")
    run = Run.objects.get()
    assert (run.status, run.exit_code) == ("cancelled", 130)


def test_a_job_called_by_a_job_is_a_child_run_with_its_parents_slot() -> None:
    slot = datetime(2026, 3, 1, 3, tzinfo=UTC)
    request = dispatch.RunRequest(
        job="probe", options={"child": "inner"}, trigger=Trigger.SCHEDULE, username="beat", scheduled_for=slot
    )
    parent = dispatch.receive("5c1a6f1e-8f9a-4c55-9f0e-0f6f1b1d6a01", lambda: request)
    runner.execute(parent.pk, worker="w")
    child = Run.objects.get(parent=parent)
    assert (child.trigger, child.status, child.scheduled_for, child.username) == (
        "job",
        "succeeded",
        slot,
        "beat",
    )
    assert output_of(child) == [("stdout", f"inner\nslot {slot.isoformat()}\n")]


def test_children_of_a_run_without_a_slot_have_its_start_time() -> None:
    call_command("probe", "--child=inner", stdout=io.StringIO())
    child = Run.objects.get(parent__isnull=False)
    assert child.parent is not None
    assert child.scheduled_for == child.parent.started_at


def test_siblings_after_a_child_still_belong_to_the_parent() -> None:
    with runner.recorded(make_running_run(), of_call(OutputRecorder(1000)), taken_over=True):
        call_command("probe", "one")
        call_command("probe", "two")
    assert Run.objects.filter(parent__isnull=False).count() == 2


def make_running_run() -> Run:
    return dispatch.begin(dispatch.RunRequest(job="outer", trigger=Trigger.CLI), worker="w")


def test_without_a_slot_scheduled_for_is_the_start_time() -> None:
    stdout = io.StringIO()
    call_command("probe", "--show-slot", stdout=stdout)
    started_at = Run.objects.get().started_at
    assert started_at is not None
    assert stdout.getvalue() == f"slot {started_at.isoformat()}\n"


def test_a_ledger_that_cannot_be_written_is_reported_on_stderr_and_the_job_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("no such table: jobledger_run")

    monkeypatch.setattr(dispatch, "begin", refuse)
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("probe", "worked", stdout=stdout, stderr=stderr)
    assert stdout.getvalue() == "worked\n"
    assert stderr.getvalue() == "This run is not recorded: no such table: jobledger_run\n"


def test_without_a_ledger_scheduled_for_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(dispatch, "begin", refuse)
    command = Command(stderr=io.StringIO(), stdout=io.StringIO())
    call_command(command)
    assert datetime.now(UTC) - command.scheduled_for < timedelta(minutes=1)


def test_an_end_that_cannot_be_recorded_hides_no_error_of_the_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("server closed the connection")

    monkeypatch.setattr(attempts, "end", refuse)
    with pytest.raises(CommandError, match="the real trouble"):
        call_command("probe", "--fail=the real trouble")
    assert "ended as failed, but this could not be recorded" in caplog.text


def test_a_command_object_can_be_called_twice() -> None:
    command, stdout = Command(), io.StringIO()
    call_command(command, "a", stdout=stdout)
    call_command(command, "b", stdout=stdout)
    assert [output_of(run) for run in Run.objects.order_by("queued_at")] == [
        [("stdout", "a\n")],
        [("stdout", "b\n")],
    ]


def test_stderr_is_styled_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_COLORS", "error=red")
    terminal, file = Terminal(), io.StringIO()
    call_command(Command(stderr=terminal, force_color=True), "--warn=red")
    call_command(Command(stderr=file, force_color=True), "--warn=plain")
    assert terminal.getvalue().startswith("\x1b[31m")
    assert file.getvalue() == "plain\n"


def execute_as_typed(*arguments: str) -> None:
    """As ``run_from_argv``, which would close the test's connection."""
    command = Command()
    options = vars(command.create_parser("manage.py", "probe").parse_args(arguments))
    command.execute(**options)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The tags of the system checks that are run."""
    ran: list[object] = []
    monkeypatch.setattr(Command, "check", lambda self, *, tags=None, **_: ran.append(tags))
    return ran


@pytest.mark.parametrize("arguments", [[], ["--skip-checks"]])
def test_on_the_command_line_no_system_checks_run_before_a_job(
    checks: list[object], arguments: list[str]
) -> None:
    execute_as_typed("a", *arguments)
    assert Run.objects.get().options == {"words": ["a"]}
    assert checks == []


@pytest.mark.parametrize(("arguments", "ran"), [([], [["models"]]), (["--skip-checks"], [])])
def test_a_job_can_ask_for_system_checks(
    checks: list[object], monkeypatch: pytest.MonkeyPatch, arguments: list[str], ran: list[object]
) -> None:
    monkeypatch.setattr(Command, "requires_system_checks", ["models"])
    execute_as_typed(*arguments)
    assert checks == ran


def test_options_that_are_too_large_are_refused_and_leave_no_run() -> None:
    with pytest.raises(CommandError, match="more than the 65,536 allowed") as refused:
        call_command("probe", "x" * 70_000)
    assert refused.value.returncode == 2
    assert not Run.objects.exists()
