"""``jobledger runs`` lists the runs, newest first."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone

from jobledger.models import DeadLetter, Status, Trigger
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.terminals import Terminal

pytestmark = pytest.mark.django_db


def listed(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "runs", *arguments, stdout=stdout)
    return stdout.getvalue()


def as_json(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(listed("--json", *arguments))
    return found


def test_json_is_a_list_of_objects_with_the_models_fields() -> None:
    run = create_run(
        options={"level": 2},
        schedule_name="nightly",
        trigger=Trigger.SCHEDULE,
        scheduled_for=NOON,
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=3),
        status=Status.FAILED,
        exit_code=2,
        exit_signal="SIGTERM",
        peak_memory_bytes=90_000_000,
        cpu_seconds=1.25,
        reason="command_error",
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
            "moved_to": None,
            "status": "failed",
            "reason": "command_error",
            "reason_details": {},
            "attempt": 1,
            "queued_at": "2026-03-01T12:00:00+00:00",
            "started_at": "2026-03-01T12:00:00+00:00",
            "finished_at": "2026-03-01T12:00:03+00:00",
            "exit_code": 2,
            "exit_signal": "SIGTERM",
            "peak_memory_bytes": 90_000_000,
            "cpu_seconds": 1.25,
            "error": "no",
        }
    ]


def test_the_newest_comes_first_and_the_limit_cuts_the_oldest() -> None:
    runs = [create_run(minute) for minute in range(3)]
    assert [run["id"] for run in as_json("--limit", "2")] == [str(runs[2].pk), str(runs[1].pk)]


def test_runs_are_filtered_by_status_and_by_job_or_task_name() -> None:
    wanted = create_run(status=Status.FAILED)
    create_run()
    create_run(job="hello", status=Status.FAILED)
    for name in "probe", "probes.probe":
        assert [run["id"] for run in as_json("--status", "failed", "--job", name)] == [str(wanted.pk)]


def test_runs_of_a_job_that_no_longer_exists_are_found() -> None:
    run = create_run(job="retired")
    assert [found["id"] for found in as_json("--job", "retired")] == [str(run.pk)]


def test_an_unknown_job_is_an_error_that_suggests_similar_ones() -> None:
    with pytest.raises(CommandError, match=r"There is no job 'porbe'\. Did you mean .*probe\?"):
        listed("--job", "porbe")


def remarks(*arguments: str) -> str:
    stderr = io.StringIO()
    call_command("jobledger", "runs", *arguments, stdout=io.StringIO(), stderr=stderr)
    return stderr.getvalue()


def dead_letter(task: str, age: timedelta) -> None:
    reason = "this project has no task with its name. Did you mean probes.probe?"
    DeadLetter.objects.create(task=task, received_at=timezone.now() - age, reason=reason, size=1)


def test_messages_without_a_run_are_mentioned_because_their_task_may_be_misspelt() -> None:
    dead_letter("probes.porbe", timedelta(hours=2))
    assert remarks().startswith("Not listed: a message that workers could not process (see ")
    assert "for the task “probes.porbe”, received at " in remarks()
    assert remarks().endswith(": this project has no task with its name. Did you mean probes.probe?\n")
    dead_letter("probes.prob", timedelta(hours=1))
    assert remarks().startswith("Not listed: 2 messages that workers could not process (see ")
    assert "“probes.prob”" in remarks()


def test_dead_letters_are_not_mentioned_if_they_are_older_or_other_runs_are_asked_for() -> None:
    dead_letter("probes.porbe", timedelta(hours=25))
    assert remarks() == remarks("--since", "1d") == ""
    assert remarks("--since", "2d")
    assert remarks("--since", "2d", "--job", "probe") == ""
    assert remarks("--since", "2d", "--status", "failed") == ""


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--limit", "9" * 30], ["--limit", "many"], ["--status", "good"]]
)
def test_invalid_filters_are_rejected_by_the_parser(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=rf"argument {arguments[0]}: "):
        listed(*arguments)


def test_in_a_pipe_each_run_is_a_line_of_tab_separated_fields() -> None:
    end = NOON + timedelta(seconds=1.5)
    run = create_run(status=Status.FAILED, started_at=NOON, finished_at=end, error="first\nsecond")
    assert listed().split("\t") == [
        str(run.pk),
        "probe",
        "failed",
        "cli",
        "2026-03-01 12:00:00 UTC",
        "1.5s",
        "first\n",
    ]


def test_on_a_terminal_it_is_a_table_without_markup_in_errors() -> None:
    run = create_run(status=Status.FAILED, error="[b]no[/b]")
    terminal = Terminal()
    call_command("jobledger", "runs", stdout=terminal)
    assert "status" in terminal.getvalue()
    assert "[b]no[/b]" in terminal.getvalue()
    assert str(run.pk)[:8] in terminal.getvalue()


def test_an_empty_ledger_is_an_empty_list() -> None:
    assert as_json() == []


@pytest.mark.parametrize("since", ["2026-03-01T12:01", "2026-03-01T14:01+02:00", "1h", "60 min"])
def test_since_takes_a_time_or_a_duration(since: str) -> None:
    with time_machine.travel(NOON + timedelta(minutes=61), tick=False):
        create_run(0)
        wanted = [create_run(2), create_run(1)]
        assert [run["id"] for run in as_json("--since", since)] == [str(run.pk) for run in wanted]


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("yesterday", "'yesterday' is not a time"),
        ("two hours", "'two hours' is not a duration"),
        ("", "'' is not a time"),
    ],
)
def test_an_invalid_since_is_an_error(since: str, said: str) -> None:
    with pytest.raises(CommandError, match=f"--since: {said}") as raised:
        listed("--since", since)
    assert raised.value.returncode == 1


def test_secrets_are_masked_in_the_list() -> None:
    create_run(job="choosing", options={"api_key": "hunter2", "days": 3})
    (run,) = as_json()
    assert run["options"] == {"api_key": "********", "days": 3}
