"""Runs as lines: every attempt is included, and output keeps its order and its lines."""

from datetime import timedelta

import pytest

from jobledger.management import run_lines
from jobledger.models import Run, RunAttempt, RunOutput, Status, Stream, Trigger
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


def made(**values: object) -> Run:
    return Run.objects.create(**{"job": "probe", "trigger": Trigger.CLI, "queued_at": NOON, **values})


def written(*texts: str, stream: Stream = Stream.STDOUT) -> Run:
    run = made()
    for number, text in enumerate(texts):
        RunOutput.objects.create(run=run, number=number, stream=stream, text=text)
    return run


def test_earlier_attempts_are_fields_with_their_end_and_error() -> None:
    run = made(attempt=2)
    RunAttempt.objects.create(
        run=run,
        attempt=1,
        status=Status.FAILED,
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=2),
        error="OSError: gone",
    )
    assert "attempt 1: failed at 2026-03-01 12:00:02 UTC after 2.0s: OSError: gone" in run_lines.fields(run)


def test_a_line_in_several_pieces_is_one_line_and_empty_lines_are_kept() -> None:
    run = written("a", "b\n\nc", "d\n")
    assert list(run_lines.output(run, str)) == ["", "output:", "ab", "", "cd"]


def test_stderr_is_styled_line_by_line() -> None:
    run = written("bad\n\nworse", stream=Stream.STDERR)
    assert list(run_lines.output(run, str.upper))[2:] == ["BAD", "", "WORSE"]


def test_each_attempt_has_its_output_under_its_own_heading() -> None:
    run = made(attempt=2)
    for attempt in 2, 1:
        RunOutput.objects.create(
            run=run, attempt=attempt, number=0, stream=Stream.STDOUT, text=f"from {attempt}"
        )
    assert list(run_lines.output(run, str)) == [
        *("", "output of attempt 1:", "from 1"),
        *("", "output of attempt 2:", "from 2"),
    ]


def test_a_run_that_wrote_nothing_has_no_heading() -> None:
    assert list(run_lines.output(made(), str)) == []
