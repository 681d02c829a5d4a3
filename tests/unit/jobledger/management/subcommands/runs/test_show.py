"""``jobledger show`` prints everything about a run, or follows it until it ends."""

import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from django.core.management import CommandError, call_command
from django.core.management.color import color_style

from jobledger.management.subcommands.runs import show
from jobledger.models import Reason, Run, RunAttempt, RunOutput, Status, Stream, Why
from jobledger.runs import run_json
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.terminals import Terminal

pytestmark = pytest.mark.django_db

Step = Callable[[], object]


def write(run: Run, *pieces: tuple[Stream, str], attempt: int = 1) -> None:
    for number, (stream, text) in enumerate(pieces):
        RunOutput.objects.create(run=run, attempt=attempt, number=number, stream=stream, text=text)


def printed(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "show", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_show_gives_a_line_for_each_field_and_then_the_output() -> None:
    run = create_run(
        left_behind=[{"pid": 7, "name": "sleep 600"}],
        status=Status.FAILED,
        username="ann",
        options={"level": 2},
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=3),
        exit_code=4,
        exit_signal="SIGTERM",
        peak_memory_bytes=90_000_000,
        cpu_seconds=1.25,
        reason="command_error",
        error="no luck\nat all",
    )
    write(run, (Stream.STDOUT, "first\n"), (Stream.STDERR, "careful\n"), (Stream.STDOUT, "last"))
    assert printed(str(run.pk)).splitlines() == [
        f"id: {run.pk}",
        "job: probe",
        "status: failed",
        "reason: command_error",
        "error: no luck",
        "  at all",
        "exit_code: 4",
        "exit_signal: SIGTERM",
        'options: {"level": 2}',
        "trigger: cli",
        "user: ann",
        "attempt: 1",
        "queued_at: 2026-03-01 12:00:00 UTC",
        "started_at: 2026-03-01 12:00:00 UTC",
        "finished_at: 2026-03-01 12:00:03 UTC",
        "duration: 3.0s",
        "cpu_time: 1.2 s",
        "peak_memory: 86 MB",
        "left_behind: process 7 (sleep 600)",
        "",
        "output:",
        "first",
        "careful",
        "last",
    ]


def test_show_says_which_time_limit_applies_and_who_has_set_it() -> None:
    run = create_run(status=Status.QUEUED, job="limited", time_limit=timedelta(minutes=10))
    line = "time_limit: 10 min, then 2 s to clean up (set by its schedule)"
    assert line in printed(str(run.pk)).splitlines()
    found = json.loads(printed(str(run.pk), "--json"))
    limits = {name: value for name, value in found.items() if name.startswith("time_limit")}
    assert limits == {
        "time_limit_seconds": 600.0,
        "time_limit_grace_seconds": 2.0,
        "time_limit_set_by": "schedule",
    }


def test_show_says_where_a_run_is_queued() -> None:
    run = create_run(status=Status.QUEUED, routing={"queue": "reports", "priority": 3})
    assert "queue: reports, priority 3" in printed(str(run.pk)).splitlines()
    assert json.loads(printed(str(run.pk), "--json"))["routing"] == {"queue": "reports", "priority": 3}


def test_the_json_of_a_run_that_cron_has_started_has_no_time_limit() -> None:
    found = json.loads(printed(str(create_run(job="limited", trigger="cron").pk), "--json"))
    names = ("time_limit_seconds", "time_limit_grace_seconds", "time_limit_set_by")
    assert [found[name] for name in names] == [None, None, None]


def test_show_on_a_terminal_is_a_table_in_which_stderr_is_red() -> None:
    run = create_run(status=Status.FAILED, error="[b]no[/b]")
    write(run, (Stream.STDOUT, "fine\n"), (Stream.STDERR, "bad\nworse\n"))
    terminal = Terminal()
    call_command("jobledger", "show", str(run.pk), stdout=terminal, force_color=True)
    lines = terminal.getvalue().splitlines()
    red = color_style(force_color=True).ERROR
    assert lines[-3:] == ["fine", red("bad"), red("worse")]
    assert any("error" in line and "[b]no[/b]" in line for line in lines)


def test_json_has_the_fields_of_the_list_and_all_others() -> None:
    parent = create_run()
    run = create_run(1, attempt=2, worker="w@host", username="ann", parent=parent, options={"words": ["ö"]})
    RunAttempt.objects.create(
        run=run,
        attempt=1,
        status=Status.FAILED,
        finished_at=NOON,
        exit_code=1,
        error="no",
        peak_memory_bytes=2**20,
        cpu_seconds=0.5,
    )
    write(run, (Stream.STDERR, "careful\n"), attempt=1)
    write(run, (Stream.STDOUT, "fine\n"), attempt=2)
    found = json.loads(printed(str(run.pk), "--json"))
    assert {name: found[name] for name in run_json.as_json(run)} == run_json.as_json(run)
    assert (found["worker"], found["user"], found["parent"]) == ("w@host", "ann", str(parent.pk))
    (attempt,) = found["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["error"]) == (1, "failed", "no")
    assert (attempt["peak_memory_bytes"], attempt["cpu_seconds"]) == (2**20, 0.5)
    ended = "attempt 1: failed at 2026-03-01 12:00:00 UTC, CPU time 0.5 s, peak memory 1 MB: no"
    assert ended in printed(str(run.pk)).splitlines()
    assert [(piece["attempt"], piece["stream"], piece["text"]) for piece in found["output"]] == [
        (1, "stderr", "careful\n"),
        (2, "stdout", "fine\n"),
    ]


def followed(run: Run) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    exit_code = 0
    try:
        call_command("jobledger", "show", str(run.pk), "--follow", stdout=stdout, stderr=stderr)
    except SystemExit as exited:
        exit_code = int(exited.code or 0)
    return exit_code, stdout.getvalue(), stderr.getvalue()


def test_follow_prints_each_stream_to_its_own_and_exits_as_the_run_did() -> None:
    run = create_run(status=Status.FAILED, exit_code=4, error="no luck")
    write(run, (Stream.STDOUT, "one, "), (Stream.STDERR, "careful\n"), (Stream.STDOUT, "two"))
    assert followed(run) == (4, "one, two", f"careful\nRun {str(run.pk)[:8]}: failed: no luck\n")


def test_following_a_run_that_succeeds_ends_with_success() -> None:
    run = create_run(exit_code=0)
    assert followed(run) == (0, "", f"Run {str(run.pk)[:8]}: succeeded\n")


def test_an_ordinary_task_is_followed_until_its_end_is_known() -> None:
    why = Why.of(Reason.AWAITS_RESULT, within_seconds=86400)
    run = create_run(status=Status.SENT, look_at=NOON, **why.columns)
    looks = list[str]()

    def end() -> None:
        looks.append(run.status)
        Run.objects.filter(pk=run.pk).update(status=Status.SUCCEEDED, look_at=None, **Why().columns)

    pieces = [piece.text for update in show.follow(run.pk, end) for piece in update.pieces]
    assert (looks, len(pieces), pieces[-1]) == (["sent"], 2, f"Run {run.short_id}: succeeded\n")
    assert "Its end is not in Celery's result backend yet" in pieces[0]


def test_an_interrupt_while_following_leaves_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    run = create_run(status=Status.RUNNING)
    exit_code, stdout, stderr = followed(run)
    assert (exit_code, stdout) == (130, "")
    assert "the run continues" in stderr
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at) == (Status.RUNNING, None)


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_secrets_are_masked(arguments: list[str]) -> None:
    run = create_run(job="choosing", options={"api_key": "hunter2", "pin": "4711", "days": 3})
    found = printed(str(run.pk), *arguments)
    assert "hunter2" not in found
    assert "4711" not in found
    assert found.count('"********"') == 2


def change(run: Run, **values: object) -> None:
    Run.objects.filter(pk=run.pk).update(**values)


def add(run: Run, number: int, text: str, *, attempt: int = 1) -> None:
    RunOutput.objects.create(run=run, attempt=attempt, number=number, stream=Stream.STDOUT, text=text)


def news_of(run: Run, *steps: Step) -> list[tuple[str, str]]:
    """What a follower reads while these things happen, one during each wait."""
    happening: Iterator[Step] = iter(steps)

    def wait() -> None:
        next(happening)()

    news = show.follow(run.pk, wait)
    start = f"Run {str(run.pk)[:8]}: "
    return [(str(piece.stream), piece.text.removeprefix(start)) for each in news for piece in each.pieces]


def test_output_and_states_are_yielded_as_they_change() -> None:
    run = create_run(status=Status.QUEUED)
    assert news_of(
        run,
        partial(change, run, status=Status.RUNNING),
        partial(add, run, 0, "one "),
        lambda: None,
        partial(add, run, 1, "two\n"),
        partial(change, run, status=Status.SUCCEEDED),
    ) == [
        ("stderr", "queued\n"),
        ("stderr", "running\n"),
        ("stdout", "one "),
        ("stdout", "two\n"),
        ("stderr", "succeeded\n"),
    ]


def test_the_next_attempts_output_follows_although_its_numbers_restart() -> None:
    run = create_run(status=Status.RUNNING)
    for number in range(3):
        add(run, number, f"first {number}\n")

    def begin_again() -> None:
        change(run, attempt=2)
        add(run, 0, "second\n", attempt=2)

    assert news_of(run, begin_again, partial(change, run, status=Status.FAILED, error="no luck")) == [
        *(("stdout", f"first {number}\n") for number in range(3)),
        ("stderr", "running\n"),
        ("stdout", "second\n"),
        ("stderr", "running, attempt 2\n"),
        ("stderr", "failed, attempt 2: no luck\n"),
    ]


def test_output_written_together_with_the_end_is_not_lost() -> None:
    run = create_run(status=Status.RUNNING)

    def end() -> None:
        add(run, 0, "the rest")
        change(run, status=Status.SUCCEEDED)

    assert news_of(run, end)[1:] == [("stdout", "the rest"), ("stderr", "succeeded\n")]


def test_the_last_update_has_the_finished_run() -> None:
    run = create_run(status=Status.RUNNING)
    news = list(show.follow(run.pk, partial(change, run, status=Status.FAILED, exit_code=3)))
    assert show.exit_code_of(news[-1].run) == 3


def test_a_run_that_is_deleted_while_it_is_followed_is_an_error() -> None:
    run = create_run(status=Status.QUEUED)
    with pytest.raises(CommandError, match="was deleted"):
        news_of(run, Run.objects.all().delete)


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (Status.SUCCEEDED, 0),
        (Status.SENT, 0),
        *((status, 1) for status in (Status.LOST, Status.MISSED, Status.SKIPPED, Status.EXPIRED)),
        (Status.CANCELLED, 1),
    ],
)
def test_a_run_without_an_exit_code_exits_with_0_only_on_success(status: Status, exit_code: int) -> None:
    assert show.exit_code_of(Run(status=status)) == exit_code


def test_a_runs_own_exit_code_takes_precedence_over_its_status() -> None:
    assert show.exit_code_of(Run(status=Status.SKIPPED, exit_code=75)) == 75
