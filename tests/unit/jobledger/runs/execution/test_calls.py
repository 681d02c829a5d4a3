"""A plain command from the command line leaves a run if it is exposed; nothing else changes."""

import io
import os
from typing import Any

import pytest
from django.core.management import get_commands
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from jobledger import management
from jobledger.models import Run, RunOutput, Status, Trigger
from jobledger.runs import dispatch
from jobledger.runs.execution import calls
from tests.probes.management.commands import plain_probe, unexposed_probe

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kept_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run_from_argv`` closes them, and with them the transaction of the test."""
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)


def manage(*words: str) -> None:
    management.execute_from_command_line(["manage.py", *words])


def handle(monkeypatch: pytest.MonkeyPatch, effect: Any) -> None:
    """What the command does."""

    def act(command: BaseCommand, *args: Any, **options: Any) -> Any:
        return effect(command)

    monkeypatch.setattr(plain_probe.Command, "handle", act)


def raiser(error: BaseException) -> Any:
    def act(command: BaseCommand) -> None:
        raise error

    return act


def test_an_exposed_command_prints_as_usual_and_leaves_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    manage("plain_probe", "--call-job")
    assert capsys.readouterr() == ("plain\ncalled\n", "")
    run = Run.objects.get(parent=None)
    assert (run.job, run.status, run.trigger, run.exit_code) == ("plain_probe", "succeeded", "cli", 0)
    assert run.options == {"call_job": True}
    assert run.username
    assert RunOutput.objects.get(run=run).text == "plain\ncalled\n"
    assert Run.objects.get(parent=run).job == "probe"


def test_what_handle_returns_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handle(monkeypatch, lambda command: "done")
    manage("plain_probe")
    assert capsys.readouterr() == ("done\n", "")
    assert RunOutput.objects.get().text == "done\n"


def test_a_command_that_is_not_exposed_leaves_none(capsys: pytest.CaptureFixture[str]) -> None:
    manage("unexposed_probe")
    assert capsys.readouterr().out == "nobody should see this\n"
    assert not Run.objects.exists()
    assert "run_from_argv" not in vars(unexposed_probe.Command())


def test_a_job_leaves_exactly_one(capsys: pytest.CaptureFixture[str]) -> None:
    manage("probe", "hello")
    assert Run.objects.get().options == {"words": ["hello"]}


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["--version"], 0), (["--nonsense"], 2), (["word"], 2)]
)
def test_help_and_bad_options_leave_none(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        manage("plain_probe", *words)
    assert end.value.code == code
    assert not Run.objects.exists()


def test_the_help_does_not_mention_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    manage("help", "plain_probe")
    assert "overlap" not in capsys.readouterr().out


ENDS: list[tuple[BaseException, type[BaseException], str, int]] = [
    (CommandError("no", returncode=5), SystemExit, "failed", 5),
    (RuntimeError("boom"), RuntimeError, "failed", 1),
    (SystemExit(3), SystemExit, "failed", 3),
    (SystemExit(None), SystemExit, "succeeded", 0),
    (KeyboardInterrupt(), KeyboardInterrupt, "cancelled", 130),
]


@pytest.mark.parametrize(("error", "raised", "status", "exit_code"), ENDS)
def test_an_error_ends_it_as_usual_and_is_on_record(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    raised: type[BaseException],
    status: str,
    exit_code: int,
) -> None:
    handle(monkeypatch, raiser(error))
    with pytest.raises(raised) as end:
        manage("plain_probe")
    run = Run.objects.get()
    assert (run.status, run.exit_code) == (status, exit_code)
    assert capsys.readouterr().err == ("CommandError: no\n" if isinstance(error, CommandError) else "")
    if isinstance(end.value, SystemExit):
        assert (end.value.code or 0) == exit_code


def test_the_overlap_rule_holds(capsys: pytest.CaptureFixture[str]) -> None:
    running = dispatch.RunRequest(job="plain_probe", trigger=Trigger.SCHEDULE)
    holder = dispatch.begin(running, worker="w")
    Run.objects.filter(pk=holder.pk).update(concurrency_key="plain_probe")
    with pytest.raises(SystemExit) as end:
        manage("plain_probe")
    assert end.value.code == os.EX_TEMPFAIL
    assert Run.objects.exclude(pk=holder.pk).get().status == Status.SKIPPED
    assert "plain" not in capsys.readouterr().out


def test_it_does_not_overlap_even_if_that_cannot_be_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("disk full")

    holder = dispatch.begin(dispatch.RunRequest(job="plain_probe", trigger=Trigger.SCHEDULE), worker="w")
    Run.objects.filter(pk=holder.pk).update(concurrency_key="plain_probe")
    monkeypatch.setattr(dispatch, "skip", refuse)
    with pytest.raises(SystemExit) as end:
        manage("plain_probe")
    assert end.value.code == os.EX_TEMPFAIL
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "was still running" in captured.err
    assert captured.err.endswith("Not recorded: disk full\n")


def test_without_a_database_it_warns_and_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("no such table: jobledger_run")

    monkeypatch.setattr(dispatch, "begin", refuse)
    manage("plain_probe")
    assert capsys.readouterr() == ("plain\n", "This run is not recorded: no such table: jobledger_run\n")


def test_a_broken_registry_does_not_stop_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("jobledger.jobs.registry.all_jobs", fail)
    monkeypatch.setattr(plain_probe.Command, "requires_system_checks", [])
    manage("plain_probe")
    assert capsys.readouterr() == ("plain\n", "This run is not recorded: broken\n")


def test_a_command_that_settings_name_but_no_app_has_is_djangos_affair() -> None:
    assert "no_such_command" not in get_commands()
    with pytest.raises(SystemExit):
        manage("no_such_command")


def test_output_that_a_caller_asks_for_is_passed_on() -> None:
    stdout = io.StringIO()
    command = plain_probe.Command(stdout=stdout)
    from jobledger.jobs import registry

    calls.record_plain_command(command, registry.find("plain_probe")).run_from_argv(
        ["manage.py", "plain_probe"]
    )
    assert stdout.getvalue() == "plain\n"
    assert RunOutput.objects.get().text == "plain\n"
