"""``manage.py runs`` reads the ledger, newest first."""

import io
import json
import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.core.management.color import color_style

from jobledger.models import Run, RunAttempt, RunOutput, Status, Stream, Trigger
from jobledger.runs.worker.process import operating_system_user
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import made
from tests.unit.terminals import Terminal

pytestmark = pytest.mark.django_db


def write(run: Run, *pieces: tuple[Stream, str], attempt: int = 1) -> None:
    for number, (stream, text) in enumerate(pieces):
        RunOutput.objects.create(run=run, attempt=attempt, number=number, stream=stream, text=text)


def listed(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("runs", *arguments, stdout=stdout)
    return stdout.getvalue()


def as_json(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(listed("--json", *arguments))
    return found


def test_json_is_a_list_of_objects_with_the_models_fields() -> None:
    run = made(
        options={"level": 2},
        schedule_name="nightly",
        trigger=Trigger.SCHEDULE,
        scheduled_for=NOON,
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=3),
        status=Status.FAILED,
        exit_code=2,
        error="no",
    )
    assert as_json() == [
        {
            "id": str(run.pk),
            "job": "probe",
            "options": {"level": 2},
            "trigger": "schedule",
            "schedule": "nightly",
            "scheduled_for": "2026-03-01T12:00:00+00:00",
            "status": "failed",
            "attempt": 1,
            "queued_at": "2026-03-01T12:00:00+00:00",
            "started_at": "2026-03-01T12:00:00+00:00",
            "finished_at": "2026-03-01T12:00:03+00:00",
            "exit_code": 2,
            "error": "no",
        }
    ]


def test_the_newest_comes_first_and_the_limit_cuts_the_oldest() -> None:
    runs = [made(minute) for minute in range(3)]
    assert [run["id"] for run in as_json("--limit", "2")] == [str(runs[2].pk), str(runs[1].pk)]


def test_filters_by_status_and_by_job_under_either_name() -> None:
    wanted = made(status=Status.FAILED)
    made()
    made(job="hello", status=Status.FAILED)
    for name in "probe", "probes.probe":
        assert [run["id"] for run in as_json("--status", "failed", "--job", name)] == [str(wanted.pk)]


def test_runs_of_a_job_that_is_gone_are_still_found() -> None:
    run = made(job="retired")
    assert [found["id"] for found in as_json("--job", "retired")] == [str(run.pk)]


def test_an_unknown_job_is_an_error_that_names_the_jobs() -> None:
    with pytest.raises(CommandError, match=r"There is no job 'porbe'\. The jobs are: .*probe"):
        listed("--job", "porbe")


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--limit", "9" * 30], ["--limit", "many"], ["--status", "good"]]
)
def test_bad_filters_are_refused_by_the_parser(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=rf"argument {arguments[0]}: "):
        listed(*arguments)


def test_in_a_pipe_each_run_is_a_line_of_tab_separated_fields() -> None:
    run = made(started_at=NOON, finished_at=NOON + timedelta(seconds=1.5), error="first\nsecond")
    assert listed().split("\t") == [
        str(run.pk),
        "probe",
        "succeeded",
        "cli",
        "2026-03-01 12:00:00 UTC",
        "1.5s",
        "first\n",
    ]


def test_on_a_terminal_it_is_a_table_in_which_errors_are_no_markup() -> None:
    run = made(error="[b]no[/b]")
    terminal = Terminal()
    call_command("runs", stdout=terminal)
    assert "status" in terminal.getvalue()
    assert "[b]no[/b]" in terminal.getvalue()
    assert str(run.pk)[:8] in terminal.getvalue()


def test_an_empty_ledger_is_an_empty_list() -> None:
    assert as_json() == []


@pytest.mark.parametrize("since", ["2026-03-01T12:01", "2026-03-01T14:01+02:00", "1h"])
def test_since_takes_a_moment_or_how_long_ago(since: str) -> None:
    with time_machine.travel(NOON + timedelta(minutes=61), tick=False):
        made(0)
        wanted = [made(2), made(1)]
        assert [run["id"] for run in as_json("--since", since)] == [str(run.pk) for run in wanted]


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("yesterday", "'yesterday' is not a moment"),
        ("two hours", "'two hours' is not a length of time"),
        ("", "'' is not a moment"),
    ],
)
def test_a_since_that_is_neither_is_an_error(since: str, said: str) -> None:
    with pytest.raises(CommandError, match=f"--since: {said}") as raised:
        listed("--since", since)
    assert raised.value.returncode == 1


def test_show_gives_a_line_for_each_field_and_then_the_output() -> None:
    run = made(
        status=Status.FAILED,
        who="ann",
        options={"level": 2},
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=3),
        exit_code=4,
        error="no luck\nat all",
    )
    write(run, (Stream.STDOUT, "first\n"), (Stream.STDERR, "careful\n"), (Stream.STDOUT, "last"))
    assert listed("show", str(run.pk)).splitlines() == [
        f"id: {run.pk}",
        "job: probe",
        "status: failed",
        "error: no luck",
        "  at all",
        "exit_code: 4",
        'options: {"level": 2}',
        "trigger: cli",
        "who: ann",
        "attempt: 1",
        "queued_at: 2026-03-01 12:00:00 UTC",
        "started_at: 2026-03-01 12:00:00 UTC",
        "finished_at: 2026-03-01 12:00:03 UTC",
        "took: 3.0s",
        "",
        "output:",
        "first",
        "careful",
        "last",
    ]


def test_show_on_a_terminal_is_a_table_in_which_stderr_is_red() -> None:
    run = made(error="[b]no[/b]")
    write(run, (Stream.STDOUT, "fine\n"), (Stream.STDERR, "bad\nworse\n"))
    terminal = Terminal()
    call_command("runs", "show", str(run.pk), stdout=terminal, force_color=True)
    lines = terminal.getvalue().splitlines()
    red = color_style(force_color=True).ERROR
    assert lines[-3:] == ["fine", red("bad"), red("worse")]
    assert any("error" in line and "[b]no[/b]" in line for line in lines)


@pytest.mark.parametrize("line", [("show", "--json"), ("--json", "show")])
def test_show_as_json_has_the_lists_fields_and_all_else(line: tuple[str, ...]) -> None:
    parent = made()
    run = made(1, attempt=2, worker="w@host", who="ann", parent=parent, options={"words": ["ö"]})
    RunAttempt.objects.create(
        run=run, attempt=1, status=Status.FAILED, finished_at=NOON, exit_code=1, error="no"
    )
    write(run, (Stream.STDERR, "careful\n"), attempt=1)
    write(run, (Stream.STDOUT, "fine\n"), attempt=2)
    shown = json.loads(listed(*line, str(run.pk)))
    assert {name: shown[name] for name in as_json("--limit", "1")[0]} == as_json("--limit", "1")[0]
    assert (shown["worker"], shown["who"], shown["parent"]) == ("w@host", "ann", str(parent.pk))
    (attempt,) = shown["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["error"]) == (1, "failed", "no")
    assert [(piece["attempt"], piece["stream"], piece["text"]) for piece in shown["output"]] == [
        (1, "stderr", "careful\n"),
        (2, "stdout", "fine\n"),
    ]


def followed(run: Run) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    exit_code = 0
    try:
        call_command("runs", "show", str(run.pk), "--follow", stdout=stdout, stderr=stderr)
    except SystemExit as exited:
        exit_code = int(exited.code or 0)
    return exit_code, stdout.getvalue(), stderr.getvalue()


def test_follow_prints_each_stream_to_its_own_and_exits_as_the_run_did() -> None:
    run = made(status=Status.FAILED, exit_code=4, error="no luck")
    write(run, (Stream.STDOUT, "one, "), (Stream.STDERR, "careful\n"), (Stream.STDOUT, "two"))
    assert followed(run) == (4, "one, two", f"careful\nRun {str(run.pk)[:8]}: failed: no luck\n")


def test_following_a_run_that_succeeds_ends_with_success() -> None:
    run = made(exit_code=0)
    assert followed(run) == (0, "", f"Run {str(run.pk)[:8]}: succeeded\n")


def test_an_interrupt_while_following_leaves_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    run = made(status=Status.RUNNING)
    exit_code, stdout, stderr = followed(run)
    assert (exit_code, stdout) == (130, "")
    assert "the run goes on" in stderr
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at) == (Status.RUNNING, None)


def test_cancelling_a_queued_run_ends_it_at_once_and_keeps_who_and_why() -> None:
    run = made(status=Status.QUEUED)
    assert listed("cancel", str(run.pk)[:13], "--reason", "too slow") == f"Run {run.pk} is cancelled.\n"
    run.refresh_from_db()
    assert (run.status, run.cancelled_by) == (Status.CANCELLED, f"{operating_system_user()} (too slow)")


def test_cancelling_a_running_run_asks_it_to_end_and_a_second_time_says_who_asked() -> None:
    run = made(status=Status.RUNNING)
    assert listed("cancel", str(run.pk)) == f"Run {run.pk} was asked to end; it does within a few seconds.\n"
    assert f"was already asked by {operating_system_user()} to end" in listed("cancel", str(run.pk))
    run.refresh_from_db()
    assert (run.status, run.cancelled_by) == (Status.RUNNING, operating_system_user())


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELLED])
def test_what_is_over_cannot_be_cancelled(status: Status) -> None:
    run = made(status=status)
    with pytest.raises(CommandError, match=f"Run {run.pk} is over: {status}") as raised:
        listed("cancel", str(run.pk))
    assert raised.value.returncode == 1


def test_a_reason_that_is_too_long_is_refused_before_anything_happens() -> None:
    run = made(status=Status.QUEUED)
    with pytest.raises(CommandError, match="--reason: it is longer than"):
        listed("cancel", str(run.pk), "--reason", "x" * 300)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_retry_prints_the_id_of_a_new_run_that_says_who_asked() -> None:
    run = made(status=Status.FAILED, options={"level": 2})
    new = Run.objects.get(pk=listed("retry", str(run.pk)).strip())
    assert (new.job, new.options, new.status) == ("probe", {"level": 2}, Status.QUEUED)
    assert (new.trigger, new.who) == (Trigger.CLI, operating_system_user())


@pytest.mark.parametrize(
    ("values", "said"),
    [({"status": Status.RUNNING}, "is not over"), ({"job": "retired"}, "'retired' any more")],
)
def test_what_cannot_be_retried_is_an_error(values: dict[str, Any], said: str) -> None:
    run = made(**values)
    with pytest.raises(CommandError, match=said) as raised:
        listed("retry", str(run.pk))
    assert raised.value.returncode == 1
    assert Run.objects.count() == 1


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"]])
def test_secrets_are_masked_when_a_run_is_shown(arguments: list[str]) -> None:
    run = made(job="choosing", options={"api_key": "hunter2", "pin": "4711", "days": 3})
    shown = listed(arguments[0], str(run.pk), *arguments[1:])
    assert "hunter2" not in shown
    assert "4711" not in shown
    assert shown.count('"********"') == 2


def test_secrets_are_masked_in_the_list() -> None:
    made(job="choosing", options={"api_key": "hunter2", "days": 3})
    (run,) = as_json()
    assert run["options"] == {"api_key": "********", "days": 3}
